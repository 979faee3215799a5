//! Subscriptions: each mirror's subscription on the connection, what frames do to the mirror, and
//! how often it may start again.

use std::collections::VecDeque;
use std::time::Duration;

use onetree_protocol::frame::{ErrorFrame, Mode, Sub};
use onetree_protocol::{Action, Code, Pattern};

use super::{Asked, Control, Effect, Link, Session, Time};
use crate::backoff::as_asked;
use crate::errors::{Error, Refusal};
use crate::event::{Event, Verdict};
use crate::mirror::{self, Outcome};

/// How many starts from nothing within [`WINDOW`] happen without a wait. The next one waits.
const RESTARTS: usize = 3;
const WINDOW: Time = Duration::from_secs(60);
/// How long a mirror waits that starts again too often: this long at first, then twice as long each
/// time, up to [`HOLD_MOST`].
const HOLD: Time = Duration::from_secs(10);
const HOLD_MOST: Time = Duration::from_secs(300);
/// How long to wait before a subscription that was refused for now is tried again.
const AGAIN: Time = Duration::from_secs(1);

/// The options of a subscription, besides the view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubOptions {
    /// Whether the subscription is kept up to date or ends when the mirror is fresh.
    pub mode: Mode,
    /// Whether signals are delivered.
    pub signals: bool,
    /// At most one delta in this many milliseconds; 0: each delta as it comes.
    pub every_ms: u32,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: mirror::State,
    pub(super) options: SubOptions,
    /// Whether the broker has the subscription, or is about to get it.
    pub(super) subscribed: bool,
    /// Until when the mirror waits before it starts again.
    pub(super) held: Option<Time>,
    restarts: VecDeque<Time>,
    holds: u32,
}

impl Slot {
    pub(super) fn new(state: mirror::State, options: SubOptions) -> Slot {
        let restarts = VecDeque::new();
        Slot { state, options, subscribed: false, held: None, restarts, holds: 0 }
    }

    /// Returns this client's own refusal of the view. The broker would accept the view, but the
    /// pattern would match nothing.
    fn refusal(&self) -> Option<Refusal> {
        let wrong = |pattern: &Pattern| Pattern::written(pattern.as_str()).err();
        let error = self.state.view().patterns.iter().find_map(wrong)?;
        Some(Refusal::new(Code::BadPattern, error.to_string()))
    }

    pub(super) fn frame(&self, id: u32, sub: u32) -> Sub {
        let SubOptions { mode, signals, every_ms } = self.options;
        let view = self.state.view().clone();
        let cookie = self.state.snapshot().cookie();
        // `copy` offers a repair, which this client does not do yet.
        Sub { id, sub, view, cookie, mode, signals, every_ms, copy: false }
    }

    /// The mirror must start again from nothing. Returns how long it waits first, if it has started
    /// again too often.
    pub(super) fn restart(&mut self, now: Time) -> Option<Time> {
        while self.restarts.front().is_some_and(|at| now.saturating_sub(*at) > WINDOW) {
            self.restarts.pop_front();
        }
        if self.restarts.is_empty() {
            self.holds = 0;
        }
        self.restarts.push_back(now);
        if self.restarts.len() <= RESTARTS {
            return None;
        }
        let wait = HOLD.saturating_mul(1 << self.holds.min(5)).min(HOLD_MOST);
        self.holds += 1;
        self.held = Some(now.saturating_add(wait));
        // It cannot start while it waits, so the wait is no part of the window.
        self.restarts.iter_mut().for_each(|at| *at += wait);
        Some(wait)
    }
}

impl Session {
    /// Starts a mirror as subscription `sub`. No other subscription may have this number. A mirror
    /// with a pattern that [`Pattern::written`] refuses ends at once.
    pub fn mirror(&mut self, sub: u32, state: mirror::State, options: SubOptions) {
        let mut slot = Slot::new(state, options);
        if let Link::Up { welcome, .. } = &self.link {
            slot.state.handle_key(welcome.digest_key);
        }
        let refusal = slot.refusal();
        self.slots.insert(sub, slot);
        if self.is_over() || self.closing.is_some() {
            self.end_mirror(sub, Some(Error::Closed { why: self.why.clone(), sent: None }));
        } else if let Some(refusal) = refusal {
            self.end_mirror(sub, Some(Error::Refused(refusal)));
        } else {
            self.start(sub);
        }
    }

    /// Ends a mirror. No further effect is about it.
    pub fn drop_mirror(&mut self, sub: u32) {
        let Some(slot) = self.slots.remove(&sub) else { return };
        self.parts.remove(&Some(sub));
        // If `hello` has the subscription, it is cancelled after `welcome`.
        if slot.subscribed && matches!(self.link, Link::Greeting { .. } | Link::Up { .. }) {
            self.control.push_back(Control::Unsub(sub));
        }
    }

