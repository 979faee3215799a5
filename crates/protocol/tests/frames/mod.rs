//! Random frames: every kind of frame, each optional field present or absent.

use std::hash::{BuildHasher, RandomState};

use onetree_protocol::frame::*;
use onetree_protocol::limits::Limits;
use onetree_protocol::*;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestRunner};

/// Runs a property. It prints its seed when it fails, and `ONETREE_SEED` runs the same cases again.
pub(crate) fn run<S: Strategy>(
    cases: u32,
    strategy: S,
    property: impl Fn(S::Value) -> TestCaseResult,
) {
    let seed = match std::env::var("ONETREE_SEED") {
        Ok(seed) => seed.parse().expect("ONETREE_SEED is a number"),
        Err(_) => RandomState::new().hash_one("seed"),
    };
    println!("to run this again: ONETREE_SEED={seed}");
    let mut runner = TestRunner::new(Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    });
    if let Err(error) = runner.run(&strategy, property) {
        panic!("{error}\nONETREE_SEED={seed}");
    }
}

/// Any frame of a client.
pub(crate) fn client_frame() -> impl Strategy<Value = ClientFrame> {
    prop_oneof![
        3 => hello().prop_map(|hello| ClientFrame::Hello(hello.into())),
        1 => (id(), words()).prop_map(|(id, token)| ClientFrame::Auth(Auth { id, token })),
        3 => sub().prop_map(|sub| ClientFrame::Sub(sub.into())),
        1 => (id(), id()).prop_map(|(id, sub)| ClientFrame::Unsub(Unsub { id, sub })),
        1 => (id(), id()).prop_map(|(id, sub)| ClientFrame::Resync(Resync { id, sub })),
        1 => (id(), any::<bool>()).prop_map(|(id, all)| ClientFrame::Sync(SyncRequest { id, all })),
        3 => (id(), of(number()), path(), value(), of(expect()), of(number()), flag()).prop_map(
            |(id, seq, path, value, expect, ttl_ms, ephemeral)| {
                ClientFrame::Put(Put { id, seq, path, value, expect, ttl_ms, ephemeral })
            }
        ),
        3 => (id(), of(number()), path(), value(), of(number()), flag()).prop_map(
            |(id, seq, path, value, ttl_ms, ephemeral)| {
                ClientFrame::Append(Append { id, seq, path, value, ttl_ms, ephemeral })
            }
        ),
        1 => (id(), of(number()), path(), of(expect())).prop_map(|(id, seq, path, expect)| {
            ClientFrame::Delete(Delete { id, seq, path, expect })
        }),
        1 => (id(), of(number()), path(), of(expect())).prop_map(|(id, seq, path, expect)| {
            ClientFrame::Drop(DropTree { id, seq, path, expect })
        }),
        1 => (id(), of(number()), path(), log_key())
            .prop_map(|(id, seq, path, to)| ClientFrame::Trim(Trim { id, seq, path, to })),
        1 => (of(id()), path(), value()).prop_map(|(id, path, value)| {
            ClientFrame::Signal(SendSignal { id, path, value })
        }),
        3 => (id(), of(number()), vec(condition(), 0..4), vec(step(), 0..6)).prop_map(
            |(id, seq, conditions, changes)| {
                ClientFrame::Txn(Txn { id, seq, conditions, changes })
            }
        ),
        1 => (id(), vec(path(), 0..20))
            .prop_map(|(id, paths)| ClientFrame::Get(Get { id, paths })),
        2 => (id(), path(), depth(), of(path()), of(path()), id(), flag(), flag()).prop_map(
            |(id, path, depth, after, before, limit, reverse, values)| {
                ClientFrame::List(List { id, path, depth, after, before, limit, reverse, values })
            }
        ),
        1 => id().prop_map(|id| ClientFrame::Bye(Bye { id })),
    ]
}

/// Any frame of a broker.
pub(crate) fn server_frame() -> impl Strategy<Value = ServerFrame> {
    prop_oneof![
        1 => welcome().prop_map(ServerFrame::Welcome),
        1 => id().prop_map(|id| ServerFrame::Ok(Ok { id })),
        2 => (of(id()), code(), words(), of(path()), of(rev()), of(id()), of(id())).prop_map(
            |(id, code, message, path, rev, sub, retry_ms)| {
                ServerFrame::Error(ErrorFrame { id, code, message, path, rev, sub, retry_ms })
            }
        ),
        1 => (id(), kind(), reason(), of(rev())).prop_map(|(sub, kind, why, from)| {
            ServerFrame::Refresh(Refresh { sub, kind, why, from })
        }),
        2 => (id(), vec(change(), 0..40))
            .prop_map(|(sub, changes)| ServerFrame::Entries(Entries { sub, changes })),
        1 => (id(), rev(), fingerprint(), of(digest())).prop_map(|(sub, rev, view, digest)| {
            ServerFrame::Fresh(Fresh { sub, rev, view, digest })
        }),
        2 => (rev(), of(rev()), of(id()), flag(), vec(change(), 0..8)).prop_map(
            |(rev, since, sub, part, changes)| {
                ServerFrame::Delta(Delta { rev, since, sub, part, changes })
            }
        ),
        1 => (path(), value())
            .prop_map(|(path, value)| ServerFrame::Signal(Signal { path, value })),
        1 => (of(id()), rev(), btree_map(id(), of(digest()), 0..20)).prop_map(
            |(id, rev, digests)| {
                let digests = digests.into_iter().collect();
                ServerFrame::Sync(Sync { id, rev, digests })
            }
        ),
        1 => (id(), rev(), flag(), vec(path(), 0..4)).prop_map(|(id, rev, durable, paths)| {
            ServerFrame::Done(Done { id, rev, durable, paths })
        }),
        1 => (id(), rev(), vec(put(), 0..8), flag()).prop_map(|(id, rev, entries, more)| {
            ServerFrame::Found(Found { id, rev, entries, more })
        }),
        1 => (code(), of(id()), words()).prop_map(|(code, retry_ms, message)| {
            ServerFrame::Bye(Goodbye { code, retry_ms, message })
        }),
    ]
}

