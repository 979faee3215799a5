//! serde's `Serialize` for words, values and changes, in the form that they have in JSON frames,
//! for logs and other programs. It is made for `serde_json`, which writes the text of a JSON value
//! unchanged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Error, Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::change::{Act, Change};
use crate::code::{Action, Code};
use crate::cookie::Cookie;
use crate::digest::Digest;
use crate::frame::{Reason, RefreshKind};
use crate::log::LogKey;
use crate::path::Path;
use crate::pattern::Pattern;
use crate::revision::{Epoch, Revision};
use crate::value::{MediaType, Value};
use crate::view::{Depth, Fingerprint};

/// Types that are serialized as their text.
macro_rules! texts {
    ($($type:ty),+; $($word:ty),+) => {
        $(impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        })+

        $(impl Serialize for $word {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        })+
    };
}

texts! {
    Digest, Epoch, Fingerprint, LogKey, MediaType, Path, Pattern;
    Action, Code, Depth, Reason, RefreshKind
}

impl Serialize for Revision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

impl Serialize for Cookie {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("epoch", &self.epoch)?;
        map.serialize_entry("rev", &self.rev)?;
        map.serialize_entry("view", &self.view)?;
        map.end()
    }
}

/// `{"type"?,"json"|"text"|"bytes"}`
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        put_value(&mut map, self)?;
        map.end()
    }
}

/// Serializes as `{"path","rev",…}`, where the fields of a value, `delete`, `drop` or `trim` say
/// what was done.
impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("path", &self.path)?;
        map.serialize_entry("rev", &self.rev)?;
        match &self.act {
            Act::Put(Some(value)) => put_value(&mut map, value)?,
            Act::Put(None) => {}
            Act::Delete => map.serialize_entry("delete", &true)?,
            Act::Drop => map.serialize_entry("drop", &true)?,
            Act::Trim { to, gap } => {
                map.serialize_entry("trim", to)?;
                if *gap {
                    map.serialize_entry("gap", gap)?;
                }
            }
        }
        map.end()
    }
}

fn put_value<M: SerializeMap>(map: &mut M, Value { media, bytes }: &Value) -> Result<(), M::Error> {
    if *media == MediaType::Json {
        let raw: &RawValue = serde_json::from_slice(bytes).map_err(M::Error::custom)?;
        return map.serialize_entry("json", raw);
    }
    map.serialize_entry("type", media)?;
    match std::str::from_utf8(bytes) {
        Ok(text) if media.is_text() => map.serialize_entry("text", text),
        _ => map.serialize_entry("bytes", &STANDARD.encode(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use crate::json::{change_line, cookie, parse_change_line, parse_cookie};

    /// What serde writes is what the codec writes, byte for byte.
    #[test]
    fn changes_and_cookies_are_serialized_as_they_stand_in_frames() {
        for line in [
            r#"{"path":"/a","rev":7,"json":{"b":1.50,"a":[null,12345678901234567890123]}}"#,
            r#"{"path":"/a","rev":7,"json":null}"#,
            r#"{"path":"/ü\"","rev":7,"type":"text/plain","text":"two\nlines"}"#,
            r#"{"path":"/a","rev":7,"type":"text/markdown;v=\"1\"","text":""}"#,
            r#"{"path":"/a","rev":7,"type":"text/plain","bytes":"/w=="}"#,
            r#"{"path":"/a","rev":7,"type":"image/png","bytes":"AAE="}"#,
            r#"{"path":"/a","rev":7}"#,
            r#"{"path":"/a","rev":7,"delete":true}"#,
            r#"{"path":"/a","rev":7,"drop":true}"#,
            r#"{"path":"/a","rev":7,"trim":"000000000000010000"}"#,
            r#"{"path":"/a","rev":7,"trim":"000000000000010000","gap":true}"#,
        ] {
            let change = parse_change_line(line).unwrap();
            assert_eq!(serde_json::to_string(&change).unwrap(), line);
            assert_eq!(change_line(&change), line);
        }
        let dated = format!(r#"{{"epoch":"{:032x}","rev":7,"view":"{:016x}"}}"#, 1, 2);
        let read = parse_cookie(&dated).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), dated);
        assert_eq!(cookie(&read), dated);
    }
}
