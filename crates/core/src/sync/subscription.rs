//! One subscription: its view, and where its mirror stands.

use alloc::boxed::Box;
use alloc::sync::Arc;

use onetree_protocol::frame::{Mode, Reason, RefreshKind, Sub};
use onetree_protocol::{Revision, View};

use super::sweep::Sweep;
use crate::settings::Time;
use crate::snapshot::Snapshot;

/// A subscription of one connection. Most are live, and there are many: what a sweep needs stands
/// apart.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) view: Arc<View>,
    pub(super) mode: Mode,
    pub(super) signals: bool,
    pub(super) every_ms: u32,
    /// Whether it stands in the index of those who get live changes.
    pub(super) registered: bool,
    pub(super) cursor: Cursor,
}

/// What the index of subscriptions is told.
#[derive(Clone, Debug)]
pub struct Interest {
    /// The subscription's number on its connection.
    pub sub: u32,
    /// What it sees.
    pub view: Arc<View>,
    /// Whether it gets live deltas (not with `every_ms`).
    pub deltas: bool,
    /// Whether it gets signals.
    pub signals: bool,
}

/// Where a subscription's mirror stands.
///
/// Starts `Refreshing`. `Refreshing` -> `Live` (or `Paced`, with `every_ms`) when its sweep is done
/// and `fresh` is sent. `Live` -> `Behind` when the connection's outbox has overflowed, `Paced` ->
/// `Behind` when its interval is over and something changed; back when that sweep is done. Any ->
/// `Refreshing` when the client asks for it, or the horizon passes a mirror that is behind.
#[derive(Debug)]
pub(super) enum Cursor {
    /// The mirror is being made whole; it takes no live deltas.
    Refreshing { sweep: Box<Sweep>, stage: Stage },
    /// The mirror is at `rev`, or where the connection's live deltas have brought it.
    Live { rev: Revision },
    /// The mirror is at `rev` until its next interval. Nothing of it has changed from there to
    /// `seen`.
    Paced { rev: Revision, seen: Revision, due: Time },
    /// The mirror is at `from` until the folded delta is complete.
    /// `sent`: a part of it has been.
    Behind { from: Revision, sweep: Box<Sweep>, sent: bool },
}

impl Cursor {
    /// A mirror at `from` that has to be brought to the present; nothing of it has changed up to
    /// `seen`.
    pub(super) fn behind(from: Revision, seen: Revision) -> Cursor {
        Cursor::Behind { from, sweep: Box::new(Sweep::new(Some(seen))), sent: false }
    }
}

/// How far a refresh has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// `refresh` is to be sent.
    Opening(RefreshKind, Reason),
    /// The first round.
    Reading,
    /// It has been put into the index: what is committed from here on reaches it live, so live
    /// deltas wait until the difference to the present is sent.
    Closing,
}

impl Subscription {
    /// A new subscription, with the way that its refresh takes.
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

    /// What the index is told of it.
    pub(super) fn interest(&self, id: u32) -> Interest {
        let (view, signals) = (self.view.clone(), self.signals);
        Interest { sub: id, view, deltas: self.every_ms == 0, signals }
    }

    /// Whether it has something to do apart from intervals.
    pub(super) fn is_moving(&self) -> bool {
        matches!(self.cursor, Cursor::Refreshing { .. } | Cursor::Behind { .. })
    }

    /// Whether the connection's live deltas wait for it: it goes on with them from where it is
    /// being brought.
    pub(super) fn holds_live(&self) -> bool {
        match &self.cursor {
            Cursor::Refreshing { stage, .. } => *stage == Stage::Closing,
            Cursor::Behind { .. } => self.every_ms == 0,
            Cursor::Live { .. } | Cursor::Paced { .. } => false,
        }
    }

    /// Holds on to no snapshot any more.
    pub(super) fn let_go(&mut self) {
        match &mut self.cursor {
            Cursor::Refreshing { sweep, .. } | Cursor::Behind { sweep, .. } => sweep.let_go(),
            Cursor::Live { .. } | Cursor::Paced { .. } => {}
        }
    }

    /// Starts again from nothing.
    pub(super) fn restart(&mut self, reason: Reason) {
        let stage = Stage::Opening(RefreshKind::Full, reason);
        self.cursor = Cursor::Refreshing { sweep: Box::new(Sweep::new(None)), stage };
    }
}

/// The way a refresh takes: from the cookie when that is good, otherwise from nothing.
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
