//! A scripted broker, for what the real one never does: it refuses tokens, or breaks the protocol.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use onetree_client::protocol::frame::{
    ClientFrame, Done, ErrorFrame, Goodbye, Hello, Ok as Accepted,
};
use onetree_client::protocol::frame::{ServerFrame, Sub, Welcome};
use onetree_client::protocol::limits::Limits;
use onetree_client::protocol::{DigestKey, Epoch, Name};
use onetree_client::{Code, Codec, Revision, View};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::matching::{Names, filled};

/// What was received, for each connection.
type Seen = Arc<Mutex<Vec<Value>>>;

/// Does with each connection what the list says; the last item applies to all that follow.
pub(crate) struct Scripted {
    addr: SocketAddr,
    seen: Seen,
    listening: JoinHandle<()>,
}

impl Scripted {
    pub(crate) async fn start(connections: Vec<Value>) -> Result<Scripted, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|e| e.to_string())?;
        let addr = listener.local_addr().map_err(|e| e.to_string())?;
        let seen = Seen::default();
        let record = seen.clone();
        let listening = tokio::spawn(async move {
            let began = Instant::now();
            let mut last = 0;
            for count in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let now = began.elapsed().as_millis() as u64;
                let after = now - std::mem::replace(&mut last, now);
                let does = connections.get(count).or(connections.last()).cloned();
                tokio::spawn(connection(stream, does.unwrap_or_default(), after, record.clone()));
            }
        });
        Ok(Scripted { addr, seen, listening })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns for each connection: the `token` of its hello, how many milliseconds (`after_ms`) it
    /// came after the one before, and its `subs`.
    pub(crate) fn seen(&self) -> Value {
        self.seen.lock().unwrap().clone().into()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

struct Peer {
    socket: WebSocketStream<TcpStream>,
    codec: Codec,
}

/// Serves one connection. Its end, for whatever reason, is no error.
async fn connection(stream: TcpStream, does: Value, after: u64, seen: Seen) {
    let mut codec = Codec::MsgPack;
    #[expect(clippy::result_large_err, reason = "the library's signature")]
    let choose = |request: &Request, mut response: Response| {
        if let Some(offer) = request.headers().get("sec-websocket-protocol").cloned() {
            let named = Codec::ALL.into_iter().find(|codec| codec.subprotocol() == offer);
            codec = named.unwrap_or(codec);
            response.headers_mut().insert("sec-websocket-protocol", offer);
        }
        Ok(response)
    };
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, choose).await else { return };
    let mut peer = Peer { socket, codec };
    let Some(ClientFrame::Hello(hello)) = peer.read().await else { return };
    let subs: Vec<Value> = hello
        .subs
        .iter()
        .map(|sub| {
            let cookie = sub.cookie.map(|cookie| cookie.rev.get());
            json!({ "path": sub.view.base.as_str(), "cookie": cookie })
        })
        .collect();
    seen.lock().unwrap().push(json!({ "token": hello.token, "after_ms": after, "subs": subs }));
    // The result does not matter.
    let _ = peer.play(*hello, &does).await;
}

