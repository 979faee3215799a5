//! A sweep: bringing one mirror from where it is to one revision of the present.

use alloc::vec::Vec;

use onetree_protocol::{Act, Change, Codec, Path, Revision, View};

use super::is_gap;
use super::walk::{Known, Walk};
use crate::snapshot::Snapshot;

/// A sweep walks through its view in path order and yields what changed, a piece at a time, as fast
/// as the receiver takes the pieces.
///
/// There are two ways to do that. A sweep may hold one snapshot from the first piece to the last;
/// then one round is enough. Or each piece comes from the newest snapshot, so that a slow receiver
/// holds on to no memory. Then a further round sends what changed since the round began, and so on,
/// until a round fits into one snapshot. Where writers are fast that may be never: then the sweep
/// [needs](Sweep::needs_hold) to hold one.
///
/// Either way the mirror ends exactly at the last snapshot's revision, and the sweep never depends
/// on a log of changes that could be too short.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The revision that the receiver shows until all rounds are done; `None`: it starts from
    /// nothing.
    shown: Option<Revision>,
    /// The revision that the receiver was at when this round began; `None`: it had nothing.
    since: Option<Revision>,
    /// How many rounds came before this one.
    rounds: u32,
    /// The revision of the oldest snapshot that this round has read.
    began: Option<Revision>,
    /// Whether another round has to follow, because this round has read more than one snapshot, or
    /// because live deltas that were to follow it are lost.
    moved: bool,
    /// The last path that this round has passed.
    after: Option<Path>,
    known: Known,
    held: Option<Snapshot>,
}

/// The number of rounds after which a sweep needs to hold a snapshot. Nearly always the first sends
/// everything, the second what little has changed meanwhile, and the third nothing.
const ROUNDS: u32 = 3;

/// A piece of a sweep.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) changes: Vec<Change>,
    /// The snapshot that the piece was read from.
    pub(super) snapshot: Snapshot,
    /// Whether the walk has reached the end of the view.
    pub(super) last: bool,
}

/// The horizon has passed the mirror: the tree no longer remembers deletes that the mirror would
/// need.
#[derive(Debug)]
pub(super) struct Outrun;

impl Sweep {
    pub(super) fn new(since: Option<Revision>) -> Sweep {
        let (began, moved, after, held) = (None, false, None, None);
        Sweep { shown: since, since, rounds: 0, began, moved, after, known: Known::default(), held }
    }

    /// Returns the revision that the receiver was at when this round began; `None`: it had nothing.
    pub(super) fn since(&self) -> Option<Revision> {
        self.since
    }

    /// Returns the next piece, of about `bytes`. The piece may be empty without being the last.
    ///
    /// `left` says how many slots the piece may look at; 0 counts as 1. The slots that were looked
    /// at are subtracted from it.
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
        let most = (*left).max(1);
        let mut walk = Walk::new(&snapshot, view, self.since, after, most)
            .behind_older(older)
            .knowing(core::mem::take(&mut self.known));
        let mut full = false;
        while let Some(mut change) = walk.next() {
            // The receiver has not shown yet what an earlier round sent. If a trim removes that
            // again, it is a gap.
            if let (Act::Trim { to, gap }, Some(shown)) = (&mut change.act, self.shown) {
                *gap |= is_gap(view, &change.path, *to, shown);
            }
            // A piece may end only between two paths, because all changes at one path belong
            // together. It must also end behind the path where it began: the trim that a tail makes
            // stands at the log's own path, which may lie before that.
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

    /// Returns whether so many rounds were not enough that the sweep may never end unless it holds
    /// a snapshot.
    pub(super) fn needs_hold(&self) -> bool {
        self.rounds >= ROUNDS
    }

    /// Gives up the held snapshot: the sweep continues over newer snapshots.
    pub(super) fn let_go(&mut self) {
        self.held = None;
    }

    /// Call this after the last piece of a round. Returns the revision that the receiver is then
    /// at; `None` if another round is needed first.
    pub(super) fn settled(&self) -> Option<Revision> {
        self.began.filter(|_| !self.moved)
    }

    /// Notes that live deltas are lost, and that some of them may be above the snapshot of this
    /// round.
    pub(super) fn overtaken(&mut self) {
        self.moved |= self.began.is_some();
    }

    /// Begins another round, for what changed since the present round began.
    pub(super) fn again(&mut self) {
        let (shown, rounds) = (self.shown, self.rounds + 1);
        *self = Sweep { shown, rounds, ..Sweep::new(self.began.or(self.since)) };
    }
}
