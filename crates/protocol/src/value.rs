//! A value: opaque bytes and their media type.

use std::fmt;
use std::sync::Arc;

use crate::limits::MEDIA_TYPE_BYTES;

/// What a topic holds: bytes, and what they are. Cloning costs a reference count or two.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Value {
    /// What the bytes are.
    pub media: MediaType,
    /// The bytes, as they came in: never re-encoded. Of JSON without the space around it.
    pub bytes: Arc<[u8]>,
}

impl Value {
    /// A JSON value from its text. The text is not checked here: see [`crate::json::check`].
    pub fn json(text: &str) -> Value {
        Value { media: MediaType::Json, bytes: text.as_bytes().into() }
    }

    /// A `text/plain` value.
    pub fn text(text: &str) -> Value {
        Value { media: MediaType::Text, bytes: text.as_bytes().into() }
    }

    /// An `application/octet-stream` value.
    pub fn octets(bytes: &[u8]) -> Value {
        Value { media: MediaType::Octets, bytes: bytes.into() }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.media, String::from_utf8_lossy(&self.bytes))
    }
}

/// A media type (RFC 6838) with optional parameters. The three that nearly every value has take
/// no memory.
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

/// A media type that is none of the usual ones; only [`MediaType::parse`] makes it.
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
    /// When it is not `type/subtype` (each of RFC 6838's characters), optionally followed by `;`
    /// and parameters, or is too long.
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

    /// The text of the media type.
    pub fn as_str(&self) -> &str {
        match self {
            MediaType::Json => "application/json",
            MediaType::Text => "text/plain",
            MediaType::Octets => "application/octet-stream",
            MediaType::Other(other) => &other.0,
        }
    }

    /// Whether this is `text/…`: such a value stands in `text` in a JSON frame when it is UTF-8.
    pub fn is_text(&self) -> bool {
        self.as_str().starts_with("text/")
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
