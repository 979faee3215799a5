//! A mirror that follows `spec/PROTOCOL.md`, section 5, to the letter, and checks of what it must
//! hold at each step.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use onetree_core::Effect;
use onetree_protocol::frame::{Delta, Entries, Fresh, Reason, Refresh, RefreshKind};
use onetree_protocol::{Act, Change, Cookie, Digest, DigestKey, Epoch, LogKey};
use onetree_protocol::{Path, Revision, View};

use super::truth::{self, History, Tree};

/// What a client knows about its connection, and the true history for the checks.
pub(crate) struct World<'a> {
    pub(crate) history: &'a History,
    pub(crate) epoch: Epoch,
    pub(crate) key: DigestKey,
}

/// The content of a mirror and its cookie. Both are always saved and loaded together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copy {
    pub(crate) entries: Tree,
    pub(crate) cookie: Option<Cookie>,
    /// For each log, what a tail may have left out: keys up to this one that have not changed since
    /// this revision.
    left_out: BTreeMap<Path, (LogKey, Revision)>,
    /// Whether the test has damaged the copy: it may be wrong until it is verified.
    pub(crate) damaged: bool,
}

/// A client's copy of a view.
#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    pub(crate) sub: u32,
    pub(crate) view: View,
    pub(crate) every_ms: u32,
    /// Whether the subscription ends with its refresh.
    pub(crate) once: bool,
    pub(crate) copy: Copy,
    pub(crate) phase: Phase,
    /// The parts of a folded delta.
    parts: Vec<Change>,
    /// The kind and reason that the next refresh must have.
    pub(crate) way: Option<(RefreshKind, Reason)>,
    /// How many gaps it was sent.
    pub(crate) gaps: u64,
    /// How many changes were sent for it.
    pub(crate) came: u64,
    /// The revisions that it has been at.
    pub(crate) seen: Vec<Revision>,
}

#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Waiting,
    Refreshing {
        kind: RefreshKind,
        staged: Tree,
        changes: Vec<Change>,
        /// The revision that was published when the refresh began.
        opened: Revision,
    },
    Fresh,
}

/// The effect of a frame on a mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The frame was not for this mirror.
    Ignored,
    /// The frame was applied, but its content is not shown yet.
    Staged,
    /// The mirror moved on, and was compared with the truth.
    Moved,
    /// The digest shows that the mirror is damaged: it has to start again.
    Damaged,
}

impl Mirror {
    pub(crate) fn new(sub: u32, view: View, every_ms: u32) -> Mirror {
        let (copy, phase, parts) = (Copy::default(), Phase::Waiting, Vec::new());
        let (way, gaps, came, seen) = (None, 0, 0, Vec::new());
        let once = false;
        Mirror { sub, view, every_ms, once, copy, phase, parts, way, gaps, came, seen }
    }

    pub(crate) fn rev(&self) -> Revision {
        self.copy.cookie.map_or(Revision::ZERO, |cookie| cookie.rev)
    }

    pub(crate) fn is_fresh(&self) -> bool {
        matches!(self.phase, Phase::Fresh)
    }

    /// The connection is gone, or the client has asked for a resync.
    pub(crate) fn wait(&mut self) {
        self.phase = Phase::Waiting;
        self.parts.clear();
    }

    /// Rule 2. `opened`: the revision that was published when the frame was made.
    pub(crate) fn refresh(&mut self, refresh: &Refresh, opened: Revision) {
        let Refresh { kind, why, from, .. } = *refresh;
        self.parts.clear();
        if let Some(way) = self.way.take()
            && !matches!(why, Reason::Outrun | Reason::Resync)
        {
            assert_eq!((kind, why), way, "the way of the refresh");
        }
        let staged = match kind {
            RefreshKind::Full => Tree::new(),
            RefreshKind::Delta => {
                assert!(
                    from.is_some_and(|from| from <= self.rev()),
                    "{from:?} is above the cookie"
                );
                self.copy.entries.clone()
            }
            RefreshKind::Repair => panic!("a repair that nobody asked for"),
        };
        self.phase = Phase::Refreshing { kind, staged, changes: Vec::new(), opened };
    }

    pub(crate) fn entries(&mut self, entries: &Entries) {
        let Phase::Refreshing { staged, changes, .. } = &mut self.phase else { return };
        for change in &entries.changes {
            take(staged, &self.view, change);
            changes.push(change.clone());
        }
    }

