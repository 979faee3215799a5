//! The limits of the wire: fixed ones as constants, configurable ones as [`Limits`].

/// The most bytes of a whole path. Long enough for every path we have seen in use, short enough
/// that a frame of a thousand paths is a megabyte.
pub const PATH_BYTES: usize = 1024;
/// The most segments of a path. Each costs one look-up in the subscription index at every change.
pub const PATH_SEGMENTS: usize = 32;
/// The most bytes of one segment: what file systems allow, so that any file name fits.
pub const SEGMENT_BYTES: usize = 255;
/// The most bytes of a media type.
pub const MEDIA_TYPE_BYTES: usize = 127;
/// The most patterns of one subscription: each is tried on each change below its base.
pub const PATTERNS: usize = 32;
/// The most subscriptions of a `hello`, and the most patterns of all of these together. Reading
/// that many takes a few milliseconds. A broker allows a connection no more of either.
pub const HELLO_ITEMS: usize = 65_535;
/// The most changes of a transaction, and the most conditions: what a log key can count. A broker
/// may allow fewer.
pub const TXN_ITEMS: usize = 65_535;
/// The most paths of one `get`. Each takes up to 5 us, so a full one takes some milliseconds of the
/// connection's time.
pub const GET_PATHS: usize = 1_024;
/// How deep a JSON value may be nested: what serde_json and every browser accept.
pub const JSON_DEPTH: usize = 127;
/// The most bytes of a client's or a session's name.
pub const NAME_BYTES: usize = 64;

/// What a broker allows one connection. The broker sends it in `welcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of one WebSocket message, in either direction.
    pub frame_bytes: u32,
    /// The most bytes of one value.
    pub value_bytes: u32,
    /// The most subscriptions of one connection.
    pub subscriptions: u32,
    /// The most requests of one connection that may wait for their reply.
    pub in_flight: u32,
}
