//! Where the mirrors of a connection stand, for those who look on.

use onetree_protocol::frame::Mode;
use onetree_protocol::{Revision, View};

use super::feed::Feed;
use super::subscription::{Cursor, Subscription};

/// Where one mirror stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// The subscription's number on its connection.
    pub sub: u32,
    /// What it sees.
    pub view: &'a View,
    /// Whether it goes on after its first refresh.
    pub mode: Mode,
    /// Whether it gets signals.
    pub signals: bool,
    /// At most one delta in so many milliseconds; 0: each as it comes.
    pub every_ms: u32,
    /// What is being done with it.
    pub motion: Motion,
    /// The revision that the mirror was last brought to; `None` while it is made from nothing.
    pub rev: Option<Revision>,
}

/// What is being done with a mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// It is being made whole.
    Refreshing,
    /// It takes each delta as it comes.
    Live,
    /// It waits for its next interval.
    Paced,
    /// It missed something, and is getting what changed.
    Behind,
}

impl Feed {
    /// Where each mirror stands, in the order of their numbers. O(1) for each.
    pub fn standings(&self) -> impl Iterator<Item = Standing<'_>> {
        self.subs.iter().map(|(sub, subscription)| subscription.standing(sub, self.live))
    }
}

impl Subscription {
    fn standing(&self, sub: u32, live: Revision) -> Standing<'_> {
        let (motion, rev) = match &self.cursor {
            Cursor::Refreshing { sweep, .. } => (Motion::Refreshing, sweep.since()),
            Cursor::Live { rev } => (Motion::Live, Some(live.max(*rev))),
            Cursor::Paced { rev, .. } => (Motion::Paced, Some(*rev)),
            Cursor::Behind { from, .. } => (Motion::Behind, Some(*from)),
        };
        let Subscription { view, mode, signals, every_ms, .. } = self;
        let (mode, signals, every_ms) = (*mode, *signals, *every_ms);
        Standing { sub, view, mode, signals, every_ms, motion, rev }
    }
}
