//! Counting the digests of views that are too large for one `sync`, within a budget.

use alloc::vec::Vec;

use onetree_protocol::frame::Sync;
use onetree_protocol::{Digest, Path, View};

use crate::snapshot::Snapshot;

/// The digests of views at one revision, counted a piece at a time. It holds the snapshot of that
/// revision. Meanwhile no live delta is sent, because a mirror that has moved on has no use for the
/// digest.
#[derive(Debug)]
pub(super) struct Counting {
    settled: Snapshot,
    /// The frame that results.
    sync: Sync,
    /// The numbers of the subscriptions that have no digest yet. The next one is last.
    missing: Vec<u32>,
    /// For the next subscription: the digest of what was counted so far, and the path where that
    /// ends.
    digest: Digest,
    after: Option<Path>,
    /// Whether a client has asked for the digests.
    pub(super) asked: bool,
    /// How many slots may still be looked at.
    budget: usize,
}

impl Counting {
    /// Begins to count the digests that `sync`, which was made of `settled`, lacks and that are
    /// `wanted`.
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

    /// Returns the subscription that is being counted; `None` when all are done.
    pub(super) fn next(&self) -> Option<u32> {
        self.missing.last().copied()
    }

    /// Continues with the next subscription, whose view is `view`. `left` is what this turn may
    /// still look at; the slots that were looked at are subtracted from it. Returns false when the
    /// budget is used up.
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

    /// Leaves out a subscription that has begun again, or has ended.
    pub(super) fn leave_out(&mut self, id: u32) {
        if self.next() == Some(id) {
            (self.digest, self.after) = (Digest::default(), None);
        }
        self.missing.retain(|missing| *missing != id);
        self.sync.digests.retain(|(named, _)| *named != id);
    }

    /// Returns the frame that results.
    pub(super) fn into_sync(self) -> Sync {
        self.sync
    }
}

/// A view that has more slots than one `sync` may walk. The slots that each heartbeat may walk are
/// saved up for it.
#[derive(Debug)]
pub(super) struct Large {
    pub(super) sub: u32,
    saved: usize,
    /// How many slots are needed, as far as is known.
    wanted: usize,
}

impl Large {
    /// Returns a subscription whose view needs more than `scan` slots.
    pub(super) fn new(sub: u32, scan: usize) -> Large {
        Large { sub, saved: 0, wanted: 2 * scan }
    }

    /// Saves up `scan` more slots. Returns whether there are now enough.
    pub(super) fn save(&mut self, scan: usize) -> bool {
        self.saved = self.saved.saturating_add(scan);
        self.saved >= self.wanted
    }

    /// Takes all slots that were saved up.
    pub(super) fn spend(&mut self) -> usize {
        core::mem::take(&mut self.saved)
    }

    /// Notes that the slots saved up were not enough: the next attempt needs twice as many.
    pub(super) fn want_more(&mut self) {
        self.wanted = self.wanted.saturating_mul(2);
    }

    /// Keeps the slots that the counting did not use for the next heartbeat.
    pub(super) fn give_back(&mut self, counting: &Counting) {
        self.saved = counting.budget.min(self.wanted);
    }
}
