//! A broker that follows a script, over real sockets.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use onetree_client::protocol::frame::{
    ClientFrame, Delta, Done, Fresh, Hello, Refresh, ServerFrame,
};
use onetree_client::protocol::limits::Limits;
use onetree_client::{Act, Change, Codec, Digest, Options, Path, Reason, RefreshKind, Value, View};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use crate::broker::{self, path, rev};

/// A listener, and the options of a client for it.
pub(crate) async fn listen() -> (TcpListener, Options) {
    let (socket, options) = bind();
    (socket.listen(128).unwrap(), options)
}

/// A socket that can become a listener, and the options of a client for it.
pub(crate) fn bind() -> (TcpSocket, Options) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("ws://{}", socket.local_addr().unwrap());
    let short = Duration::from_millis(1);
    (socket, Options::new(url).backoff(short, short))
}

/// The broker's end of a connection.
pub(crate) struct Peer {
    pub(crate) socket: WebSocketStream<TcpStream>,
    codec: Codec,
}

impl Peer {
    /// Accepts a connection, up to `welcome`.
    pub(crate) async fn accept(listener: &TcpListener, in_flight: u32) -> (Peer, Hello) {
        let (stream, _) = listener.accept().await.unwrap();
        let mut codec = Codec::MsgPack;
        #[expect(clippy::result_large_err, reason = "the library's signature")]
        let choose = |request: &Request, mut response: Response| {
            assert_eq!(request.uri().path(), "/v1/sync");
            let offer = request.headers()["sec-websocket-protocol"].clone();
            codec = Codec::ALL.into_iter().find(|c| c.subprotocol() == offer).unwrap();
            response.headers_mut().insert("sec-websocket-protocol", offer);
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, choose).await.unwrap();
        let mut peer = Peer { socket, codec };
        let ClientFrame::Hello(hello) = peer.read().await else { panic!("no hello") };
        let limits =
            Limits { frame_bytes: 1 << 20, value_bytes: 1 << 16, subscriptions: 8, in_flight };
        peer.say(broker::welcome(&hello, limits)).await;
        (peer, *hello)
    }

    /// Accepts a connection with one mirror of the root, which is empty and fresh at revision 5.
    pub(crate) async fn with_mirror(listener: &TcpListener) -> Peer {
        let (mut peer, _) = Peer::accept(listener, 4).await;
        let ClientFrame::Sub(sub) = peer.read().await else { panic!("no sub") };
        peer.refresh(sub.sub, 5).await;
        peer
    }

    pub(crate) async fn read(&mut self) -> ClientFrame {
        self.next().await.expect("a frame")
    }

    /// Returns the next frame; `None` if the client has closed.
    pub(crate) async fn next(&mut self) -> Option<ClientFrame> {
        loop {
            let bytes = match self.socket.next().await?.ok()? {
                Message::Binary(bytes) => bytes.to_vec(),
                Message::Text(text) => text.as_bytes().to_vec(),
                Message::Close(_) => return None,
                _ => continue,
            };
            return Some(self.codec.decode_client(&bytes).unwrap());
        }
    }

    pub(crate) async fn say(&mut self, frame: ServerFrame) {
        let bytes = self.codec.encode_server(&frame);
        let message = match self.codec {
            Codec::MsgPack => Message::Binary(bytes),
            Codec::Json => Message::Text(bytes.try_into().unwrap()),
        };
        self.socket.send(message).await.unwrap();
    }

    pub(crate) async fn done(&mut self, id: u32, at: u64) {
        let done = Done { id, rev: rev(at), durable: true, paths: Vec::new() };
        self.say(ServerFrame::Done(done)).await;
    }

    /// Sends a full refresh of an empty mirror of the root, and a put of `/a` at the next revision.
    pub(crate) async fn refresh(&mut self, sub: u32, at: u64) {
        let (kind, why) = (RefreshKind::Full, Reason::NoCookie);
        self.say(ServerFrame::Refresh(Refresh { sub, kind, why, from: None })).await;
        let view = View::tree(Path::root()).fingerprint();
        let digest = Some(Digest::default());
        self.say(ServerFrame::Fresh(Fresh { sub, rev: rev(at), view, digest })).await;
    }

    pub(crate) async fn put(&mut self, at: &str, n: u64) {
        self.change(at, n, Act::Put(Some(Value::text("x")))).await;
    }

    /// Sends a delta of one change.
    pub(crate) async fn change(&mut self, at: &str, n: u64, act: Act) {
        let changes = vec![Change { path: path(at), rev: rev(n), act }];
        let delta = Delta { rev: rev(n), since: None, sub: None, part: false, changes };
        self.say(ServerFrame::Delta(delta)).await;
    }
}
