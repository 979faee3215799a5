//! The wire form, once for both codecs: each type writes itself to a [`Sink`] and reads itself from
//! a [`Source`], so the codecs cannot drift apart.

use std::borrow::Cow;

use super::pack;
use crate::code::Code;
use crate::json_text::{self, InOrder, Members};

/// Bytes that are being written, in one of the codecs.
pub(super) enum Sink {
    Json(Vec<u8>),
    Pack(Vec<u8>),
}

/// One element of a frame that is being read: the text of a JSON value, or one MessagePack element.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Json(&'a str),
    Pack(&'a [u8]),
}

/// What is wrong with a field or a frame.
pub(super) struct Wrong {
    pub(super) code: Code,
    pub(super) message: String,
}

pub(super) type Read<T> = Result<T, Wrong>;

/// How many items a list may have, and the error if it has more. The limit is checked before any
/// item is read, so that reading a frame costs no more than what the frame is allowed to ask for.
#[derive(Clone, Copy)]
pub(super) struct Most {
    pub(super) items: usize,
    pub(super) what: &'static str,
    pub(super) code: Code,
}

/// A type whose wire form is one element.
pub(super) trait Wire: Sized {
    fn put(&self, sink: &mut Sink);
    fn get(source: Source<'_>) -> Read<Self>;
}

impl Wrong {
    pub(super) fn frame(message: impl Into<String>) -> Wrong {
        Wrong { code: Code::BadFrame, message: message.into() }
    }

    #[cold]
    fn missing(name: &str) -> Wrong {
        Wrong::frame(format!("{name} is missing"))
    }

    pub(super) fn field(code: Code, message: impl Into<String>) -> Wrong {
        Wrong { code, message: message.into() }
    }

    #[cold]
    pub(super) fn within(self, name: &str) -> Wrong {
        Wrong { message: format!("{name}: {}", self.message), ..self }
    }
}

impl Most {
    /// As many items as fit into the frame.
    pub(super) const ANY: Most = Most { items: usize::MAX, what: "items", code: Code::BadFrame };

    /// Returns an error if there are more items than allowed.
    pub(super) fn allow(self, items: usize) -> Read<()> {
        if items > self.items {
            let Most { items, what, code } = self;
            return Err(Wrong::field(code, format!("at most {items} {what}")));
        }
        Ok(())
    }
}

impl Sink {
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        match self {
            Sink::Json(out) | Sink::Pack(out) => out,
        }
    }

    pub(super) fn str(&mut self, text: &str) {
        match self {
            Sink::Json(out) => json_text::put_str(out, text),
            Sink::Pack(out) => pack::put_str(out, text),
        }
    }

    pub(super) fn uint(&mut self, number: u64) {
        match self {
            Sink::Json(out) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
            Sink::Pack(out) => pack::put_uint(out, number),
        }
    }

    pub(super) fn bool(&mut self, value: bool) {
        match self {
            Sink::Json(out) => out.extend_from_slice(if value { b"true" } else { b"false" }),
            Sink::Pack(out) => out.push(if value { 0xc3 } else { 0xc2 }),
        }
    }

    pub(super) fn nothing(&mut self) {
        match self {
            Sink::Json(out) => out.extend_from_slice(b"null"),
            Sink::Pack(out) => out.push(0xc0),
        }
    }

    pub(super) fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Sink, &T)) {
        match self {
            Sink::Json(out) => out.push(b'['),
            Sink::Pack(out) => pack::put_array(out, items.len()),
        }
        for (place, item) in items.iter().enumerate() {
            if let (Sink::Json(out), true) = (&mut *self, place > 0) {
                out.push(b',');
            }
            each(self, item);
        }
        if let Sink::Json(out) = self {
            out.push(b']');
        }
    }

    /// Writes a record: named fields in JSON, an array in MessagePack.
    pub(super) fn record(&mut self, fill: impl FnOnce(&mut Record<'_>)) {
        let start = self.bytes().len();
        match self {
            Sink::Json(out) => out.push(b'{'),
            // The length is known only at the end; for up to 15 fields it takes this one byte.
            Sink::Pack(out) => out.push(0),
        }
        let mut record = Record { sink: self, fields: 0, last: 0, end: start + 1 };
        fill(&mut record);
        let Record { last, end, .. } = record;
        match self {
            Sink::Json(out) => out.push(b'}'),
            Sink::Pack(out) => {
                // Leave out absent fields at the end.
                out.truncate(end);
                pack::close_array(out, start, last);
            }
        }
    }
}

