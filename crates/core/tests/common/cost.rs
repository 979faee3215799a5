//! The cost of operations, in nodes visited (feature `count-visits`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use onetree_core::map::{reset_visits, visits};

/// There is one count for the process, so the tests of one file run one after the other.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns how many nodes `action` visits, and its result.
pub(crate) fn cost<R>(action: impl FnOnce() -> R) -> (u64, R) {
    reset_visits();
    let result = action();
    (visits(), result)
}
