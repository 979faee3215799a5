//! The parts of records that take more than one element: values, views, changes, steps, conditions.

use std::cell::RefCell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::pack;
use super::wire::{Fields, Most, Read, Record, Sink, Source, Wire, Wrong};
use crate::change::{Act, Change};
use crate::code::Code;
use crate::frame::{Condition, Do};
use crate::json_text;
use crate::limits::PATTERNS;
use crate::path::Path;
use crate::value::{MediaType, Value};
use crate::view::View;

/// Writes a value: `type` and one of `json`, `text`, `bytes`; in MessagePack the type and the
/// bytes.
pub(super) fn put_value(record: &mut Record<'_>, value: &Value, one_line: bool) {
    let Value { media, bytes } = value;
    if !record.is_json() {
        match media {
            MediaType::Json => record.absent(),
            other => record.field("type", |sink| sink.str(other.as_str())),
        }
        return record.field("bytes", |sink| pack::put_bin(sink.bytes(), bytes));
    }
    if *media == MediaType::Json {
        let text = unspaced(bytes);
        if !(one_line && text.iter().any(|b| matches!(b, b'\n' | b'\r'))) {
            return record.field("json", |sink| sink.bytes().extend_from_slice(text));
        }
    }
    record.field("type", |sink| sink.str(media.as_str()));
    match std::str::from_utf8(bytes) {
        Ok(text) if media.is_text() => record.field("text", |sink| sink.str(text)),
        _ => record.field("bytes", |sink| {
            let out = sink.bytes();
            out.push(b'"');
            let start = out.len();
            out.resize(start + bytes.len().div_ceil(3) * 4, 0);
            let written = STANDARD.encode_slice(bytes, &mut out[start..]);
            debug_assert!(written.is_ok(), "the room is exact");
            out.push(b'"');
        }),
    }
}

/// Reads the value of a record that may have none.
pub(super) fn get_value(fields: &mut Fields<'_>) -> Read<Option<Value>> {
    let media = fields.take("type").map(media).transpose()?;
    if !fields.is_json() {
        let Some(Source::Pack(bytes)) = fields.take("bytes") else { return Ok(None) };
        let bytes = pack::bin(bytes).map_err(|e| Wrong::frame(format!("bytes: {e}")))?;
        return Ok(Some(of_bytes(media.unwrap_or_default(), bytes)));
    }
    // `null` is a value in `json`; in other fields it means that the field is absent.
    let json = fields.take_raw("json");
    match (json, fields.take("text"), fields.take("bytes")) {
        (Some(text), None, None) => match media {
            None | Some(MediaType::Json) => Ok(Some(Value::json(text))),
            Some(other) => Err(Wrong::field(Code::BadField, format!("json: the type is {other}"))),
        },
        (None, None, None) => Ok(None),
        (None, Some(text), None) => of_text(media, text).map(Some),
        (None, None, Some(text)) => of_base64(media, text).map(Some),
        _ => {
            let message = "a value stands in one of 'json', 'text', 'bytes', not in two";
            Err(Wrong::frame(message))
        }
    }
}

fn of_text(media: Option<MediaType>, text: Source<'_>) -> Read<Value> {
    let text = text.str().map_err(|wrong| wrong.within("text"))?;
    let media = media.unwrap_or(MediaType::Text);
    if !media.is_text() {
        return Err(Wrong::field(Code::BadField, format!("text: the type is {media}")));
    }
    Ok(Value { media, bytes: text.as_bytes().into() })
}

fn of_base64(media: Option<MediaType>, text: Source<'_>) -> Read<Value> {
    let text = text.str().map_err(|wrong| wrong.within("bytes"))?;
    let bytes = STANDARD.decode(text.as_bytes());
    let bytes = bytes.map_err(|_| Wrong::field(Code::BadField, "bytes: not base64"))?;
    let media = media.unwrap_or(MediaType::Octets);
    // This way every JSON value that came in a JSON frame has been checked, whatever its form.
    if media == MediaType::Json {
        let wrong = |e| Wrong::field(Code::BadValue, format!("bytes: not JSON: {e}"));
        json_text::check(&bytes).map_err(wrong)?;
    }
    Ok(of_bytes(media, &bytes))
}

/// Makes a value from all of its bytes.
fn of_bytes(media: MediaType, bytes: &[u8]) -> Value {
    let bytes = if media == MediaType::Json { unspaced(bytes) } else { bytes };
    Value { media, bytes: bytes.into() }
}

/// Returns a JSON text without the white space around it, which is not part of the value.
fn unspaced(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..]
    | [rest @ .., b' ' | b'\t' | b'\n' | b'\r'] = text
    {
        text = rest;
    }
    text
}

fn media(source: Source<'_>) -> Read<MediaType> {
    let wrong =
        |e: crate::value::MediaTypeError| Wrong::field(Code::BadField, format!("type: {e}"));
    MediaType::parse(&source.str()?).map_err(wrong)
}

