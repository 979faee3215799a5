//! Who is interested in a change, and how it gets to them.
//!
//! # Layout
//!
//! - [`Fanout`]: finds the subscribers of a commit or a signal and hands them its bytes
//! - [`Subscriber`], [`Sink`]: one connection, as seen from here
//! - `index`: which views are registered where
//! - `group`, `members`: who has registered one of them
//! - `groups`, `patterns`: those of one base, and how many of them are searched
//! - `run`: what follows one another and goes to the same is handed over together
//! - [`Frames`]: the bytes of commits and signals, made once for each way of seeing them
//! - [`Outbox`]: the bounded queue of one connection

mod encode;
mod group;
mod groups;
mod index;
mod members;
mod outbox;
mod patterns;
mod run;
mod subscriber;

use std::collections::HashMap;
use std::sync::Arc;

use onetree_core::{Commit, Interest};
use onetree_protocol::{Act, Change, Path, Value, View};

use encode::{Draft, Marks};
pub use encode::{Envelop, Frames, bare};
use group::Group;
use index::Index;
pub use outbox::{Item, Outbox};
use run::{Made, Run};
pub use subscriber::{Sink, Subscriber};

/// The subscription index and what goes through it. Shared by all tasks; commits come from one
/// task only, in their order.
#[derive(Debug)]
pub struct Fanout {
    index: Index,
    frame_bytes: usize,
    envelop: Envelop,
}

impl Fanout {
    /// An empty one; frames are split above `frame_bytes`, and handed over in `envelop`.
    pub fn new(frame_bytes: usize, envelop: Envelop) -> Fanout {
        Fanout { index: Index::default(), frame_bytes, envelop }
    }

    /// Puts a subscription into the index: each commit that looks from now on finds it. Gives back
    /// the view as the index has it: all who keep that one share it.
    pub fn register(&self, subscriber: &Arc<Subscriber>, interest: &Interest) -> Arc<View> {
        self.index.insert(subscriber, interest)
    }

    /// Takes a subscription out of the index.
    pub fn unregister(&self, subscriber: &Subscriber, interest: &Interest) {
        self.index.remove(subscriber, interest);
    }

    /// Hands commits to everyone who sees something of them, in their order: one delta of each commit
    /// for each connection, with the changes that any of its views sees. Cost: for each commit a look-up for
    /// each segment of each path; frames are encoded once for each way of seeing them, and what follows
    /// one another and is seen by the same is handed over together, in one piece.
    pub fn publish(&self, commits: &[Arc<Commit>]) {
        let hand = |subscriber: &Subscriber, frames: &Arc<Frames>| subscriber.sink.deltas(frames);
        let mut run = Run::new(self.envelop);
        let mut matched = Matched::default();
        let mut last: Option<Path> = None;
        for commit in commits {
            let changes = commit.changes();
            // What the same put before this one has found is found again: who has come in between reads
            // the tree with all of these commits in it.
            let again = match (&last, changes.as_slice()) {
                (Some(last), [Change { path, act: Act::Put(_), .. }]) => last == path,
                _ => false,
            };
            if !again {
                matched.clear();
            }
            last = match changes.as_slice() {
                [Change { path, act: Act::Put(_), .. }] => Some(path.clone()),
                _ => None,
            };
            for (at, change) in changes.iter().enumerate().filter(|_| !again) {
                self.index.each_concerned(change, |group| {
                    if group.deltas {
                        let marks = matched.of(group, changes.len());
                        marks.set(at, change, group.view.values);
                    }
                });
            }
            let Some((_, first)) = matched.groups.first() else { continue };
            if matched.groups.iter().all(|(_, marks)| marks == first) {
                if !run.goes_to(matched.groups.iter().map(|(group, _)| group)) {
                    run.end(hand);
                    run.begin(matched.groups.iter().map(|(group, _)| group.clone()));
                }
                run.draft.delta(commit.rev, changes, first, self.frame_bytes);
                continue;
            }
            run.end(hand);
            let mut made: Vec<(Marks, Made)> = Vec::new();
            for (subscriber, marks) in matched.union().values() {
                let known = made.iter().position(|(known, _)| known == marks);
                let place = known.unwrap_or_else(|| {
                    let mut draft = Draft::default();
                    draft.delta(commit.rev, changes.clone(), marks, self.frame_bytes);
                    made.push((marks.clone(), Made::new(draft, self.envelop)));
                    made.len() - 1
                });
                hand(subscriber, made[place].1.frames(subscriber.codec));
            }
        }
        run.end(hand);
    }

    /// How many would be handed a change, a connection once for each group that it is in: finding
    /// them, and nothing else.
    pub fn audience(&self, change: &Change) -> usize {
        let mut count = 0;
        self.index.each_concerned(change, |group| {
            if group.deltas {
                group.each_member(|_| count += 1);
            }
        });
        count
    }

    /// Hands signals to everyone whose view sees their path and who wants signals, at most once each,
    /// in their order.
    pub fn signal(&self, signals: impl IntoIterator<Item = (Path, Value)>) {
        let hand = |subscriber: &Subscriber, frames: &Arc<Frames>| subscriber.sink.signals(frames);
        let mut run = Run::new(self.envelop);
        let mut groups: Vec<Arc<Group>> = Vec::new();
        let mut last: Option<Path> = None;
        for (path, value) in signals {
            if last.as_ref() != Some(&path) {
                groups.clear();
                self.index.each_seeing(&path, |group| {
                    if group.signals {
                        groups.push(group.clone());
                    }
                });
                last = Some(path.clone());
            }
            if groups.is_empty() {
                continue;
            }
            if !run.goes_to(groups.iter()) {
                run.end(hand);
                run.begin(groups.iter().cloned());
            }
            run.draft.signal(path, value);
        }
        run.end(hand);
    }
}

/// The groups that see something of a commit, and what.
#[derive(Default)]
struct Matched {
    groups: Vec<(Arc<Group>, Marks)>,
    /// Where a group stands in `groups`, by its address; kept only when there are many.
    places: HashMap<usize, usize>,
}

/// Groups that are looked through faster than a map is asked.
const FEW: usize = 8;

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

#[cfg(test)]
mod tests;
