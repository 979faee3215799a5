//! JSON, checked strictly, and the JSON forms that stand alone: lines of `export`, cookies.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::change::Change;
use crate::codec;
use crate::limits::JSON_DEPTH;
use crate::revision::Cookie;

/// Why a text is not a JSON value that Onetree takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(pub String);

/// Objects up to this many keys look for duplicates one by one, larger ones in a set: below it the
/// search is faster than the hashing.
const FEW_KEYS: usize = 16;

/// What frames put around a value, at most: the frame, a list in it, a record in that.
const FRAME_DEPTH: usize = 3;

/// Checks that `bytes` are one JSON value (RFC 8259): UTF-8, no duplicate keys, no lone
/// surrogates, no number beyond a double's range, nested at most [`crate::limits::JSON_DEPTH`]
/// deep. Cost: one pass, allocation only for objects.
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
    let written = serde_json::to_writer(out, text);
    debug_assert!(written.is_ok(), "memory takes what it is given");
}

/// The members of an object, each with the text of its value.
type Members<'a> = Vec<(Cow<'a, str>, &'a str)>;

/// The members of a frame that nobody has looked at yet: as [`check_frame`] and [`members`] together,
/// but what is plain, as most members are, is gone through once.
pub(crate) fn frame_members(text: &str) -> Result<Members<'_>, String> {
    match plain_members(text) {
        Some(members) => Ok(members),
        None => any_members(text),
    }
}

/// The members of a frame as most clients write it: keys and strings without an escape, short whole
/// numbers, no white space but single spaces. Whatever is otherwise, or wrong, is `None`: the library
/// looks at it, and says what is wrong.
///
/// By hand, because to read such a frame with the library took half of what a signal costs: it goes
/// through each string twice, and comes back to us for each of its members.
fn plain_members(text: &str) -> Option<Members<'_>> {
    let bytes = text.as_bytes();
    let space = |at: usize| at + usize::from(bytes.get(at) == Some(&b' '));
    let mut members: Members<'_> = Vec::with_capacity(8);
    let mut at = if bytes.first() == Some(&b'{') { space(1) } else { return None };
    loop {
        let end = plain_string(bytes, at)?;
        let name = &text[at + 1..end - 1];
        at = space(end);
        if bytes.get(at) != Some(&b':') || members.len() > FEW_KEYS {
            return None;
        }
        let start = space(at + 1);
        let end = match bytes.get(start)? {
            b'"' => plain_string(bytes, start)?,
            b'0'..=b'9' => plain_number(bytes, start)?,
            b't' | b'n' => start + 4,
            b'f' => start + 5,
            b'[' | b'{' => start + nested(&text[start..])?,
            _ => return None,
        };
        let value = text.get(start..end)?;
        let word =
            !value.starts_with(['t', 'n', 'f']) || ["true", "null", "false"].contains(&value);
        if !word || members.iter().any(|(known, _)| known == name) {
            return None;
        }
        members.push((Cow::Borrowed(name), value));
        at = space(end);
        match bytes.get(at)? {
            b',' => at = space(at + 1),
            b'}' if at + 1 == bytes.len() => return Some(members),
            _ => return None,
        }
    }
}

/// Where the string that begins at `start` ends, when it has no escape and nothing that needs one.
fn plain_string(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start) != Some(&b'"') {
        return None;
    }
    let plain = |byte: u8| (byte >= 0x20) & (byte != b'"') & (byte != b'\\');
    let mut at = start + 1;
    // Sixteen at once, without a jump between them.
    while let Some(some) = bytes.get(at..at + 16)
        && some.iter().fold(true, |all, byte| all & plain(*byte))
    {
        at += 16;
    }
    while plain(*bytes.get(at)?) {
        at += 1;
    }
    (bytes[at] == b'"').then_some(at + 1)
}

/// Where the whole number that begins at `start` ends, when it has at most 15 digits.
fn plain_number(bytes: &[u8], start: usize) -> Option<usize> {
    let digits = bytes[start..].iter().take(16).take_while(|byte| byte.is_ascii_digit()).count();
    let zero = bytes[start] == b'0' && digits > 1;
    (digits < 16 && !zero).then_some(start + digits)
}

/// How long the list or object at the beginning of `text` is, when it is right.
fn nested(text: &str) -> Option<usize> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = <&RawValue>::deserialize(&mut reader).ok()?.get();
    check_to(value.as_bytes(), JSON_DEPTH + FRAME_DEPTH - 1).ok()?;
    Some(value.len())
}

fn any_members(text: &str) -> Result<Members<'_>, String> {
    let members = members(text)?;
    for (at, (name, value)) in members.iter().enumerate() {
        let before = &members[..at];
        // A frame has few members; who sends thousands is not worth a set, but must not cost their square.
        let twice = match before.len() {
            0..=FEW_KEYS => before.iter().any(|(known, _)| known == name),
            _ => {
                check_frame(text.as_bytes()).map_err(|error| error.to_string())?;
                return Ok(members);
            }
        };
        if twice {
            return Err(format!("duplicate key {name:?}"));
        }
        if !is_plain(value) {
            let checked = check_to(value.as_bytes(), JSON_DEPTH + FRAME_DEPTH - 1);
            checked.map_err(|error| format!("{name}: {error}"))?;
        }
    }
    Ok(members)
}