pub(super) fn value(fields: &mut Fields<'_>) -> Read<Value> {
    get_value(fields)?.ok_or_else(|| Wrong::frame("the value is missing"))
}

/// Reads a path that is required and is often the same as the last one that this thread read,
/// because publishers write to the same topic again and again. If it is the same, it is neither
/// checked nor copied again.
pub(super) fn path_again(fields: &mut Fields<'_>, name: &str) -> Read<Path> {
    thread_local!(static LAST: RefCell<Path> = RefCell::new(Path::root()));
    let source = fields.there(name)?;
    LAST.with_borrow_mut(|last| {
        if !source.is_text(last.as_str()) {
            *last = Path::get(source).map_err(|wrong| wrong.within(name))?;
        }
        Ok(last.clone())
    })
}

/// Writes a view: `path`, `depth`, `match`, `tail`, `values`.
pub(super) fn put_view(record: &mut Record<'_>, view: &View) {
    record.field("path", |sink| view.base.put(sink));
    put_default(record, "depth", &view.depth);
    put_list(record, "match", &view.patterns);
    put_optional(record, "tail", view.tail.as_ref());
    if view.values { record.absent() } else { record.field("values", |sink| sink.bool(false)) }
}

pub(super) fn get_view(fields: &mut Fields<'_>) -> Read<View> {
    const MOST: Most = Most { items: PATTERNS, what: "patterns", code: Code::BadField };
    Ok(View {
        base: fields.required("path")?,
        depth: fields.optional("depth")?.unwrap_or_default(),
        patterns: get_list(fields, "match", MOST)?,
        tail: fields.optional("tail")?,
        values: fields.optional("values")?.unwrap_or(true),
    })
}

pub(super) fn put_default<T: Wire + Default + PartialEq>(
    record: &mut Record<'_>,
    name: &str,
    value: &T,
) {
    put_optional(record, name, Some(value).filter(|value| **value != T::default()));
}

pub(super) fn put_optional<T: Wire>(record: &mut Record<'_>, name: &str, value: Option<&T>) {
    match value {
        Some(value) => record.field(name, |sink| value.put(sink)),
        None => record.absent(),
    }
}

pub(super) fn put_list<T: Wire>(record: &mut Record<'_>, name: &str, items: &[T]) {
    if items.is_empty() {
        return record.absent();
    }
    record.field(name, |sink| sink.list(items, |sink, item| item.put(sink)));
}

/// Reads a list that may be absent, which means that it is empty.
pub(super) fn get_list<T: Wire>(fields: &mut Fields<'_>, name: &str, most: Most) -> Read<Vec<T>> {
    fields.take(name).map_or_else(|| Ok(Vec::new()), |source| list(&source, name, most, T::get))
}

/// Reads a list that is required and may be empty.
pub(super) fn get_all<T: Wire>(fields: &mut Fields<'_>, name: &str, most: Most) -> Read<Vec<T>> {
    list(&fields.there(name)?, name, most, T::get)
}

/// Reads the items of the list `name`. An error says which item is wrong.
pub(super) fn list<T>(
    source: &Source<'_>,
    name: &str,
    most: Most,
    mut get: impl FnMut(Source<'_>) -> Read<T>,
) -> Read<Vec<T>> {
    let mut begun = 0_usize;
    let items = source.list(most, |item| {
        begun += 1;
        get(item)
    });
    items.map_err(|wrong| match begun.checked_sub(1) {
        Some(place) => wrong.within(&format!("{name}[{place}]")),
        None => wrong.within(name),
    })
}

/// Writes a change. In JSON `{"path","rev",…}`, where the value, `delete`, `drop` or `trim` says
/// what was done; in MessagePack `[path, rev, act, …]` with act 0 put (type, bytes), 1 delete, 2
/// drop, 3 trim (key, gap).
pub(super) fn put_change(sink: &mut Sink, change: &Change, one_line: bool) {
    sink.record(|record| {
        record.field("path", |sink| change.path.put(sink));
        record.field("rev", |sink| change.rev.put(sink));
        let json = record.is_json();
        let mut act = |name: &str, number: u64| match json {
            true => record.field(name, |sink| sink.bool(true)),
            false => record.field(name, |sink| sink.uint(number)),
        };
        match &change.act {
            Act::Put(value) => {
                if !json {
                    act("put", 0);
                }
                if let Some(value) = value {
                    put_value(record, value, one_line);
                }
            }
            Act::Delete => act("delete", 1),
            Act::Drop => act("drop", 2),
            Act::Trim { to, gap } => {
                if !json {
                    act("trim", 3);
                }
                record.field("trim", |sink| to.put(sink));
                put_default(record, "gap", gap);
            }
        }
    });
}

impl Wire for Change {
    fn put(&self, sink: &mut Sink) {
        put_change(sink, self, false);
    }

    fn get(source: Source<'_>) -> Read<Change> {
        source.record(|fields| {
            let path = fields.required("path")?;
            let rev = fields.required("rev")?;
            let (act, to) = which_act(fields)?;
            let act = match act {
                0 => Act::Put(get_value(fields)?),
                1 => Act::Delete,
                2 => Act::Drop,
                3 => {
                    let to = to.map_or_else(|| fields.there("trim"), Ok)?;
                    let to = Wire::get(to).map_err(|wrong| wrong.within("trim"))?;
                    Act::Trim { to, gap: fields.optional("gap")?.unwrap_or(false) }
                }
                _ => return Err(Wrong::frame("act: not 0 to 3")),
            };
            Ok(Change { path, rev, act })
        })
    }
}

/// Returns what was done, as a number. In JSON also the key of a trim, whose presence says that it
/// is a trim.
fn which_act<'a>(fields: &mut Fields<'a>) -> Read<(u64, Option<Source<'a>>)> {
    if !fields.is_json() {
        return Ok((fields.required("act")?, None));
    }
    let flag = |fields: &mut Fields<'_>, name| fields.optional(name).map(|f| f == Some(true));
    let delete = flag(fields, "delete")?;
    let drop = flag(fields, "drop")?;
    let to = fields.take("trim");
    match (delete, drop, to.is_some()) {
        (false, false, false) => Ok((0, None)),
        (true, false, false) => Ok((1, None)),
        (false, true, false) => Ok((2, None)),
        (false, false, true) => Ok((3, to)),
        _ => Err(Wrong::frame("a change is one of a value, 'delete', 'drop', 'trim'")),
    }
}

