//! The digests of a connection's mirrors: for heartbeats, and when a client asks for them.

use alloc::boxed::Box;
use alloc::vec::Vec;

use onetree_protocol::Revision;
use onetree_protocol::frame::{ServerFrame, Sync};

use super::counting::{Counting, Large};
use super::feed::{Feed, Step};
use super::subscription::{Cursor, Subscription};
use super::walk::Walk;
use crate::snapshot::Snapshot;

impl Feed {
    /// Returns the `sync` frame: which mirrors are at the revision of `settled`, and which digests
    /// they must have.
    ///
    /// The caller has sent every live delta up to `settled`, so all live mirrors are there. An
    /// `every_ms` mirror is there too, unless some change to it waits for its interval.
    ///
    /// Digests that require a walk take turns, because one `sync` may walk only
    /// [`FeedLimits::digest_scan`](super::FeedLimits::digest_scan) slots. When that is used up, the
    /// next `sync` begins with the first mirror that got no digest, or that is not named because it
    /// could not be seen whether it is there. The same holds for the first mirror beyond the number
    /// that one `sync` may name.
    pub fn sync(&mut self, settled: &Snapshot) -> Sync {
        let (scan, from, live) = (self.limits.digest_scan, self.counts_from, self.live);
        let most = self.limits.digests;
        let mut large = self.large.take();
        let (mut left, mut next) = (scan, None);
        let mut digests = Vec::with_capacity(self.subs.len());
        for first in [true, false] {
            self.subs.each(|id, sub| {
                if (id >= from) != first {
                    return;
                }
                if digests.len() >= most {
                    next.get_or_insert(id);
                    return;
                }
                let before = left;
                let there = sub.is_there(settled, live, &mut left);
                if large.as_ref().is_some_and(|large| large.sub == id) {
                    digests.extend(there.filter(|there| *there).map(|_| (id, None)));
                    return;
                }
                let digest =
                    there.filter(|there| *there).map(|_| settled.digest(&sub.view, &mut left));
                digests.extend(digest.map(|digest| (id, digest)));
                if left == 0 && there != Some(false) && digest.flatten().is_none() {
                    // This view alone has used up the whole limit: it is too large, and would get
                    // no further next time.
                    let all = before == scan;
                    next.get_or_insert(if all { id.wrapping_add(1) } else { id });
                    if all && digest.is_some() && sub.view.tail.is_none() && large.is_none() {
                        large = Some(Box::new(Large::new(id, scan)));
                    }
                }
            });
        }
        digests.sort_unstable_by_key(|(id, _)| *id);
        self.counts_from = next.unwrap_or_default();
        let rev = settled.rev();
        self.live = live.max(rev);
        self.large = large;
        Sync { id: None, rev, digests }
    }

    /// Returns [`Feed::sync`] for a heartbeat.
    ///
    /// A view that alone has more slots than one `sync` may walk is counted separately, when enough
    /// heartbeats have saved up for it. [`Feed::poll`] then counts it, and yields a further `sync`.
    pub fn heartbeat(&mut self, settled: &Snapshot) -> Sync {
        let sync = self.sync(settled);
        self.save_up(settled, &sync);
        sync
    }

    /// Begins to count, in the turns of [`Feed::poll`], the digests that `sync` lacks although the
    /// views have one. Call this when a client has asked and `sync` was just made of `settled` and
    /// sent. Returns false if there is nothing to count.
    pub fn count(&mut self, settled: &Snapshot, sync: &Sync) -> bool {
        let counted = |id| self.subs.get(id).is_some_and(|sub| sub.view.tail.is_none());
        let counting = Counting::new(settled, sync, true, usize::MAX, counted);
        let begun = counting.next().is_some();
        if begun {
            // The counting that a heartbeat began is given up; it begins anew at the next
            // heartbeat.
            let before = self.counting.replace(Box::new(counting));
            if let (Some(before), Some(large)) = (before.filter(|it| !it.asked), &mut self.large) {
                large.give_back(&before);
            }
        }
        begun
    }

