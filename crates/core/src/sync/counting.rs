//! Counting: the digests of views that are too large for one `sync`, and what that may take.

use alloc::vec::Vec;

use onetree_protocol::frame::Sync;
use onetree_protocol::{Digest, Path, View};

use crate::snapshot::Snapshot;

/// The digests of views at one revision, walked a piece at a time. It holds the snapshot that they
/// are of, and meanwhile no live delta is sent: who is further than that has no use for them.
#[derive(Debug)]
pub(super) struct Counting {
    settled: Snapshot,
    /// What it comes to.
    sync: Sync,
    /// Those that have no digest yet, the next one last.
    missing: Vec<u32>,
    /// Of the next one: what was counted so far, and up to where.
    digest: Digest,
    after: Option<Path>,
    /// Whether a client has asked for it.
    pub(super) asked: bool,
    /// Slots that may still be looked at.
    budget: usize,
}

impl Counting {
    /// Counts those of `sync`, which is of `settled`, that have no digest there and are `wanted`.
    pub(super) fn new(
        settled: &Snapshot,
        sync: &Sync,
        asked: bool,
        budget: usize,
        wanted: impl Fn(u32) -> bool,
    ) -> Counting {
        let missing =
            sync.digests.iter().rev().filter(|(id, digest)| digest.is_none() && wanted(*id));
        Counting {
            settled: settled.clone(),
            sync: sync.clone(),
            missing: missing.map(|(id, _)| *id).collect(),
            digest: Digest::default(),
            after: None,
            asked,
            budget,
        }
    }

    /// Which one is counted now; `None`: all are.
    pub(super) fn next(&self) -> Option<u32> {
        self.missing.last().copied()
    }

    /// Goes on with the next one, whose view it is. Of what may be looked at in this turn, `left`,
    /// what was is taken away. False: no more may be looked at altogether.
    pub(super) fn step(&mut self, view: &View, left: &mut usize) -> bool {
        let most = self.budget.min(*left);
        let mut rest = most;
        let counted = self.settled.count(view, &mut self.after, &mut self.digest, &mut rest);
        *left -= most - rest;
        self.budget -= most - rest;
        if counted && let Some(id) = self.missing.pop() {
            let digest = core::mem::take(&mut self.digest);
            let named = &mut self.sync.digests;
            if let Ok(place) = named.binary_search_by_key(&id, |(named, _)| *named) {
                named[place].1 = Some(digest);
            }
            self.after = None;
        }
        counted || self.budget > 0
    }

    /// A mirror is not what it was, or not there any more.
    pub(super) fn leave_out(&mut self, id: u32) {
        if self.next() == Some(id) {
            (self.digest, self.after) = (Digest::default(), None);
        }
        self.missing.retain(|missing| *missing != id);
        self.sync.digests.retain(|(named, _)| *named != id);
    }

    /// What it came to.
    pub(super) fn into_sync(self) -> Sync {
        self.sync
    }
}

/// A view that has more slots than one `sync` may walk through. What each heartbeat may walk is
/// saved up for it.
#[derive(Debug)]
pub(super) struct Large {
    pub(super) sub: u32,
    saved: usize,
    /// What it takes, as far as is known.
    wanted: usize,
}

impl Large {
    /// One that takes more than `scan`.
    pub(super) fn new(sub: u32, scan: usize) -> Large {
        Large { sub, saved: 0, wanted: 2 * scan }
    }

    /// Saves up `scan` more; whether that is enough.
    pub(super) fn save(&mut self, scan: usize) -> bool {
        self.saved = self.saved.saturating_add(scan);
        self.saved >= self.wanted
    }

    /// All that was saved up.
    pub(super) fn spend(&mut self) -> usize {
        core::mem::take(&mut self.saved)
    }

    /// That was not enough.
    pub(super) fn want_more(&mut self) {
        self.wanted = self.wanted.saturating_mul(2);
    }

    /// What was not walked is there for the next heartbeat.
    pub(super) fn give_back(&mut self, counting: &Counting) {
        self.saved = counting.budget.min(self.wanted);
    }
}
