//! Splits objects, lists and strings into their parts, as texts.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::scan::FEW_KEYS;
use super::{FRAME_DEPTH, brief, check_frame, check_to};
use crate::limits::JSON_DEPTH;

/// The members of an object: each name with the text of its value.
pub(crate) type Members<'a> = Vec<(Cow<'a, str>, &'a str)>;

/// Returns the members of a frame that has not been checked yet: [`check_frame`] and [`members`] in
/// one.
pub(crate) fn frame_members(text: &str) -> Result<Members<'_>, String> {
    let members = members(text)?;
    for (at, (name, value)) in members.iter().enumerate() {
        let before = &members[..at];
        // A frame has few members. For a sender of thousands it is not worth keeping a set here,
        // but the time must not be quadratic either.
        let twice = match before.len() {
            0..=FEW_KEYS => before.iter().any(|(known, _)| known == name),
            _ => {
                check_frame(text.as_bytes()).map_err(|error| error.to_string())?;
                return Ok(members);
            }
        };
        if twice {
            return Err(format!("duplicate key {:?}", brief(name)));
        }
        let checked = check_to(value.as_bytes(), JSON_DEPTH + FRAME_DEPTH - 1);
        checked.map_err(|error| format!("{}: {error}", brief(name)))?;
    }
    Ok(members)
}

/// Returns the members of an object, in their order.
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

/// Returns the items of an array. If there are more than `most`, returns the first `most` and one
/// more.
pub(crate) fn items(text: &str, most: usize) -> Result<Vec<&str>, String> {
    struct First<'i, 'de>(&'i mut Vec<&'de str>, usize);
    impl<'de> Visitor<'de> for First<'_, 'de> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
            while self.0.len() <= self.1
                && let Some(item) = seq.next_element::<&RawValue>()?
            {
                self.0.push(item.get());
            }
            Ok(())
        }
    }
    let mut items = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = reader.deserialize_seq(First(&mut items, most));
    if items.len() <= most {
        read.and_then(|()| reader.end()).map_err(|_| "not a list".to_string())?;
    }
    Ok(items)
}

/// Decodes a string. `text` must have the syntax of JSON.
pub(crate) fn text(text: &str) -> Result<Cow<'_, str>, String> {
    if let Some(inside) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))
        && !inside.as_bytes().contains(&b'\\')
    {
        return Ok(Cow::Borrowed(inside));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    Text.deserialize(&mut reader).map_err(|_| "not a string".to_string())
}

/// A string, borrowed if it has no escapes.
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
    use super::super::{changed, check_long, scan};
    use super::*;

    /// The members of a frame are returned exactly if a check of the whole frame accepts it. And
    /// what the scan accepts as a value, the library accepts too.
    #[test]
    fn members_and_values_agree_with_the_strict_look() {
        let (mut right, mut values) = (0, 0);
        changed::frames(60_000, |text| {
            let members = frame_members(text);
            assert_eq!(
                members.is_ok(),
                check_frame(text.as_bytes()).is_ok()
                    && text.as_bytes().trim_ascii_start()[0] == b'{',
                "{text}"
            );
            right += usize::from(members.is_ok());
            // The same for a value; here small depths are enough.
            for depth in 0..4 {
                let is_value = check_long(text, depth).is_ok();
                assert!(!scan::is_value(text, depth) || is_value, "{depth}: {text}");
                values += usize::from(scan::is_value(text, depth));
            }
        });
        assert!(right > 6_000 && values > 6_000, "{right} {values}: too few to say anything");
    }
}