    /// Saves up one heartbeat's slots for the large view, and begins to count it when that is
    /// enough.
    fn save_up(&mut self, settled: &Snapshot, sync: &Sync) {
        let Some(large) = &mut self.large else { return };
        if !large.save(self.limits.digest_scan) || self.counting.is_some() {
            return;
        }
        if !sync.digests.iter().any(|(id, _)| *id == large.sub) {
            // The mirror is not at this revision: let another large view have its turn.
            self.next_large();
        } else {
            let only = Sync { id: None, rev: sync.rev, digests: alloc::vec![(large.sub, None)] };
            let counting = Counting::new(settled, &only, false, large.spend(), |_| true);
            self.counting = Some(Box::new(counting));
        }
    }

    /// The large view has had its turn: the next `sync` begins with the subscription behind it.
    fn next_large(&mut self) {
        if let Some(large) = self.large.take() {
            self.counts_from = large.sub.wrapping_add(1);
        }
    }

    /// Takes one turn of counting. Returns the step that results from it, if any. Without `hold`
    /// the counting ends.
    pub(super) fn count_on(
        &mut self,
        mut counting: Box<Counting>,
        hold: bool,
        left: &mut usize,
    ) -> Option<Step> {
        while hold && let Some(id) = counting.next() {
            if *left == 0 {
                self.counting = Some(counting);
                return Some(Step::Pause);
            }
            let Some(sub) = self.subs.get(id) else {
                counting.leave_out(id);
                continue;
            };
            if !counting.step(&sub.view, left) {
                break;
            }
        }
        if !counting.asked
            && let Some(large) = &mut self.large
        {
            if counting.next().is_none() {
                self.next_large();
            } else if hold {
                large.want_more();
            } else {
                large.give_back(&counting);
            }
        }
        let asked = counting.asked;
        let mut sync = counting.into_sync();
        // Leave out the mirrors that have moved on in the meantime.
        let (rev, subs) = (sync.rev, &self.subs);
        sync.digests.retain(|(id, _)| subs.get(*id).is_some_and(|sub| sub.is_at(rev)));
        match asked {
            true => Some(Step::Counted(sync)),
            false => {
                sync.digests.retain(|(_, digest)| digest.is_some());
                let counted = !sync.digests.is_empty();
                counted.then_some(Step::Frame(ServerFrame::Sync(sync)))
            }
        }
    }

    /// Notes that a subscription has ended or begun again: what was counted for it is of no use.
    pub(super) fn leave_out(&mut self, sub: u32) {
        if let Some(counting) = &mut self.counting {
            counting.leave_out(sub);
        }
        self.large.take_if(|large| large.sub == sub);
    }
}

impl Subscription {
    /// Returns whether the mirror is at the revision of `settled`, given that all live deltas up to
    /// `live` are sent. `None`: `left` slots were not enough to find out. The slots that were
    /// looked at are subtracted from `left`.
    fn is_there(&mut self, settled: &Snapshot, live: Revision, left: &mut usize) -> Option<bool> {
        let now = settled.rev();
        match &mut self.cursor {
            Cursor::Live { rev } => Some((*rev).max(live) <= now),
            Cursor::Paced { rev, seen, .. } if *rev <= now => {
                if *seen < now {
                    if *seen < settled.horizon() {
                        return Some(false);
                    }
                    let mut walk = Walk::new(settled, &self.view, Some(*seen), None, *left);
                    let changed = walk.next().is_some();
                    *left = walk.left().unwrap_or_default();
                    if changed {
                        return Some(false);
                    }
                    walk.left()?;
                    *seen = now;
                }
                *rev = now;
                Some(true)
            }
            _ => Some(false),
        }
    }

    /// Returns whether the mirror, for which a `sync` at the revision `at` was sent, is still at
    /// that revision.
    fn is_at(&self, at: Revision) -> bool {
        match &self.cursor {
            Cursor::Live { rev } => *rev <= at,
            Cursor::Paced { rev, .. } => *rev == at,
            // It is to move on, but nothing of that was sent yet.
            Cursor::Behind { from, sent, .. } => *from == at && !*sent,
            Cursor::Refreshing { .. } => false,
        }
    }
}
