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
use super::{log, tree};

/// A tree is saved when the log has grown by this fraction of the last saved tree: a quarter.
pub(super) const TREE_TO_LOG: u64 = 4;

/// While a tree is saved, the log may grow by a fifth of the part of the tree that is written. At
/// the end the disk has two trees, a quarter of one for the log that made the save due, and a fifth
/// for what was committed meanwhile. The rest, up to three times the live data, is for the files
/// that are begun, and for what a tree has besides paths and values.
const LOG_TO_TREE: u64 = 5;

/// How long a batch that is ahead of the tree waits before it looks again: by then about a hundred
/// kilobytes more are written.
const LOOK: Duration = Duration::from_millis(1);

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
    /// How much of the tree is written, bytes; the most that there can be when it is over.
    written: AtomicU64,
    /// Whether it is to stop.
    stops: AtomicBool,
}

impl Progress {
    fn wrote(&self, bytes: u64) -> io::Result<()> {
        self.written.store(bytes, Ordering::Release);
        match self.stops.load(Ordering::Relaxed) {
            true => Err(io::Error::other("the store is being closed")),
            false => Ok(()),
        }
    }
}

/// Says that it is over, however it ends.
struct Over(Arc<Progress>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.written.store(u64::MAX, Ordering::Release);
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
        told: impl FnOnce(io::Result<u64>) + Send + 'static,
    ) -> io::Result<Saving> {
        let progress = Arc::new(Progress::default());
        let over = Over(progress.clone());
        let save = move || {
            let rev = state.head().rev.get();
            let wrote = |bytes| over.0.wrote(bytes);
            let written = tree::write(&*storage, epoch, key, &state, wrote);
            // The entries that only it still had.
            drop(state);
            let cleared = written.and_then(|bytes| clear(&*storage, rev, current).map(|()| bytes));
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

    /// Returns when the log may have grown by so many bytes since it began: so that what is
    /// committed meanwhile stays small beside the tree, however fast it comes. `free`: so many it
    /// may in any case.
    pub(super) fn brake(&self, grown: u64, free: u64) {
        let allowed = || self.progress.written.load(Ordering::Acquire) / LOG_TO_TREE;
        while grown > allowed().max(free) {
            thread::sleep(LOOK);
        }
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
    let cleared = storage
        .list()
        .and_then(|names| newest(names).map_or(Ok(()), |rev| clear(storage, rev, current)));
    if let Err(error) = cleared {
        // These files take space, but do no harm; the next tree that is saved tries again.
        tracing::warn!(%error, "files that are not needed any more cannot be removed");
    }
}

/// Removes what the tree saved at `rev` makes superfluous; of the log only files before `current`.
fn clear(storage: &dyn Storage, rev: u64, current: u64) -> io::Result<()> {
    let names = storage.list()?;
    for name in names.iter().filter(|name| tree::rev_of(name).is_some_and(|old| old < rev)) {
        storage.remove(name)?;
    }
    let mut firsts: Vec<u64> = names.iter().filter_map(|name| log::first_of(name)).collect();
    firsts.sort_unstable();
    for pair in firsts.windows(2) {
        if pair[1] <= current.min(rev + 1) {
            storage.remove(&log::name(pair[0]))?;
        }
    }
    storage.sync()
}
