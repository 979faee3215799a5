//! Hands commits to the subscribers that see something of them.

use std::slice;
use std::sync::{Arc, PoisonError};

use onetree_core::Commit;
use onetree_protocol::{Act, Change, Path, Revision};

use super::Fanout;
use super::few::Few;
use super::index::Seen;
use super::lookup::Lookup;
use super::matched::Matched;
use super::run::Run;
use super::ways::Ways;

/// The size of one piece, measured in frames that are handed over: usually about 15 us; once in a
/// publication it includes what is written at once ([`Few`]). A look at the clock after each piece
/// then costs nothing.
const PIECE: usize = 16 * LONGER;

/// Looking up a change, or encoding a commit, takes as long as handing over this many frames.
const LONGER: usize = 64;

/// Commits that are being handed over.
///
/// Before this begins, all of these commits are in the tree that others read. So a subscriber that
/// registers in the meantime reads a tree that has the commits, and needs nothing that it may miss
/// here; and a subscriber that was registered before is found by every change. This holds between
/// two pieces just as it holds while other threads register during a piece.
pub(crate) struct Publication<'a> {
    fanout: &'a Fanout,
    commits: slice::Iter<'a, Arc<Commit>>,
    current: Option<Current>,
    /// Who sees something of the current commit.
    matched: Matched,
    /// The current commit, while it is handed over by itself.
    ways: Option<Ways>,
    /// The path of the commit before, if that commit was a single put.
    last: Option<Path>,
    run: Run,
    lookup: Lookup,
    few: Few,
}

/// The commit whose changes are being looked up.
struct Current {
    rev: Revision,
    changes: Vec<Change>,
    /// How many of the changes have been looked up.
    looked_up: usize,
}

impl<'a> Publication<'a> {
    pub(super) fn new(fanout: &'a Fanout, commits: &'a [Arc<Commit>]) -> Publication<'a> {
        Publication {
            fanout,
            commits: commits.iter(),
            current: None,
            matched: Matched::default(),
            ways: None,
            last: None,
            run: Run::new(fanout.envelope),
            lookup: Lookup::with(*fanout.steps.lock().unwrap_or_else(PoisonError::into_inner)),
            few: Few::of(commits.len()),
        }
    }

    /// Hands over the current run. Returns how many frames that were.
    fn end_run(&mut self) -> usize {
        let commits = self.run.draft.commits();
        let handed = self.run.end(&mut self.few);
        self.lookup.handed(handed * commits);
        handed
    }

    /// Does one more piece. Returns false when everything is handed over.
    pub(crate) fn go_on(&mut self) -> bool {
        let mut left = PIECE;
        loop {
            if let Some(ways) = &mut self.ways {
                let Publication { fanout, few, lookup, .. } = self;
                while let Some(took) = ways.go_on(fanout, few, lookup) {
                    left = left.saturating_sub(took);
                    if left == 0 {
                        return true;
                    }
                }
                self.ways = None;
            }
            let begun = self.current.take().or_else(|| self.commits.next().map(|c| self.begin(c)));
            let Some(mut current) = begun else {
                self.end_run();
                let left = &self.fanout.steps;
                *left.lock().unwrap_or_else(PoisonError::into_inner) = self.lookup.left();
                return false;
            };
            while let Some(change) = current.changes.get(current.looked_up) {
                if left == 0 {
                    self.current = Some(current);
                    return true;
                }
                left = left.saturating_sub(LONGER);
                self.lookup.change();
                self.fanout.index.each_concerned(change, &mut self.lookup, |seen| match seen {
                    Seen::Yes(group) if group.deltas => {
                        let marks = self.matched.of(group);
                        marks.push(current.looked_up, change, group.view.values);
                    }
                    // Do this before anything of this commit is handed over: otherwise a subscriber
                    // that gets the commit through one view would miss what another of its views
                    // may see.
                    Seen::Perhaps(group) if group.deltas => {
                        group.each_member(|subscriber| subscriber.sink.overflow());
                    }
                    Seen::Yes(_) | Seen::Perhaps(_) => {}
                });
                current.looked_up += 1;
            }
            let mut handed = self.hand_over(current);
            if self.lookup.is_long() {
                handed += self.end_run();
            }
            left = left.saturating_sub(LONGER + handed);
            if left == 0 {
                return true;
            }
        }
    }

    /// Hands over what was found so far, because other tasks get their turn now and what was found
    /// must not wait for it.
    pub(crate) fn pause(&mut self) {
        self.end_run();
    }

    fn begin(&mut self, commit: &Commit) -> Current {
        let changes = commit.changes();
        let put = match changes.as_slice() {
            [Change { path, act: Act::Put(_), .. }] => Some(path),
            _ => None,
        };
        // A put at the same path as the one before sees the same groups. A subscriber that came in
        // between reads a tree with all of these commits in it.
        let again = put.is_some() && self.last.as_ref() == put;
        if !again {
            self.matched.clear();
            self.last = put.cloned();
        }
        let looked_up = if again { changes.len() } else { 0 };
        Current { rev: commit.rev, changes, looked_up }
    }

    /// Hands over a commit whose changes have all been looked up: adds it to the run, or hands it
    /// over by itself. Returns how many frames were handed over for that.
    fn hand_over(&mut self, Current { rev, changes, .. }: Current) -> usize {
        let Some((_, first)) = self.matched.groups.first() else { return 0 };
        if self.matched.groups.iter().any(|(_, marks)| marks != first) {
            let handed = self.end_run();
            let ways = self.ways.insert(Ways::new(rev, changes, &self.matched));
            return handed + ways.len();
        }
        let mut handed = 0;
        if !self.run.goes_to(self.matched.groups.iter().map(|(group, _)| group)) {
            handed = self.end_run();
            self.run.begin(self.matched.groups.iter().map(|(group, _)| group.clone()));
        }
        let (_, first) = &self.matched.groups[0];
        self.run.draft.delta(rev, changes, first, self.fanout.frame_bytes);
        handed
    }
}
