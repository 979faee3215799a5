//! The floors: servers that do nothing but pass each message of `/pub/N` to everyone on `/sub/N`.
//! They run as processes of their own, like everything that is measured.

mod a;
mod b;

pub(crate) use a::run as a;
pub(crate) use b::run as b;

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Publisher(usize),
    Subscriber(usize),
}

/// A request for an upgrade that has come whole.
struct Request {
    role: Role,
    answer: Vec<u8>,
    /// Bytes that it took.
    bytes: usize,
}

impl Request {
    /// Reads it; `None` when there is too little. What is none gets no answer.
    fn parse(bytes: &[u8]) -> Option<Request> {
        let end = bytes.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
        let text = std::str::from_utf8(&bytes[..end]).ok()?;
        let path = text.split(' ').nth(1)?;
        let (side, topic) = path.trim_start_matches('/').split_once('/')?;
        let topic = topic.parse().ok()?;
        let role = if side == "pub" { Role::Publisher(topic) } else { Role::Subscriber(topic) };
        let key = text.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))?;
        let accept = derive_accept_key(key.trim().as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        Some(Request { role, answer: answer.into_bytes(), bytes: end })
    }
}
