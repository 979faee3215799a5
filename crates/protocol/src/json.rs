//! JSON, checked strictly, and the JSON forms that stand alone: lines of `export`, cookies.
//!
//! # Layout
//!
//! - `scan`: JSON as most write it, by hand, in one pass
//! - `strict`: whatever else, by the library, with what it lets through refused
//! - `members`: the parts of a frame, as texts

mod members;
mod scan;
mod strict;

use serde::de::DeserializeSeed;

use crate::change::Change;
use crate::codec;
use crate::limits::JSON_DEPTH;
use crate::revision::Cookie;

pub(crate) use members::{Members, frame_members, items, members, text};
pub(crate) use scan::is;
use strict::Strict;

/// Why a text is not a JSON value that Onetree takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(pub String);

/// What frames put around a value, at most: the frame, a list in it, a record in that.
const FRAME_DEPTH: usize = 3;

/// Checks that `bytes` are one JSON value (RFC 8259): UTF-8, no duplicate keys, no lone
/// surrogates, no number beyond a double's range, nested at most [`crate::limits::JSON_DEPTH`]
/// deep. Cost: one pass and no allocation
/// where nothing is escaped; else two, and what an object's keys take.
///
/// # Errors
/// What is wrong and where.
pub fn check(bytes: &[u8]) -> Result<(), JsonError> {
    check_to(bytes, JSON_DEPTH)
}

/// As [`check`], for what a value stands in: nested as much deeper as frames are.
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

/// As [`check_to`], with the library alone.
fn check_long(text: &str, depth: usize) -> Result<(), JsonError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    // Its own limit is one for all; `Strict` has the one that is wanted.
    reader.disable_recursion_limit();
    let checked = Strict { left: depth }.deserialize(&mut reader).and_then(|()| reader.end());
    checked.map_err(|error| JsonError(error.to_string()))
}

/// One line of `export`, without the line end: `{"path":…,"rev":…,"type":…,"json"|"text"|"bytes":…}`.
/// `type` is left out when it is `application/json`; the value when the change carries none.
/// A change that is not a put adds `"delete":true`, `"drop":true`, or `"trim":…,"gap":…`.
///
/// A JSON value that has line breaks, or spaces around it, stands in `bytes`, with its type: a line
/// is one line, and the bytes come through unchanged.
pub fn change_line(change: &Change) -> String {
    codec::json_line(change)
}

/// Reads a line that [`change_line`] wrote.
///
/// # Errors
/// What is wrong.
pub fn parse_change_line(line: &str) -> Result<Change, JsonError> {
    check_frame(line.as_bytes())?;
    codec::from_json(line)
}

/// A cookie as JSON, as it stands in `sub`.
pub fn cookie(cookie: &Cookie) -> String {
    codec::to_json(cookie)
}

/// Reads a cookie.
///
/// # Errors
/// What is wrong.
pub fn parse_cookie(text: &str) -> Result<Cookie, JsonError> {
    check(text.as_bytes())?;
    codec::from_json(text)
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

/// Whether a JSON value that stood in a frame is nested too deep for a value, or may be: it has more
/// brackets than that.
pub fn may_be_deep(bytes: &[u8]) -> bool {
    // Most are short, or are not nested at all.
    if bytes.len() <= JSON_DEPTH || !matches!(bytes[0], b'[' | b'{' | b' ' | b'\t' | b'\n' | b'\r')
    {
        return false;
    }
    bytes.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > JSON_DEPTH
}
