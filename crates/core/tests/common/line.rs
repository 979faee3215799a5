//! A connection on the broker's side: a feed, its subscriptions in the index, its outbox.

use std::collections::{BTreeMap, VecDeque};

use onetree_core::{Commit, Feed, FeedLimits, Interest, Snapshot, concerns};
use onetree_protocol::frame::{Delta, ServerFrame};
use onetree_protocol::{Act, Change, Codec, Epoch, Revision};

/// A connection.
pub(crate) struct Line {
    pub(crate) feed: Feed,
    pub(crate) outbox: Outbox,
    /// The feed's subscriptions in the index.
    pub(crate) interests: BTreeMap<u32, Interest>,
    /// Frames on their way, each with the revision that was published when it was made.
    pub(crate) wire: VecDeque<(ServerFrame, Revision)>,
    /// The parts of a live delta that the client has received.
    pub(crate) parts: Vec<Change>,
    pub(crate) turn: Turn,
    pub(crate) heartbeat: bool,
    pub(crate) epoch: Epoch,
}

/// What a connection does next.
pub(crate) enum Turn {
    Overflow,
    Heartbeat,
    Sync(Snapshot),
    Live,
    Step,
}

/// The bounded queue of live deltas.
#[derive(Default)]
pub(crate) struct Outbox {
    pub(crate) items: VecDeque<(Revision, Vec<Delta>, usize)>,
    pub(crate) bytes: usize,
    pub(crate) overflowed: bool,
}

impl Outbox {
    /// Returns true when the outbox overflows.
    fn push(&mut self, delta: Vec<Delta>, most: usize) -> bool {
        if self.overflowed {
            return false;
        }
        let size = |delta: &Delta| delta.changes.iter().map(Codec::size_hint).sum::<usize>();
        let bytes = delta.iter().map(size).sum();
        if self.bytes + bytes > most {
            *self = Outbox { overflowed: true, ..Outbox::default() };
            return true;
        }
        self.bytes += bytes;
        self.items.push_back((delta[0].rev, delta, bytes));
        false
    }

    fn pop(&mut self, up_to: Revision) -> Option<(Revision, Vec<Delta>)> {
        let (rev, delta, bytes) = self.items.pop_front_if(|(rev, ..)| *rev <= up_to)?;
        self.bytes -= bytes;
        Some((rev, delta))
    }
}

impl Line {
    pub(crate) fn new(limits: FeedLimits, epoch: Epoch) -> Line {
        Line {
            feed: Feed::new(limits),
            outbox: Outbox::default(),
            interests: BTreeMap::new(),
            wire: VecDeque::new(),
            parts: Vec::new(),
            turn: Turn::Overflow,
            heartbeat: false,
            epoch,
        }
    }

    /// Returns whether nothing is left to do, to send or to read.
    pub(crate) fn is_idle(&self) -> bool {
        let beats = self.heartbeat || matches!(self.turn, Turn::Sync(_));
        let rests = !self.feed.is_catching_up() && !beats;
        let empty = self.wire.is_empty() && self.outbox.items.is_empty();
        rests && empty && !self.outbox.overflowed
    }

    /// Returns all changes that wait for the client to read them.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Change> {
        let sent = self.wire.iter().flat_map(|(frame, _)| match frame {
            ServerFrame::Entries(entries) => &entries.changes[..],
            ServerFrame::Delta(delta) => &delta.changes,
            _ => &[],
        });
        let parts = self.outbox.items.iter().flat_map(|(_, parts, _)| parts);
        sent.chain(parts.flat_map(|part| &part.changes))
    }

    /// The fan-out hands over a commit. Returns true if that makes the outbox overflow.
    pub(crate) fn told(&mut self, commit: &Commit, split: bool, outbox_bytes: usize) -> bool {
        let see = |change: Change| {
            let interests = self.interests.values().filter(|interest| interest.deltas);
            let mut views = interests.map(|interest| &interest.view);
            let mut values = false;
            let mut seen = false;
            for view in views.by_ref().filter(|view| concerns(view, &change)) {
                seen = true;
                values |= view.values;
            }
            let Change { path, rev, act } = change;
            let act = match act {
                Act::Put(value) => Act::Put(value.filter(|_| values)),
                act => act,
            };
            seen.then_some(Change { path, rev, act })
        };
        let changes: Vec<Change> = commit.changes().into_iter().filter_map(see).collect();
        if changes.is_empty() {
            return false;
        }
        let size = if split { 1 } else { changes.len() };
        let count = changes.len().div_ceil(size);
        let parts = changes.chunks(size).enumerate().map(|(place, changes)| Delta {
            rev: commit.rev,
            since: None,
            sub: None,
            part: place + 1 < count,
            changes: changes.to_vec(),
        });
        self.outbox.push(parts.collect(), outbox_bytes)
    }

    /// Sends one live delta of at most revision `up_to`. False: there is none.
    pub(crate) fn send_live(&mut self, up_to: Revision, published: Revision) -> bool {
        let Some((rev, delta)) = self.outbox.pop(up_to) else { return false };
        if self.feed.handle_live(rev) {
            let frames = delta.into_iter().map(|part| (ServerFrame::Delta(part), published));
            self.wire.extend(frames);
        }
        true
    }
}
