//! The content of the writes.

use onetree_core::{Request, Settings};
use onetree_protocol::frame::Do;
use onetree_protocol::{DigestKey, Epoch, Path, Value};

/// The size of an entry's value, bytes.
pub(crate) const VALUE_BYTES: usize = 150;

pub(crate) fn settings() -> Settings {
    let (epoch, digest_key) = (Epoch(1), DigestKey(7));
    Settings { epoch, digest_key, bounds: Default::default(), retention: Vec::new() }
}

pub(crate) fn path(n: usize) -> Path {
    Path::parse(&format!("/site-{:02}/room-{:03}/entry-{n:07}", n % 50, n / 50 % 200)).unwrap()
}

pub(crate) fn value(n: usize) -> Value {
    let number = n.to_string();
    Value::text(&("0".repeat(VALUE_BYTES - number.len()) + &number))
}

pub(crate) fn put(n: usize) -> Request {
    request(Do::Put { path: path(n), value: value(n), ttl_ms: None, ephemeral: false })
}

/// Appends to a log.
pub(crate) fn append(log: usize, n: usize) -> Request {
    request(Do::Append { path: path(log), value: value(n), ttl_ms: None, ephemeral: false })
}

fn request(change: Do) -> Request {
    Request { changes: vec![change], ..Request::default() }
}
