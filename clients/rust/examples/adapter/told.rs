//! How entries and events are told.

use onetree_client::protocol::frame::{ServerFrame, Signal};
use onetree_client::protocol::json;
use onetree_client::{Act, Change, Changes, Codec, Entry, Event, Found, Path};
use serde_json::{Value, json};

use crate::code;

/// What the library wrote as JSON, as JSON.
pub(crate) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// An entry, as `export` prints it.
pub(crate) fn line(entry: &Change) -> Value {
    parsed(&json::change_line(entry))
}

fn entry(path: &Path, entry: &Entry) -> Value {
    line(&Change { path: path.clone(), rev: entry.rev, act: Act::Put(entry.value.clone()) })
}

/// An entry's value: what its JSON says, else its text or the base64 of its bytes.
pub(crate) fn plain(of: &Entry) -> Value {
    let line = entry(&Path::root(), of);
    ["json", "text", "bytes"].iter().find_map(|field| line.get(*field)).cloned().unwrap_or_default()
}

pub(crate) fn page(found: &Found) -> Value {
    let entries: Vec<Value> = found.entries.iter().map(line).collect();
    json!({ "rev": found.rev.get(), "changes": entries, "more": found.more })
}

/// An event, which `changes` gave just now. What is null is as if absent.
pub(crate) fn event(event: &Event, changes: &Changes) -> Value {
    match event {
        Event::Refreshing { kind, why } => {
            json!({ "event": "refreshing", "kind": kind.as_str(), "why": why.as_str() })
        }
        Event::Fresh { rev, changes: raw } => json!({ "event": "fresh", "rev": rev.get(),
            "changes": changed(changes), "gaps": gaps(raw) }),
        Event::Delta { since, rev, changes: raw } => json!({ "event": "delta", "rev": rev.get(),
            "since": since.get(), "changes": changed(changes), "gaps": gaps(raw) }),
        Event::Signal { path, value } => {
            let signal = Signal { path: path.clone(), value: value.clone() };
            let frame = Codec::Json.encode_server(&ServerFrame::Signal(signal));
            let mut told = parsed(&String::from_utf8_lossy(&frame));
            told["event"] = "signal".into();
            told
        }
        Event::Synced { rev, verified } => {
            json!({ "event": "synced", "rev": rev.get(), "verified": verified })
        }
        Event::Corrupt { .. } => json!({ "event": "corrupt" }),
        Event::Broken { why } => json!({ "event": "broken", "why": why }),
        Event::Circling { retry_in } => {
            json!({ "event": "circling", "retry_ms": retry_in.as_millis() as u64 })
        }
        Event::Offline { retry_in, .. } => {
            json!({ "event": "offline", "retry_ms": retry_in.map(|wait| wait.as_millis() as u64) })
        }
        Event::Online { resumed } => json!({ "event": "online", "resumed": resumed }),
        Event::Ended { error } => {
            json!({ "event": "ended", "code": error.as_ref().map(|error| code::of(error)) })
        }
    }
}

/// What was there and what is, for each path that the last event has changed.
fn changed(changes: &Changes) -> Vec<Value> {
    let each = changes.differences().into_iter().map(|one| {
        let told = |of: &Option<Entry>| of.as_ref().map(|of| entry(&one.path, of));
        json!({ "path": one.path.as_str(), "rev": one.rev.get(),
            "old": told(&one.old), "new": told(&one.new) })
    });
    each.collect()
}

/// The logs that have lost entries which the mirror never had.
fn gaps(changes: &[Change]) -> Vec<&str> {
    let gap = |change: &&Change| matches!(change.act, Act::Trim { gap: true, .. });
    let mut logs: Vec<&str> = changes.iter().filter(gap).map(|log| log.path.as_str()).collect();
    logs.sort_unstable();
    logs.dedup();
    logs
}
