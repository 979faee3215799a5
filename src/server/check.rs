//! Checks a request before it goes to the owner of the tree.

use onetree_core::{Refusal, Request};
use onetree_protocol::frame::Do;
use onetree_protocol::{Code, Codec, LogKey, MediaType, Path, Value, json};

use crate::config::{Config, FRAME_OVERHEAD};

/// The bytes that a path in `done` takes besides the path of the log: `/`, the key, and what JSON
/// or MessagePack puts around the path.
const APPENDED_BYTES: u64 = 1 + LogKey::BYTES as u64 + 3;

/// Checks a write: its values, the number of its changes and conditions, and that the paths of its
/// appends fit into one reply.
pub(super) fn write(request: &Request, codec: Codec, config: &Config) -> Result<(), Refusal> {
    for (count, most, what) in [
        (request.changes.len(), config.commit_changes, "changes"),
        (request.conditions.len(), config.commit_conditions, "conditions"),
    ] {
        if count > most as usize {
            let message = format!("a transaction has at most {most} {what}, not {count}");
            return Err(Refusal::new(Code::TooManyChanges, message));
        }
    }
    let (mut reply, room) = (0, u64::from(config.frame_bytes) - FRAME_OVERHEAD);
    for change in &request.changes {
        match change {
            Do::Put { path, value: put, .. } => value(path, put, codec, config)?,
            Do::Append { path, value: put, .. } => {
                value(path, put, codec, config)?;
                // Counted as in JSON, which takes more bytes than MessagePack: the answer may be
                // asked for again in either codec.
                reply += escaped(path.as_str().as_bytes()) + APPENDED_BYTES;
            }
            Do::Delete { .. } | Do::Drop { .. } | Do::Trim { .. } => {}
        }
    }
    if reply > room {
        let message =
            format!("the paths of all appends take {reply} bytes in the reply, and {room} fit");
        return Err(Refusal::new(Code::TooManyChanges, message));
    }
    Ok(())
}

/// Checks a value: its size, and that its bytes match its media type where frames depend on that.
pub(super) fn value(
    path: &Path,
    value: &Value,
    codec: Codec,
    config: &Config,
) -> Result<(), Refusal> {
    let refuse = |code, message: String| {
        Err(Refusal { path: Some(path.clone()), ..Refusal::new(code, message) })
    };
    let (size, most) = (value.bytes.len(), config.value_bytes as usize);
    if size > most {
        return refuse(
            Code::ValueTooLarge,
            format!("a value has at most {most} bytes, not {size}"),
        );
    }
    if value.media == MediaType::Json {
        // A value from a JSON frame was checked together with the frame, but to a greater depth.
        if codec == Codec::Json && !json::may_be_deep(&value.bytes) {
            return Ok(());
        }
        // The value is copied into JSON frames as it is: bytes that are not JSON would break or
        // forge the frames.
        if let Err(error) = json::check(&value.bytes) {
            return refuse(Code::BadValue, format!("the value is not JSON: {error}"));
        }
    } else if value.media.is_text() {
        // JSON frames escape text: in the worst case one byte becomes six.
        let (escaped, room) =
            (escaped(&value.bytes), u64::from(config.frame_bytes) - FRAME_OVERHEAD);
        if escaped > room {
            let message = format!(
                "the text takes {escaped} bytes in a JSON frame, and {room} fit: as bytes it needs no escapes"
            );
            return refuse(Code::ValueTooLarge, message);
        }
    }
    Ok(())
}

/// Returns how many bytes `text` takes in a JSON string (RFC 8259, 7).
fn escaped(text: &[u8]) -> u64 {
    let more = |byte: &u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        0..0x20 => 5,
        _ => 0,
    };
    text.len() as u64 + text.iter().map(more).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_takes_what_it_takes_in_json() {
        for byte in 0..=127u8 {
            let text = char::from(byte).to_string();
            let json = serde_json::to_string(&text).unwrap();
            assert_eq!(escaped(text.as_bytes()), json.len() as u64 - 2, "{byte}");
        }
        assert_eq!(escaped("ä\n".as_bytes()), 4);
    }
}
