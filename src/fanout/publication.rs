//! The way of commits to those who see something of them.

use std::collections::HashMap;
use std::slice;
use std::sync::{Arc, PoisonError};

use onetree_core::Commit;
use onetree_protocol::{Act, Change, Path, Revision};

use super::encode::{Draft, Frames, Made, Marks};
use super::few::Few;
use super::group::Group;
use super::index::Seen;
use super::lookup::Lookup;
use super::run::Run;
use super::subscriber::Subscriber;
use super::{FEW, Fanout};

/// Changes that are looked up, and commits that are handed over, in one piece: some 15 us as a
/// rule, and what is written at once ([`Few`]) once in a publication, so that a look at the clock
/// after each costs nothing.
const PIECE: usize = 16;

/// So many frames that are handed over count as one more commit.
const HANDED: usize = 64;

/// Commits that are being handed over.
///
/// All of them are in the tree that others read before it begins. So whoever registers while it
/// goes on reads a tree that has them, and does not need what it may miss of them; and whoever was
/// there before is found by every change. That is as true between two pieces as it is while other
/// threads register during one.
pub(crate) struct Publication<'a> {
    fanout: &'a Fanout,
    commits: slice::Iter<'a, Arc<Commit>>,
    current: Option<Current>,
    /// Who sees something of the current commit.
    matched: Matched,
    /// The path of the commit before, if it was one put and nothing else.
    last: Option<Path>,
    run: Run,
    lookup: Lookup,
    few: Few,
}

/// The commit whose changes are being looked up.
struct Current {
    rev: Revision,
    changes: Vec<Change>,
    /// The changes that have been.
    looked_up: usize,
}

fn hand(subscriber: &Subscriber, frames: &Arc<Frames>, at_once: bool) {
    subscriber.sink.deltas(frames, at_once);
}

impl<'a> Publication<'a> {
    pub(super) fn new(fanout: &'a Fanout, commits: &'a [Arc<Commit>]) -> Publication<'a> {
        Publication {
            fanout,
            commits: commits.iter(),
            current: None,
            matched: Matched::default(),
            last: None,
            run: Run::new(fanout.envelope),
            lookup: Lookup::with(*fanout.steps.lock().unwrap_or_else(PoisonError::into_inner)),
            few: Few::of(commits.len()),
        }
    }

    /// Hands over what goes together; gives how many frames that were.
    fn end_run(&mut self) -> usize {
        let commits = self.run.draft.commits();
        let handed = self.run.end(&mut self.few, hand);
        self.lookup.handed(handed * commits);
        handed
    }

    /// Goes one piece further. False: everything is handed over.
    pub(crate) fn go_on(&mut self) -> bool {
        let mut left = PIECE;
        loop {
            let begun = self.current.take().or_else(|| self.commits.next().map(|c| self.begin(c)));
            let Some(mut current) = begun else {
                self.end_run();
                let left = &self.fanout.steps;
                *left.lock().unwrap_or_else(PoisonError::into_inner) = self.lookup.left();
                return false;
            };
            let all = current.changes.len();
            while current.looked_up < all {
                if left == 0 {
                    self.current = Some(current);
                    return true;
                }
                left -= 1;
                let at = current.looked_up;
                let change = &current.changes[at];
                self.lookup.change();
                self.fanout.index.each_concerned(change, &mut self.lookup, |seen| match seen {
                    Seen::Yes(group) if group.deltas => {
                        self.matched.of(group, all).set(at, change, group.view.values);
                    }
                    // Before anything of this commit is handed over: a subscriber that gets the
                    // commit through one view would miss what another of its views may see.
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
            left = left.saturating_sub(1 + handed / HANDED);
            if left == 0 {
                return true;
            }
        }
    }

    /// Others have their turn now: what is found already does not wait for it.
    pub(crate) fn pause(&mut self) {
        self.end_run();
    }

    fn begin(&mut self, commit: &Commit) -> Current {
        let changes = commit.changes();
        let put = match changes.as_slice() {
            [Change { path, act: Act::Put(_), .. }] => Some(path),
            _ => None,
        };
        // What the same put before this one has found is found again: who has come in between reads
        // the tree with all of these commits in it.
        let again = put.is_some() && self.last.as_ref() == put;
        if !again {
            self.matched.clear();
            self.last = put.cloned();
        }
        let looked_up = if again { changes.len() } else { 0 };
        Current { rev: commit.rev, changes, looked_up }
    }

    /// All changes of a commit have been looked up: it goes into the run, or by itself. Gives how
    /// many frames were handed over for that.
    fn hand_over(&mut self, Current { rev, changes, .. }: Current) -> usize {
        let frame_bytes = self.fanout.frame_bytes;
        let Some((_, first)) = self.matched.groups.first() else { return 0 };
        if self.matched.groups.iter().all(|(_, marks)| marks == first) {
            let mut handed = 0;
            if !self.run.goes_to(self.matched.groups.iter().map(|(group, _)| group)) {
                handed = self.end_run();
                self.run.begin(self.matched.groups.iter().map(|(group, _)| group.clone()));
            }
            let (_, first) = &self.matched.groups[0];
            self.run.draft.delta(rev, changes, first, frame_bytes);
            return handed;
        }
        let before = self.end_run();
        let mut ways: Vec<(Marks, Draft, Made)> = Vec::new();
        let union = self.matched.union();
        let at_once = self.few.are(|| union.len());
        for (subscriber, marks) in union.values() {
            let known = ways.iter().position(|(known, ..)| known == marks);
            let place = known.unwrap_or_else(|| {
                let mut draft = Draft::default();
                draft.delta(rev, changes.clone(), marks, frame_bytes);
                ways.push((marks.clone(), draft, Made::default()));
                ways.len() - 1
            });
            let (codec, (_, draft, made)) = (subscriber.codec, &mut ways[place]);
            let frames = made.frames(codec, || draft.encode(codec, self.fanout.envelope));
            hand(subscriber, frames, at_once);
        }
        self.lookup.handed(union.len());
        before + union.len()
    }
}

/// The groups that see something of a commit, and what.
#[derive(Default)]
struct Matched {
    groups: Vec<(Arc<Group>, Marks)>,
    /// Where a group stands in `groups`, by its address; kept only when there are many.
    places: HashMap<usize, usize>,
}

impl Matched {
    fn clear(&mut self) {
        self.groups.clear();
        self.places.clear();
    }

    fn of(&mut self, group: &Arc<Group>, changes: usize) -> &mut Marks {
        let Matched { groups, places } = self;
        let known = match groups.len() {
            0..=FEW => groups.iter().position(|(known, _)| Arc::ptr_eq(known, group)),
            _ => places.get(&group.address()).copied(),
        };
        let place = known.unwrap_or_else(|| {
            groups.push((group.clone(), Marks::none(changes)));
            if groups.len() == FEW + 1 {
                places.extend(groups.iter().map(|(group, _)| group.address()).zip(0..));
            } else if groups.len() > FEW {
                places.insert(group.address(), groups.len() - 1);
            }
            groups.len() - 1
        });
        &mut groups[place].1
    }

    /// What each subscriber sees through any of its views.
    fn union(&self) -> HashMap<u64, (Arc<Subscriber>, Marks)> {
        let mut union: HashMap<u64, (Arc<Subscriber>, Marks)> = HashMap::new();
        for (group, marks) in &self.groups {
            group.each_member(|subscriber| {
                let own = union.entry(subscriber.id);
                own.and_modify(|(_, own)| own.add(marks))
                    .or_insert_with(|| (subscriber.clone(), marks.clone()));
            });
        }
        union
    }
}
