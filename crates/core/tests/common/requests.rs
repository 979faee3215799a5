//! The requests of random clients: on a few paths, so that they meet, with everything that a tree
//! can do.

use onetree_core::{Bounds, Request, Retention, Settings};
use onetree_protocol::frame::{Condition, Do};
use onetree_protocol::{Depth, DigestKey, Epoch, LogKey, Path, Pattern, Revision, Value, View};

use super::truth::{self, Tree};
use super::{Rng, path, rev};

/// With these segments, text order and path order differ: `/a/b/c` < `/a/b c` < `/a/b-c`. The
/// number is not a log key, but sorts between log keys.
const SEGMENTS: [&str; 6] = ["a", "b", "b c", "b-c", "é", "00000000000080"];
const LOGS: [&str; 6] = ["/log", "/a/log", "/a", "/chat/b", "/", "/00000000000080/log"];

/// The settings that the tests start from: small bounds, so that everything happens often.
pub(crate) fn settings() -> Settings {
    let rule = |pattern: &str, keep, max_age_ms, max_bytes| Retention {
        pattern: Pattern::parse(pattern).unwrap(),
        keep,
        max_age_ms,
        max_bytes,
    };
    Settings {
        epoch: Epoch(1),
        digest_key: DigestKey(0x5eed),
        bounds: Bounds { grace_ms: 50, ..Bounds::default() },
        retention: vec![
            rule("log", Some(4), None, None),
            rule("chat/*", None, Some(300), None),
            rule("a/log/**", Some(9), None, Some(400)),
        ],
    }
}

pub(crate) fn any_path(rng: &mut Rng) -> Path {
    let mut text = String::new();
    for _ in 0..1 + rng.below(3) {
        text = format!("{text}/{}", rng.pick(&SEGMENTS));
    }
    if rng.chance(3) { Path::root() } else { path(&text) }
}

/// Returns a path that has an entry, if there is one.
pub(crate) fn some_entry(rng: &mut Rng, tree: &Tree) -> Path {
    let count = tree.len();
    if count == 0 || rng.chance(15) {
        return any_path(rng);
    }
    tree.keys().nth(rng.below(count)).unwrap().clone()
}

pub(crate) fn any_value(rng: &mut Rng) -> Value {
    let length = if rng.chance(5) { 200 } else { rng.below(20) };
    Value::text(&format!("{}{}", rng.below(1_000), "x".repeat(length)))
}

fn any_log(rng: &mut Rng, tree: &Tree) -> Path {
    // Sometimes an entry has a log of its own below it.
    let nested = if rng.chance(10) { some_entry(rng, tree) } else { path(rng.pick::<&str>(&LOGS)) };
    if nested.depth() < 5 { nested } else { path("/log") }
}

fn any_key(rng: &mut Rng, tree: &Tree, log: &Path) -> LogKey {
    // Also take the key of an entry that is deleted, if something is still under it.
    let name = |other: &Path| LogKey::parse(truth::segments(log, other)?.first()?);
    let keys: Vec<LogKey> = tree.keys().filter_map(name).collect();
    if keys.is_empty() { LogKey { rev: rev(1), index: 0 } } else { *rng.pick(&keys) }
}

/// One random step of a write.
pub(crate) fn any_do(rng: &mut Rng, tree: &Tree) -> Do {
    let value = any_value(rng);
    let ttl_ms = rng.chance(10).then(|| 1 + rng.below(400) as u64);
    let ephemeral = rng.chance(10);
    match rng.below(100) {
        0..35 => Do::Put { path: any_path(rng), value, ttl_ms, ephemeral },
        35..48 => {
            // Change what is there, or something below it: also log entries, and what is below
            // them.
            let at = some_entry(rng, tree);
            let path = if rng.chance(30) && at.depth() < 5 { at.child("b").unwrap() } else { at };
            Do::Put { path, value, ttl_ms, ephemeral }
        }
        48..70 => Do::Append { path: any_log(rng, tree), value, ttl_ms, ephemeral },
        70..85 => Do::Delete { path: some_entry(rng, tree) },
        85..91 => {
            let path = some_entry(rng, tree);
            let path = if rng.chance(40) { path.parent().unwrap_or(path) } else { path };
            let all = path.is_root() && !rng.chance(10);
            Do::Drop { path: if all { any_path(rng) } else { path } }
        }
        _ => {
            let log = any_log(rng, tree);
            let to = any_key(rng, tree, &log);
            Do::Trim { path: log, to }
        }
    }
}

