//! JSON outside of frames: values, lines of `export`, cookies.

use crate::change::Change;
use crate::codec;
use crate::cookie::Cookie;
use crate::json_text::check_frame;

pub use crate::json_text::{JsonError, check, may_be_deep};

/// Returns one line of `export`, without the line end:
/// `{"path":…,"rev":…,"type":…,"json"|"text"|"bytes":…}`. `type` is left out if it is
/// `application/json`, and the value if the change carries none. A change that is not a put adds
/// `"delete":true`, `"drop":true`, or `"trim":…,"gap":…`.
///
/// A JSON value that contains line breaks is in `bytes`, with its type, so that a line stays one
/// line and the bytes are unchanged. White space around a JSON value is not part of the value.
pub fn change_line(change: &Change) -> String {
    codec::json_line(change)
}

/// Reads a line that [`change_line`] wrote.
///
/// # Errors
/// What is wrong with the line.
pub fn parse_change_line(line: &str) -> Result<Change, JsonError> {
    check_frame(line.as_bytes())?;
    codec::from_json(line)
}

/// Returns a cookie as JSON, in the form that it has in `sub`.
pub fn cookie(cookie: &Cookie) -> String {
    codec::to_json(cookie)
}

/// Reads a cookie.
///
/// # Errors
/// What is wrong with the cookie.
pub fn parse_cookie(text: &str) -> Result<Cookie, JsonError> {
    check(text.as_bytes())?;
    codec::from_json(text)
}
