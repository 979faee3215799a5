//! Saves a tree in the background, on a thread of its own, while commits go on. The thread also
//! removes what the saved tree makes superfluous.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use onetree_core::Checkpoint;
use onetree_protocol::{DigestKey, Epoch};

use super::storage::Storage;
use super::urgent::Urgent;
use super::{log, tree};

/// A tree is saved when the log has grown by this fraction of the last saved tree: a quarter.
pub(super) const TREE_TO_LOG: u64 = 4;

/// While a tree is saved, the log may grow by a file and a fifth of the part of the tree that is
/// written. At the end the disk has two trees, a file and a quarter of a tree for the log that made
/// the save due, and a file and a fifth for what was committed meanwhile. The rest, up to three
/// times the live data, is for the files that are begun, and for what a tree has besides paths and
/// values.
const LOG_TO_TREE: u64 = 5;

/// How long a batch that is ahead of the tree waits before it looks again: by then about a hundred
/// kilobytes more are written.
pub(super) const LOOK: Duration = Duration::from_millis(1);

/// A tree that is being saved. Dropping this stops it and waits for its thread; afterwards another
/// store may use the files.
pub(super) struct Saving {
    /// The log that it makes superfluous, bytes.
    pub(super) covered: u64,
    progress: Arc<Progress>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Progress {
    /// How much the log may grow meanwhile, besides what is free in any case, bytes; the most that
    /// there can be when it is over.
    allowed: AtomicU64,
    /// Whether it is to stop.
    stops: AtomicBool,
}

impl Progress {
    /// Notes how much of the tree is written. Returns when more of it may be: when there is nothing
    /// urgent.
    fn wrote(&self, bytes: u64, urgent: &Urgent) -> io::Result<()> {
        self.allowed.store(bytes / LOG_TO_TREE, Ordering::Release);
        while !self.stops.load(Ordering::Relaxed) {
            if !urgent.any() {
                return Ok(());
            }
            thread::sleep(LOOK);
        }
        Err(io::Error::other("the store is being closed"))
    }

    /// Notes that all of the tree is written, so many bytes, and that the log before it is removed:
    /// the log may grow until the next save is due.
    fn cleared_log(&self, bytes: u64) {
        self.allowed.store(bytes / TREE_TO_LOG, Ordering::Release);
    }
}

/// Says that it is over, however it ends.
struct Over(Arc<Progress>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.allowed.store(u64::MAX, Ordering::Release);
    }
}

impl Saving {
    /// Begins to save a state, all of whose commits are in the log before the file that begins with
    /// `current`. `told` is called with the size of the saved tree, unless the save could not
    /// begin.
    pub(super) fn begin(
        storage: Arc<dyn Storage>,
        (epoch, key): (Epoch, DigestKey),
        state: Checkpoint,
        current: u64,
        covered: u64,
        urgent: Urgent,
        told: impl FnOnce(io::Result<u64>) + Send + 'static,
    ) -> io::Result<Saving> {
        let progress = Arc::new(Progress::default());
        let over = Over(progress.clone());
        let save = move || {
            let rev = state.head().rev.get();
            let wrote = |bytes| over.0.wrote(bytes, &urgent);
            let written = tree::write(&*storage, epoch, key, &state, wrote);
            // The entries that only it still had.
            drop(state);
            let cleared = written.and_then(|bytes| {
                clear_log(&*storage, rev, current)?;
                over.0.cleared_log(bytes);
                clear_trees(&*storage, rev)?;
                Ok(bytes)
            });
            drop(over);
            cleared
        };
        let save = move || {
            // Otherwise it would be saving for ever. Nobody sees what it leaves but the next, which
            // begins anew.
            let saved = panic::catch_unwind(AssertUnwindSafe(save));
            told(saved.unwrap_or_else(|_| Err(io::Error::other("a fault of the broker"))));
        };
        let thread = thread::Builder::new().name("onetree-saving".to_owned()).spawn(save)?;
        Ok(Saving { covered, progress, thread: Some(thread) })
    }

    /// Tells it to stop, without waiting for it.
    pub(super) fn stop(&self) {
        self.progress.stops.store(true, Ordering::Relaxed);
    }

