//! Commits in files: a log of commits, and from time to time the whole tree, so that the log stays
//! short.
//!
//! The tree itself is in memory; the files are only read at a start. Decisions and measurements:
//! `docs/adr/0008-a-log-of-our-own.md`.
//!
//! # Layout
//!
//! - [`FileStore`], [`open`]: the store that the owner of the tree writes to, and how it starts
//! - `engine`: the thread that writes, and how it handles a disk that fails
//! - `recover`: from files to a [`State`]; `damages`: everything that prevents that; `salvage`:
//!   reads what is intact in damaged files
//! - `log`, `tree`, `history`: the three kinds of files; `header`: how each begins; `record`: the
//!   records in the first two
//! - `spare`: makes the next file of the log in the background; `saving`: saves a tree in the
//!   background
//! - [`Storage`]: what the store needs of a file system; [`Disk`]: the system's own; [`Watched`]: a
//!   storage that is observed; `lock`: one process for each directory

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
mod urgent;
mod watched;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use onetree_core::{Checkpoint, Commit, Settings, State};
use onetree_protocol::{Epoch, Revision};
use tokio::sync::oneshot;

use super::{Condition, EndError, Store, StoreError};
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
    /// `None`: commits are acknowledged when they are on the disk. Otherwise they are acknowledged
    /// when they were passed to the operating system, and are on the disk this much later.
    pub interval: Option<Duration>,
    /// The size of a file of the log, bytes. A larger commit gets a larger file.
    pub log_file_bytes: u64,
    /// The tree is saved when the log has grown by this many bytes, or by a quarter of the size of
    /// the saved tree, whichever is more.
    pub save_after_bytes: u64,
}

impl Default for FileOptions {
    fn default() -> FileOptions {
        FileOptions { interval: None, log_file_bytes: log::FILE_BYTES, save_after_bytes: 16 << 20 }
    }
}

/// A defect in a file that no crash explains.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} is damaged at byte {offset}: {why}")]
pub struct Damage {
    /// The file.
    pub file: String,
    /// The byte at which the defect is.
    pub offset: u64,
    /// What is wrong.
    pub why: String,
}

/// Why a directory could not be opened. Its files still hold the same tree.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system returned an error.
    #[error("{file}: {error}")]
    Io {
        /// The file.
        file: String,
        /// The error.
        error: io::Error,
    },
    /// A file is damaged, and what it contained cannot be known.
    #[error(
        "{0}; 'onetree check' says what else is, and 'onetree restore' goes back to a backup, or takes what is whole"
    )]
    Damaged(#[from] Damage),
    /// A later version of Onetree wrote a file.
    #[error(
        "{file} has format {version}, and this version knows formats up to {known}; use a later one"
    )]
    Newer {
        /// The file.
        file: String,
        /// The format of the file.
        version: u64,
        /// The latest format that this version knows.
        known: u32,
    },
    /// The tree is being replaced by a backup: some of its files are moved away, and others are not
    /// there yet.
    #[error("a restore of {directory} has not come to its end")]
    Unfinished {
        /// The directory.
        directory: String,
    },
    /// The directory is a backup without a tree: the process that made the backup was ended before
    /// it finished.
    #[error("the backup {directory} was not finished")]
    HalfBackup {
        /// The directory.
        directory: String,
    },
    /// The directory is a backup. Its history continues elsewhere; a broker here would give the
    /// same revisions a second time.
    #[error("{directory} is a backup, and no broker's directory")]
    Backup {
        /// The directory.
        directory: String,
    },
}

impl OpenError {
    /// Returns the error as a damage: what cannot be read is lost as well.
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

/// The result of [`open`].
pub struct OpenedStore {
    /// The store for the commits of the tree from now on.
    pub store: FileStore,
    /// The tree as it was stored.
    pub state: State,
    /// What was found in the files.
    pub report: Report,
}

/// Opens the files of a storage: reads and checks all of them, and makes the tree of them.
/// `settings` apply except for the history, which comes from the files. The history of `settings`
/// begins if there is none yet, or if the old one may have lost its end. Blocks; takes about a
/// second for each million entries.
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

/// Reads and checks everything as [`open`] does, and changes nothing. Nobody else may write
/// meanwhile.
///
/// # Errors
/// See [`OpenError`].
pub fn check(storage: &dyn Storage, settings: Settings) -> Result<(State, Report), OpenError> {
    let read = recover::read(storage, settings)?;
    Ok((read.state, read.report))
}

/// Saves a state as the only content of a storage, as the beginning of the history `epoch`. With
/// `backup` it is saved as a copy of that history, which [`open`] refuses, even when the copy is
/// not finished. Returns how many bytes that took.
///
/// # Errors
/// The errors of the system.
pub fn save(
    storage: &dyn Storage,
    epoch: Epoch,
    settings: &Settings,
    state: &Checkpoint,
    backup: bool,
) -> io::Result<u64> {
    let history = history::History { backup, ..history::History::begun(epoch, true) };
    if backup {
        // Write the history before the tree: a directory without the history could be taken for one
        // that a broker may start on.
        history.write(storage)?;
    }
    let bytes = tree::write(storage, epoch, settings.digest_key, state, |_| Ok(()))?;
    if !backup {
        history.write(storage)?;
    }
    Ok(bytes)
}

/// Parses a revision in the name of a file. A number above the highest revision is none.
fn revision(digits: &str) -> Option<u64> {
    let rev = u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 16)?;
    Revision::new(rev).map(Revision::get)
}

/// Returns the revision in the name of a file: the revision of a saved tree, or the first revision
/// of a log file.
pub fn revision_of(name: &str) -> Option<u64> {
    tree::rev_of(name).or_else(|| log::first_of(name))
}

/// Whether a file with this name is one that a store makes.
pub fn is_ours(name: &str) -> bool {
    [history::NAME, history::MAKING, tree::MAKING, log::MAKING].contains(&name)
        || revision_of(name).is_some()
}

/// The directory from which a restore takes its files. A restore removes the old history before
/// anything else, and puts the new one in place last. So if this directory exists and there is no
/// history, a restore was not finished.
pub const RESTORING: &str = "restore.tmp";

/// Why nothing can be stored any more.
const GONE: &str = "the thread that writes has failed";

/// A store that writes to files.
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
                // The thread has ended in the middle of the write, so nobody knows the result, and
                // this never completes. See `gone`.
                Err(_) => std::future::pending().await,
            }
        }
    }

    fn durable(&self) -> bool {
        self.durable
    }

    fn condition(&self) -> Arc<Condition> {
        self.engine.condition()
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
