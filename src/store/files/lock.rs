//! One process for each directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::storage::{give, is, make_directory};

/// A directory that is this process's as long as this lives.
#[derive(Debug)]
pub struct Lock {
    _locked: [File; 2],
}

/// A directory that is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{directory} is in use{}", .pid.as_ref().map_or(String::new(), |pid| format!(" by process {pid}")))]
    InUse {
        /// Which.
        directory: String,
        /// Who has it, as far as that is known.
        pid: Option<String>,
    },
    /// The lock cannot be made.
    #[error("cannot use {directory} as a data directory: {error}")]
    Io {
        /// Which.
        directory: String,
        /// What the system said.
        error: io::Error,
    },
}

impl Lock {
    /// Locks a directory, which is made when it is not there.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(directory: &Path) -> Result<Lock, LockError> {
        let shown = directory.display().to_string();
        let failed = |error| LockError::Io { directory: shown.clone(), error };
        make_directory(directory).map_err(failed)?;
        let path = directory.join("lock");
        let in_use = |pid| LockError::InUse { directory: shown.clone(), pid };
        let lock = |file: &File| match file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => {
                // Who has locked it has written it.
                let pid = fs::read_to_string(&path).ok().map(|pid| pid.trim().to_owned());
                Err(in_use(pid.filter(|pid| !pid.is_empty())))
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        };
        // Before the directory, to know who has it; but to make it is for who has that.
        let there = open(&path).ok();
        there.as_ref().map_or(Ok(()), lock)?;
        // The directory itself, where the system takes that: the file may be removed, and made
        // again.
        let itself = File::open(directory).map_err(failed)?;
        let locked = itself.try_lock();
        if let Err(TryLockError::WouldBlock) = locked {
            return Err(in_use(None));
        }
        let file = match there {
            Some(file) => file,
            None => {
                let file = make(&path, &itself).map_err(failed)?;
                // Who has locked it before us is about to be refused the directory, if that is
                // ours.
                if locked.is_ok() { file.lock().map_err(failed) } else { lock(&file) }?;
                file
            }
        };
        // Only for people: who cannot write it locks all the same.
        let pid = format!("{}\n", std::process::id());
        let _ = file.set_len(0).and_then(|()| file.write_all_at(pid.as_bytes(), 0));
        Ok(Lock { _locked: [itself, file] })
    }
}

/// To write it; not what a link that somebody has put there leads to, nor is the reader of a pipe
/// waited for.
fn ours() -> OpenOptions {
    let mut options = File::options();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.write(true).mode(0o600).custom_flags(flags.bits().cast_signed());
    options
}

/// Opens the file that is there.
fn open(path: &Path) -> io::Result<File> {
    match ours().open(path) {
        Ok(file) if file.metadata()?.is_file() => return Ok(file),
        // A pipe that nobody reads.
        Err(error) if !is(&error, Errno::NXIO) => return Err(error),
        _ => {}
    }
    Err(io::Error::other(format!("{} is no file", path.display())))
}

/// Makes the file, or opens the one that another has made meanwhile.
fn make(path: &Path, directory: &File) -> io::Result<File> {
    match ours().create_new(true).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => open(path),
        Err(error) => Err(error),
        Ok(file) => {
            // One that its user cannot lock is in the way of every broker.
            give(&file, &directory.metadata()?).inspect_err(|_| drop(fs::remove_file(path)))?;
            Ok(file)
        }
    }
}
