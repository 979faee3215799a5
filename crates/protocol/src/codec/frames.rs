//! The frames, field by field, in the order of the specification: one list for both codecs.

use std::borrow::Cow;

use super::parts::{
    get_all, get_list, get_view, list, path_again, put_default, put_list, put_optional, put_value,
    put_view, value,
};
use super::wire::{Fields, Most, Read, Record, Sink, Source, Wire, Wrong, present};
use crate::code::Code;
use crate::digest::Digest;
use crate::frame::*;
use crate::json_text;
use crate::limits::{GET_PATHS, HELLO_ITEMS, TXN_ITEMS};

/// A frame without its `op`.
pub(super) trait Frame: Sized {
    fn put(&self, record: &mut Record<'_>);
    fn get(fields: &mut Fields<'_>) -> Read<Self>;
}

/// Large frames are boxed, so that all variants are small.
impl<T: Frame> Frame for Box<T> {
    fn put(&self, record: &mut Record<'_>) {
        Frame::put(&**self, record);
    }

    fn get(fields: &mut Fields<'_>) -> Read<Box<T>> {
        Frame::get(fields).map(Box::new)
    }
}

/// Implements [`Frame`] from a list of fields. The first word says how a field is written and read:
///
/// - `req`: always present
/// - `opt`: an `Option`
/// - `def`: present if it is not the default (`yes`: the default is true)
/// - `list`: present if it is not empty; `all`: also present if it is empty
/// - `again`: a path that is often the same as in the frame before
/// - `value` and `view`: several fields
///
/// For a list in a client's frame, the limit on its items follows in brackets.
macro_rules! frames {
    ($($type:ident { $($kind:ident $field:ident $name:literal $([$most:expr])?),+ })+) => {$(
        impl Frame for $type {
            fn put(&self, record: &mut Record<'_>) {
                $(frames!(put $kind record, self.$field, $name);)+
            }

            #[inline(always)]
            fn get(fields: &mut Fields<'_>) -> Read<$type> {
                Ok($type { $($field: frames!(get $kind fields, $name $(, $most)?)),+ })
            }
        }
    )+};
    (put req $r:ident, $f:expr, $n:literal) => { $r.field($n, |sink| $f.put(sink)) };
    (put again $r:ident, $f:expr, $n:literal) => { $r.field($n, |sink| $f.put(sink)) };
    (put opt $r:ident, $f:expr, $n:literal) => { put_optional($r, $n, $f.as_ref()) };
    (put def $r:ident, $f:expr, $n:literal) => { put_default($r, $n, &$f) };
    (put list $r:ident, $f:expr, $n:literal) => { put_list($r, $n, &$f) };
    (put all $r:ident, $f:expr, $n:literal) => {
        $r.field($n, |sink| sink.list(&$f, |sink, item| item.put(sink)))
    };
    (put yes $r:ident, $f:expr, $n:literal) => {
        if $f { $r.absent() } else { $r.field($n, |sink| sink.bool(false)) }
    };
    (put value $r:ident, $f:expr, $n:literal) => { put_value($r, &$f, false) };
    (put view $r:ident, $f:expr, $n:literal) => { put_view($r, &$f) };
    (put subs $r:ident, $f:expr, $n:literal) => { put_list($r, $n, &$f) };
    (put digests $r:ident, $f:expr, $n:literal) => { put_digests($r, $n, &$f) };
    (get req $r:ident, $n:literal) => { $r.required($n)? };
    (get again $r:ident, $n:literal) => { path_again($r, $n)? };
    (get opt $r:ident, $n:literal) => { $r.optional($n)? };
    (get def $r:ident, $n:literal) => { $r.optional($n)?.unwrap_or_default() };
    (get list $r:ident, $n:literal) => { get_list($r, $n, Most::ANY)? };
    (get list $r:ident, $n:literal, $most:expr) => { get_list($r, $n, $most)? };
    (get all $r:ident, $n:literal) => { get_all($r, $n, Most::ANY)? };
    (get all $r:ident, $n:literal, $most:expr) => { get_all($r, $n, $most)? };
    (get yes $r:ident, $n:literal) => {
        $r.optional($n)?.unwrap_or(true)
    };
    (get value $r:ident, $n:literal) => { value($r)? };
    (get view $r:ident, $n:literal) => { get_view($r)? };
    (get subs $r:ident, $n:literal) => { get_subs($r, $n)? };
    (get digests $r:ident, $n:literal) => { get_digests($r, $n)? };
}

const CONDITIONS: Most = Most { items: TXN_ITEMS, what: "conditions", code: Code::TooManyChanges };
const CHANGES: Most = Most { items: TXN_ITEMS, what: "changes", code: Code::TooManyChanges };
const PATHS: Most = Most { items: GET_PATHS, what: "paths", code: Code::BadField };
const SUBS: Most =
    Most { items: HELLO_ITEMS, what: "subscriptions", code: Code::TooManySubscriptions };
/// The patterns of all subscriptions together.
const SUBS_PATTERNS: Most =
    Most { items: HELLO_ITEMS, what: "patterns", code: Code::TooManySubscriptions };

frames! {
    Hello {
        req id "id", opt client "client", opt session "session", opt token "token",
        opt agent "agent", opt seen "seen", subs subs "subs", opt since "since"
    }
    Auth { req id "id", req token "token" }
    Sub {
        req id "id", req sub "sub", view view "", opt cookie "cookie", def mode "mode",
        def signals "signals", def every_ms "every_ms", def copy "copy"
    }
    Unsub { req id "id", req sub "sub" }
    Resync { req id "id", req sub "sub" }
    SyncRequest { req id "id", def all "all" }
    Put {
        req id "id", opt seq "seq", again path "path", value value "", opt expect "if",
        opt ttl_ms "ttl_ms", def ephemeral "ephemeral"
    }
    Append {
        req id "id", opt seq "seq", again path "path", value value "", opt ttl_ms "ttl_ms",
        def ephemeral "ephemeral"
    }
    Delete { req id "id", opt seq "seq", req path "path", opt expect "if" }
    DropTree { req id "id", opt seq "seq", req path "path", opt expect "if" }
    Trim { req id "id", opt seq "seq", req path "path", req to "to" }
    SendSignal { opt id "id", again path "path", value value "" }
    Txn { req id "id", opt seq "seq", list conditions "if" [CONDITIONS], list changes "do" [CHANGES] }
    Get { req id "id", all paths "paths" [PATHS] }
    List {
        req id "id", req path "path", def depth "depth", opt after "after", opt before "before",
        def limit "limit", def reverse "reverse", yes values "values"
    }
    Bye { req id "id" }

    Welcome {
        req id "id", req session "session", def resumed "resumed", req epoch "epoch",
        req rev "rev", req heartbeat_ms "heartbeat_ms", req digest_key "digest_key",
        req limits "limits"
    }
    Ok { req id "id" }
    ErrorFrame {
        opt id "id", req code "code", req message "message", opt path "path", opt rev "rev",
        opt sub "sub", opt retry_ms "retry_ms"
    }
    Refresh { req sub "sub", req kind "kind", req why "why", opt from "from" }
    Entries { req sub "sub", all changes "changes" }
    Fresh { req sub "sub", req rev "rev", req view "view", opt digest "digest" }
    Delta {
        req rev "rev", opt since "since", opt sub "sub", def part "part", list changes "changes"
    }
    Signal { req path "path", value value "" }
    Sync { opt id "id", req rev "rev", digests digests "digests" }
    Done { req id "id", req rev "rev", req durable "durable", list paths "paths" }
    Found { req id "id", req rev "rev", list entries "entries", def more "more" }
    Goodbye { req code "code", opt retry_ms "retry_ms", req message "message" }
}

/// A subscription inside `hello` is a record like any other.
impl Wire for Sub {
    fn put(&self, sink: &mut Sink) {
        sink.record(|record| Frame::put(self, record));
    }

    fn get(source: Source<'_>) -> Read<Sub> {
        source.record(Frame::get)
    }
}

/// Reads the subscriptions of a `hello`, and counts their patterns together.
fn get_subs(fields: &mut Fields<'_>, name: &str) -> Read<Vec<Sub>> {
    let Some(source) = fields.take(name) else { return Ok(Vec::new()) };
    let mut patterns = 0;
    list(&source, name, SUBS, |item| {
        let sub: Sub = Wire::get(item)?;
        patterns += sub.view.patterns.len();
        SUBS_PATTERNS.allow(patterns)?;
        Ok(sub)
    })
}

/// Writes `{"1":"count:sum","2":null}`; in MessagePack a list of `[sub, digest]`.
fn put_digests(record: &mut Record<'_>, name: &str, digests: &[(u32, Option<Digest>)]) {
    let json = record.is_json();
    record.field(name, |sink| {
        if !json {
            return sink.list(digests, |sink, (sub, digest)| {
                sink.record(|record| {
                    record.field("sub", |sink| sub.put(sink));
                    put_optional(record, "digest", digest.as_ref());
                });
            });
        }
        sink.record(|record| {
            for (sub, digest) in digests {
                record.field(&sub.to_string(), |sink| match digest {
                    Some(digest) => digest.put(sink),
                    None => sink.nothing(),
                });
            }
        });
    });
}

fn get_digests(fields: &mut Fields<'_>, name: &str) -> Read<Vec<(u32, Option<Digest>)>> {
    let source = fields.there(name)?;
    let Source::Json(text) = source else {
        return source.list(Most::ANY, |pair| {
            pair.record(|fields| Ok((fields.required("sub")?, fields.optional("digest")?)))
        });
    };
    // Read member by member: looking up each by its name would take time quadratic in their number.
    let read = |(name, text): &(Cow<'_, str>, &str)| {
        let sub = name.parse::<u32>().ok().filter(|sub| sub.to_string() == *name);
        let sub = sub.ok_or_else(|| {
            Wrong::field(Code::BadField, "digests: not the number of a subscription")
        })?;
        Ok((sub, present(text).map(Digest::get).transpose()?))
    };
    json_text::members(text).map_err(Wrong::frame)?.iter().map(read).collect()
}

/// Writes a broker's signal that is not wrapped in a `ServerFrame`.
pub(super) fn put_signal(signal: &Signal, record: &mut Record<'_>) {
    put_op(record, "signal", 8);
    Frame::put(signal, record);
}

fn put_op(record: &mut Record<'_>, word: &str, number: u64) {
    let json = record.is_json();
    record.field("op", |sink| if json { sink.str(word) } else { sink.uint(number) });
}

/// Lists the frames of one side, each with its word in JSON and its number in MessagePack.
macro_rules! side {
    ($side:ident, $op:ident, $put:ident, $get:ident: $($variant:ident $word:literal $number:literal,)+) => {
        /// The words and numbers of this side's frames.
        pub(super) const $op: &[(&str, u64)] = &[$(($word, $number)),+];

        pub(super) fn $put(frame: &$side, record: &mut Record<'_>) {
            match frame {
                $($side::$variant(frame) => {
                    put_op(record, $word, $number);
                    Frame::put(frame, record);
                })+
            }
        }

        #[inline(always)]
        pub(super) fn $get(op: u64, fields: &mut Fields<'_>) -> Read<$side> {
            match op {
                $($number => Ok($side::$variant(Frame::get(fields)?)),)+
                _ => Err(Wrong::field(Code::UnknownOp, format!("op: {op} is not known"))),
            }
        }
    };
}

side! { ClientFrame, CLIENT_OPS, put_client, get_client:
    Hello "hello" 1,
    Auth "auth" 2,
    Sub "sub" 3,
    Unsub "unsub" 4,
    Resync "resync" 5,
    Sync "sync" 6,
    Put "put" 7,
    Append "append" 8,
    Delete "delete" 9,
    Drop "drop" 10,
    Trim "trim" 11,
    Signal "signal" 12,
    Txn "txn" 13,
    Get "get" 14,
    List "list" 15,
    Bye "bye" 16,
}

side! { ServerFrame, SERVER_OPS, put_server, get_server:
    Welcome "welcome" 1,
    Ok "ok" 2,
    Error "error" 3,
    Refresh "refresh" 4,
    Entries "entries" 5,
    Fresh "fresh" 6,
    Delta "delta" 7,
    Signal "signal" 8,
    Sync "sync" 9,
    Done "done" 10,
    Found "found" 11,
    Bye "bye" 12,
}
