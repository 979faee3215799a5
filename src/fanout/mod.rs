//! Who is interested in a change, and how it gets to them.
//!
//! # Layout
//!
//! - [`Fanout`]: finds the subscribers of a commit or a signal and hands them its bytes
//! - [`Subscriber`], [`Sink`]: one connection, as seen from here
//! - `index`: which views are registered where; `members`: who has registered one of them
//! - `encode`: a commit's bytes, made once for each way of seeing it
//! - [`Outbox`]: the bounded queue of one connection

mod encode;
mod index;
mod members;
mod outbox;
mod subscriber;

use std::collections::HashMap;
use std::sync::Arc;

use onetree_core::{Commit, Interest, concerns};
use onetree_protocol::{Change, Path, Value, View};

use encode::{Deltas, Marks, SignalBytes};
use index::{Group, Index};
pub use outbox::{Item, Outbox};
pub use subscriber::{Sink, Subscriber};

/// The subscription index and what goes through it. Shared by all tasks; commits come from one
/// task only, in their order.
#[derive(Debug)]
pub struct Fanout {
    index: Index,
    frame_bytes: usize,
}

impl Fanout {
    /// An empty one; frames are split above `frame_bytes`.
    pub fn new(frame_bytes: usize) -> Fanout {
        Fanout { index: Index::default(), frame_bytes }
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

    /// Hands the commit to everyone who sees something of it, one delta for each connection with
    /// the changes that any of its views sees. Cost: a look-up for each segment of each path; the
    /// frames are encoded once for each way of seeing the commit, and nearly always there is one.
    pub fn publish(&self, commit: &Commit) {
        let changes = commit.changes();
        let mut matched = Matched::default();
        for (at, change) in changes.iter().enumerate() {
            self.index.each_group(change, |group| {
                if group.deltas && concerns(&group.view, change) {
                    let marks = matched.of(group, changes.len());
                    marks.set(at, change, group.view.values);
                }
            });
        }
        let mut deltas = Deltas::new(commit.rev, changes, self.frame_bytes);
        let Some((_, first)) = matched.groups.first() else { return };
        if matched.groups.iter().all(|(_, marks)| marks == first) {
            // All see the same. A connection may be in several groups; it claims the commit once.
            let alone = matched.groups.len() == 1;
            for (group, marks) in &matched.groups {
                group.each_member(|subscriber| {
                    if alone || subscriber.claim(commit.rev) {
                        subscriber.sink.delta(commit.rev, deltas.frames(marks, subscriber.codec));
                    }
                });
            }
            return;
        }
        let mut union: HashMap<u64, (Arc<Subscriber>, Marks)> = HashMap::new();
        for (group, marks) in &matched.groups {
            group.each_member(|subscriber| {
                let own = union.entry(subscriber.id);
                own.and_modify(|(_, own)| own.add(marks))
                    .or_insert_with(|| (subscriber.clone(), marks.clone()));
            });
        }
        for (subscriber, marks) in union.values() {
            subscriber.sink.delta(commit.rev, deltas.frames(marks, subscriber.codec));
        }
    }

    /// How many would be handed a change, a connection once for each group that it is in: finding
    /// them, and nothing else.
    pub fn audience(&self, change: &Change) -> usize {
        let mut count = 0;
        self.index.each_group(change, |group| {
            if group.deltas && concerns(&group.view, change) {
                group.each_member(|_| count += 1);
            }
        });
        count
    }

    /// Hands a signal to everyone whose view sees `path` and who wants signals, at most once each.
    pub fn signal(&self, path: &Path, value: &Value) {
        let mut groups: Vec<Arc<Group>> = Vec::new();
        self.index.each_group_above(path, |group| {
            if group.signals && group.view.sees(path) {
                groups.push(group.clone());
            }
        });
        let mut bytes = SignalBytes::new(path, value);
        let alone = groups.len() == 1;
        let mut told = std::collections::HashSet::new();
        for group in groups {
            group.each_member(|subscriber| {
                if alone || told.insert(subscriber.id) {
                    subscriber.sink.signal(bytes.frame(subscriber.codec));
                }
            });
        }
    }
}

/// The groups that see something of a commit, and what.
#[derive(Default)]
struct Matched {
    groups: Vec<(Arc<Group>, Marks)>,
    /// Where a group stands in `groups`, by its address.
    places: HashMap<usize, usize>,
}

impl Matched {
    fn of(&mut self, group: &Arc<Group>, changes: usize) -> &mut Marks {
        let place = *self.places.entry(Arc::as_ptr(group).addr()).or_insert_with(|| {
            self.groups.push((group.clone(), Marks::none(changes)));
            self.groups.len() - 1
        });
        &mut self.groups[place].1
    }
}

#[cfg(test)]
mod tests;