    /// Starts a mirror again from nothing, because the application asked for it.
    pub fn resync(&mut self, sub: u32) {
        let Some(slot) = self.slots.get_mut(&sub) else { return };
        slot.state.handle_distrust();
        slot.held = None;
        self.start(sub);
        self.tell(sub, None);
    }

    /// The broker cannot serve a subscription, either now or at all.
    pub(super) fn handle_sub_error(&mut self, now: Time, sub: u32, error: ErrorFrame) {
        let Some(slot) = self.slots.get_mut(&sub) else { return };
        match (error.code, error.code.action()) {
            (Code::SubInUse | Code::NoSuchSub, _) | (_, Action::Resync) => {
                slot.state.handle_distrust();
                self.tell(sub, None);
                self.restart(now, sub);
            }
            (_, Action::Retry) => {
                slot.state.handle_lost();
                let asked = error.retry_ms.map(|ms| Duration::from_millis(ms.into()));
                let retry_in = as_asked(asked).unwrap_or(AGAIN);
                slot.held = Some(now.saturating_add(retry_in));
                self.tell(sub, Some(Event::Circling { retry_in }));
            }
            (_, Action::Fix | Action::Reauth | Action::Stop) => {
                self.end_mirror(sub, Some(Error::Refused(error.into())));
            }
        }
    }

    /// Gives a frame to a mirror and acts on the outcome.
    pub(super) fn on_mirror(
        &mut self,
        now: Time,
        sub: u32,
        handle: impl FnOnce(&mut mirror::State) -> Outcome,
    ) -> Verdict {
        let Some(slot) = self.slots.get_mut(&sub) else { return Verdict::Unknown };
        let outcome = handle(&mut slot.state);
        let rev = slot.state.snapshot().rev();
        match outcome {
            Outcome::Nothing => {}
            Outcome::Refreshing { kind, why } => {
                self.tell(sub, Some(Event::Refreshing { kind, why }));
            }
            Outcome::Fresh { changes } => {
                self.tell(sub, Some(Event::Fresh { rev, changes: changes.into() }));
            }
            Outcome::Delta { changes, .. } if changes.is_empty() => self.tell(sub, None),
            Outcome::Delta { since, changes } => {
                self.tell(sub, Some(Event::Delta { since, rev, changes: changes.into() }));
            }
            Outcome::Synced { verified } => {
                self.tell(sub, Some(Event::Synced { rev, verified }));
                return if verified { Verdict::Same { rev } } else { Verdict::Unknown };
            }
            Outcome::Corrupt { expected, found } => {
                self.tell(sub, Some(Event::Corrupt { expected, found }));
                self.restart(now, sub);
                return Verdict::Differs { expected, found };
            }
            Outcome::Broken(why) => {
                self.tell(sub, Some(Event::Broken { why }));
                self.restart(now, sub);
            }
        }
        Verdict::Unknown
    }

    /// Starts a mirror again from nothing because it is wrong. If it has started again too often,
    /// it waits first.
    pub(super) fn restart(&mut self, now: Time, sub: u32) {
        self.parts.remove(&Some(sub));
        let Some(slot) = self.slots.get_mut(&sub) else { return };
        match slot.restart(now) {
            Some(retry_in) => self.tell(sub, Some(Event::Circling { retry_in })),
            None => self.start(sub),
        }
    }

    /// Has a mirror refreshed, if there is a connection. Otherwise the next `hello` does it.
    pub(super) fn start(&mut self, sub: u32) {
        let Some(slot) = self.slots.get(&sub) else { return };
        // `hello` has the subscription already, with a cookie: that needs a `resync` after it.
        let said = matches!(self.link, Link::Greeting { .. }) && slot.subscribed;
        let control = if slot.subscribed { Control::Resync(sub) } else { Control::Sub(sub) };
        if (said || matches!(self.link, Link::Up { .. })) && !self.control.contains(&control) {
            self.control.push_back(control);
        }
    }

    /// Returns whether a `resync` of the mirror has no answer yet.
    pub(super) fn is_restarting(&self, sub: u32) -> bool {
        let is_it = |asked: &Asked| matches!(asked, Asked::Resync(of) if *of == sub);
        self.control.contains(&Control::Resync(sub)) || self.asked.values().any(is_it)
    }

    pub(super) fn end_mirror(&mut self, sub: u32, error: Option<Error>) {
        self.tell(sub, Some(Event::Ended { error }));
        self.slots.remove(&sub);
        self.parts.remove(&Some(sub));
    }

    pub(super) fn tell(&mut self, sub: u32, event: Option<Event>) {
        let Some(slot) = self.slots.get(&sub) else { return };
        let (snapshot, fresh) = (slot.state.snapshot().clone(), slot.state.is_fresh());
        self.effects.push_back(Effect::Mirror { sub, event, snapshot, fresh });
    }

    pub(super) fn tell_all(&mut self, event: &Event) {
        for sub in self.slots.keys().copied().collect::<Vec<_>>() {
            self.tell(sub, Some(event.clone()));
        }
    }
}