/// Any change.
pub(crate) fn change() -> impl Strategy<Value = Change> {
    let act = prop_oneof![
        4 => of(value()).prop_map(Act::Put),
        1 => Just(Act::Delete),
        1 => Just(Act::Drop),
        1 => (log_key(), flag()).prop_map(|(to, gap)| Act::Trim { to, gap }),
    ];
    (path(), rev(), act).prop_map(|(path, rev, act)| Change { path, rev, act })
}

/// Any cookie.
pub(crate) fn cookie() -> impl Strategy<Value = Cookie> {
    let epoch = any::<u128>().prop_map(Epoch);
    (epoch, rev(), fingerprint()).prop_map(|(epoch, rev, view)| Cookie { epoch, rev, view })
}

/// A path as users have them, and sometimes a path at a limit.
pub(crate) fn path() -> impl Strategy<Value = Path> {
    let join = |segments: Vec<String>| {
        let text: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        Path::parse(if text.is_empty() { "/" } else { &text }).expect("a path")
    };
    prop_oneof![
        8 => vec(segment(), 0..5).prop_map(join),
        1 => vec(segment(), 32).prop_map(join),
        1 => "[a-z]{255}".prop_map(move |segment| join(vec![segment; 4])),
        1 => log_key().prop_map(|key| Path::parse(&format!("/log/{key}")).expect("a path")),
    ]
}

/// Any value.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let other = |text: &str| MediaType::parse(text).expect("a media type");
    let media = select(vec![
        MediaType::Text,
        MediaType::Octets,
        other("text/html; charset=utf-8"),
        other("image/svg+xml"),
        other("application/json; v=1"),
    ]);
    let bytes = prop_oneof![vec(any::<u8>(), 0..40), words().prop_map(String::into_bytes)];
    prop_oneof![
        json_text().prop_map(|text| Value::json(&text)),
        (media, bytes).prop_map(|(media, bytes)| Value { media, bytes: bytes.into() }),
    ]
}

fn hello() -> impl Strategy<Value = Hello> {
    let (client, session) = (of(name()), of(name()));
    let texts = (of(words()), of(words()));
    (id(), client, session, texts, of(rev()), vec(sub(), 0..3), of(rev())).prop_map(
        |(id, client, session, (token, agent), seen, subs, since)| Hello {
            id,
            client,
            session,
            token,
            agent,
            seen,
            subs,
            since,
        },
    )
}

fn sub() -> impl Strategy<Value = Sub> {
    let mode = select(vec![Mode::Stay, Mode::Once]);
    (id(), id(), view(), of(cookie()), mode, flag(), id(), flag()).prop_map(
        |(id, sub, view, cookie, mode, signals, every_ms, copy)| Sub {
            id,
            sub,
            view,
            cookie,
            mode,
            signals,
            every_ms,
            copy,
        },
    )
}

fn view() -> impl Strategy<Value = View> {
    let patterns = prop_oneof![9 => vec(pattern(), 0..4), 1 => vec(pattern(), 32)];
    (path(), depth(), patterns, of(id()), flag()).prop_map(
        |(base, depth, patterns, tail, values)| View { base, depth, patterns, tail, values },
    )
}

fn welcome() -> impl Strategy<Value = Welcome> {
    let limits = [id(), id(), id(), id()].prop_map(
        |[frame_bytes, value_bytes, subscriptions, in_flight]| Limits {
            frame_bytes,
            value_bytes,
            subscriptions,
            in_flight,
        },
    );
    (id(), name(), flag(), any::<u128>(), rev(), id(), any::<u128>(), limits).prop_map(
        |(id, session, resumed, epoch, rev, heartbeat_ms, key, limits)| Welcome {
            id,
            session,
            resumed,
            epoch: Epoch(epoch),
            rev,
            heartbeat_ms,
            digest_key: DigestKey(key),
            limits,
        },
    )
}