    pub(crate) fn fresh(&mut self, fresh: &Fresh, world: &World<'_>) -> Outcome {
        let phase = std::mem::replace(&mut self.phase, Phase::Fresh);
        let Phase::Refreshing { kind, staged, changes, opened } = phase else {
            self.phase = phase;
            return Outcome::Ignored;
        };
        assert_eq!(fresh.view, self.view.fingerprint(), "the fingerprint of the view");
        let before = self.rev();
        let same = self.copy.cookie.is_some_and(|cookie| cookie.epoch == world.epoch);
        assert!(fresh.rev >= opened, "a refresh ends before it began");
        self.copy.entries = staged;
        self.copy.cookie =
            Some(Cookie { epoch: world.epoch, rev: fresh.rev, view: self.view.fingerprint() });
        self.seen.push(fresh.rev);
        match kind {
            RefreshKind::Full => {
                self.came += changes.len() as u64;
                self.copy.damaged = false;
                assert!(changes.iter().all(|c| matches!(c.act, Act::Put(_)) || c.rev > opened));
                self.note_tails(opened, fresh.rev, world);
            }
            _ => {
                assert!(same && fresh.rev >= before, "a mirror does not go back");
                self.check_gaps(before, fresh.rev, &changes, world);
            }
        }
        if !self.copy.damaged {
            self.check(fresh.rev, world);
        }
        self.verify(fresh.digest, world)
    }

    /// Rule 3. `changes` are those of all parts of the delta.
    pub(crate) fn live(&mut self, rev: Revision, changes: &[Change], world: &World<'_>) -> Outcome {
        if !self.is_fresh() || self.every_ms > 0 || rev <= self.rev() {
            return Outcome::Ignored;
        }
        self.go_on(rev, changes, world)
    }

    /// Rule 4.
    pub(crate) fn folded(&mut self, delta: &Delta, world: &World<'_>) -> Outcome {
        if !self.is_fresh() {
            return Outcome::Ignored;
        }
        assert!(delta.since.is_some_and(|since| since <= self.rev()), "the delta starts above");
        self.parts.extend(delta.changes.iter().cloned());
        if delta.part {
            return Outcome::Staged;
        }
        let changes = std::mem::take(&mut self.parts);
        self.go_on(delta.rev, &changes, world)
    }

    fn go_on(&mut self, rev: Revision, changes: &[Change], world: &World<'_>) -> Outcome {
        let before = self.rev();
        assert!(rev >= before, "a mirror goes back from {before} to {rev}");
        for change in changes {
            assert!(change.rev <= rev, "{change:?} is newer than its delta, {rev}");
            take(&mut self.copy.entries, &self.view, change);
        }
        self.check_gaps(before, rev, changes, world);
        self.move_to(rev);
        if !self.copy.damaged {
            self.check(rev, world);
        }
        Outcome::Moved
    }

    /// Rule 5.
    pub(crate) fn sync(
        &mut self,
        rev: Revision,
        digest: Option<Digest>,
        world: &World<'_>,
    ) -> Outcome {
        if !self.is_fresh() || rev < self.rev() {
            return Outcome::Ignored;
        }
        assert!(self.parts.is_empty(), "a sync overtakes the end of a delta");
        self.move_to(rev);
        if !self.copy.damaged {
            self.check(rev, world);
        }
        self.verify(digest, world)
    }

    fn move_to(&mut self, rev: Revision) {
        self.seen.push(rev);
        if let Some(cookie) = &mut self.copy.cookie {
            cookie.rev = rev;
        }
    }

    /// Compares the digests: they must be equal exactly if the mirror is right.
    fn verify(&mut self, expected: Option<Digest>, world: &World<'_>) -> Outcome {
        assert!(self.view.tail.is_none() || expected.is_none(), "a tail has no digest");
        let Some(expected) = expected else { return Outcome::Moved };
        let revs = |tree: &Tree| -> Vec<(Path, Revision)> {
            tree.iter().map(|(path, entry)| (path.clone(), entry.0)).collect()
        };
        let truth = truth::shown(world.history.at(self.rev()), &self.view);
        let right = revs(&truth) == revs(&self.copy.entries);
        let found = truth::digest(&self.copy.entries, world.key);
        assert_eq!(
            right,
            found == expected,
            "a digest that fits a wrong mirror, or not a right one"
        );
        if right {
            self.copy.damaged = false;
            return Outcome::Moved;
        }
        Outcome::Damaged
    }

