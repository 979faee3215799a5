//! The mirrors, each with a network of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use onetree_client::protocol::json;
use onetree_client::{Act, Change, Changes, Client, Event, LogKey, Mirror, MirrorOptions};
use onetree_client::{Path, RefreshKind, Revision, View};
use tokio::time::{sleep, timeout};

use super::conversations::Conversation;
use super::writers;

/// How long a mirror may take to be right once the network is calm.
const PATIENCE: Duration = Duration::from_secs(120);

/// A mirror that follows everything.
pub(crate) struct Follower {
    client: Client,
    mirror: Mirror,
    seen: Arc<Seen>,
    watching: tokio::task::JoinHandle<Checked>,
}

/// What happened to a mirror.
#[derive(Default)]
pub(crate) struct Seen {
    /// How often its connection was lost.
    pub(crate) lost: AtomicU64,
    /// How often it was refreshed from nothing, and from its cookie.
    pub(crate) full: AtomicU64,
    pub(crate) resumed: AtomicU64,
    /// Deltas.
    pub(crate) deltas: AtomicU64,
}

/// What a reader who took each event in order found in the logs.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Lines that came in order.
    pub(crate) in_turn: u64,
    /// Lines that were skipped, and lines that came again.
    pub(crate) skipped: u64,
    pub(crate) twice: u64,
    /// Gaps that the broker reported: retention took entries before they were seen.
    pub(crate) gaps: u64,
    /// The first error.
    pub(crate) first: Option<String>,
}

/// The result of a mirror.
pub(crate) struct Finished {
    /// The lines that `export` would print.
    pub(crate) lines: Vec<u8>,
    pub(crate) checked: Checked,
    pub(crate) seen: Arc<Seen>,
}

impl Follower {
    /// Begins to follow `/irc` at `url`.
    pub(crate) async fn start(url: &str, said: Arc<Vec<Conversation>>) -> Result<Follower, String> {
        let client = writers::client(url).await?;
        let base = Path::parse("/irc").map_err(|error| error.to_string())?;
        let mirror = client.mirror(View::tree(base), MirrorOptions::new());
        let seen = Arc::new(Seen::default());
        let watching = tokio::spawn(watch(mirror.changes(), said, seen.clone()));
        Ok(Follower { client, mirror, seen, watching })
    }

    /// Waits until the mirror was refreshed from its cookie at least once.
    pub(crate) async fn resumes(&self) -> Result<(), String> {
        let resumed = async {
            while self.seen.resumed.load(Ordering::Relaxed) == 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, resumed)
            .await
            .map_err(|_| "it never comes back from its cookie".to_owned())
    }

    /// Waits until the mirror is at `rev`, and ends it.
    pub(crate) async fn finish(self, rev: Revision) -> Result<Finished, String> {
        let Follower { client, mirror, seen, watching } = self;
        let reached = timeout(PATIENCE, mirror.at(rev)).await;
        reached
            .map_err(|_| format!("it is at {} only", mirror.rev()))?
            .map_err(|e| e.to_string())?;
        let snapshot = mirror.snapshot();
        let mut lines = Vec::new();
        for entry in snapshot.entries() {
            lines.extend_from_slice(json::change_line(&entry).as_bytes());
            lines.push(b'\n');
        }
        client.close().await;
        let checked = watching.await.map_err(|error| error.to_string())?;
        Ok(Finished { lines, checked, seen })
    }
}

/// Takes every event to the end, and compares it with what was said.
async fn watch(mut changes: Changes, said: Arc<Vec<Conversation>>, seen: Arc<Seen>) -> Checked {
    let mut logs: HashMap<Path, Log> = said
        .iter()
        .filter_map(|c| Some((writers::log(&c.name).ok()?, Log { said: c, next: 0, last: None })))
        .collect();
    let mut checked = Checked::default();
    while let Some(event) = changes.next().await {
        let counter = match &event {
            Event::Fresh { changes, .. } | Event::Delta { changes, .. } => {
                changes.iter().for_each(|change| check(change, &mut logs, &mut checked));
                &seen.deltas
            }
            Event::Offline { .. } => &seen.lost,
            Event::Refreshing { kind: RefreshKind::Full, .. } => &seen.full,
            Event::Refreshing { .. } => &seen.resumed,
            Event::Corrupt { .. } | Event::Broken { .. } | Event::Circling { .. } => {
                checked.first.get_or_insert_with(|| format!("{event:?}"));
                continue;
            }
            _ => continue,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
    for log in logs.values() {
        checked.skipped += (log.said.len() - log.next) as u64;
    }
    checked
}

/// How far a log was seen.
struct Log<'a> {
    said: &'a Conversation,
    /// The line that comes next.
    next: usize,
    /// The key of the last line.
    last: Option<LogKey>,
}

fn check(change: &Change, logs: &mut HashMap<Path, Log<'_>>, checked: &mut Checked) {
    match &change.act {
        Act::Put(Some(value)) => {
            let log = change.path.parent().and_then(|log| logs.get_mut(&log));
            let (Some(log), Some(key)) = (log, LogKey::of(&change.path)) else { return };
            if log.last.is_some_and(|last| key <= last) {
                checked.twice += 1;
                return;
            }
            log.last = Some(key);
            let rest = &log.said.lines[log.next..];
            match rest.iter().position(|line| *line == value.bytes[..]) {
                Some(passed) => {
                    checked.in_turn += 1;
                    checked.skipped += passed as u64;
                    log.next += passed + 1;
                }
                None => checked.twice += 1,
            }
        }
        Act::Trim { gap: true, .. } => checked.gaps += 1,
        _ => {}
    }
}
