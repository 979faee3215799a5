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