    /// The promise: the mirror *is* its view of the tree at its revision.
    pub(crate) fn check(&self, rev: Revision, world: &World<'_>) {
        let tree = world.history.at(rev);
        let truth = truth::shown(tree, &self.view);
        let Some(tail) = self.view.tail else {
            return assert_same(&self.copy.entries, &truth, &self.view, rev);
        };
        for (path, entry) in &self.copy.entries {
            assert_eq!(truth.get(path), Some(entry), "{path} at {rev} in {:?}", self.view);
        }
        let mut highest_missing: BTreeMap<Path, LogKey> = BTreeMap::new();
        for (path, entry) in truth.iter().filter(|(p, _)| !self.copy.entries.contains_key(p)) {
            let log = truth::log_of(&self.view, path);
            let Some((log, key)) = log else { panic!("{path} is missing at {rev}") };
            let left_out = self.copy.left_out.get(&log);
            let may = left_out.is_some_and(|(to, at)| key <= *to && entry.0 <= *at);
            assert!(may, "{path} of {} is missing at {rev} with tail {tail}", entry.0);
            let highest = highest_missing.entry(log).or_insert(key);
            *highest = key.max(*highest);
        }
        // A tail leaves out old entries only: what it shows has no holes.
        for (path, (rev, _)) in &self.copy.entries {
            let Some((log, key)) = truth::log_of(&self.view, path) else { continue };
            let untouched = key.rev == *rev && LogKey::of(path) == Some(key);
            let hole = highest_missing.get(&log).filter(|missing| untouched && **missing > key);
            assert!(hole.is_none(), "{path} is shown, {hole:?} behind it is not: tail {tail}");
        }
    }

    /// After a refresh from nothing that ended at `rev`, notes what the tail may have left out.
    fn note_tails(&mut self, opened: Revision, rev: Revision, world: &World<'_>) {
        self.copy.left_out.clear();
        let Some(tail) = self.view.tail.map(|tail| tail as usize) else { return };
        let trees = self.trees(opened, rev, world);
        let logs: BTreeSet<Path> = trees.iter().flat_map(|tree| self.logs(tree)).collect();
        for log in logs {
            if let Some(key) = tail_of(&trees, &log, tail) {
                self.copy.left_out.insert(log, (key, rev));
            }
        }
        let tree = world.history.at(rev);
        for log in self.logs(tree) {
            let old = |key: &LogKey| key.rev <= opened && entry_is_shown(&self.copy, &log, *key);
            let shown = truth::keys(tree, &log).into_iter().filter(old).count();
            assert!(shown <= tail, "{shown} old entries of {log} are shown with tail {tail}");
        }
    }

    /// Checks that a gap was sent where retention outran the mirror or its tail left something out,
    /// and nowhere else.
    fn check_gaps(
        &mut self,
        since: Revision,
        rev: Revision,
        changes: &[Change],
        world: &World<'_>,
    ) {
        let told: BTreeSet<(&Path, LogKey)> = changes
            .iter()
            .filter_map(|change| match change.act {
                Act::Trim { to, gap: true } => Some((&change.path, to)),
                _ => None,
            })
            .collect();
        self.gaps += told.len() as u64;
        self.came += changes.len() as u64;
        if self.copy.damaged {
            return;
        }
        let (outran, lost) = self.trims(since, rev, world);
        let inner =
            |log: &Path| self.view.tail.is_some() && truth::log_of(&self.view, log).is_some();
        for log in lost.iter().filter(|log| !inner(log)) {
            assert!(
                told.iter().any(|(path, _)| *path == log),
                "{log}: entries after {since} went, nobody told: {rev}"
            );
        }
        for (log, to) in told {
            assert!(
                truth::may_see_entries(&self.view, log),
                "a gap in {log}, whose entries {:?} cannot see",
                self.view
            );
            let tail = self.view.tail.map(|tail| tail as usize).filter(|_| to.rev > since);
            let trees = self.trees(since, rev, world);
            if tail.is_some_and(|tail| tail_of(&trees, log, tail) >= Some(to)) {
                let left_out = self.copy.left_out.entry(log.clone()).or_insert((to, rev));
                *left_out = (left_out.0.max(to), rev);
            } else {
                let went = outran.get(log).is_some_and(|trimmed| *trimmed >= to);
                assert!(went, "a gap in {log} up to {to}: no trim, and no tail of {tail:?}");
            }
        }
    }