    /// Whether a log of so many bytes, with what the tree makes superfluous, may grow further: so
    /// that what is committed meanwhile stays small beside the tree, however fast it comes. `free`
    /// bytes come on top. If only the larger of the two counted, a log that has grown by `free`
    /// would have to wait until five times `free` of the tree is written.
    pub(super) fn allows(&self, log_bytes: u64, free: u64) -> bool {
        let grown = log_bytes.saturating_sub(self.covered);
        grown <= self.progress.allowed.load(Ordering::Acquire).saturating_add(free)
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        self.stop();
        self.thread.take().map(JoinHandle::join);
    }
}

/// Removes what the last saved tree, all of which was read, has made superfluous before the log
/// `current`: the process before may have ended before it did.
pub(super) fn clear_old(storage: &dyn Storage, current: u64) {
    let newest = |names: Vec<String>| names.iter().filter_map(|name| tree::rev_of(name)).max();
    let clear = |rev| clear_log(storage, rev, current).and_then(|()| clear_trees(storage, rev));
    let cleared = storage.list().and_then(|names| newest(names).map_or(Ok(()), clear));
    if let Err(error) = cleared {
        // These files take space, but do no harm; the next tree that is saved tries again.
        tracing::warn!(%error, "files that are not needed any more cannot be removed");
    }
}

/// Removes files of the log that the tree saved at `rev` makes superfluous, only files before
/// `current`. These go before the trees: a large tree is removed slowly, and the log may have their
/// room meanwhile.
fn clear_log(storage: &dyn Storage, rev: u64, current: u64) -> io::Result<()> {
    let names = storage.list()?;
    let mut firsts: Vec<u64> = names.iter().filter_map(|name| log::first_of(name)).collect();
    firsts.sort_unstable();
    for pair in firsts.windows(2) {
        if pair[1] <= current.min(rev + 1) {
            storage.remove(&log::name(pair[0]))?;
        }
    }
    Ok(())
}

/// Removes the trees before that at `rev`, and makes all removals durable.
fn clear_trees(storage: &dyn Storage, rev: u64) -> io::Result<()> {
    for name in
        storage.list()?.iter().filter(|name| tree::rev_of(name).is_some_and(|old| old < rev))
    {
        storage.remove(name)?;
    }
    storage.sync()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Whether the thread still runs after some time. One that has to wait always does.
    fn waits(thread: &JoinHandle<()>) -> bool {
        thread::sleep(Duration::from_millis(20));
        !thread.is_finished()
    }

    /// Waits until the thread has ended.
    fn ends(thread: JoinHandle<()>) {
        let begun = Instant::now();
        while !thread.is_finished() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it waits for ever");
            thread::sleep(LOOK);
        }
        thread.join().unwrap();
    }

    #[test]
    fn urgent_work_has_the_disk_before_the_tree() {
        let (progress, urgent) = (Arc::new(Progress::default()), Urgent::default());
        let (file, spare) = (urgent.begin(), urgent.begin());
        let writes = {
            let (progress, urgent) = (progress.clone(), urgent.clone());
            thread::spawn(move || progress.wrote(1, &urgent).unwrap())
        };
        assert!(waits(&writes));
        drop(file);
        assert!(waits(&writes), "the other goes on");
        drop(spare);
        ends(writes);
        // Whatever is urgent, a store that is closed does not wait for the tree.
        let _doing = urgent.begin();
        progress.stops.store(true, Ordering::Relaxed);
        assert!(progress.wrote(1, &urgent).is_err());
    }

    #[test]
    fn beside_the_tree_the_log_grows_by_a_fifth_and_then_until_the_next_save_is_due() {
        let progress = Arc::new(Progress::default());
        let saving = Saving { covered: 1000, progress: progress.clone(), thread: None };
        let allows = |grown| saving.allows(1000 + grown, 100);
        assert!(allows(100) && !allows(101));
        progress.wrote(4, &Urgent::default()).unwrap();
        assert!(!allows(101), "not a whole byte of the log is due");
        progress.wrote(5, &Urgent::default()).unwrap();
        assert!(allows(101) && !allows(102));
        progress.cleared_log(120);
        assert!(allows(130) && !allows(131));
        drop(Over(progress.clone()));
        assert!(allows(u64::MAX - 1000));
    }
}
