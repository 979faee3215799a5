//! A sweep: bringing one mirror from where it is to one revision of the present.

use alloc::vec::Vec;

use onetree_protocol::{Act, Change, Codec, Path, Revision, View};

use super::is_gap;
use super::walk::{Known, Walk};
use crate::snapshot::Snapshot;

/// A sweep walks through its view once, in path order, a piece at a time, as the receiver takes
/// them. It may hold one snapshot from the first piece to the last; then it is done. Or each piece
/// comes from the newest snapshot, so that a slow receiver holds on to no memory; then a further
/// round sends what changed since the round began, until a round fits into one snapshot. Either
/// way the mirror is exactly at the last snapshot's revision, and never depends on a log of
/// changes that could be too short.
#[derive(Debug)]
pub(super) struct Sweep {
    /// What the receiver shows until all rounds are done; `None`: it starts from nothing.
    shown: Option<Revision>,
    /// Where the receiver was when this round began; `None`: it had nothing.
    since: Option<Revision>,
    /// The rounds before this one.
    rounds: u32,
    /// The oldest snapshot that this round has read.
    began: Option<Revision>,
    /// Whether another round has to follow: this one has read more than one snapshot, or what
    /// was to come live after it is lost.
    moved: bool,
    /// The last path that was passed in this round.
    after: Option<Path>,
    known: Known,
    held: Option<Snapshot>,
}

/// After so many rounds what one piece may look at grows no more: with a turn of 1,000 slots it is
/// a million then.
const MOST_DOUBLED: u32 = 10;

/// A piece of a sweep.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) changes: Vec<Change>,
    /// The snapshot that it was read from.
    pub(super) snapshot: Snapshot,
    /// Whether the walk has reached its end.
    pub(super) last: bool,
}

/// The horizon has passed the mirror: deletes that it would need are forgotten.
#[derive(Debug)]
pub(super) struct Outrun;

impl Sweep {
    pub(super) fn new(since: Option<Revision>) -> Sweep {
        let (began, moved, after, held) = (None, false, None, None);
        Sweep { shown: since, since, rounds: 0, began, moved, after, known: Known::default(), held }
    }

    /// Where the receiver was when this round began.
    pub(super) fn since(&self) -> Option<Revision> {
        self.since
    }

    /// The next piece, of about `bytes`. `left`: slots that may be looked at for it, at least one;
    /// those that were are taken away. It may be empty, and not the last. Each round may look at
    /// twice as many at once as the one before: so there is one that fits into a snapshot, whatever
    /// is written.
    pub(super) fn piece(
        &mut self,
        view: &View,
        latest: Snapshot,
        hold: bool,
        bytes: usize,
        left: &mut usize,
    ) -> Result<Piece, Outrun> {
        let snapshot = self.held.take().unwrap_or(latest);
        if self.since.is_some_and(|since| since < snapshot.horizon()) {
            return Err(Outrun);
        }
        let began = *self.began.get_or_insert(snapshot.rev());
        self.moved |= snapshot.rev() != began;
        let mut changes: Vec<Change> = Vec::new();
        let mut size = 0;
        let after = self.after.as_ref();
        let older = after.filter(|_| self.moved);
        let most = (*left).max(1) << self.rounds.min(MOST_DOUBLED);
        let mut walk = Walk::new(&snapshot, view, self.since, after, most)
            .behind_older(older)
            .knowing(core::mem::take(&mut self.known));
        let mut full = false;
        while let Some(mut change) = walk.next() {
            // What an earlier round has sent was not shown yet: it is lost if it goes in this one.
            if let (Act::Trim { to, gap }, Some(shown)) = (&mut change.act, self.shown) {
                *gap |= is_gap(view, &change.path, *to, shown);
            }
            // A piece ends between two paths, as what stands at one path belongs together; and
            // only behind where it began, as the trim that a tail makes stands at the log's path.
            let boundary = || {
                changes.last().is_some_and(|before| {
                    before.path < change.path && Some(&before.path) > self.after.as_ref()
                })
            };
            if size >= bytes && boundary() {
                full = true;
                break;
            }
            size += Codec::size_hint(&change);
            changes.push(change);
        }
        let last = !full && walk.left().is_some();
        *left = left.saturating_sub(most - walk.left().unwrap_or_default());
        let after = if full {
            changes.iter().map(|change| &change.path).max().cloned()
        } else {
            walk.passed().cloned().or_else(|| self.after.clone())
        };
        self.known = walk.into_known();
        if !last {
            self.after = after;
        }
        if hold && !last {
            self.held = Some(snapshot.clone());
        }
        Ok(Piece { changes, snapshot, last })
    }

    /// Goes on over newer snapshots.
    pub(super) fn let_go(&mut self) {
        self.held = None;
    }

    /// After the last piece of a round: the revision that the receiver is at, when that is one.
    pub(super) fn settled(&self) -> Option<Revision> {
        self.began.filter(|_| !self.moved)
    }

    /// Live deltas are lost, and among them may be some above the snapshot of this round.
    pub(super) fn overtaken(&mut self) {
        self.moved |= self.began.is_some();
    }

    /// Begins another round, for what changed since this one began.
    pub(super) fn again(&mut self) {
        let (shown, rounds) = (self.shown, self.rounds + 1);
        *self = Sweep { shown, rounds, ..Sweep::new(self.began.or(self.since)) };
    }
}
