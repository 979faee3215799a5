//! Walking through a view in path order: either over everything that the view holds, or over what
//! changed in it since a revision.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

use onetree_protocol::{Act, Change, Depth, LogKey, Path, Revision, View};

use super::edge::Edge;
use super::{concerns, is_gap};
use crate::slot::{Slot, Summary};
use crate::snapshot::Snapshot;

/// The number of comparisons of two segments that take as long as looking at a slot.
const COMPARISONS: usize = 32;

/// Yields, in path order, the changes that take a mirror of `view` from the revision `since`, or
/// from nothing, to the snapshot's revision. With `after`, the walk starts behind that path.
///
/// The walk ends early when it has looked at as many slots as it may ([`Walk::left`]).
///
/// Cost: O(log n) for each change that the walk yields. Where the view is less than the subtree of
/// its base, the same for each change that the walk passes by; where the view shows direct children
/// only, the same for each child.
pub(crate) struct Walk<'a> {
    snapshot: &'a Snapshot,
    view: &'a View,
    since: Option<Revision>,
    /// Where the earlier part of this sweep ended, if that part was read from older snapshots.
    older: Option<&'a Path>,
    slots: Slots<'a>,
    /// The number of segments of the view's patterns.
    segments: usize,
    /// How many slots the walk may still look at; `None`: the limit was too small to reach the end.
    left: Option<usize>,
    /// The path of the slot last looked at (`passed`), and of the slot before it (`before`).
    passed: Option<&'a Path>,
    before: Option<&'a Path>,
    /// What is still to be yielded for the slot last taken: a drop, a trim and the entry itself.
    pending: VecDeque<Change>,
    tail: Option<Tail>,
    known: Known,
}

/// What a walk finds out about logs. A later walk that continues the sweep takes it over.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The edge of the tail of the log that the walk was in last.
    edge: Option<Edge>,
    /// The path of the log that the walk was in last. `sees` is about this log and the logs that
    /// contain it. Its index is a log's depth below the base; its elements say where that log's
    /// path ends in `log`, and whether the view may see that log's entries.
    log: String,
    sees: Vec<Option<(usize, bool)>>,
}

impl Known {
    /// Returns whether the view may see the entries of `log`; `None` if that is not known.
    fn sees(&self, log: &str, depth: usize) -> Option<bool> {
        let (end, sees) = (*self.sees.get(depth)?)?;
        (self.log.get(..end) == Some(log)).then_some(sees)
    }

    fn note(&mut self, log: &str, depth: usize, sees: bool) {
        if !self.log.starts_with(log) {
            let ends = |end| self.log.get(..end).is_some() && self.log.get(..end) == log.get(..end);
            self.sees.iter_mut().for_each(|known| *known = known.filter(|(end, _)| ends(*end)));
            self.log = log.into();
        }
        if self.sees.len() <= depth {
            self.sees.resize(depth + 1, None);
        }
        self.sees[depth] = Some((log.len(), sees));
    }
}

type Slots<'a> = Box<dyn Iterator<Item = &'a Slot> + 'a>;

/// The log that the walk is in, and the last key that the view's tail leaves out of it.
struct Tail {
    /// The log's path with a `/` at its end: the prefix of its entries' paths.
    prefix: String,
    hidden: Option<LogKey>,
}

