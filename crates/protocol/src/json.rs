//! JSON that stands alone: values, lines of `export`, cookies.

use crate::change::Change;
use crate::codec;
use crate::cookie::Cookie;
use crate::json_text::check_frame;

pub use crate::json_text::{JsonError, check, may_be_deep};

/// One line of `export`, without the line end:
/// `{"path":…,"rev":…,"type":…,"json"|"text"|"bytes":…}`. `type` is left out when it is
/// `application/json`; the value when the change carries none. A change that is not a put adds
/// `"delete":true`, `"drop":true`, or `"trim":…,"gap":…`.
///
/// A JSON value that has line breaks stands in `bytes`, with its type: a line is one line, and the
/// bytes come through unchanged. Space around it is not part of the value.
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
