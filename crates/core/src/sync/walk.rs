//! Walking through a view, in path order: what it holds, or what changed in it.

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

/// The changes that take a mirror of `view` from one revision to the snapshot's, or from nothing,
/// in path order, those behind `after`. Cost: O(log n) for each change that it yields; where a
/// view is less than its subtree, for each that it passes by; where only direct children are seen,
/// for each child. It ends when it has looked at as many slots as it may.
pub(crate) struct Walk<'a> {
    snapshot: &'a Snapshot,
    view: &'a View,
    since: Option<Revision>,
    /// Where that part of the sweep ended which was read from older snapshots.
    older: Option<&'a Path>,
    slots: Slots<'a>,
    /// What a look at one slot counts.
    cost: usize,
    /// How many may still be looked at; `None`: there are more than that.
    left: Option<usize>,
    /// The slot last looked at, and the one before it.
    passed: Option<&'a Path>,
    before: Option<&'a Path>,
    /// Of the slot last taken: a drop, a trim and the entry itself.
    pending: VecDeque<Change>,
    tail: Option<Tail>,
    known: Known,
}

/// What walks find out about logs, each for the one that goes on.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Where the tail of the log begins that the walk was in.
    edge: Option<Edge>,
    /// The log that it was in last; of that and of those which it lies in, by their depth below the
    /// base, where their path in its path ends and whether the view may see their entries.
    log: String,
    sees: Vec<Option<(usize, bool)>>,
}

impl Known {
    /// Whether the view may see entries of a log, if that is known.
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

/// The log that the walk is in, and up to which key the view's tail leaves it out.
struct Tail {
    /// The log's path, with the `/` that its entries' paths go on with.
    prefix: String,
    hidden: Option<LogKey>,
}

impl<'a> Walk<'a> {
    /// `left`: how many slots it may look at. In a view with patterns one counts once more for each
    /// 16 segments of all of these: so long it takes to match them.
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
            cost: 1 + view.pattern_segments() / 16,
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

    /// What came before was read, up to `older`, from older snapshots.
    pub(crate) fn behind_older(mut self, older: Option<&'a Path>) -> Walk<'a> {
        self.older = older;
        self
    }

    /// With what an earlier walk of this sweep has found out.
    pub(super) fn knowing(mut self, known: Known) -> Walk<'a> {
        self.known = known;
        self
    }

    /// For the walk that goes on from here.
    pub(super) fn into_known(self) -> Known {
        self.known
    }

    /// How many slots may still be looked at. `None`: those were not enough to reach the end.
    pub(crate) fn left(&self) -> Option<usize> {
        self.left
    }

    /// The slot that was last looked at, whose changes have all been given when the walk has ended.
    pub(crate) fn passed(&self) -> Option<&'a Path> {
        self.passed
    }

    /// The next change; `None` at the end, or when nothing more may be looked at.
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

    /// Looks at the next slot, if it may.
    fn look(&mut self) -> Option<&'a Slot> {
        let left = self.left?;
        let slot = self.slots.next()?;
        self.left = (left > 0).then(|| left.saturating_sub(self.cost));
        self.left?;
        self.before = self.passed.replace(&slot.path);
        if let Some(edge) = &mut self.known.edge {
            edge.read();
        }
        Some(slot)
    }

    /// The next entry; `None` at the end, or when nothing more may be looked at.
    pub(crate) fn next_entry(&mut self) -> Option<&'a Slot> {
        loop {
            let slot = self.look()?;
            if self.passes(slot) && slot.is_live() && self.view.sees(&slot.path) {
                return Some(slot);
            }
        }
    }

    /// Goes on with the part of the base's range that `place` says.
    fn seek(&mut self, place: impl Fn(&Path) -> Ordering) {
        self.slots = self.from(place, None);
    }

    /// The slots of the part of the base's range that `place` says; without the entries of the
    /// log that it lies in, if so: these have so many segments, and logs below it have more.
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

    /// What happened above the base: a drop takes the base away too, and a trim may.
    fn inherit(&mut self) {
        let Some(since) = self.since else { return };
        for slot in self.snapshot.above(&self.view.base) {
            marks(slot, since, self.view, &mut self.pending);
        }
        self.pending.retain(|change| concerns(self.view, change));
    }

    /// Whether to look at the slot; where it leads below what the view shows, the walk goes on
    /// behind all of that.
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

    /// Whether the slot is outside of the logs' hidden parts. At the first entry of a log it finds
    /// out where its tail begins, and goes there.
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
            // The walk that goes on from here comes to this slot again.
            self.passed = self.before;
            return false;
        };
        let prefix = alloc::format!("{}/", log.as_str().trim_end_matches('/'));
        self.tail = Some(Tail { prefix, hidden });
        let Some(to) = hidden else { return true };
        // Each piece of a sweep that is in the log says it: an earlier one may have been in it and
        // not yet among its entries, and the tail moves on with the snapshots. From nothing, there
        // is something to take away only if an earlier piece was in the log, with an older tail;
        // and only if this one leaves out what comes next: otherwise there is no hole.
        let may_have_sent = |older: &Path| *older != log && log.contains(older);
        if self.since.is_some() || key <= to && self.older.is_some_and(may_have_sent) {
            let act = Act::Trim { to, gap: true };
            self.pending.push_back(Change { path: log.clone(), rev: self.snapshot.rev(), act });
        }
        if key > to {
            return true;
        }
        // Up to the tail only what is no log entry can be seen.
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

    /// The outermost log below the view's base that `path` lies in and of which the view may see
    /// entries; and the key of its entry.
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

    /// Whether the view may see entries of the log that is so deep, on the way `below` the base.
    /// What is in one log follows one another: that is found out once, and costs what it costs to
    /// match a path.
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
        self.left = self.left.map(|left| left.saturating_sub(self.cost));
        self.known.note(log, depth, sees);
        sees
    }

    /// The last key that the tail of a log leaves out, of those that the mirror does not have yet.
    /// The outer `None`: nothing more may be looked at.
    fn edge_of(&mut self, log: &Path, tail: usize) -> Option<Option<LogKey>> {
        // At least one look, or it would never be found.
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

/// The drop and the trim at a slot, when they are newer than `since`.
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

/// The log key that a path goes on with.
fn key_of(rest: &str) -> Option<LogKey> {
    LogKey::parse(rest.split('/').next()?)
}

/// What comes behind: before and in become before, behind becomes in.
fn behind(place: Ordering) -> Ordering {
    if place == Ordering::Greater { Ordering::Equal } else { Ordering::Less }
}
