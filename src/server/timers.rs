//! What a connection does though nothing happens.

use std::time::Duration;

use tokio::time::Instant;

use super::connection::{Connection, Hold};
use super::ending::Ending;
use crate::config::Config;

/// When something is to be done though nothing happens.
pub(super) struct Timers {
    /// The last sign of life besides what the reader has heard, see [`Connection::heard`].
    pub(super) heard: Instant,
    pub(super) ping_at: Instant,
    pub(super) heartbeat_at: Instant,
    /// A heartbeat is due and waits for room.
    pub(super) heartbeat_due: bool,
    /// When the next interval of an `every_ms` subscription is over.
    pub(super) feed_at: Option<Instant>,
}

impl Timers {
    pub(super) fn new(now: Instant, config: &Config) -> Timers {
        Timers {
            heard: now,
            ping_at: now + Duration::from_millis(config.ping_interval_ms),
            heartbeat_at: now + Duration::from_millis(config.heartbeat_ms.into()),
            heartbeat_due: false,
            feed_at: None,
        }
    }
}

impl Connection {
    /// When there last was a sign of life from the client.
    pub(super) fn heard(&self) -> Instant {
        self.timers.heard.max(self.reader.heard())
    }

    pub(super) fn next_deadline(&self) -> Instant {
        let Timers { ping_at, heartbeat_at, feed_at, .. } = self.timers;
        let hold_at = match self.hold {
            Hold::Until { at, .. } => Some(at),
            Hold::No | Hold::Spent => None,
        };
        // While nothing can be written, an interval that is over changes nothing.
        let feed_at = feed_at.filter(|_| self.writer.has_room());
        [feed_at, hold_at].into_iter().flatten().fold(ping_at.min(heartbeat_at), Instant::min)
    }

    /// Does what is due.
    pub(super) fn handle_time(&mut self, now: Instant) -> Option<Ending> {
        let config = &self.server.config;
        if self.timers.heartbeat_at <= now {
            self.timers.heartbeat_at = now + Duration::from_millis(config.heartbeat_ms.into());
            self.timers.heartbeat_due = true;
        }
        let due = self.timers.ping_at;
        if due <= now {
            let interval = Duration::from_millis(config.ping_interval_ms);
            self.timers.ping_at = now + interval;
            if !self.reads() || self.writer.is_blocked() {
                // It is the broker that does not listen; or a client that reads nothing now, so that it
                // finds no ping and its own may not be read. The system asks such a peer whether it is
                // still there, and what it costs is bounded.
                self.timers.heard = now;
            }
            // Where it is late, it was the broker that was away (stopped, or its machine), and what its clients
            // said meanwhile has not been read: it will have been the next time.
            let late = now.duration_since(due) >= interval / 2;
            if !late && now.duration_since(self.heard()) >= 2 * interval {
                return Some(Ending::silent(2 * interval));
            }
            if self.writer.has_room() {
                self.writer.ping();
            }
        }
        if matches!(self.hold, Hold::Until { at, .. } if at <= now) {
            self.hold = Hold::Spent;
            if !self.writer.has_room() {
                // The client does not read: one piece more than there is room for, so that the
                // snapshot goes.
                self.step();
            }
        }
        None
    }
}
