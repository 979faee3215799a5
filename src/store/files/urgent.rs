//! What commits wait for, and what therefore has the disk before a tree that is being saved.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much urgent work is going on: files of the log that are begun or made. Each takes several
/// syncs one after the other, and if each of these waits behind a piece of the tree, the log comes
/// to the end of its file before the next one is there, and all commits wait for that.
#[derive(Clone, Default)]
pub(super) struct Urgent(Arc<AtomicUsize>);

impl Urgent {
    /// Begins some; it ends when the result is dropped.
    pub(super) fn begin(&self) -> Doing {
        self.0.fetch_add(1, Ordering::Relaxed);
        Doing(self.clone())
    }

    /// Whether there is any.
    pub(super) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// Urgent work that is going on.
pub(super) struct Doing(Urgent);

impl Drop for Doing {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
