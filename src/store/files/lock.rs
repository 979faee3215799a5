//! A lock on a directory: only one process uses it at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::storage::{give, is, make_directory};

/// A lock: the directory belongs to this process as long as this value exists.
#[derive(Debug)]
pub struct Lock {
    _locked: [File; 2],
}

/// A directory that could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has locked it.
    #[error("{directory} is in use{}", .pid.as_ref().map_or(String::new(), |pid| format!(" by process {pid}")))]
    InUse {
        /// The directory.
        directory: String,
        /// The process that has locked it, as far as that is known.
        pid: Option<String>,
    },
    /// The lock cannot be made.
    #[error("cannot use {directory} as a data directory: {error}")]
    Io {
        /// The directory.
        directory: String,
        /// The error of the system.
        error: io::Error,
    },
}

impl Lock {
    /// Locks a directory. Makes the directory if it does not exist.
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
                // The process that has locked the file has written its number into it.
                let pid = fs::read_to_string(&path).ok().map(|pid| pid.trim().to_owned());
                Err(in_use(pid.filter(|pid| !pid.is_empty())))
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        };
        // Lock the file before the directory, because the file shows which process has the lock.
        // Only a process that has locked the directory may make the file.
        let there = open(&path).ok();
        there.as_ref().map_or(Ok(()), lock)?;
        // Lock the directory itself too, where the system can do that, because the file may be
        // removed and made again.
        let itself = File::open(directory).map_err(failed)?;
        let locked = itself.try_lock();
        if let Err(TryLockError::WouldBlock) = locked {
            return Err(in_use(None));
        }
        let file = match there {
            Some(file) => file,
            None => {
                let file = make(&path, &itself).map_err(failed)?;
                // If the directory is ours, another process that has locked the file is about to be
                // refused the directory and to let go of the file, so wait for it.
                if locked.is_ok() { file.lock().map_err(failed) } else { lock(&file) }?;
                file
            }
        };
        // The number is only for people: a process that cannot write it has the lock all the same.
        let pid = format!("{}\n", std::process::id());
        let _ = file.set_len(0).and_then(|()| file.write_all_at(pid.as_bytes(), 0));
        Ok(Lock { _locked: [itself, file] })
    }
}

/// Returns options that open a file for writing. They do not follow a link that somebody has put
/// there, and do not wait for the reader of a pipe.
fn ours() -> OpenOptions {
    let mut options = File::options();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.write(true).mode(0o600).custom_flags(flags.bits().cast_signed());
    options
}

/// Opens a file that exists.
fn open(path: &Path) -> io::Result<File> {
    match ours().open(path) {
        Ok(file) if file.metadata()?.is_file() => return Ok(file),
        // NXIO means that this is a pipe that nobody reads.
        Err(error) if !is(&error, Errno::NXIO) => return Err(error),
        _ => {}
    }
    Err(io::Error::other(format!("{} is no file", path.display())))
}

/// Makes the file, or opens it if another process has made it in the meantime.
fn make(path: &Path, directory: &File) -> io::Result<File> {
    match ours().create_new(true).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => open(path),
        Err(error) => Err(error),
        Ok(file) => {
            // Remove a file that its user could not lock: it would be in the way of every broker.
            give(&file, &directory.metadata()?).inspect_err(|_| drop(fs::remove_file(path)))?;
            Ok(file)
        }
    }
}
