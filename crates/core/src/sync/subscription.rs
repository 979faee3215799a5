//! One subscription: its view, and where its mirror stands.

use alloc::boxed::Box;
use alloc::sync::Arc;

use onetree_protocol::frame::{Mode, Reason, RefreshKind, Sub};
use onetree_protocol::{Revision, View};

use super::sweep::Sweep;
use crate::settings::Time;
use crate::snapshot::Snapshot;

/// A subscription of one connection. Most subscriptions are live, and there are many: so what a
/// sweep needs is allocated separately.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) view: Arc<View>,
    pub(super) mode: Mode,
    pub(super) signals: bool,
    pub(super) every_ms: u32,
    /// Whether the subscription is in the index of those that receive live changes or signals.
    pub(super) registered: bool,
    pub(super) cursor: Cursor,
}

/// What the index of subscriptions needs to know about a subscription.
#[derive(Clone, Debug)]
pub struct Interest {
    /// The client's number for the subscription on its connection.
    pub sub: u32,
    /// The view that the subscription sees.
    pub view: Arc<View>,
    /// Whether the subscription receives live deltas (not with `every_ms`).
    pub deltas: bool,
    /// Whether the subscription receives signals.
    pub signals: bool,
}

/// Where a subscription's mirror stands.
///
/// A cursor starts as `Refreshing`. The transitions are:
///
/// - `Refreshing` -> `Live` (or `Paced`, with `every_ms`): the sweep is done and `fresh` is queued.
/// - `Live` -> `Behind`: the connection's outbox has overflowed.
/// - `Paced` -> `Behind`: its interval is over and something changed.
/// - `Behind` -> `Live` or `Paced`: its sweep is done.
/// - any -> `Refreshing`: the client asks for a resync, or the horizon passes a mirror that is
///   behind.
#[derive(Debug)]
pub(super) enum Cursor {
    /// A refresh is in progress; the mirror takes no live deltas.
    Refreshing { sweep: Box<Sweep>, stage: Stage },
    /// The mirror is at `rev`, or further: at the revision of the connection's last live delta.
    Live { rev: Revision },
    /// The mirror is at `rev` until its next interval, at `due`. Nothing in its view has changed
    /// from `rev` to `seen`.
    Paced { rev: Revision, seen: Revision, due: Time },
    /// The mirror stays at `from` until its folded delta is complete. `sent`: whether a part of
    /// that delta was sent.
    Behind { from: Revision, sweep: Box<Sweep>, sent: bool },
}

impl Cursor {
    /// Returns the cursor of a mirror at `from` that has to be brought to the present. Nothing in
    /// its view has changed from `from` to `seen`.
    pub(super) fn behind(from: Revision, seen: Revision) -> Cursor {
        Cursor::Behind { from, sweep: Box::new(Sweep::new(Some(seen))), sent: false }
    }
}

/// How far a refresh has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The frame `refresh` is still to be sent.
    Opening(RefreshKind, Reason),
    /// Rounds that are read before the subscription needs live deltas: the first round of a live
    /// subscription, all rounds of any other.
    Reading,
    /// The subscription is in the index, so live deltas for everything committed from here on reach
    /// the connection. They wait until the last difference to the present is sent.
    Closing,
}

impl Subscription {
    /// Returns a new subscription and decides how its refresh is made.
    pub(super) fn new(sub: &Sub, now: &Snapshot) -> Subscription {
        let (since, kind, reason) = way(sub, now);
        Subscription {
            view: Arc::new(sub.view.clone()),
            mode: sub.mode,
            signals: sub.signals,
            every_ms: sub.every_ms,
            registered: false,
            cursor: Cursor::Refreshing {
                sweep: Box::new(Sweep::new(since)),
                stage: Stage::Opening(kind, reason),
            },
        }
    }

    /// Returns what the index needs to know about this subscription.
    pub(super) fn interest(&self, id: u32) -> Interest {
        let (view, signals) = (self.view.clone(), self.signals);
        Interest { sub: id, view, deltas: self.every_ms == 0, signals }
    }

    /// Returns whether the subscription has work to do now, rather than at its next interval.
    pub(super) fn is_moving(&self) -> bool {
        matches!(self.cursor, Cursor::Refreshing { .. } | Cursor::Behind { .. })
    }

    /// Returns whether the connection's live deltas have to wait for this subscription: it takes
    /// live deltas from the revision on that it is being brought to.
    pub(super) fn holds_live(&self) -> bool {
        match &self.cursor {
            Cursor::Refreshing { stage, .. } => *stage == Stage::Closing,
            Cursor::Behind { .. } => self.every_ms == 0,
            Cursor::Live { .. } | Cursor::Paced { .. } => false,
        }
    }

    /// Returns whether the mirror may never come to the present unless its sweep holds a snapshot.
    pub(super) fn needs_hold(&self) -> bool {
        match &self.cursor {
            Cursor::Refreshing { sweep, .. } | Cursor::Behind { sweep, .. } => sweep.needs_hold(),
            Cursor::Live { .. } | Cursor::Paced { .. } => false,
        }
    }

    /// Gives up the snapshot that the sweep holds, if it holds one.
    pub(super) fn let_go(&mut self) {
        match &mut self.cursor {
            Cursor::Refreshing { sweep, .. } | Cursor::Behind { sweep, .. } => sweep.let_go(),
            Cursor::Live { .. } | Cursor::Paced { .. } => {}
        }
    }

    /// Starts the refresh again, from nothing.
    pub(super) fn restart(&mut self, reason: Reason) {
        let stage = Stage::Opening(RefreshKind::Full, reason);
        self.cursor = Cursor::Refreshing { sweep: Box::new(Sweep::new(None)), stage };
    }
}

/// Decides how a refresh is made: from the cookie if that is good, otherwise from nothing.
fn way(sub: &Sub, now: &Snapshot) -> (Option<Revision>, RefreshKind, Reason) {
    let full = |reason| (None, RefreshKind::Full, reason);
    let Some(cookie) = &sub.cookie else { return full(Reason::NoCookie) };
    if cookie.epoch != now.epoch() {
        full(Reason::Epoch)
    } else if cookie.view != sub.view.fingerprint() {
        full(Reason::View)
    } else if cookie.rev > now.rev() {
        full(Reason::Future)
    } else if cookie.rev < now.horizon() {
        full(Reason::Horizon)
    } else {
        (Some(cookie.rev), RefreshKind::Delta, Reason::Cookie)
    }
}
