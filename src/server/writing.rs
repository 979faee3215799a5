//! Whether somebody writes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use onetree_protocol::Revision;

/// Where the tree has changed within this time, somebody does.
const LATELY: Duration = Duration::from_millis(100);

/// What refreshes have seen of the tree last, all together. A refresh takes a processor, and its
/// reader another, for as long as it lasts: a writer beside it would wait until the system takes
/// one of them away, which is milliseconds. So it gives way between two pieces while somebody
/// writes; otherwise it does not, as it would wait for whatever else the machine has to do.
#[derive(Debug)]
pub(super) struct Writing {
    began: Instant,
    rev: AtomicU64,
    /// When that was news, milliseconds after it began.
    changed: AtomicU64,
}

impl Writing {
    pub(super) fn new() -> Writing {
        Writing { began: Instant::now(), rev: AtomicU64::new(0), changed: AtomicU64::new(0) }
    }

    /// Takes note of the present. Gives way to whoever else waits for a processor, if somebody has
    /// written lately: the runtime knows only its own tasks, and takes no thread away from one that
    /// always has a next piece.
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
