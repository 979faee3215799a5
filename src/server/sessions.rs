//! `/v1/sessions`: who is connected, and at which revisions their mirrors are.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use onetree_core::{Motion, Standing};
use onetree_protocol::Revision;
use onetree_protocol::frame::Mode;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout};

use super::Server;
use super::answer::echoed;
use super::connection::Connection;
use crate::broker::Order;

/// The most connections in one answer: with [`MIRROR_BYTES`] each, an answer has about 16 MB.
const MOST: usize = 1000;

/// About how many bytes one connection reports of its mirrors at most: it may have a thousand
/// mirrors with patterns of 32 KiB each.
const MIRROR_BYTES: usize = 16 * 1024;

/// What a mirror takes besides its path and its patterns, bytes.
const MIRROR_FIXED: usize = 160;

/// The most answers at once that are being made or read: at most this many are in memory.
pub(super) const ANSWERS: usize = 4;

/// How long to wait for the descriptions of connections. A connection describes itself at its next
/// turn, unless it ends.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often to check whether connections that were asked have ended.
const LOOK: Duration = Duration::from_millis(20);

/// Which connections are asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Only connections with a higher id.
    after: u64,
    /// At most this many.
    limit: usize,
}

impl Page {
    /// Parses the query of a request: `after=N&limit=N`; each may be omitted.
    pub(super) fn parse(query: Option<&str>) -> Result<Page, String> {
        let mut page = Page { after: 0, limit: MOST };
        for field in query.unwrap_or_default().split('&').filter(|field| !field.is_empty()) {
            let (name, text) = field.split_once('=').unwrap_or((field, ""));
            let number = text.parse::<u64>();
            match (name, number) {
                ("after", Ok(after)) => page.after = after,
                ("limit", Ok(limit @ 1..)) if limit <= MOST as u64 => page.limit = limit as usize,
                ("limit", _) => {
                    let text = echoed(text);
                    return Err(format!("'limit' is a number from 1 to {MOST}, not {text:?}"));
                }
                ("after", _) => {
                    let text = echoed(text);
                    return Err(format!("'after' is the id of a connection, not {text:?}"));
                }
                _ => {
                    let name = echoed(name);
                    return Err(format!("'after' and 'limit' are understood here, not {name:?}"));
                }
            }
        }
        Ok(page)
    }
}

/// Who is connected. `docs/http.md` defines the fields, and clients rely on their names.
#[derive(Debug, Serialize)]
pub(super) struct Sessions {
    revision: u64,
    connections: Vec<Described>,
    /// How many connections of the page did not answer in time.
    silent: usize,
    more: bool,
}

/// One connection. It includes neither the name of the session nor the name of the client: whoever
/// knows the first can take the session over, and whoever knows the second can use up the numbers
/// of its writes.
#[derive(Debug, Serialize)]
pub(super) struct Described {
    id: u64,
    agent: Option<String>,
    peer: String,
    codec: &'static str,
    welcomed: bool,
    connected_ms: u64,
    heard_ms: u64,
    outbox_bytes: usize,
    unsent_bytes: usize,
    in_flight: usize,
    subscriptions: usize,
    mirrors: Vec<Mirror>,
}

#[derive(Debug, Serialize)]
struct Mirror {
    sub: u32,
    path: String,
    depth: &'static str,
    #[serde(rename = "match", skip_serializing_if = "Vec::is_empty")]
    patterns: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tail: Option<u32>,
    values: bool,
    once: bool,
    signals: bool,
    every_ms: u32,
    cursor: &'static str,
    rev: Option<u64>,
    lag: Option<u64>,
}

