//! The digests of a connection's mirrors: those of a heartbeat, and those that a client asks for.

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
    /// Where the mirrors are: every live delta up to `settled` has been sent, so all live ones are
    /// there, and these are the digests that they must have. An `every_ms` mirror is there too
    /// unless something of it waits for its interval. What must be walked takes turns: what has no
    /// digest in one `sync`, or is not named because it was not seen whether it is there, as others
    /// have used up what may be walked, is the first in the next. So is who comes behind those that
    /// one may name.
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
                    // One that had all of it is too large, and would come no further.
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

    /// [`Feed::sync`] at a heartbeat. A view that alone has more than one may walk is counted for
    /// itself, when the heartbeats have saved up enough: then [`Feed::poll`] goes on with it, and
    /// gives a further `sync`.
    pub fn heartbeat(&mut self, settled: &Snapshot) -> Sync {
        let sync = self.sync(settled);
        self.save_up(settled, &sync);
        sync
    }

    /// Counts the digests that `sync` has none for, though there is one, in the turns of
    /// [`Feed::poll`]: a client has asked, and `sync` was made and sent just now, of `settled`.
    /// False: there are none.
    pub fn count(&mut self, settled: &Snapshot, sync: &Sync) -> bool {
        let counted = |id| self.subs.get(id).is_some_and(|sub| sub.view.tail.is_none());
        let counting = Counting::new(settled, sync, true, usize::MAX, counted);
        let begun = counting.next().is_some();
        if begun {
            // That of a heartbeat begins anew, at the next one.
            let before = self.counting.replace(Box::new(counting));
            if let (Some(before), Some(large)) = (before.filter(|it| !it.asked), &mut self.large) {
                large.give_back(&before);
            }
        }
        begun
    }

    /// Saves up for the large one what a heartbeat may walk, and begins when that is enough.
    fn save_up(&mut self, settled: &Snapshot, sync: &Sync) {
        let Some(large) = &mut self.large else { return };
        if !large.save(self.limits.digest_scan) || self.counting.is_some() {
            return;
        }
        if !sync.digests.iter().any(|(id, _)| *id == large.sub) {
            // It is not there: another one may be.
            self.next_large();
        } else {
            let only = Sync { id: None, rev: sync.rev, digests: alloc::vec![(large.sub, None)] };
            let counting = Counting::new(settled, &only, false, large.spend(), |_| true);
            self.counting = Some(Box::new(counting));
        }
    }

    /// The large one has had its turn: the next one is that behind it.
    fn next_large(&mut self) {
        if let Some(large) = self.large.take() {
            self.counts_from = large.sub.wrapping_add(1);
        }
    }

    /// One turn of counting; the step that comes of it, if one does. Without `hold` it ends.
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
        // Those that have gone on meanwhile are told nothing.
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

    /// A subscription is not what it was: what was counted of it is of no use.
    pub(super) fn leave_out(&mut self, sub: u32) {
        if let Some(counting) = &mut self.counting {
            counting.leave_out(sub);
        }
        self.large.take_if(|large| large.sub == sub);
    }
}

impl Subscription {
    /// Whether the mirror is where the tree is in `settled`, when all live deltas up to `live` are
    /// sent. `None`: `left` slots were not enough to see that; those that were looked at are taken
    /// away.
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

    /// Whether the mirror, of which a `sync` at `rev` was sent, has not gone on since.
    fn is_at(&self, at: Revision) -> bool {
        match &self.cursor {
            Cursor::Live { rev } => *rev <= at,
            Cursor::Paced { rev, .. } => *rev == at,
            // It was to go on, and has not been told anything yet.
            Cursor::Behind { from, sent, .. } => *from == at && !*sent,
            Cursor::Refreshing { .. } => false,
        }
    }
}
