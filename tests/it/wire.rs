//! A client that sends exactly what a test wants: JSON in, JSON out.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use onetree::store::MemoryStore;
use onetree::{Broker, Config, Running};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::logs::Peer;

/// Longer than anything here takes on a busy machine, but shorter than the time between two
/// heartbeats, which would otherwise never let it end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Returns how many unread bytes the system holds for the broker's end of a socket, at most;
/// usually 4 MiB. Anything that is to wait in the broker has to be more.
pub(crate) fn kept_unread() -> usize {
    let said = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap_or_default();
    let most: Option<usize> =
        said.split_whitespace().next_back().and_then(|most| most.parse().ok());
    most.unwrap_or_default().max(4 << 20)
}

/// Starts a broker on a free port, with these keys of `broker.toml`.
pub(crate) async fn broker(toml: &str) -> Running {
    broker_on(toml, MemoryStore::new()).await
}

/// Starts a broker with this store.
pub(crate) async fn broker_on(toml: &str, store: MemoryStore) -> Running {
    Broker::start(config(toml), store).await.unwrap()
}

/// Like [`broker_on`], at this address.
pub(crate) async fn broker_at(addr: SocketAddr, toml: &str, store: MemoryStore) -> Running {
    let config = Config { listen: addr, ..config(toml) };
    Broker::start(config, store).await.unwrap()
}

/// Returns a configuration with a free port and these keys.
pub(crate) fn config(toml: &str) -> Config {
    crate::logs::keep();
    let mut config = Config::from_str("test.toml", toml).unwrap();
    config.listen.set_port(0);
    config
}

/// One connection.
pub(crate) struct Wire {
    pub(crate) socket: WebSocketStream<TcpStream>,
    pub(crate) local: Peer,
}

/// Opens a socket. It is bound before it connects: otherwise two sockets that connect to two
/// brokers could have the same port, and the log could not distinguish them.
pub(crate) async fn socket(addr: SocketAddr) -> std::io::Result<(TcpStream, Peer)> {
    connect(addr, None).await
}

/// Opens a socket that buffers little of what is not read.
pub(crate) async fn narrow(addr: SocketAddr) -> std::io::Result<(TcpStream, Peer)> {
    connect(addr, Some(8 * 1024)).await
}

async fn connect(addr: SocketAddr, buffer: Option<u32>) -> std::io::Result<(TcpStream, Peer)> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let peer = Peer::new(socket.local_addr()?);
    Ok((socket.connect(addr).await?, peer))
}

/// Makes a request to upgrade to `onetree.v1.json`.
pub(crate) fn request(addr: SocketAddr) -> Request<()> {
    let mut request = format!("ws://{addr}/v1/sync").into_client_request().unwrap();
    let protocol = HeaderValue::from_static("onetree.v1.json");
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    request
}

impl Wire {
    /// Opens a connection that is upgraded and silent.
    pub(crate) async fn connect(addr: SocketAddr) -> Wire {
        Wire::with(request(addr), addr).await.unwrap()
    }

    /// Opens a connection that is upgraded with this request.
    pub(crate) async fn with(request: Request<()>, addr: SocketAddr) -> Result<Wire, Error> {
        let (stream, local) = socket(addr).await?;
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(Wire { socket, local })
    }

    /// Opens a connection that has been welcomed.
    pub(crate) async fn open(addr: SocketAddr) -> Wire {
        Wire::hello(addr, json!({})).await.0
    }

    /// Opens a connection that has sent `hello` with these fields. Returns it with the answer.
    pub(crate) async fn hello(addr: SocketAddr, fields: Value) -> (Wire, Value) {
        let mut wire = Wire::connect(addr).await;
        let mut hello = json!({"op": "hello", "id": 0});
        hello.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        wire.send(hello).await;
        let welcome = wire.next().await;
        (wire, welcome)
    }

    /// Like [`Wire::narrow`], before `hello`.
    pub(crate) async fn narrow_and_silent(addr: SocketAddr) -> Wire {
        let (stream, local) = narrow(addr).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async(request(addr), stream).await.unwrap();
        Wire { socket, local }
    }

    /// Opens a connection that has been welcomed and whose socket buffers little: what it does not
    /// read soon waits in the broker.
    pub(crate) async fn narrow(addr: SocketAddr) -> Wire {
        let mut wire = Wire::narrow_and_silent(addr).await;
        assert_eq!(wire.ask(json!({"op": "hello", "id": 0})).await["op"], "welcome");
        wire
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.say(Message::text(frame.to_string())).await;
    }

