//! When a connection has to do something by itself.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;

/// The times at which a connection does something although nothing arrives.
pub(super) struct Timers {
    /// The last sign of life other than bytes that the reader has read, see `Connection::heard`.
    pub(super) heard: Instant,
    pub(super) ping_at: Instant,
    pub(super) heartbeat_at: Instant,
    /// Whether a heartbeat is due and waits for room.
    pub(super) heartbeat_due: bool,
    /// When the next interval of an `every_ms` subscription ends.
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
