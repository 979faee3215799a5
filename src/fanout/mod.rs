//! Who is interested in a change, and how it gets to them.
//!
//! # Layout
//!
//! - [`Fanout`]: finds the subscribers of a commit or a signal and hands them its bytes
//! - [`Subscriber`], [`Sink`]: one connection, as seen from here
//! - `index`: which views are registered where
//! - `group`, `members`: who has registered one of them
//! - `groups`, `patterns`: those of one base, and how many of them are searched
//! - `lookup`: how long that may take
//! - `publication`: the way of commits to those who see something of them
//! - `matched`, `marks`: who that is, of one commit, and of which of its changes
//! - `ways`: a commit that not everybody sees in the same way
//! - `run`: those that follow one another and go to the same are handed over together
//! - `signals`: the way of signals to those who want them
//! - [`Frames`]: the bytes of commits and signals, made once for each way of seeing them
//! - [`Outbox`]: the bounded queue of one connection, and the way past it while it rests
//! - `few`: how many are served at once

mod encode;
mod few;
mod group;
mod groups;
mod index;
mod lookup;
mod marks;
mod matched;
mod members;
mod outbox;
mod patterns;
mod publication;
mod run;
mod signals;
mod subscriber;
mod ways;

use std::sync::{Arc, Mutex};

use onetree_core::{Commit, Interest};
use onetree_protocol::{Change, View};

pub use encode::{Envelope, Frames};
use index::{Index, Seen};
use lookup::{Lookup, Steps};
pub use outbox::{Item, Outbox, Pushed, Wire, Written};
pub(crate) use publication::Publication;
pub use subscriber::{Sink, Subscriber};

/// The subscription index and what goes through it. Shared by all tasks; commits come from one
/// task only, in their order.
#[derive(Debug)]
pub struct Fanout {
    index: Index,
    frame_bytes: usize,
    envelope: Envelope,
    /// What the last publication has left of its steps.
    steps: Mutex<Steps>,
}

impl Fanout {
    /// An empty one; frames are split above `frame_bytes`, and handed over in `envelope`.
    pub fn new(frame_bytes: usize, envelope: Envelope) -> Fanout {
        Fanout { index: Index::default(), frame_bytes, envelope, steps: Mutex::new(Steps::FULL) }
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

    /// Hands commits to everyone who sees something of them, in their order: one delta of each
    /// commit for each connection, with the changes that any of its views sees. Cost: for each
    /// commit a look-up for each segment of each path; frames are encoded once for each way of
    /// seeing them, and what follows one another and is seen by the same is handed over together,
    /// in one piece. Where it takes too long to find who sees something, who may is told to look at
    /// the tree ([`Sink::overflow`]).
    pub fn publish(&self, commits: &[Arc<Commit>]) {
        let mut publication = self.publication(commits);
        while publication.go_on() {}
    }

    /// The same, piece by piece, for who has others to think of: they may register and leave
    /// between two pieces, as they may during one.
    pub(crate) fn publication<'a>(&'a self, commits: &'a [Arc<Commit>]) -> Publication<'a> {
        Publication::new(self, commits)
    }

    /// How many would be handed a change, a connection once for each group that it is in: finding
    /// them, and nothing else.
    pub fn audience(&self, change: &Change) -> usize {
        let mut count = 0;
        let mut lookup = Lookup::with(Steps::ANY);
        self.index.each_concerned(change, &mut lookup, |seen| {
            if let Seen::Yes(group) = seen
                && group.deltas
            {
                group.each_member(|_| count += 1);
            }
        });
        count
    }
}

/// Groups that are looked through faster than a map is asked.
const FEW: usize = 8;

#[cfg(test)]
mod tests;