/// Asks the connections of the page to describe themselves. This costs each of them a turn, and it
/// takes at most [`PATIENCE`]. Only one such question is asked at a time. The permit must be kept
/// as long as the answer is in memory. `None`: there was no permit within [`PATIENCE`].
pub(super) async fn sessions(
    server: &Server,
    page: Page,
) -> Option<(Sessions, OwnedSemaphorePermit)> {
    let permit = server.session_answers.clone().acquire_owned();
    let permit = timeout(PATIENCE, permit).await.ok()?.ok()?;
    let (tell, mut told) = mpsc::unbounded_channel();
    let _turn = server.asking.lock().await;
    let mut ids: BTreeSet<u64> = server.mailboxes.iter().map(|one| *one.key()).collect();
    ids.retain(|id| *id > page.after);
    let more = ids.len() > page.limit;
    let mut waited: BTreeSet<u64> = ids.into_iter().take(page.limit).collect();
    server.inquiry.store(Some(tell.into()));
    for id in &waited {
        if let Some(mailbox) = server.mailboxes.get(id) {
            mailbox.order(Order::Tell);
        }
    }
    let mut found = HashMap::new();
    let deadline = Instant::now() + PATIENCE;
    while !waited.is_empty() && Instant::now() < deadline {
        match timeout(LOOK, told.recv()).await {
            // The answer of a connection that was asked before may come late, and may belong to
            // another page.
            Ok(Some(described)) => {
                let described: Described = described;
                if waited.remove(&described.id) {
                    found.insert(described.id, described);
                }
            }
            Ok(None) => break,
            Err(_) => waited.retain(|id| server.mailboxes.contains_key(id)),
        }
    }
    server.inquiry.store(None);
    let mut connections: Vec<Described> = found.into_values().collect();
    connections.sort_unstable_by_key(|one| one.id);
    let revision = server.shared.settled().rev().get();
    Some((Sessions { revision, connections, silent: waited.len(), more }, permit))
}

impl Connection {
    /// Describes the connection to whoever asks.
    pub(super) fn tell(&self) {
        if let Some(tell) = &*self.server.inquiry.load() {
            // This fails when the asking task is gone, which does no harm.
            let _ = tell.send(self.describe());
        }
    }

    fn describe(&self) -> Described {
        let revision = self.server.shared.settled().rev();
        let outbox_bytes = self.mailbox.outbox.bytes();
        let lost = self.mailbox.outbox.has_overflowed();
        let idle = self.mailbox.outbox.is_idle();
        let mut left = MIRROR_BYTES;
        let mirrors = self.feed.standings().map_while(|standing| {
            let patterns: usize =
                standing.view.patterns.iter().map(|one| one.as_str().len() + 3).sum();
            left = left.checked_sub(MIRROR_FIXED + standing.view.base.as_str().len() + patterns)?;
            let motion = match standing.motion {
                // The outbox has overflowed, but the feed has not noticed yet, because the client
                // reads nothing.
                Motion::Live if lost => Motion::Behind,
                other => other,
            };
            Some(Mirror::of(Standing { motion, ..standing }, revision, idle))
        });
        Described {
            id: self.mailbox.id,
            agent: self.agent.clone(),
            peer: self.peer.to_string(),
            codec: self.codec.subprotocol(),
            welcomed: self.session.is_some(),
            connected_ms: self.since.elapsed().as_millis() as u64,
            heard_ms: self.heard().elapsed().as_millis() as u64,
            outbox_bytes,
            unsent_bytes: self.writer.queued(),
            in_flight: self.in_flight.len(),
            subscriptions: self.feed.len(),
            mirrors: mirrors.collect(),
        }
    }
}

impl Mirror {
    /// Describes a mirror. `idle`: nothing waits in the connection's outbox.
    fn of(standing: Standing<'_>, revision: Revision, idle: bool) -> Mirror {
        let Standing { sub, view, mode, signals, every_ms, motion, rev } = standing;
        // A live mirror lacks only what waits in the outbox. If the outbox is empty, it lacks
        // nothing.
        let rev = match motion {
            Motion::Live if idle => rev.map(|rev| rev.max(revision)),
            _ => rev,
        };
        Mirror {
            sub,
            path: view.base.to_string(),
            depth: view.depth.as_str(),
            patterns: view.patterns.iter().map(|one| one.as_str().to_owned()).collect(),
            tail: view.tail,
            values: view.values,
            once: mode == Mode::Once,
            signals,
            every_ms,
            cursor: match motion {
                Motion::Refreshing => "refreshing",
                Motion::Live => "live",
                Motion::Paced => "paced",
                Motion::Behind => "behind",
            },
            rev: rev.map(Revision::get),
            lag: rev.map(|rev| revision.get().saturating_sub(rev.get())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_is_asked_for_or_an_error() {
        let parse = |query| Page::parse(Some(query));
        assert_eq!(Page::parse(None), Ok(Page { after: 0, limit: MOST }));
        assert_eq!(parse(""), Ok(Page { after: 0, limit: MOST }));
        assert_eq!(parse("limit=7&after=12"), Ok(Page { after: 12, limit: 7 }));
        for bad in ["limit=0", "limit=1001", "limit=-1", "limit", "after=x", "before=3", "=", "a"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