impl Peer {
    async fn play(&mut self, hello: Hello, does: &Value) -> Option<()> {
        if let Some(code) = does["refuse"].as_str().and_then(Code::parse) {
            let message = code.meaning().to_owned();
            let (path, rev, sub, retry_ms) = (None, None, None, None);
            let id = Some(hello.id);
            let error = ErrorFrame { id, code, message, path, rev, sub, retry_ms };
            self.say(ServerFrame::Error(error)).await?;
            return self.close(code).await;
        }
        if does["welcome"] == json!(false) {
            return None;
        }
        let limits =
            Limits { frame_bytes: 1 << 20, value_bytes: 1 << 16, subscriptions: 8, in_flight: 64 };
        self.say(ServerFrame::Welcome(Welcome {
            id: hello.id,
            session: Name::parse("scripted")?,
            resumed: hello.session.is_some(),
            epoch: Epoch(1),
            rev: Revision::new(1)?,
            heartbeat_ms: does["heartbeat_ms"].as_u64().unwrap_or(25_000) as u32,
            digest_key: DigestKey(7),
            limits,
        }))
        .await?;
        if let Some(code) = does["close"].as_str().and_then(Code::parse) {
            return self.close(code).await;
        }
        if let Some(code) = does["bye"].as_str().and_then(Code::parse) {
            let retry_ms = does["retry_ms"].as_u64().map(|ms| ms as u32);
            let message = code.meaning().to_owned();
            self.say(ServerFrame::Bye(Goodbye { code, retry_ms, message })).await?;
            return self.close(code).await;
        }
        let mut answers = does["subs"].as_array().cloned().unwrap_or_default().into_iter();
        for sub in &hello.subs {
            self.subscribed(sub.id, sub.sub, &sub.view, answers.next()).await?;
        }
        let mut views: std::collections::HashMap<u32, View> =
            hello.subs.into_iter().map(|sub| (sub.sub, sub.view)).collect();
        let mut rev = 1;
        loop {
            match self.read().await? {
                ClientFrame::Sub(sub) => {
                    let Sub { id, sub, view, .. } = *sub;
                    self.subscribed(id, sub, &view, answers.next()).await?;
                    views.insert(sub, view);
                }
                ClientFrame::Resync(f) => {
                    let view = views.get(&f.sub)?.clone();
                    self.subscribed(f.id, f.sub, &view, answers.next()).await?;
                }
                // With `silent`, requests get no answer.
                _ if does["silent"] == json!(true) => {}
                frame => {
                    let id = frame.id()?;
                    if matches!(frame, ClientFrame::Put(_) | ClientFrame::Append(_)) {
                        rev += 1;
                        let rev = Revision::new(rev)?;
                        let done = Done { id, rev, durable: true, paths: Vec::new() };
                        self.say(ServerFrame::Done(done)).await?;
                    } else {
                        self.say(ServerFrame::Ok(Accepted { id })).await?;
                    }
                }
            }
        }
    }

    /// Answers a subscription with the frames from the script.
    async fn subscribed(
        &mut self,
        id: u32,
        sub: u32,
        view: &View,
        frames: Option<Value>,
    ) -> Option<()> {
        self.say(ServerFrame::Ok(Accepted { id })).await?;
        let view = View::fingerprint(view).to_string();
        let names = Names::from([
            ("$sub".to_owned(), json!(sub)),
            ("$view".to_owned(), json!(view)),
            ("$digests".to_owned(), json!({ sub.to_string(): null })),
        ]);
        for frame in frames?.as_array()? {
            let text = filled(frame, &names).to_string();
            let frame = Codec::Json.decode_server(text.as_bytes());
            self.say(frame.unwrap_or_else(|error| panic!("{text}: {error}"))).await?;
        }
        Some(())
    }

    async fn close(&mut self, code: Code) -> Option<()> {
        let frame = CloseFrame { code: code.close()?.into(), reason: "".into() };
        self.socket.close(Some(frame)).await.ok()?;
        // Wait until the other side has closed too, or is gone.
        let ending = async { while let Some(Ok(_)) = self.socket.next().await {} };
        tokio::time::timeout(Duration::from_secs(2), ending).await.ok()
    }

    /// Returns the next frame; `None` when the client is gone.
    async fn read(&mut self) -> Option<ClientFrame> {
        loop {
            let bytes = match self.socket.next().await?.ok()? {
                Message::Binary(bytes) => bytes.to_vec(),
                Message::Text(text) => text.as_bytes().to_vec(),
                Message::Close(_) => return None,
                _ => continue,
            };
            return self.codec.decode_client(&bytes).ok();
        }
    }

    async fn say(&mut self, frame: ServerFrame) -> Option<()> {
        let bytes = self.codec.encode_server(&frame);
        let message = match self.codec {
            Codec::MsgPack => Message::Binary(bytes),
            Codec::Json => Message::Text(bytes.try_into().ok()?),
        };
        self.socket.send(message).await.ok()
    }
}
