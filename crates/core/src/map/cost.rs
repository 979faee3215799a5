//! A count of the nodes visited, for tests of cost (feature `count-visits`).

#[cfg(feature = "count-visits")]
use core::sync::atomic::{AtomicU64, Ordering};

/// One for the process: a test that reads it must keep others from running at the same time.
#[cfg(feature = "count-visits")]
static VISITS: AtomicU64 = AtomicU64::new(0);

/// The nodes that all maps of the process have visited since [`reset_visits`].
#[cfg(feature = "count-visits")]
#[must_use]
pub fn visits() -> u64 {
    VISITS.load(Ordering::Relaxed)
}

/// Begins to count from zero.
#[cfg(feature = "count-visits")]
pub fn reset_visits() {
    VISITS.store(0, Ordering::Relaxed);
}

/// A node is looked at, or copied, or made. Nothing at all without the feature.
#[inline(always)]
pub(super) fn visit() {
    #[cfg(feature = "count-visits")]
    VISITS.fetch_add(1, Ordering::Relaxed);
}