/// A record that is being written.
pub(super) struct Record<'a> {
    sink: &'a mut Sink,
    fields: usize,
    /// The number of fields up to the last one that is present, and the place where that one ends
    /// (`end`).
    last: usize,
    end: usize,
}

impl Record<'_> {
    /// Writes a field that is present.
    pub(super) fn field(&mut self, name: &str, put: impl FnOnce(&mut Sink)) {
        if let Sink::Json(out) = &mut *self.sink {
            if self.last > 0 {
                out.push(b',');
            }
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
        }
        put(self.sink);
        self.fields += 1;
        self.last = self.fields;
        self.end = self.sink.bytes().len();
    }

    /// Notes that a field is absent.
    pub(super) fn absent(&mut self) {
        if let Sink::Pack(out) = &mut *self.sink {
            out.push(0xc0);
        }
        self.fields += 1;
    }

    pub(super) fn is_json(&self) -> bool {
        matches!(self.sink, Sink::Json(_))
    }
}

/// A record that is being read: by name in JSON, by place in MessagePack.
pub(super) enum Fields<'a> {
    /// What was read counts only once the reader has reached the end of the record.
    InOrder(InOrder<'a>),
    Json(Members<'a>),
    /// What was read counts only once the reader has reached the end of the record.
    PackInOrder(pack::InOrder<'a>),
    Pack(std::vec::IntoIter<&'a [u8]>),
}

impl<'a> Fields<'a> {
    pub(super) fn open(source: Source<'a>) -> Read<Fields<'a>> {
        match source {
            Source::Json(text) => json_text::members(text).map(Fields::Json).map_err(Wrong::frame),
            Source::Pack(bytes) => {
                let elements = pack::elements(bytes).map_err(Wrong::frame)?;
                Ok(Fields::Pack(elements.into_iter()))
            }
        }
    }

    #[inline]
    pub(super) fn is_json(&self) -> bool {
        matches!(self, Fields::InOrder(_) | Fields::Json(_))
    }

    /// Returns the next field; `None` if it is absent.
    // Inlined, because the caller's `name` is a constant: comparing with it takes one or two loads.
    #[inline(always)]
    pub(super) fn take(&mut self, name: &str) -> Option<Source<'a>> {
        let element = match self {
            Fields::InOrder(_) | Fields::Json(_) => return present(self.take_raw(name)?),
            Fields::PackInOrder(elements) => elements.next(),
            Fields::Pack(elements) => elements.next(),
        };
        element.filter(|bytes| **bytes != [0xc0]).map(Source::Pack)
    }

    /// Returns a field of JSON as it stands in the record, even if it is `null`.
    #[inline(always)]
    pub(super) fn take_raw(&mut self, name: &str) -> Option<&'a str> {
        match self {
            Fields::InOrder(members) => members.take(name),
            Fields::Json(members) => find(members, name),
            Fields::PackInOrder(_) | Fields::Pack(_) => None,
        }
    }

    #[inline(always)]
    pub(super) fn optional<T: Wire>(&mut self, name: &str) -> Read<Option<T>> {
        self.take(name).map(T::get).transpose().map_err(|wrong| wrong.within(name))
    }

    #[inline(always)]
    pub(super) fn required<T: Wire>(&mut self, name: &str) -> Read<T> {
        T::get(self.there(name)?).map_err(|wrong| wrong.within(name))
    }

    /// Returns the source of a field that is required.
    #[inline(always)]
    pub(super) fn there(&mut self, name: &str) -> Read<Source<'a>> {
        self.take(name).ok_or_else(|| Wrong::missing(name))
    }
}

#[inline(never)]
fn find<'a>(members: &Members<'a>, name: &str) -> Option<&'a str> {
    members.iter().find(|(known, _)| known == name).map(|(_, text)| *text)
}

