//! Where the mirrors of a connection stand, for an operator who inspects the broker.

use onetree_protocol::frame::Mode;
use onetree_protocol::{Revision, View};

use super::feed::Feed;
use super::subscription::{Cursor, Subscription};

/// Where one mirror stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// The client's number for the subscription on its connection.
    pub sub: u32,
    /// The view that the subscription sees.
    pub view: &'a View,
    /// Whether the subscription continues after its first refresh.
    pub mode: Mode,
    /// Whether the subscription receives signals.
    pub signals: bool,
    /// The shortest time between two deltas, in milliseconds; 0: every delta is sent as it comes.
    pub every_ms: u32,
    /// What the broker is doing with the mirror.
    pub motion: Motion,
    /// The revision that the mirror was last brought to; `None` while it is made from nothing.
    pub rev: Option<Revision>,
}

/// What the broker is doing with a mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// A refresh is in progress.
    Refreshing,
    /// The mirror receives every live delta as it comes.
    Live,
    /// The mirror waits for its next `every_ms` interval.
    Paced,
    /// The mirror missed live deltas, or its interval is over; the broker is sending what changed.
    Behind,
}

impl Feed {
    /// Returns where each mirror stands, in the order of the subscriptions' numbers. O(1) for each.
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
