//! Subscriptions: each mirror's place on the connection, and how often it may start again.

use std::collections::VecDeque;
use std::time::Duration;

use onetree_protocol::frame::{Mode, Sub};

use super::Time;
use crate::mirror;

/// So many starts from nothing within [`WINDOW`] are a misfortune; one more is a circle.
const RESTARTS: usize = 3;
const WINDOW: Time = Duration::from_secs(60);
/// The wait of one that goes in circles: this, then twice that, up to [`HOLD_MOST`].
const HOLD: Time = Duration::from_secs(10);
const HOLD_MOST: Time = Duration::from_secs(300);

/// What is subscribed to, besides the view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubOptions {
    /// Whether it ends when it is fresh.
    pub mode: Mode,
    /// Whether signals are delivered.
    pub signals: bool,
    /// At most one delta in so many milliseconds; 0: each as it comes.
    pub every_ms: u32,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: mirror::State,
    pub(super) options: SubOptions,
    /// Whether the broker has, or is about to get, the subscription.
    pub(super) subscribed: bool,
    /// Until when it waits before it starts again.
    pub(super) held: Option<Time>,
    restarts: VecDeque<Time>,
    holds: u32,
}

impl Slot {
    pub(super) fn new(state: mirror::State, options: SubOptions) -> Slot {
        let restarts = VecDeque::new();
        Slot { state, options, subscribed: false, held: None, restarts, holds: 0 }
    }

    pub(super) fn frame(&self, id: u32, sub: u32) -> Sub {
        let SubOptions { mode, signals, every_ms } = self.options;
        let view = self.state.view().clone();
        let cookie = self.state.snapshot().cookie();
        // `copy` offers a repair, which this client does not do yet.
        Sub { id, sub, view, cookie, mode, signals, every_ms, copy: false }
    }

    /// It has to start again from nothing: the wait before that, when it goes in circles.
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
        self.held = Some(now + wait);
        Some(wait)
    }
}
