//! A tree of entries, for scenarios that refresh mirrors.

use std::net::SocketAddr;

use onetree_protocol::frame::Do;
use onetree_protocol::{Codec, Path, Value};

use super::super::load::client::Client;

/// The size of a value, bytes.
pub(super) const VALUE_BYTES: usize = 100;

/// Returns the path of an entry. Ten entries are in a room.
pub(super) fn path(number: usize) -> Path {
    Path::parse(&format!("/tree/room-{:05}/entry-{:06}", number / 10, number))
        .expect("it is a path")
}

/// Returns the path of a room.
pub(super) fn room(number: usize) -> Path {
    Path::parse(&format!("/tree/room-{number:05}")).expect("it is a path")
}

pub(super) fn put(number: usize, round: usize) -> Do {
    let text = format!("\"{round:06} {}\"", "x".repeat(VALUE_BYTES - 9));
    Do::Put { path: path(number), value: Value::json(&text), ttl_ms: None, ephemeral: false }
}

/// Writes this many entries. Returns the client that wrote them.
pub(super) fn grow(address: SocketAddr, codec: Codec, entries: usize) -> Result<Client, String> {
    let mut client = Client::connect(address, codec)?;
    client.hello(Vec::new())?;
    client.write((0..entries).map(|number| put(number, 0)).collect())?;
    Ok(client)
}