/// Whether a value that is known to have JSON's syntax needs no further look: a word, a short whole
/// number, or a string without an escape.
fn is_plain(value: &str) -> bool {
    match value.as_bytes() {
        [b'"', inside @ .., b'"'] => !inside.contains(&b'\\'),
        [b'-' | b'0'..=b'9', ..] => value.len() < 16 && value.bytes().all(|b| b.is_ascii_digit()),
        [b'[' | b'{', ..] => false,
        _ => true,
    }
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

/// The members of an object, in the order they stand in.
pub(crate) fn members(text: &str) -> Result<Members<'_>, String> {
    struct All;
    impl<'de> Visitor<'de> for All {
        type Value = Members<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::with_capacity(8);
            while let Some(key) = map.next_key_seed(Text)? {
                members.push((key, map.next_value::<&RawValue>()?.get()));
            }
            Ok(members)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let members = reader.deserialize_map(All);
    members.and_then(|members| reader.end().map(|()| members)).map_err(|error| error.to_string())
}

/// The items of an array.
pub(crate) fn items(text: &str) -> Result<Vec<&str>, String> {
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| "not a list".to_string())?;
    Ok(items.into_iter().map(RawValue::get).collect())
}

/// The text of a string, from a text that has JSON's syntax.
pub(crate) fn text(text: &str) -> Result<Cow<'_, str>, String> {
    if let Some(inside) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))
        && !inside.as_bytes().contains(&b'\\')
    {
        return Ok(Cow::Borrowed(inside));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    Text.deserialize(&mut reader).map_err(|_| "not a string".to_string())
}

/// A string, borrowed where it has no escapes.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Cow<'de, str>, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// Any value, looked at and thrown away. Strings are decoded, which finds lone surrogates.
#[derive(Clone, Copy)]
struct Strict {
    /// How many lists and objects may still be opened, each in the one before.
    left: usize,
}

impl Strict {
    fn inside<E: serde::de::Error>(self) -> Result<Strict, E> {
        let left = self.left.checked_sub(1);
        left.map(|left| Strict { left }).ok_or_else(|| E::custom("nested too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        while items.next_element_seed(inside)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        let mut few: Vec<Cow<'de, str>> = Vec::new();
        let mut many: HashSet<Cow<'de, str>> = HashSet::new();
        while let Some(key) = map.next_key_seed(Text)? {
            if few.contains(&key) || many.contains(&key) {
                return Err(A::Error::custom(format_args!("duplicate key {key:?}")));
            }
            if few.len() < FEW_KEYS {
                few.push(key);
            } else {
                many.insert(key);
            }
            map.next_value_seed(inside)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the short way takes, the long way takes as well, and both find the same: on frames, and on
    /// frames in which bytes were changed, left out, doubled and moved.
    #[test]
    fn the_short_way_through_a_frame_agrees_with_the_long_one() {
        let frames = [
            r#"{"op":"put","id":7,"seq":12,"path":"/a/b","json":{"n":[1,2.5e3,"x"],"t":true}}"#,
            r#"{"op": "signal", "path": "/a", "text": "h\u00e4 ä", "x": null, "y": false, "z": true}"#,
            r#"{"op":"txn","id":1,"if":[{"path":"/a","rev":0}],"do":[{"do":"put","path":"/b","json":1}]}"#,
            r#"{"op":"append","id":100000000000000,"path":"/log","json":"0123456789abcdef0123456789"}"#,
            r#"{"id":1,"op":"list","path":"/","limit":0,"values":false,"after":"/a","before":"/b"}"#,
        ];
        let seed = std::env::var("ONETREE_SEED").map_or(2026, |seed| seed.parse().unwrap());
        println!("to run this again: ONETREE_SEED={seed}");
        let mut state: u64 = seed;
        let mut below = |n: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        let interesting = *b"\"\\{}[]:,0123456789-+.eE truefalsn\x00\x1f\n";
        let (mut short, mut both) = (0, 0);
        for round in 0..200_000 {
            let mut bytes = frames[round % frames.len()].as_bytes().to_vec();
            for _ in 0..below(4) {
                let (at, other) = (below(bytes.len()), below(bytes.len()));
                match below(4) {
                    0 => bytes[at] = interesting[below(interesting.len())],
                    1 => drop(bytes.remove(at)),
                    2 => bytes.insert(at, bytes[other]),
                    _ => bytes.swap(at, other),
                }
            }
            let Ok(text) = std::str::from_utf8(&bytes) else { continue };
            let long = any_members(text);
            // The long way is right: it agrees with a look at all of it.
            assert_eq!(
                long.is_ok(),
                check_frame(&bytes).is_ok() && bytes.trim_ascii_start()[0] == b'{',
                "{text}"
            );
            both += usize::from(long.is_ok());
            if let Some(members) = plain_members(text) {
                short += 1;
                assert_eq!(Ok(members), long, "{text}");
            }
        }
        assert!(short > 20_000 && both > short, "{short} {both}: too few to say anything");
    }
}