    pub(crate) async fn say(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// Sends small frames in one write, so that the broker reads them together.
    pub(crate) async fn at_once(&mut self, frames: impl IntoIterator<Item = Value>) {
        self.say_at_once(frames.into_iter().map(|frame| Message::text(frame.to_string()))).await;
    }

    /// Like [`Wire::at_once`], for any messages.
    pub(crate) async fn say_at_once(&mut self, messages: impl IntoIterator<Item = Message>) {
        for message in messages {
            self.socket.feed(message).await.unwrap();
        }
        self.socket.flush().await.unwrap();
    }

    /// Returns the next message that is no ping.
    pub(crate) async fn message(&mut self) -> Option<Result<Message, Error>> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match message.expect("the broker says nothing") {
                Some(Ok(Message::Ping(_))) => {}
                other => return other,
            }
        }
    }

    /// Returns the next frame. Heartbeats that nobody asked for are left out.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let frame = self.any().await;
            if frame["op"] != "sync" || frame["id"].is_u64() {
                return frame;
            }
        }
    }

    /// Returns the next frame, heartbeats included.
    pub(crate) async fn any(&mut self) -> Value {
        match self.message().await {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            other => panic!("a frame was expected, not {other:?}"),
        }
    }

    /// Returns the next frame of this kind, and drops those before it.
    pub(crate) async fn until(&mut self, op: &str) -> Value {
        loop {
            let frame = self.any().await;
            if frame["op"] == op {
                return frame;
            }
        }
    }

    /// Sends a request and waits for its reply. Frames in between are dropped.
    pub(crate) async fn ask(&mut self, frame: Value) -> Value {
        let id = frame["id"].clone();
        self.send(frame).await;
        self.reply(&id).await
    }

    /// Returns the reply with this `id`.
    pub(crate) async fn reply(&mut self, id: &Value) -> Value {
        loop {
            let frame = self.any().await;
            if frame["id"] == *id {
                return frame;
            }
        }
    }

    /// Puts a JSON value and returns its revision.
    pub(crate) async fn put(&mut self, path: &str, value: Value) -> u64 {
        let done = self.ask(json!({"op": "put", "id": 7777, "path": path, "json": value})).await;
        assert_eq!(done["op"], "done", "{done}");
        done["rev"].as_u64().unwrap()
    }

    /// Subscribes to a tree and waits until the mirror is complete. Returns `fresh`, and the
    /// entries.
    pub(crate) async fn sub(&mut self, sub: u32, path: &str) -> (Value, Vec<Value>) {
        self.refresh(json!({"op": "sub", "id": 8888, "sub": sub, "path": path})).await
    }

    /// Subscribes (or resyncs) with this frame and waits until the mirror is complete.
    pub(crate) async fn refresh(&mut self, frame: Value) -> (Value, Vec<Value>) {
        let sub = frame["sub"].clone();
        self.send(frame).await;
        let mut entries = Vec::new();
        loop {
            let frame = self.any().await;
            assert_ne!(frame["op"], "error", "{frame}");
            if frame["op"] == "entries" && frame["sub"] == sub {
                entries.extend(frame["changes"].as_array().unwrap().clone());
            }
            if frame["op"] == "fresh" && frame["sub"] == sub {
                return (frame, entries);
            }
        }
    }

    /// Waits for the close. Returns its code and reason. Frames before it are dropped.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.message().await {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(Message::Close(None))) => return (1005, String::new()),
                Some(Ok(_)) => {}
                None | Some(Err(_)) => return (1006, String::new()),
            }
        }
    }
}

/// A client that has nothing to do with a test's trouble, and must not notice it.
pub(crate) struct Bystander {
    mirror: Wire,
    writer: Wire,
    count: u64,
}

impl Bystander {
    pub(crate) async fn new(addr: SocketAddr) -> Bystander {
        let mut mirror = Wire::open(addr).await;
        mirror.sub(1, "/bystander").await;
        Bystander { mirror, writer: Wire::open(addr).await, count: 0 }
    }

    /// Checks that its mirror gets the next change.
    pub(crate) async fn check(&mut self) {
        self.count += 1;
        let rev = self.writer.put("/bystander/x", json!(self.count)).await;
        let delta = self.mirror.next().await;
        assert_eq!(delta["op"], "delta", "{delta}");
        assert_eq!(delta["rev"], rev);
        assert_eq!(delta["changes"][0]["json"], self.count);
    }
}
