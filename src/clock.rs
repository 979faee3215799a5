//! The clock: the tree is told the time, it never reads it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use onetree_core::Time;

/// Now, by the system's clock.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(since.as_millis().try_into().unwrap_or(u64::MAX))
}

/// How long it is until `time`; nothing when it is over.
///
/// At most an hour: a clock that is set meanwhile is noticed then.
pub(crate) fn until(time: Time) -> Duration {
    let ms = time.0.saturating_sub(now().0);
    Duration::from_millis(ms).min(Duration::from_secs(3600))
}