impl Wire for Condition {
    /// Writes `{"path","rev"}` or `{"tree","rev"}`; in MessagePack `[path, tree, rev]`.
    fn put(&self, sink: &mut Sink) {
        sink.record(|record| {
            let rev = match self {
                Condition::Entry { path, rev } => {
                    record.field("path", |sink| path.put(sink));
                    record.absent();
                    rev
                }
                Condition::Tree { path, rev } => {
                    record.absent();
                    record.field("tree", |sink| path.put(sink));
                    rev
                }
            };
            record.field("rev", |sink| rev.put(sink));
        });
    }

    fn get(source: Source<'_>) -> Read<Condition> {
        source.record(|fields| {
            let (entry, tree) = (fields.optional("path")?, fields.optional("tree")?);
            let rev = fields.required("rev")?;
            match (entry, tree) {
                (Some(path), None) => Ok(Condition::Entry { path, rev }),
                (None, Some(path)) => Ok(Condition::Tree { path, rev }),
                _ => Err(Wrong::frame("a condition has either 'path' or 'tree'")),
            }
        })
    }
}

impl Wire for Do {
    /// Writes `{"do":"put","path",…}`; in MessagePack `[do, path, …]` with do 0 put, 1 append
    /// (both: type, bytes, ttl_ms, ephemeral), 2 delete, 3 drop, 4 trim (to).
    fn put(&self, sink: &mut Sink) {
        let (name, number, path) = match self {
            Do::Put { path, .. } => ("put", 0, path),
            Do::Append { path, .. } => ("append", 1, path),
            Do::Delete { path } => ("delete", 2, path),
            Do::Drop { path } => ("drop", 3, path),
            Do::Trim { path, .. } => ("trim", 4, path),
        };
        sink.record(|record| {
            let json = record.is_json();
            record.field("do", |sink| if json { sink.str(name) } else { sink.uint(number) });
            record.field("path", |sink| path.put(sink));
            match self {
                Do::Put { value, ttl_ms, ephemeral, .. }
                | Do::Append { value, ttl_ms, ephemeral, .. } => {
                    put_value(record, value, false);
                    put_optional(record, "ttl_ms", ttl_ms.as_ref());
                    put_default(record, "ephemeral", ephemeral);
                }
                Do::Trim { to, .. } => record.field("to", |sink| to.put(sink)),
                Do::Delete { .. } | Do::Drop { .. } => {}
            }
        });
    }

    fn get(source: Source<'_>) -> Read<Do> {
        source.record(|fields| {
            let number = if fields.is_json() {
                let word: String = fields.required("do")?;
                let words = ["put", "append", "delete", "drop", "trim"];
                let unknown = || Wrong::field(Code::BadField, format!("do: not one of {words:?}"));
                words.iter().position(|known| *known == word).ok_or_else(unknown)? as u64
            } else {
                fields.required("do")?
            };
            let path = fields.required("path")?;
            Ok(match number {
                0 | 1 => {
                    let value = value(fields)?;
                    let ttl_ms = fields.optional("ttl_ms")?;
                    let ephemeral = fields.optional("ephemeral")?.unwrap_or(false);
                    match number {
                        0 => Do::Put { path, value, ttl_ms, ephemeral },
                        _ => Do::Append { path, value, ttl_ms, ephemeral },
                    }
                }
                2 => Do::Delete { path },
                3 => Do::Drop { path },
                4 => Do::Trim { path, to: fields.required("to")? },
                _ => return Err(Wrong::field(Code::BadField, "do: not 0 to 4")),
            })
        })
    }
}
