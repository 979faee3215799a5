//! The floors: servers that only pass each message from `/pub/N` on to everyone on `/sub/N`. They
//! run as separate processes, like everything that is measured.

mod a;
mod b;

pub(crate) use a::run as a;
pub(crate) use b::run as b;

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The role of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Publisher(usize),
    Subscriber(usize),
}

/// A complete request for an upgrade.
struct Request {
    role: Role,
    answer: Vec<u8>,
    /// How many bytes the request took.
    bytes: usize,
}

impl Request {
    /// Parses a request; `None` when it is not complete. Anything else gets no answer.
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
