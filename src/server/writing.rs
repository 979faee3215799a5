//! Whether somebody writes to the tree.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use onetree_protocol::Revision;

/// The tree is being written to if it has changed within this time.
const LATELY: Duration = Duration::from_millis(100);

/// The newest revision that any refresh has seen.
///
/// A refresh keeps one processor busy for as long as it lasts, and its reader another. A writer
/// beside it would wait until the operating system takes one of them away, which takes
/// milliseconds. So a refresh gives way between two pieces while somebody writes. Otherwise it does
/// not give way, because it would then wait for whatever else runs on the machine.
#[derive(Debug)]
pub(super) struct Writing {
    began: Instant,
    rev: AtomicU64,
    /// When the revision last changed, in milliseconds after `began`.
    changed: AtomicU64,
}

impl Writing {
    pub(super) fn new() -> Writing {
        Writing { began: Instant::now(), rev: AtomicU64::new(0), changed: AtomicU64::new(0) }
    }

    /// Notes the present revision, and yields the processor to other threads if somebody has
    /// written lately. The runtime cannot do this: it knows only its own tasks, and takes no thread
    /// away from a task that always has a next piece.
    pub(super) fn give_way(&self, rev: Revision) {
        if self.goes_on(rev, self.began.elapsed()) {
            std::thread::yield_now();
        }
    }

    fn goes_on(&self, rev: Revision, now: Duration) -> bool {
        let now = now.as_millis() as u64;
        if self.rev.swap(rev.get(), Ordering::Relaxed) != rev.get() {
            self.changed.store(now, Ordering::Relaxed);
        }
        let changed = self.changed.load(Ordering::Relaxed);
        now.saturating_sub(changed) < LATELY.as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_written_lately_writes() {
        let writing = Writing::new();
        let goes_on =
            |rev, ms| writing.goes_on(Revision::new(rev).unwrap(), Duration::from_millis(ms));
        assert!(goes_on(7, 1_000));
        assert!(goes_on(7, 1_099));
        assert!(!goes_on(7, 1_100));
        assert!(goes_on(8, 2_000));
    }
}