    /// For each log that was trimmed above `since`: returns the key up to which it was trimmed, if
    /// entries after `since` can be among those that went; and the logs in which such an entry
    /// existed and was in the view.
    fn trims(
        &self,
        since: Revision,
        rev: Revision,
        world: &World<'_>,
    ) -> (BTreeMap<Path, LogKey>, BTreeSet<Path>) {
        let (mut outran, mut lost) = (BTreeMap::new(), BTreeSet::new());
        let mut before = world.history.at(since);
        for commit in world.history.between(since, rev) {
            for effect in &commit.effects {
                match effect {
                    Effect::Trim { path, to } => {
                        lost.retain(|log| !truth::is_trimmed(path, *to, log));
                        let furthest: LogKey =
                            outran.get(path).map_or(*to, |b: &LogKey| *to.max(b));
                        if furthest.rev > since {
                            outran.insert(path.clone(), furthest);
                        }
                        let never_had = |key: &LogKey| {
                            let entry = path.child(&key.to_string()).unwrap();
                            key.rev > since && key <= to && truth::sees(&self.view, &entry)
                        };
                        if truth::keys(before, path).iter().any(never_had) {
                            lost.insert(path.clone());
                        }
                    }
                    Effect::Drop { path } => {
                        lost.retain(|log| !truth::is_under(path, log));
                    }
                    _ => {}
                }
            }
            before = world.history.at(commit.rev);
        }
        (outran, lost)
    }

    /// Returns the logs to which the tail of the view applies.
    fn logs(&self, tree: &Tree) -> BTreeSet<Path> {
        let log = |path: &Path| truth::log_of(&self.view, path).map(|(log, _)| log);
        tree.keys().filter_map(log).collect()
    }

    fn trees(&self, since: Revision, rev: Revision, world: &World<'_>) -> Vec<Rc<Tree>> {
        let first = world.history.at(since).clone();
        let later = world.history.between(since, rev).map(|c| world.history.at(c.rev).clone());
        std::iter::once(first).chain(later).collect()
    }
}

/// Applies a change to a copy: a put if the view sees its path, and a removal always.
fn take(copy: &mut Tree, view: &View, change: &Change) {
    let Change { path, rev, act } = change;
    match act {
        Act::Put(value) if truth::sees(view, path) => {
            assert!(value.is_some() || !view.values, "{path} comes without its value");
            copy.insert(path.clone(), (*rev, value.clone().filter(|_| view.values)));
        }
        Act::Put(_) => {}
        Act::Delete => {
            copy.remove(path);
        }
        Act::Drop => copy.retain(|other, _| !truth::is_under(path, other)),
        Act::Trim { to, .. } => copy.retain(|other, _| !truth::is_trimmed(path, *to, other)),
    }
}

/// Returns the last key that a tail may leave out, of all keys that were in the log in the
/// meantime.
fn tail_of(trees: &[Rc<Tree>], log: &Path, tail: usize) -> Option<LogKey> {
    let keys: BTreeSet<LogKey> = trees.iter().flat_map(|tree| truth::keys(tree, log)).collect();
    keys.into_iter().nth_back(tail)
}

/// Returns whether the mirror shows a log entry that has not changed since it was appended.
fn entry_is_shown(copy: &Copy, log: &Path, key: LogKey) -> bool {
    let entry = copy.entries.get(&log.child(&key.to_string()).unwrap());
    entry.is_some_and(|(rev, _)| *rev == key.rev)
}

/// On failure this prints the differences only.
pub(crate) fn assert_same(found: &Tree, truth: &Tree, view: &View, rev: Revision) {
    if found == truth {
        return;
    }
    let paths: BTreeSet<&Path> = found.keys().chain(truth.keys()).collect();
    for path in paths.into_iter().filter(|path| found.get(path) != truth.get(path)) {
        eprintln!("{path}: found {:?}, should be {:?}", found.get(path), truth.get(path));
    }
    panic!("the mirror of {view:?} is not its view of the tree at {rev}");
}
