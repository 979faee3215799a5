//! Commits in files: a log, and from time to time the whole tree, so that the log stays short.
//!
//! The tree itself is in memory; the files are only read at a start. Decisions and measurements:
//! `docs/adr/0008-a-log-of-our-own.md`.
//!
//! # Layout
//!
//! - [`FileStore`], [`open`]: the store that the owner of the tree writes to, and its start
//! - `engine`: the thread that writes, and what it does when the disk fails
//! - `recover`: from files to a [`State`]; `damages`: all that is in the way of that; `salvage`:
//!   what is whole in spite of it
//! - `log`, `tree`, `history`: the three kinds of files; `header`: what each begins with; `record`:
//!   what stands in the first two
//! - `spare`: the next file of the log, made beside the commits; `saving`: a tree being saved
//!   beside them
//! - [`Storage`]: what they ask of a file system; [`Disk`]: that of the system; [`Watched`]: one
//!   that somebody looks at; `lock`: one process for each directory

mod damages;
mod engine;
mod header;
mod history;
mod lock;
mod log;
mod record;
mod recover;
mod salvage;
mod saving;
mod spare;
mod storage;
mod tree;
mod watched;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use onetree_core::{Checkpoint, Commit, Settings, State};
use onetree_protocol::{Epoch, Revision};
use tokio::sync::oneshot;

use super::{EndError, Store, StoreError};
use engine::{Engine, Handle, Job};

pub use damages::damages;
pub use history::NAME as HISTORY;
pub use lock::{Lock, LockError};
pub use recover::{Loss, RESTORE_GAP, Report, next_history};
pub use salvage::{Salvaged, salvage};
pub use storage::{Disk, Storage, StorageFile, is_read_only};
pub use watched::{Watch, Watched};

/// How a [`FileStore`] writes.
#[derive(Clone, Copy, Debug)]
pub struct FileOptions {
    /// Commits are acknowledged when they are on the disk; otherwise when they were handed to the
    /// system, and the disk has them this much later.
    pub interval: Option<Duration>,
    /// A file of the log, bytes. A commit that is larger gets a larger one.
    pub log_file_bytes: u64,
    /// The tree is saved when the log has grown by so many bytes, or by a quarter of what the saved
    /// tree has, whichever is more.
    pub save_after_bytes: u64,
}

impl Default for FileOptions {
    fn default() -> FileOptions {
        FileOptions { interval: None, log_file_bytes: log::FILE_BYTES, save_after_bytes: 16 << 20 }
    }
}

/// Something in a file that no crash explains.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} is damaged at byte {offset}: {why}")]
pub struct Damage {
    /// Which.
    pub file: String,
    /// Where.
    pub offset: u64,
    /// What is wrong.
    pub why: String,
}

/// Why a directory could not be opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system refused something.
    #[error("{file}: {error}")]
    Io {
        /// Which file.
        file: String,
        /// What it said.
        error: io::Error,
    },
    /// A file is damaged, and what it held cannot be known.
    #[error(
        "{0}; 'onetree check' says what else is, and 'onetree restore' goes back to a backup, or takes what is whole"
    )]
    Damaged(#[from] Damage),
    /// A file is of a later version of Onetree.
    #[error(
        "{file} has format {version}, and this version knows formats up to {known}; use a later one"
    )]
    Newer {
        /// Which file.
        file: String,
        /// Its format.
        version: u64,
        /// The latest that is known.
        known: u32,
    },
    /// Its tree is being replaced by a backup: some of its files are aside, and others not there
    /// yet.
    #[error("a restore of {directory} has not come to its end")]
    Unfinished {
        /// Which.
        directory: String,
    },
    /// It is a backup without a tree: who made it was ended before.
    #[error("the backup {directory} was not finished")]
    HalfBackup {
        /// Which.
        directory: String,
    },
    /// It is a backup. Its history goes on elsewhere, and would have the same revisions twice.
    #[error("{directory} is a backup, and no broker's directory")]
    Backup {
        /// Which.
        directory: String,
    },
}

impl OpenError {
    /// As something that is damaged: what cannot be read is lost as well.
    fn damage(self, storage: &dyn Storage, name: &str) -> Damage {
        match self {
            OpenError::Damaged(damage) => damage,
            OpenError::Io { error, .. } => {
                Damage { file: storage.show(name), offset: 0, why: error.to_string() }
            }
            other => Damage { file: storage.show(name), offset: 0, why: other.to_string() },
        }
    }
}

/// What [`open`] gives.
pub struct OpenedStore {
    /// Where the tree's commits go from now on.
    pub store: FileStore,
    /// The tree as it was.
    pub state: State,
    /// What was found.
    pub report: Report,
}