impl<'a> Walk<'a> {
    /// Starts a walk that looks at no more than `left` slots. In a view with patterns a slot counts
    /// once more for each [`COMPARISONS`] that its path takes to be matched.
    pub(crate) fn new(
        snapshot: &'a Snapshot,
        view: &'a View,
        since: Option<Revision>,
        after: Option<&Path>,
        left: usize,
    ) -> Walk<'a> {
        let mut walk = Walk {
            snapshot,
            view,
            since,
            older: None,
            slots: Box::new(core::iter::empty()),
            segments: view.pattern_segments(),
            left: Some(left),
            passed: None,
            before: None,
            pending: VecDeque::new(),
            tail: None,
            known: Known::default(),
        };
        match after {
            Some(after) => {
                walk.seek(|path| if path <= after { Ordering::Less } else { Ordering::Equal })
            }
            None => {
                walk.seek(|_| Ordering::Equal);
                walk.inherit();
            }
        }
        walk
    }

    /// Says that the sweep has read everything up to `older` from older snapshots.
    pub(crate) fn behind_older(mut self, older: Option<&'a Path>) -> Walk<'a> {
        self.older = older;
        self
    }

    /// Takes over what an earlier walk of this sweep has found out about logs.
    pub(super) fn knowing(mut self, known: Known) -> Walk<'a> {
        self.known = known;
        self
    }

    /// Gives what this walk has found out about logs to the walk that continues from here.
    pub(super) fn into_known(self) -> Known {
        self.known
    }

    /// Returns how many slots the walk may still look at. `None`: the limit was too small to reach
    /// the end.
    pub(crate) fn left(&self) -> Option<usize> {
        self.left
    }

    /// Returns the path of the slot that was last looked at. When the walk has ended, it has
    /// yielded all changes of that slot.
    pub(crate) fn passed(&self) -> Option<&'a Path> {
        self.passed
    }

    /// Returns the next change; `None` at the end of the view, or when the walk may look at no more
    /// slots.
    pub(crate) fn next(&mut self) -> Option<Change> {
        loop {
            if let Some(change) = self.pending.pop_front() {
                return Some(change);
            }
            let slot = self.look()?;
            if self.passes(slot) {
                self.take(slot);
            }
        }
    }

    /// Looks at the next slot, unless the limit is reached.
    fn look(&mut self) -> Option<&'a Slot> {
        let left = self.left?;
        let slot = self.slots.next()?;
        let below = match self.segments {
            0 => 0,
            _ => slot.path.depth() - self.view.base.depth(),
        };
        self.left = (left > 0).then(|| left.saturating_sub(self.cost(below)));
        self.left?;
        self.before = self.passed.replace(&slot.path);
        if let Some(edge) = &mut self.known.edge {
            edge.read();
        }
        Some(slot)
    }

    /// Returns how many slots it counts as to match a path with `below` segments below the base.
    fn cost(&self, below: usize) -> usize {
        1 + View::comparisons(self.segments, below) / COMPARISONS
    }

    /// Returns the next live entry that the view sees; `None` at the end of the view, or when the
    /// walk may look at no more slots.
    pub(crate) fn next_entry(&mut self) -> Option<&'a Slot> {
        loop {
            let slot = self.look()?;
            if self.passes(slot) && slot.is_live() && self.view.sees(&slot.path) {
                return Some(slot);
            }
        }
    }

    /// Continues the walk with the part of the base's range that `place` selects.
    fn seek(&mut self, place: impl Fn(&Path) -> Ordering) {
        self.slots = self.from(place, None);
    }

    /// Returns the slots of the part of the base's range that `place` selects. With `without`, it
    /// skips the entries of a log: their paths have `without` segments. Logs below that log are not
    /// skipped; the paths of their entries have more segments.
    fn from(&self, place: impl Fn(&Path) -> Ordering, without: Option<usize>) -> Slots<'a> {
        let base = &self.view.base;
        let depth = self.view.depth;
        let span = |path: &Path| match base.place(path) {
            Ordering::Equal if depth == Depth::Entry && path != base => Ordering::Greater,
            Ordering::Equal => place(path),
            outside => outside,
        };
        let tree = self.snapshot.tree();
        let others = |sum: &Summary, depth| sum.slots > sum.logged || sum.logged_depth > depth;
        match (self.since, without) {
            (None, None) => Box::new(tree.range(span)),
            (None, Some(depth)) => {
                Box::new(tree.range_where(span, move |sum: &Summary| others(sum, depth)))
            }
            (Some(since), None) => {
                Box::new(tree.range_above(span, since.get(), |_: &Summary| true))
            }
            (Some(since), Some(depth)) => {
                Box::new(
                    tree.range_above(span, since.get(), move |sum: &Summary| others(sum, depth)),
                )
            }
        }
    }

    /// Adds the drops and trims that happened above the base: a drop takes the base away too, and a
    /// trim may.
    fn inherit(&mut self) {
        let Some(since) = self.since else { return };
        for slot in self.snapshot.above(&self.view.base) {
            marks(slot, since, self.view, &mut self.pending);
        }
        self.pending.retain(|change| concerns(self.view, change));
    }

    /// Returns whether the view may show this slot. If the slot lies below all that the view shows,
    /// the walk continues behind everything at that place.
    fn passes(&mut self, slot: &Slot) -> bool {
        if self.view.depth == Depth::Children {
            let base = &self.view.base;
            let mut below = match base.below(&slot.path) {
                Some(below) => below,
                None => return false,
            };
            let child = below.next();
            if let (Some(child), Some(_)) = (child, below.next()) {
                if let Ok(child) = base.child(child) {
                    self.seek(|path| behind(child.place(path)));
                }
                return false;
            }
        }
        self.view.tail.is_none_or(|tail| self.in_tail(slot, tail as usize))
    }

    /// Returns whether the slot lies outside the hidden part of every log. At the first entry of a
    /// log it finds the edge of the log's tail and moves the walk there.
    fn in_tail(&mut self, slot: &Slot, tail: usize) -> bool {
        let path = slot.path.as_str();
        let known = self.tail.as_ref();
        let in_known =
            known.and_then(|log| Some((key_of(path.strip_prefix(&log.prefix)?)?, log.hidden)));
        if let Some((key, hidden)) = in_known {
            return hidden.is_none_or(|hidden| key > hidden);
        }
        let Some((log, key)) = self.log_of(&slot.path) else { return true };
        let Ok(log) = Path::parse(log) else { return true };
        let Some(hidden) = self.edge_of(&log, tail) else {
            // The walk that continues from here has to come to this slot again.
            self.passed = self.before;
            return false;
        };
        let prefix = alloc::format!("{}/", log.as_str().trim_end_matches('/'));
        self.tail = Some(Tail { prefix, hidden });
        let Some(to) = hidden else { return true };
        // Every piece of a sweep that reaches this log says what the tail hides: an earlier piece
        // may have ended in the log before any of its entries, and the tail moves on with newer
        // snapshots. A refresh from nothing needs the trim only if both conditions hold: an earlier
        // piece, with an older tail, ended inside the log (only then is there something to take
        // away), and this piece leaves out the next entry (otherwise there is no hole).
        let may_have_sent = |older: &Path| *older != log && log.contains(older);
        if self.since.is_some() || key <= to && self.older.is_some_and(may_have_sent) {
            let act = Act::Trim { to, gap: true };
            self.pending.push_back(Change { path: log.clone(), rev: self.snapshot.rev(), act });
        }
        if key > to {
            return true;
        }
        // Up to the edge of the tail, entries of this log are hidden and everything else is shown.
        let Ok(last) = log.child(&alloc::format!("{to}")) else { return true };
        let here = slot.path.clone();
        let rest = |path: &Path| {
            if path <= &here { Ordering::Less } else { last.place(path).max(Ordering::Equal) }
        };
        let hidden = self.from(rest, Some(log.depth() + 1));
        let shown = self.from(|path| behind(last.place(path)), None);
        self.slots = Box::new(hidden.chain(shown));
        false
    }

    /// Returns the outermost log below the view's base that contains `path` and whose entries the
    /// view may see, and the key of the log entry that `path` is or lies under.
    fn log_of<'p>(&mut self, path: &'p Path) -> Option<(&'p str, LogKey)> {
        let below = self.view.base.below(path)?;
        let mut end = if self.view.base.is_root() { 0 } else { self.view.base.as_str().len() };
        for (depth, segment) in below.clone().enumerate() {
            let log = &path.as_str()[..end];
            if let Some(key) = LogKey::parse(segment)
                && self.sees_entries_of(log, depth, below.clone())
            {
                return Some((if log.is_empty() { "/" } else { log }, key));
            }
            end += 1 + segment.len();
        }
        None
    }

    /// Returns whether the view may see the entries of the log at `depth` segments of the path
    /// `below` the base. Everything in one log comes in sequence, so the answer is found once for
    /// each log. Finding it counts as much as matching one path.
    fn sees_entries_of<'p>(
        &mut self,
        log: &str,
        depth: usize,
        below: impl Iterator<Item = &'p str> + Clone,
    ) -> bool {
        if self.view.patterns.is_empty() {
            return self.view.sees_entries_of(below.take(depth));
        }
        if let Some(sees) = self.known.sees(log, depth) {
            return sees;
        }
        let sees = self.view.sees_entries_of(below.take(depth));
        // The key that follows is matched, too.
        self.left = self.left.map(|left| left.saturating_sub(self.cost(depth + 1)));
        self.known.note(log, depth, sees);
        sees
    }

    /// Returns the last key that the tail of a log leaves out, among those that the mirror does not
    /// have yet. The outer `None`: the walk may look at no more slots.
    fn edge_of(&mut self, log: &Path, tail: usize) -> Option<Option<LogKey>> {
        // Allow at least one look: with none, the edge would never be found.
        let mut left = self.left?.max(1);
        let mut edge = Edge::of(self.known.edge.take(), log, tail, self.snapshot);
        let found = edge.hidden(self.snapshot, self.since.unwrap_or_default(), &mut left);
        self.known.edge = Some(edge);
        self.left = found.map(|_| left);
        found
    }

    fn take(&mut self, slot: &Slot) {
        let Some(since) = self.since else {
            if self.view.sees(&slot.path) {
                self.pending.extend(slot.entry(self.view.values));
            }
            return;
        };
        let first = self.pending.len();
        marks(slot, since, self.view, &mut self.pending);
        if slot.rev > since {
            let gone = || Change { path: slot.path.clone(), rev: slot.rev, act: Act::Delete };
            self.pending.push_back(slot.entry(self.view.values).unwrap_or_else(gone));
        }
        let mut place = 0;
        let view = self.view;
        self.pending.retain(|change| {
            place += 1;
            place <= first || concerns(view, change)
        });
    }
}

/// Adds the drop and the trim at a slot, if they are newer than `since`.
fn marks(slot: &Slot, since: Revision, view: &View, into: &mut VecDeque<Change>) {
    let dropped = slot.dropped();
    if dropped > since {
        into.push_back(Change { path: slot.path.clone(), rev: dropped, act: Act::Drop });
    }
    if let Some((rev, to)) = slot.trimmed().filter(|(rev, _)| *rev > since) {
        let act = Act::Trim { to, gap: is_gap(view, &slot.path, to, since) };
        into.push_back(Change { path: slot.path.clone(), rev, act });
    }
}

/// Returns the log key in the first segment of `rest`, if it is one.
fn key_of(rest: &str) -> Option<LogKey> {
    LogKey::parse(rest.split('/').next()?)
}

/// Selects what comes behind a range: "before" and "in" become "before", "behind" becomes "in".
fn behind(place: Ordering) -> Ordering {
    if place == Ordering::Greater { Ordering::Equal } else { Ordering::Less }
}
