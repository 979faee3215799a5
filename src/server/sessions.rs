//! `/v1/sessions`: who is connected, and where their mirrors stand.

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

/// Connections in one answer, at most: with [`MIRROR_BYTES`] each it has some 16 MB.
const MOST: usize = 1000;

/// What one connection tells of its mirrors, bytes, at most, about: it may have a thousand, with
/// patterns of 32 KiB each.
const MIRROR_BYTES: usize = 16 * 1024;

/// What a mirror takes besides its path and its patterns, bytes.
const MIRROR_FIXED: usize = 160;

/// Answers at once, being made or read: so many of them are in memory at most.
pub(super) const ANSWERS: usize = 4;

/// How long is waited for connections to tell: they do at their next turn, unless they end.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is looked which of them have ended.
const LOOK: Duration = Duration::from_millis(20);

/// Which connections are asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Only those with a higher number.
    after: u64,
    /// At most so many.
    limit: usize,
}

impl Page {
    /// From the query of a request: `after=N&limit=N`, each may be left out.
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

/// Who is connected. `docs/http.md` says what each field means; clients read these names.
#[derive(Debug, Serialize)]
pub(super) struct Sessions {
    revision: u64,
    connections: Vec<Described>,
    /// Connections of the page that did not tell in time.
    silent: usize,
    more: bool,
}

/// One connection. Neither the name of its session nor that of its client is told: who has the one
/// takes the session over, who has the other can spend the numbers of its writes.
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

/// Asks the connections of the page how they stand. Costs each a turn, and the asking one at most
/// [`PATIENCE`]. One such question goes on at a time. The permit is for the answer, as long as it
/// is in memory; `None`: there was none within [`PATIENCE`].
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
            // One that was asked before and comes late may be of another page.
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
    /// Tells whoever asks.
    pub(super) fn tell(&self) {
        if let Some(tell) = &*self.server.inquiry.load() {
            // Who asked has gone: that is fine.
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
                // It has not come to that yet: the client reads nothing.
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
    /// `idle`: nothing waits in the connection's outbox.
    fn of(standing: Standing<'_>, revision: Revision, idle: bool) -> Mirror {
        let Standing { sub, view, mode, signals, every_ms, motion, rev } = standing;
        // A live mirror lacks what waits in the outbox: when that is empty, nothing.
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
