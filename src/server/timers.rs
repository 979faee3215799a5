//! When a connection does something though nothing happens.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;

/// When something is to be done though nothing happens.
pub(super) struct Timers {
    /// The last sign of life besides what the reader has heard, see `Connection::heard`.
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
