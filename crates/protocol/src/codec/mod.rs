//! Encoding frames to bytes, and decoding them.
//!
//! # Layout
//!
//! - `wire.rs`: what both codecs have in common: a sink, a source, records
//! - `words.rs`, `parts.rs`, `frames.rs`: the wire form of each word, part and frame, once for both
//!   codecs
//! - `pack.rs`: MessagePack; JSON is in `json_text`

mod frames;
mod pack;
mod parts;
mod wire;
mod words;

use bytes::Bytes;

use crate::change::{Act, Change};
use crate::code::Code;
use crate::frame::{ClientFrame, ServerFrame, Signal};
use crate::json_text::{self, JsonError};
use crate::value::{MediaType, Value};

use wire::{Fields, Read, Record, Sink, Source, Wire, Wrong};

/// The encoding of frames in WebSocket messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// JSON in text messages, subprotocol `onetree.v1.json`.
    Json,
    /// MessagePack in binary messages, subprotocol `onetree.v1.msgpack`.
    MsgPack,
}

/// A frame that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    /// The `id` of a client's frame, if it could be read. The error answers the request of that
    /// `id`.
    pub id: Option<u32>,
    /// The error code.
    pub code: Code,
    /// An explanation for people; names the field.
    pub message: String,
}

impl Codec {
    /// Both codecs.
    pub const ALL: [Codec; 2] = [Codec::Json, Codec::MsgPack];

    /// Returns the WebSocket subprotocol.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Codec::Json => "onetree.v1.json",
            Codec::MsgPack => "onetree.v1.msgpack",
        }
    }

    /// Encodes a client's frame.
    pub fn encode_client(self, frame: &ClientFrame) -> Bytes {
        self.encode(|record| frames::put_client(frame, record))
    }

    /// Encodes a broker's frame.
    pub fn encode_server(self, frame: &ServerFrame) -> Bytes {
        self.encode(|record| frames::put_server(frame, record))
    }

    /// Does what [`Codec::encode_server`] does, and appends the result to `out`.
    pub fn encode_server_into(self, frame: &ServerFrame, out: &mut Vec<u8>) {
        self.encode_into(out, |record| frames::put_server(frame, record));
    }

    /// Does what [`Codec::encode_server_into`] does for a [`ServerFrame::Signal`], without making
    /// that frame.
    pub fn encode_signal_into(self, signal: &Signal, out: &mut Vec<u8>) {
        self.encode_into(out, |record| frames::put_signal(signal, record));
    }

    /// Decodes a client's frame.
    ///
    /// # Errors
    /// See [`DecodeError`]. Nothing of a frame with an error is used.
    pub fn decode_client(self, bytes: &[u8]) -> Result<ClientFrame, DecodeError> {
        decode(self.source(bytes)?, frames::CLIENT_OPS, frames::get_client)
    }

    /// Decodes a client's frame from a text message, which is known to be UTF-8.
    ///
    /// # Errors
    /// As for [`Codec::decode_client`].
    pub fn decode_client_text(text: &str) -> Result<ClientFrame, DecodeError> {
        decode(Source::Json(text), frames::CLIENT_OPS, frames::get_client)
    }

    /// Decodes a broker's frame.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode_server(self, bytes: &[u8]) -> Result<ServerFrame, DecodeError> {
        let read = decode(self.source(bytes)?, frames::SERVER_OPS, frames::get_server);
        // There was no request; and the field in the place of `id` is not always an `id`.
        read.map_err(|error| DecodeError { id: None, ..error })
    }

    /// Returns roughly how many bytes `change` takes in a frame, for cutting pieces of a wanted
    /// size. It is never less than the change takes in either codec. Cost: one pass over a value
    /// that is text.
    pub fn size_hint(change: &Change) -> usize {
        // Names, punctuation, the revision and the media type take fewer than 96 bytes and the
        // type.
        let path = escaped(change.path.as_str().as_bytes());
        96 + path
            + match &change.act {
                Act::Put(Some(value)) => value_hint(value),
                _ => 0,
            }
    }

    fn encode(self, fill: impl FnOnce(&mut Record<'_>)) -> Bytes {
        let mut out = Vec::with_capacity(256);
        self.encode_into(&mut out, fill);
        Bytes::from(out)
    }

    fn encode_into(self, out: &mut Vec<u8>, fill: impl FnOnce(&mut Record<'_>)) {
        let bytes = std::mem::take(out);
        let mut sink = match self {
            Codec::Json => Sink::Json(bytes),
            Codec::MsgPack => Sink::Pack(bytes),
        };
        sink.record(fill);
        *out = std::mem::take(sink.bytes());
    }

    fn source(self, bytes: &[u8]) -> Result<Source<'_>, DecodeError> {
        match self {
            Codec::Json => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Source::Json(text)),
                Err(error) => Err(DecodeError::of(None, Wrong::frame(error.to_string()))),
            },
            Codec::MsgPack => Ok(Source::Pack(bytes)),
        }
    }
}

