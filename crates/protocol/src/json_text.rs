//! Strict checks of JSON text, and access to its parts.
//!
//! # Layout
//!
//! - `scan`: JSON in the form that most clients write, checked by hand in one pass
//! - `strict`: any other JSON, read by the library, with a visitor that refuses what the library
//!   accepts but Onetree does not
//! - `in_order`: a frame in the form that most clients write; its members are taken as they come
//! - `members`: the parts of any frame, as texts

#[cfg(test)]
pub(crate) mod changed;
mod in_order;
mod members;
mod scan;
mod strict;

use serde::de::DeserializeSeed;

use crate::limits::JSON_DEPTH;

pub(crate) use in_order::InOrder;
pub(crate) use members::{Members, frame_members, items, members, text};
pub(crate) use scan::is;
use strict::Strict;

/// Why Onetree does not accept a text as a JSON value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(pub String);

/// Returns as much of a name as an error message shows: a name may be as long as a frame.
pub(crate) fn brief(name: &str) -> &str {
    &name[..name.floor_char_boundary(64)]
}

/// How deep frames nest around a value, at most: the frame, a list in the frame, a record in the
/// list.
const FRAME_DEPTH: usize = 3;

/// Checks that `bytes` are one JSON value (RFC 8259): UTF-8, no duplicate keys, no lone surrogates,
/// no number that rounds to infinity as a double, nested at most [`crate::limits::JSON_DEPTH`]
/// deep. Cost: one pass and no allocation if nothing is escaped; otherwise two passes, and the
/// memory of an object's keys.
///
/// # Errors
/// What is wrong and where.
pub fn check(bytes: &[u8]) -> Result<(), JsonError> {
    check_to(bytes, JSON_DEPTH)
}

/// Does what [`check`] does for a whole frame, which may be nested deeper than a value.
pub(crate) fn check_frame(bytes: &[u8]) -> Result<(), JsonError> {
    check_to(bytes, JSON_DEPTH + FRAME_DEPTH)
}

fn check_to(bytes: &[u8], depth: usize) -> Result<(), JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|error| JsonError(error.to_string()))?;
    if scan::is_value(text, depth) {
        return Ok(());
    }
    check_long(text, depth)
}

/// Does what [`check_to`] does, with the library alone.
fn check_long(text: &str, depth: usize) -> Result<(), JsonError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    // Its own limit is fixed; `Strict` enforces the limit that applies here.
    reader.disable_recursion_limit();
    let checked = Strict { left: depth }.deserialize(&mut reader).and_then(|()| reader.end());
    checked.map_err(|error| JsonError(error.to_string()))
}

/// Writes `text` as a JSON string.
pub(crate) fn put_str(out: &mut Vec<u8>, text: &str) {
    if scan::is_unescaped(text.as_bytes()) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    let written = serde_json::to_writer(out, text);
    debug_assert!(written.is_ok(), "memory takes what it is given");
}

/// Returns whether a JSON value from a frame is, or may be, nested too deep for a value: it has
/// more opening brackets than a value may be deep.
pub fn may_be_deep(bytes: &[u8]) -> bool {
    // Most values are short, or are not nested at all.
    if bytes.len() <= JSON_DEPTH || !matches!(bytes[0], b'[' | b'{' | b' ' | b'\t' | b'\n' | b'\r')
    {
        return false;
    }
    bytes.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > JSON_DEPTH
}
