//! The limits of the wire: fixed ones as constants, configurable ones as [`Limits`].

/// A whole path, bytes. Long enough for every path we have seen in use, short enough that a frame
/// of a thousand of them is a megabyte.
pub const PATH_BYTES: usize = 1024;
/// The segments of a path. Each costs one look into the subscription index at every change.
pub const PATH_SEGMENTS: usize = 32;
/// One segment, bytes: what file systems allow, so that any file name fits.
pub const SEGMENT_BYTES: usize = 255;
/// A media type, bytes.
pub const MEDIA_TYPE_BYTES: usize = 127;
/// The patterns of one subscription: each is tried on each change below its base.
pub const PATTERNS: usize = 32;
/// The patterns of all subscriptions of a `hello`, and the subscriptions: where all are read, a few
/// milliseconds. A broker allows a connection no more of either.
pub const HELLO_ITEMS: usize = 65_535;
/// The changes of a transaction, and its conditions: what a log key can count. A broker may allow
/// fewer.
pub const TXN_ITEMS: usize = 65_535;
/// The paths of one `get`: up to 5 us each, so a full one takes some milliseconds of the
/// connection's.
pub const GET_PATHS: usize = 1_024;
/// Nesting of a JSON value: what serde_json and every browser accept.
pub const JSON_DEPTH: usize = 127;
/// A client or session name, bytes.
pub const NAME_BYTES: usize = 64;

/// What a broker allows one connection; told in `welcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One WebSocket message, bytes, either way.
    pub frame_bytes: u32,
    /// One value, bytes.
    pub value_bytes: u32,
    /// Subscriptions of one connection.
    pub subscriptions: u32,
    /// Requests of one connection that wait for their reply.
    pub in_flight: u32,
}