impl DecodeError {
    /// The longest message in bytes. It goes back to the sender of the frame, and must not be as
    /// long as the frame.
    const MESSAGE: usize = 256;

    fn of(id: Option<u32>, Wrong { code, mut message }: Wrong) -> DecodeError {
        message.truncate(message.floor_char_boundary(DecodeError::MESSAGE));
        DecodeError { id, code, message }
    }
}

#[inline(always)]
fn decode<F>(
    source: Source<'_>,
    ops: &[(&str, u64)],
    get: impl Fn(u64, &mut Fields<'_>) -> Read<F>,
) -> Result<F, DecodeError> {
    let read = |fields: &mut Fields<'_>| op_of(fields, ops).and_then(|op| get(op, fields));
    let mut wrong = None;
    match source.in_order(read, &mut wrong) {
        Some(frame) => Ok(frame),
        None => match wrong {
            Some(wrong) => Err(DecodeError::of(id_of(source), wrong)),
            None => in_any_order(source, read),
        },
    }
}

/// Reads a frame whose fields may be in any order, or finds out what is wrong with it.
#[cold]
#[inline(never)]
fn in_any_order<F>(
    source: Source<'_>,
    read: impl Fn(&mut Fields<'_>) -> Read<F>,
) -> Result<F, DecodeError> {
    let fields = match source {
        Source::Json(text) => {
            json_text::frame_members(text).map(Fields::Json).map_err(Wrong::frame)
        }
        Source::Pack(_) => Fields::open(source),
    };
    let mut fields = fields.map_err(|wrong| DecodeError::of(None, wrong))?;
    read(&mut fields).map_err(|wrong| {
        let id = match source {
            Source::Json(_) => fields.optional("id").ok().flatten(),
            Source::Pack(_) => id_of(source),
        };
        DecodeError::of(id, wrong)
    })
}

/// Returns the `id` of a frame with its fields in order, if it can be read. Everything before the
/// `id` is known to be valid.
#[cold]
#[inline(never)]
fn id_of(source: Source<'_>) -> Option<u32> {
    let mut fields = match source {
        Source::Json(text) => Fields::InOrder(json_text::InOrder::open(text)?),
        Source::Pack(bytes) => Fields::PackInOrder(pack::InOrder::open(bytes)?),
    };
    // Pass over `op`: an error answers the request even if its frame has no `op`.
    fields.take("op");
    fields.optional("id").ok()?
}

/// Returns the number of a frame's `op`.
fn op_of(fields: &mut Fields<'_>, ops: &[(&str, u64)]) -> Read<u64> {
    if !fields.is_json() {
        return fields.required("op");
    }
    let source = fields.there("op")?;
    let find = |word: &str| {
        let known = ops.iter().find(|(known, _)| json_text::is(known, word));
        known.map(|(_, number)| *number)
    };
    if let Some(number) = source.plain().and_then(find) {
        return Ok(number);
    }
    let word = source.str().map_err(|wrong| wrong.within("op"))?;
    let unknown = || {
        let word = json_text::brief(&word);
        Wrong { code: Code::UnknownOp, message: format!("op: {word:?} is not known") }
    };
    find(&word).ok_or_else(unknown)
}

fn value_hint(value: &Value) -> usize {
    let Value { media, bytes } = value;
    let spliced = if *media == MediaType::Json { bytes.len() } else { 0 };
    let text = if media.is_text() { escaped(bytes) } else { 0 };
    media.as_str().len()
        + spliced.max(text).max(bytes.len().div_ceil(3) * 4 * usize::from(spliced == 0))
}

/// Returns the most bytes that the JSON string of `bytes` can take.
fn escaped(bytes: &[u8]) -> usize {
    let width = |byte: &u8| match byte {
        0..=0x1f => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    };
    bytes.iter().map(width).sum()
}

/// Returns a change as a line of its own.
pub(crate) fn json_line(change: &Change) -> String {
    let mut sink = Sink::Json(Vec::with_capacity(128));
    parts::put_change(&mut sink, change, true);
    text_of(sink)
}

/// Returns a word as JSON.
#[expect(private_bounds, reason = "for the words that stand alone, see crate::json")]
pub(crate) fn to_json<T: Wire>(word: &T) -> String {
    let mut sink = Sink::Json(Vec::with_capacity(128));
    word.put(&mut sink);
    text_of(sink)
}

/// Reads a word from JSON that has been checked.
#[expect(private_bounds, reason = "for the words that stand alone, see crate::json")]
pub(crate) fn from_json<T: Wire>(text: &str) -> Result<T, JsonError> {
    T::get(Source::Json(text)).map_err(|wrong| JsonError(wrong.message))
}

fn text_of(mut sink: Sink) -> String {
    // JSON values are copied as they are; the broker checked that they are UTF-8.
    String::from_utf8_lossy(sink.bytes()).into_owned()
}

#[cfg(test)]
mod tests;