fn condition() -> impl Strategy<Value = Condition> {
    (path(), rev(), flag()).prop_map(|(path, rev, entry)| match entry {
        true => Condition::Entry { path, rev },
        false => Condition::Tree { path, rev },
    })
}

fn step() -> impl Strategy<Value = Do> {
    prop_oneof![
        (path(), value(), of(number()), flag()).prop_map(|(path, value, ttl_ms, ephemeral)| {
            Do::Put { path, value, ttl_ms, ephemeral }
        }),
        (path(), value(), of(number()), flag()).prop_map(|(path, value, ttl_ms, ephemeral)| {
            Do::Append { path, value, ttl_ms, ephemeral }
        }),
        path().prop_map(|path| Do::Delete { path }),
        path().prop_map(|path| Do::Drop { path }),
        (path(), log_key()).prop_map(|(path, to)| Do::Trim { path, to }),
    ]
}

fn put() -> impl Strategy<Value = Change> {
    (path(), rev(), of(value())).prop_map(|(path, rev, value)| Change {
        path,
        rev,
        act: Act::Put(value),
    })
}

/// JSON as people write it: with white space inside, exponents, escapes, nested to the limit.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        select(vec!["null", "true", "-0", "1.0e3", "1E-7", "18446744073709551616", "[ ]", "{ }"])
            .prop_map(str::to_owned),
        words().prop_map(|text| serde_json::to_string(&text).expect("a string")),
        Just(r#""\ud83d\ude00\u0000""#.to_owned()),
        (1..=127usize).prop_map(|deep| "[".repeat(deep) + &"]".repeat(deep)),
    ];
    prop_oneof![
        4 => leaf.clone(),
        1 => vec(leaf.clone().prop_filter("shallow", |text| !text.contains("[[")), 0..4)
            .prop_map(|items| format!("[{}]", items.join(" ,\n\t"))),
        1 => leaf.prop_filter("shallow", |text| !text.contains("[["))
            .prop_map(|item| format!("{{ \"b\" : {item}, \"a\":1 }}")),
    ]
}

/// Text with characters that JSON escapes, and with others.
fn words() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z0-9 /:.-]{1,40}", "\\PC{0,12}", "(?s).{0,12}"]
}

fn segment() -> impl Strategy<Value = String> {
    let rules = |text: &String| text != "." && text != "..";
    prop_oneof![4 => "[a-z0-9-]{1,10}", 1 => "[^/\\p{Cc}]{1,6}".prop_filter("a segment", rules)]
}

fn pattern() -> impl Strategy<Value = Pattern> {
    let segment = prop_oneof![Just("*".to_owned()), Just("**".to_owned()), segment()];
    vec(segment, 1..5).prop_map(|segments| Pattern::parse(&segments.join("/")).expect("a pattern"))
}

fn name() -> impl Strategy<Value = Name> {
    "[A-Za-z0-9_-]{1,64}".prop_map(|text| Name::parse(&text).expect("a name"))
}

fn log_key() -> impl Strategy<Value = LogKey> {
    (rev(), any::<u16>()).prop_map(|(rev, index)| LogKey { rev, index })
}

fn digest() -> impl Strategy<Value = Digest> {
    (number(), any::<u128>()).prop_map(|(count, sum)| Digest { count, sum })
}

fn fingerprint() -> impl Strategy<Value = Fingerprint> {
    any::<u64>().prop_map(Fingerprint)
}

fn expect() -> impl Strategy<Value = Expect> {
    rev().prop_map(|rev| Expect { rev })
}

fn rev() -> impl Strategy<Value = Revision> {
    let max = Revision::MAX.get();
    let any = prop_oneof![0..300u64, 0..=max, Just(max)];
    any.prop_map(|rev| Revision::new(rev).expect("not above the highest"))
}

/// Numbers of each width that MessagePack has.
fn id() -> impl Strategy<Value = u32> {
    prop_oneof![0..300u32, any::<u16>().prop_map(u32::from), any::<u32>(), Just(u32::MAX)]
}

fn number() -> impl Strategy<Value = u64> {
    let max = Revision::MAX.get();
    prop_oneof![id().prop_map(u64::from), 0..=max, Just(max)]
}

fn flag() -> impl Strategy<Value = bool> + Clone {
    any::<bool>()
}

fn depth() -> impl Strategy<Value = Depth> {
    select(vec![Depth::Entry, Depth::Children, Depth::Tree])
}

fn kind() -> impl Strategy<Value = RefreshKind> {
    select(vec![RefreshKind::Full, RefreshKind::Delta, RefreshKind::Repair])
}

fn reason() -> impl Strategy<Value = Reason> {
    select(vec![
        Reason::NoCookie,
        Reason::Cookie,
        Reason::Epoch,
        Reason::Horizon,
        Reason::View,
        Reason::Future,
        Reason::Resync,
        Reason::Outrun,
    ])
}

fn code() -> impl Strategy<Value = Code> {
    select(Code::ALL)
}