/// Returns the value of a JSON member; `null` means that the member is absent.
pub(super) fn present(text: &str) -> Option<Source<'_>> {
    if text == "null" { None } else { Some(Source::Json(text)) }
}

impl<'a> Source<'a> {
    /// Reads a record; `read` reads its fields.
    pub(super) fn record<T>(self, read: impl Fn(&mut Fields<'a>) -> Read<T>) -> Read<T> {
        let mut wrong = None;
        match self.in_order(&read, &mut wrong) {
            Some(record) => Ok(record),
            None => match wrong {
                Some(wrong) => Err(wrong),
                None => read(&mut Fields::open(self)?),
            },
        }
    }

    /// Reads a record that has exactly the fields that `read` asks for, in that order. `None` means
    /// one of these:
    ///
    /// - `wrong` is `None`: the record is not of that kind, and has to be read in another way.
    /// - `wrong` says what is wrong with the record. Any other way of reading would find the same.
    #[inline(always)]
    pub(super) fn in_order<T>(
        self,
        read: impl Fn(&mut Fields<'a>) -> Read<T>,
        wrong: &mut Option<Wrong>,
    ) -> Option<T> {
        let mut fields = match self {
            Source::Json(text) => Fields::InOrder(InOrder::open(text)?),
            Source::Pack(bytes) => Fields::PackInOrder(pack::InOrder::open(bytes)?),
        };
        // Do not move the result: it is large, and copying what was just written would wait for
        // that write.
        let record = read(&mut fields);
        let done = match &fields {
            Fields::InOrder(members) => members.is_done(),
            Fields::PackInOrder(elements) => elements.is_done(),
            Fields::Json(_) | Fields::Pack(_) => false,
        };
        if done { record.map_err(|found| *wrong = Some(found)).ok() } else { None }
    }

    pub(super) fn str(&self) -> Read<Cow<'_, str>> {
        match self {
            Source::Json(text) => json_text::text(text).map_err(Wrong::frame),
            Source::Pack(bytes) => pack::text(bytes).map(Cow::Borrowed).map_err(Wrong::frame),
        }
    }

    /// Returns what is between the quotes of a JSON string, with its escapes.
    pub(super) fn plain(&self) -> Option<&str> {
        let Source::Json(text) = self else { return None };
        text.strip_prefix('"')?.strip_suffix('"')
    }

    /// Returns true if this is certainly the text `known`. A string with escapes may be the same
    /// text, but then the result is false. Other parts of the element are not checked.
    pub(super) fn is_text(&self, known: &str) -> bool {
        match self {
            // In JSON a backslash begins an escape, and stands for something else.
            Source::Json(_) => self.plain() == Some(known) && !known.contains('\\'),
            Source::Pack(bytes) => pack::is_text(bytes, known),
        }
    }

    pub(super) fn uint(&self) -> Read<u64> {
        let number = match self {
            Source::Json(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
                let large = |_| Wrong::field(Code::BadField, format!("at most {}", u64::MAX));
                return text.parse().map_err(large);
            }
            Source::Json(_) => None,
            Source::Pack(bytes) => pack::uint(bytes),
        };
        number.ok_or_else(|| Wrong::frame("not a whole number, 0 or more"))
    }

    pub(super) fn list<T>(
        &self,
        most: Most,
        mut each: impl FnMut(Source<'_>) -> Read<T>,
    ) -> Read<Vec<T>> {
        match self {
            Source::Json(text) => {
                let items = json_text::items(text, most.items).map_err(Wrong::frame)?;
                most.allow(items.len())?;
                items.into_iter().map(|text| each(Source::Json(text))).collect()
            }
            Source::Pack(bytes) => {
                let items =
                    pack::InOrder::open(bytes).ok_or_else(|| Wrong::frame("not an array"))?;
                most.allow(items.len())?;
                items.map(|bytes| each(Source::Pack(bytes))).collect()
            }
        }
    }
}
