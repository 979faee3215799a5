//! A count of the nodes visited, for tests of cost (feature `count-visits`).

#[cfg(feature = "count-visits")]
use core::sync::atomic::{AtomicU64, Ordering};

/// One counter for the process: a test that reads it must keep other tests from running meanwhile.
#[cfg(feature = "count-visits")]
static VISITS: AtomicU64 = AtomicU64::new(0);

/// Returns how many nodes all maps of the process have visited since [`reset_visits`].
#[cfg(feature = "count-visits")]
#[must_use]
pub fn visits() -> u64 {
    VISITS.load(Ordering::Relaxed)
}

/// Resets the count to zero.
#[cfg(feature = "count-visits")]
pub fn reset_visits() {
    VISITS.store(0, Ordering::Relaxed);
}

/// Counts a node that is read, copied or made. Does nothing without the feature.
#[inline(always)]
pub(super) fn visit() {
    #[cfg(feature = "count-visits")]
    VISITS.fetch_add(1, Ordering::Relaxed);
}
