//! A value: opaque bytes and their media type.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use crate::json_text::JsonError;
use crate::limits::MEDIA_TYPE_BYTES;

/// The value of a topic: bytes and their media type. Cloning costs one or two reference counts.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Value {
    /// The media type of the bytes.
    pub media: MediaType,
    /// The bytes as they were received, never re-encoded. For JSON, without the white space around
    /// the value.
    pub bytes: Arc<[u8]>,
}

impl Value {
    /// Makes a JSON value from its text. The text is not checked here: see [`crate::json::check`].
    pub fn json(text: &str) -> Value {
        Value { media: MediaType::Json, bytes: text.as_bytes().into() }
    }

    /// Makes a `text/plain` value.
    pub fn text(text: &str) -> Value {
        Value { media: MediaType::Text, bytes: text.as_bytes().into() }
    }

    /// Makes an `application/octet-stream` value.
    pub fn octets(bytes: &[u8]) -> Value {
        Value { media: MediaType::Octets, bytes: bytes.into() }
    }

    /// Returns the bytes as text if they are UTF-8. For a JSON value this is the JSON text,
    /// including quotes.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// Reads a JSON value with serde: `value.parse_json::<Theme>()?`.
    ///
    /// # Errors
    /// If the value is not JSON, or does not have the form of `T`.
    pub fn parse_json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, JsonError> {
        if self.media != MediaType::Json {
            return Err(JsonError(format!("the value is {}", self.media)));
        }
        serde_json::from_slice(&self.bytes).map_err(|error| JsonError(error.to_string()))
    }
}

/// How many bytes of a value are printed at most: logs are for people.
const PRINTED: usize = 64;

impl fmt::Debug for Value {
    /// Prints the media type and the beginning of the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Value { media, bytes } = self;
        if bytes.len() <= PRINTED {
            return write!(f, "{media} {:?}", String::from_utf8_lossy(bytes));
        }
        let head = String::from_utf8_lossy(&bytes[..PRINTED]);
        // The last character may have been cut.
        let head = head.strip_suffix(char::REPLACEMENT_CHARACTER).unwrap_or(&head);
        write!(f, "{media} {head:?}… ({} bytes)", bytes.len())
    }
}

/// A media type (RFC 6838) with optional parameters. The three that nearly every value has take no
/// heap memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// `application/json`, the default on the wire.
    #[default]
    Json,
    /// `text/plain`, UTF-8.
    Text,
    /// `application/octet-stream`.
    Octets,
    /// Any other.
    Other(OtherType),
}

/// A media type other than the usual three. Only [`MediaType::parse`] makes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OtherType(Arc<str>);

/// The text is not a media type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a media type is 'type/subtype' in at most {MEDIA_TYPE_BYTES} printable ASCII bytes")]
pub struct MediaTypeError;

impl MediaType {
    /// Checks `text` and makes it a media type.
    ///
    /// # Errors
    /// If it is not `type/subtype` (both in the characters of RFC 6838), optionally followed by
    /// spaces, `;` and anything that is printable ASCII, or if it is too long.
    pub fn parse(text: &str) -> Result<MediaType, MediaTypeError> {
        match text {
            "application/json" => return Ok(MediaType::Json),
            "text/plain" => return Ok(MediaType::Text),
            "application/octet-stream" => return Ok(MediaType::Octets),
            _ => {}
        }
        let name = |part: &str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
            !part.is_empty() && part.bytes().all(allowed)
        };
        let essence = text.split_once(';').map_or(text, |(essence, _)| essence.trim_end());
        let printable = text.bytes().all(|b| (b' '..=b'~').contains(&b));
        let named = essence.split_once('/').is_some_and(|(kind, sub)| name(kind) && name(sub));
        if text.len() > MEDIA_TYPE_BYTES || !printable || !named {
            return Err(MediaTypeError);
        }
        Ok(MediaType::Other(OtherType(text.into())))
    }

    /// Returns the text of the media type.
    pub fn as_str(&self) -> &str {
        match self {
            MediaType::Json => "application/json",
            MediaType::Text => "text/plain",
            MediaType::Octets => "application/octet-stream",
            MediaType::Other(other) => &other.0,
        }
    }

    /// Returns whether this is `text/…`. A JSON frame has such a value in `text`, if it is UTF-8.
    pub fn is_text(&self) -> bool {
        self.as_str().starts_with("text/")
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_value_is_read_as_what_it_is() {
        let theme = Value::json(r#"{"dark":true}"#);
        assert_eq!(theme.as_str(), Some(r#"{"dark":true}"#));
        let read: BTreeMap<String, bool> = theme.parse_json().unwrap();
        assert_eq!(read, BTreeMap::from([("dark".to_owned(), true)]));
        assert_eq!(Value::json(r#""hello""#).parse_json::<&str>(), Ok("hello"));
        assert_eq!(Value::text("hello").as_str(), Some("hello"));
        assert_eq!(Value::octets(&[0xff]).as_str(), None);
        // A text that looks like JSON is not a JSON value, and JSON may not have the form that was
        // asked for.
        let error = Value::text("3").parse_json::<u32>().unwrap_err();
        assert_eq!(error.to_string(), "the value is text/plain");
        assert!(Value::json("-3").parse_json::<u32>().is_err());
    }

    #[test]
    fn of_a_large_value_its_beginning_is_printed() {
        assert_eq!(format!("{:?}", Value::text("hello")), r#"text/plain "hello""#);
        let whole = "x".repeat(PRINTED);
        assert_eq!(format!("{:?}", Value::text(&whole)), format!("text/plain {whole:?}"));
        // The value is cut between two characters.
        let large = format!("{}ä and more", "x".repeat(PRINTED - 1));
        let printed = format!("text/plain {:?}… ({} bytes)", "x".repeat(PRINTED - 1), large.len());
        assert_eq!(format!("{:?}", Value::text(&large)), printed);
        assert!(format!("{:?}", Value::octets(&[0xff; 1 << 20])).len() < 300);
    }
}