fn any_condition(rng: &mut Rng, tree: &Tree, now: Revision) -> Condition {
    let path = some_entry(rng, tree);
    let entry = tree.get(&path).map_or(Revision::ZERO, |(rev, _)| *rev);
    let lately = rev(now.get().saturating_sub(rng.below(20) as u64));
    if rng.chance(60) {
        Condition::Entry { path, rev: if rng.chance(80) { entry } else { lately } }
    } else {
        Condition::Tree { path, rev: if rng.chance(30) { now } else { lately } }
    }
}

pub(crate) fn any_request(rng: &mut Rng, tree: &Tree, now: Revision) -> Request {
    let conditions = if rng.chance(20) { 1 + rng.below(2) } else { 0 };
    let changes = if rng.chance(20) { rng.below(8) } else { 1 };
    Request {
        seq: None,
        conditions: (0..conditions).map(|_| any_condition(rng, tree, now)).collect(),
        changes: (0..changes).map(|_| any_do(rng, tree)).collect(),
    }
}

pub(crate) fn any_view(rng: &mut Rng, tree: &Tree) -> View {
    let base = match rng.below(10) {
        0..3 => Path::root(),
        3..5 => path(rng.pick::<&str>(&LOGS)),
        5..6 => some_entry(rng, tree),
        _ => any_path(rng),
    };
    let depth = match rng.below(10) {
        0 => Depth::Entry,
        1..3 => Depth::Children,
        _ => Depth::Tree,
    };
    let patterns = ["*", "b", "**/b", "a/**", "**/log/**", "**/b/*", "b c/*", "**"];
    let count = if rng.chance(30) { 1 + rng.below(2) } else { 0 };
    let patterns = (0..count).map(|_| Pattern::parse(rng.pick::<&str>(&patterns)).unwrap());
    let patterns = patterns.collect();
    let tail = rng.chance(30).then(|| rng.below(4) as u32);
    View { base, depth, patterns, tail, values: rng.chance(80) }
}

pub(crate) fn put(at: &str, text: &str) -> Request {
    let value = Value::text(text);
    one(Do::Put { path: path(at), value, ttl_ms: None, ephemeral: false })
}

pub(crate) fn append(log: &str, text: &str) -> Request {
    let value = Value::text(text);
    one(Do::Append { path: path(log), value, ttl_ms: None, ephemeral: false })
}

pub(crate) fn delete(at: &str) -> Request {
    one(Do::Delete { path: path(at) })
}

pub(crate) fn drop_tree(at: &str) -> Request {
    one(Do::Drop { path: path(at) })
}

pub(crate) fn one(change: Do) -> Request {
    Request { changes: vec![change], ..Request::default() }
}

pub(crate) fn trim(log: &str, to: LogKey) -> Request {
    one(Do::Trim { path: path(log), to })
}

pub(crate) fn txn(parts: &[Request]) -> Request {
    let changes = parts.iter().flat_map(|part| part.changes.clone()).collect();
    Request { changes, ..Request::default() }
}

/// Returns the key of the entry that the commit `number` appended first.
pub(crate) fn key(number: u64) -> LogKey {
    LogKey { rev: rev(number), index: 0 }
}

/// Returns the view that sees everything.
pub(crate) fn everything() -> View {
    View::tree(Path::root())
}