/// Opens the files of a storage: reads and checks all of them, and makes the tree of them.
/// `settings` say everything but the history, which is the files' own; that of `settings` is begun
/// where there is none yet, or where it may have lost its end. Blocks; takes about a second for
/// each million entries.
///
/// # Errors
/// See [`OpenError`].
pub fn open(
    storage: Arc<dyn Storage>,
    settings: Settings,
    options: FileOptions,
) -> Result<OpenedStore, OpenError> {
    let key = settings.digest_key;
    let recover::Recovered { state, report, saved_bytes, log_bytes, .. } =
        recover::recover(&*storage, settings)?;
    let engine =
        Engine::start(storage, options, key, &state, report.epoch, (log_bytes, saved_bytes))?;
    Ok(OpenedStore {
        store: FileStore { engine, durable: options.interval.is_none() },
        state,
        report,
    })
}

/// Reads and checks everything, and changes nothing. As [`open`], for as long as nobody else
/// writes.
///
/// # Errors
/// See [`OpenError`].
pub fn check(storage: &dyn Storage, settings: Settings) -> Result<(State, Report), OpenError> {
    let read = recover::read(storage, settings)?;
    Ok((read.state, read.report))
}

/// Saves a state as the only content of a storage, as the beginning of the history `epoch`; or,
/// when it is for a `backup`, as a copy of it, which [`open`] refuses, also when it is not
/// finished. Gives how many bytes that took.
///
/// # Errors
/// The system's.
pub fn save(
    storage: &dyn Storage,
    epoch: Epoch,
    settings: &Settings,
    state: &Checkpoint,
    backup: bool,
) -> io::Result<u64> {
    let history = history::History { backup, ..history::History::begun(epoch, true) };
    if backup {
        // Before the tree: without it that would be a directory on which a broker may start.
        history.write(storage)?;
    }
    let bytes = tree::write(storage, epoch, settings.digest_key, state, |_| {})?;
    if !backup {
        history.write(storage)?;
    }
    Ok(bytes)
}

/// A revision as it stands in the name of a file. What is higher than any is none.
fn revision(digits: &str) -> Option<u64> {
    let rev = u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 16)?;
    Revision::new(rev).map(Revision::get)
}

/// The revision in the name of a file: that of a saved tree, or the first of a log.
pub fn revision_of(name: &str) -> Option<u64> {
    tree::rev_of(name).or_else(|| log::first_of(name))
}

/// Whether a file is one that a store makes, by its name.
pub fn is_ours(name: &str) -> bool {
    [history::NAME, history::MAKING, tree::MAKING, log::MAKING].contains(&name)
        || revision_of(name).is_some()
}

/// The directory from which a restore brings its files. It takes the old history away before
/// anything else, and brings the new one last: where there is this directory, and no history, it
/// has not come to its end.
pub const RESTORING: &str = "restore.tmp";

/// Why nothing can be kept any more.
const GONE: &str = "the thread that writes has failed";

/// A store in files.
pub struct FileStore {
    engine: Handle,
    durable: bool,
}

impl Store for FileStore {
    fn append(
        &mut self,
        commits: &[Arc<Commit>],
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        let (done, answer) = oneshot::channel();
        let rev = |commit: Option<&Arc<Commit>>| commit.map_or(0, |commit| commit.rev.get());
        let (first, last) = (rev(commits.first()), rev(commits.last()));
        self.engine.send(Job::Append { commits: commits.to_vec(), done });
        async move {
            match answer.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(reason)) => Err(StoreError { first, last, reason }),
                // The thread has ended in the midst of it, so nobody knows: that is no answer. See
                // `gone`.
                Err(_) => std::future::pending().await,
            }
        }
    }

    fn durable(&self) -> bool {
        self.durable
    }

    fn read_only(&self) -> Arc<AtomicBool> {
        self.engine.read_only()
    }

    fn save_due(&self) -> bool {
        self.engine.is_save_due()
    }

    fn save(&mut self, state: Checkpoint) {
        self.engine.send(Job::Save(Box::new(state)));
    }

    fn gone(&mut self) -> impl Future<Output = ()> + Send + 'static {
        self.engine.gone()
    }

    fn close(&mut self) -> impl Future<Output = Result<(), EndError>> + Send + 'static {
        let (done, closed) = oneshot::channel();
        self.engine.send(Job::Close(done));
        async move {
            let ended = closed.await.unwrap_or_else(|_| Err(GONE.to_owned()));
            ended.map_err(EndError)
        }
    }
}
