//! The parts of an object, a list, a string, as texts.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::scan::FEW_KEYS;
use super::{FRAME_DEPTH, check_frame, check_to, scan};
use crate::limits::JSON_DEPTH;

/// The members of an object, each with the text of its value.
pub(crate) type Members<'a> = Vec<(Cow<'a, str>, &'a str)>;

/// The members of a frame that nobody has looked at yet: as [`check_frame`] and [`members`] together,
/// but what is plain, as nearly all of it is, is gone through once.
pub(crate) fn frame_members(text: &str) -> Result<Members<'_>, String> {
    match scan::members(text) {
        Some(members) => Ok(members),
        None => any_members(text),
    }
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
        let checked = check_to(value.as_bytes(), JSON_DEPTH + FRAME_DEPTH - 1);
        checked.map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(members)
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
pub(super) struct Text;

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

#[cfg(test)]
mod tests {
    use super::super::check_long;
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
            r#"{"op":"put","path":"/a","json":{"a":-0.5,"b":[{},[],{"c": [ 1, -2 ]}],"d":1e9,"e":"\n"}}"#,
            "{\"op\":\"put\",\"id\":1,\"path\":\"/a\",\"json\":\n\t{\"ä\":{\"x\":[]}}}",
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
        let interesting = *b"\"\\{}[]:,0123456789-+.eE truefalsn\t\x00\x1f\n";
        let (mut short, mut both, mut values) = (0, 0, 0);
        for round in 0..60_000 {
            let mut bytes = frames[round % frames.len()].as_bytes().to_vec();
            for _ in 0..below(4) {
                let (at, other) = (below(bytes.len()), below(bytes.len()));
                match below(5) {
                    4 => drop(bytes.splice(at..at, b" \t\n "[below(4)..].iter().copied())),
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
            if let Some(members) = scan::members(text) {
                short += 1;
                assert_eq!(Ok(members), long, "{text}");
            }
            // And so for a value, of which less is deep enough.
            for depth in 0..4 {
                let is_value = check_long(text, depth).is_ok();
                assert!(!scan::is_value(text, depth) || is_value, "{depth}: {text}");
                values += usize::from(scan::is_value(text, depth));
            }
        }
        assert!(short > 6_000 && both > short, "{short} {both}: too few to say anything");
        assert!(values > 6_000, "{values}: too few to say anything");
    }
}
