//! The wire form of the words: each is one element.

use super::pack;
use super::wire::{Read, Sink, Source, Wire, Wrong};
use crate::code::Code;
use crate::cookie::Cookie;
use crate::digest::{Digest, DigestKey};
use crate::frame::{Expect, Mode, Reason, RefreshKind};
use crate::limits::Limits;
use crate::log::LogKey;
use crate::name::Name;
use crate::path::Path;
use crate::pattern::Pattern;
use crate::revision::{Epoch, Revision};
use crate::view::{Depth, Fingerprint};

/// Implements `Wire` for words whose wire form is their text.
macro_rules! text {
    ($($type:ty: $put:expr, $get:expr;)+) => {$(
        impl Wire for $type {
            fn put(&self, sink: &mut Sink) {
                let put: fn(&$type) -> String = $put;
                sink.str(&put(self));
            }

            fn get(source: Source<'_>) -> Read<$type> {
                let get: fn(&str) -> Read<$type> = $get;
                get(&source.str()?)
            }
        }
    )+};
}

fn known<T>(word: Option<T>, what: &str) -> Read<T> {
    word.ok_or_else(|| Wrong::field(Code::BadField, format!("not {what}")))
}

text! {
    String: String::clone, |text| Ok(text.to_owned());
    Pattern: |p| p.as_str().to_owned(),
        |text| Pattern::parse(text).map_err(|e| Wrong::field(Code::BadPattern, e.to_string()));
    Name: |n| n.as_str().to_owned(),
        |text| known(Name::parse(text), "a name: 1 to 64 of A-Z a-z 0-9 _ -");
    Epoch: |e| e.to_string(), |text| known(Epoch::parse(text), "32 lower-case hex digits");
    DigestKey: |k| k.to_string(), |text| known(DigestKey::parse(text), "32 lower-case hex digits");
    Digest: |d| d.to_string(), |text| known(Digest::parse(text), "a digest, count:sum");
    Fingerprint: |f| f.to_string(),
        |text| known(Fingerprint::parse(text), "16 lower-case hex digits");
    LogKey: |k| k.to_string(), |text| known(LogKey::parse(text), "a log key, 18 hex digits");
    Code: |c| c.as_str().to_owned(), |text| known(Code::parse(text), "a known code");
    Depth: |d| d.as_str().to_owned(),
        |text| known(Depth::parse(text), "'entry', 'children' or 'tree'");
    RefreshKind: |k| k.as_str().to_owned(),
        |text| known(RefreshKind::parse(text), "'full', 'delta' or 'repair'");
    Reason: |r| r.as_str().to_owned(), |text| known(Reason::parse(text), "a known reason");
    Mode: |m| if *m == Mode::Once { "once" } else { "stay" }.to_owned(),
        |text| match text {
            "once" => Ok(Mode::Once),
            "stay" => Ok(Mode::Stay),
            _ => Err(Wrong::field(Code::BadField, "not 'stay' or 'once'")),
        };
}

impl Wire for Path {
    fn put(&self, sink: &mut Sink) {
        sink.str(self.as_str());
    }

    fn get(source: Source<'_>) -> Read<Path> {
        Path::parse(&source.str()?).map_err(|e| Wrong::field(Code::BadPath, e.to_string()))
    }
}

impl Wire for u64 {
    fn put(&self, sink: &mut Sink) {
        sink.uint(*self);
    }

    /// Accepts numbers below 2^53: a double can represent all of these exactly, and many clients
    /// read numbers as doubles.
    fn get(source: Source<'_>) -> Read<u64> {
        const MOST: u64 = Revision::MAX.get();
        let large = || Wrong::field(Code::BadField, format!("at most {MOST}"));
        source.uint().and_then(|number| (number <= MOST).then_some(number).ok_or_else(large))
    }
}

impl Wire for u32 {
    fn put(&self, sink: &mut Sink) {
        sink.uint(u64::from(*self));
    }

    fn get(source: Source<'_>) -> Read<u32> {
        let number = source.uint()?;
        let large = || Wrong::field(Code::BadField, format!("at most {}, not {number}", u32::MAX));
        u32::try_from(number).map_err(|_| large())
    }
}

impl Wire for Revision {
    fn put(&self, sink: &mut Sink) {
        sink.uint(Revision::get(*self));
    }

    fn get(source: Source<'_>) -> Read<Revision> {
        let large = || Wrong::field(Code::BadField, format!("at most {}", Revision::MAX));
        Revision::new(source.uint()?).ok_or_else(large)
    }
}

impl Wire for bool {
    fn put(&self, sink: &mut Sink) {
        sink.bool(*self);
    }

    fn get(source: Source<'_>) -> Read<bool> {
        let value = match source {
            Source::Json("true") => Some(true),
            Source::Json("false") => Some(false),
            Source::Json(_) => None,
            Source::Pack(bytes) => pack::bool(bytes),
        };
        value.ok_or_else(|| Wrong::frame("not true or false"))
    }
}

impl Wire for Cookie {
    fn put(&self, sink: &mut Sink) {
        sink.record(|record| {
            record.field("epoch", |sink| self.epoch.put(sink));
            record.field("rev", |sink| self.rev.put(sink));
            record.field("view", |sink| self.view.put(sink));
        });
    }

    fn get(source: Source<'_>) -> Read<Cookie> {
        source.record(|fields| {
            Ok(Cookie {
                epoch: fields.required("epoch")?,
                rev: fields.required("rev")?,
                view: fields.required("view")?,
            })
        })
    }
}

impl Wire for Expect {
    fn put(&self, sink: &mut Sink) {
        sink.record(|record| record.field("rev", |sink| self.rev.put(sink)));
    }

    fn get(source: Source<'_>) -> Read<Expect> {
        source.record(|fields| Ok(Expect { rev: fields.required("rev")? }))
    }
}

impl Wire for Limits {
    fn put(&self, sink: &mut Sink) {
        sink.record(|record| {
            record.field("frame_bytes", |sink| self.frame_bytes.put(sink));
            record.field("value_bytes", |sink| self.value_bytes.put(sink));
            record.field("subscriptions", |sink| self.subscriptions.put(sink));
            record.field("in_flight", |sink| self.in_flight.put(sink));
        });
    }

    fn get(source: Source<'_>) -> Read<Limits> {
        source.record(|fields| {
            Ok(Limits {
                frame_bytes: fields.required("frame_bytes")?,
                value_bytes: fields.required("value_bytes")?,
                subscriptions: fields.required("subscriptions")?,
                in_flight: fields.required("in_flight")?,
            })
        })
    }
}
