//! The fan-out: finds the subscribers that are interested in a change, and hands them the change.
//!
//! # Layout
//!
//! - [`Fanout`]: finds the subscribers of a commit or a signal and hands them its bytes
//! - [`Subscriber`], [`Sink`]: one connection, as the fan-out sees it
//! - `index`: which views are registered at which base
//! - `group`, `members`: the subscribers that have registered the same view
//! - `groups`, `patterns`: the groups of one base, and how to search many of them
//! - `lookup`: limits the time of a search
//! - `publication`: hands commits to the subscribers that see something of them
//! - `matched`, `marks`: who sees something of one commit, and which of its changes
//! - `ways`: a commit of which subscribers see different parts
//! - `run`: hands over consecutive commits together when they go to the same subscribers
//! - `signals`: hands signals to the subscribers that want them
//! - [`Frames`]: the bytes of commits and signals, encoded once for each distinct set of changes
//! - [`Outbox`]: the bounded queue of one connection, and the direct write while it rests
//! - `few`: when frames go to so few connections that they are written at once

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

/// The subscription index, and the way of commits and signals through it. All tasks share it.
/// Commits must come from one task only, in order.
#[derive(Debug)]
pub struct Fanout {
    index: Index,
    frame_bytes: usize,
    envelope: Envelope,
    /// The steps that the last publication has left.
    steps: Mutex<Steps>,
}

impl Fanout {
    /// Makes a fan-out without subscriptions. Frames are split above `frame_bytes`, and get
    /// `envelope` as a header.
    pub fn new(frame_bytes: usize, envelope: Envelope) -> Fanout {
        Fanout { index: Index::default(), frame_bytes, envelope, steps: Mutex::new(Steps::FULL) }
    }

    /// Adds a subscription to the index: each commit that is looked up from now on finds it.
    /// Returns the view as the index has it, which all subscribers with the same interest share.
    pub fn register(&self, subscriber: &Arc<Subscriber>, interest: &Interest) -> Arc<View> {
        self.index.insert(subscriber, interest)
    }

    /// Removes a subscription from the index.
    pub fn unregister(&self, subscriber: &Subscriber, interest: &Interest) {
        self.index.remove(subscriber, interest);
    }

    /// Hands commits, in order, to every subscriber that sees something of them. Each connection
    /// receives one delta for each commit, with the changes that any of its views sees.
    ///
    /// Cost: for each commit, one lookup for each segment of each path. Frames are encoded once for
    /// each distinct set of changes. Consecutive commits that the same subscribers see are handed
    /// over together, in one piece. When it takes too long to find out who sees a change, the
    /// subscribers that may see it are told to look at the tree ([`Sink::overflow`]).
    pub fn publish(&self, commits: &[Arc<Commit>]) {
        let mut publication = self.publication(commits);
        while publication.go_on() {}
    }

    /// Like [`Fanout::publish`], but piece by piece, for a caller that gives other tasks their
    /// turn. Subscribers may register and leave between two pieces, as they may during one.
    pub(crate) fn publication<'a>(&'a self, commits: &'a [Arc<Commit>]) -> Publication<'a> {
        Publication::new(self, commits)
    }

    /// Returns how many subscribers would receive a change; a connection counts once for each group
    /// that it is in. This only searches, and hands over nothing.
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

/// Up to this many groups are searched faster one by one than through a map.
const FEW: usize = 8;

#[cfg(test)]
mod tests;
