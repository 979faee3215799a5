//! Directories of files, for the commands that work without a broker.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use onetree::store::files::{
    self, Damage, Disk, Lock, LockError, Loss, OpenError, RESTORING, Report, Storage,
};
use onetree_core::{Bounds, Settings, State};
use onetree_protocol::{DigestKey, Epoch};
use rustix::io::Errno;
use serde_json::{Value, json};

use super::counted;
use super::exit::{FAULT, Failure, USAGE};

/// How often a directory that a broker writes to is read again, and the pause before each attempt.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// What to do if the files belong to another user.
const NOT_OURS: &str = "run it as the user who has the directory and all that is in it, or give that to who runs it: chown -R USER DIR; or give another directory";

/// Returns what to do about this error of the disk.
pub(crate) fn advice(error: &io::Error, otherwise: &'static str) -> &'static str {
    if error.kind() == ErrorKind::PermissionDenied { NOT_OURS } else { otherwise }
}

/// Opens a directory that exists.
pub(crate) fn existing(directory: &Path) -> Result<Disk, Failure> {
    match fs::metadata(directory) {
        Ok(_) => disk(directory),
        Err(error) => Err(no_data(&format!("cannot read {}: {error}", directory.display()))),
    }
}

/// Opens a directory that `fill` fills, and makes it if it does not exist. If `fill` fails, a
/// directory that was made is removed again; `fill` itself must remove what it has made in it.
pub(crate) fn filled<T>(
    directory: &Path,
    fill: impl FnOnce(&Disk) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let there = directory.exists();
    let done = made(directory).and_then(|disk| fill(&disk));
    if done.is_err() && !there {
        // Report the first error. If something is in the directory, it stays.
        let _ = fs::remove_dir(directory);
    }
    done
}

/// Opens a directory, and makes it if it does not exist.
pub(crate) fn made(directory: &Path) -> Result<Disk, Failure> {
    disk(directory).map_err(|failure| {
        failure.next("give a directory that can be written to, or that can be made")
    })
}

/// Returns an error if the path is something other than a directory. Making a directory there would
/// only report that it exists already.
pub(crate) fn no_file(directory: &Path) -> Result<(), Failure> {
    match fs::metadata(directory) {
        Ok(metadata) if !metadata.is_dir() => {
            Err(no_data(&format!("{} is no directory", directory.display())))
        }
        _ => Ok(()),
    }
}

fn disk(directory: &Path) -> Result<Disk, Failure> {
    no_file(directory)?;
    let failed = |error| format!("cannot use {}: {error}", directory.display());
    Disk::new(directory.to_owned()).map_err(|error| no_data(&failed(error)))
}

fn no_data(message: &str) -> Failure {
    Failure::new(USAGE, "no-data", message).next("give the directory of a broker, or of a backup")
}

/// Locks a directory: no broker uses it, and none can start on it as long as the lock lives.
pub(crate) fn lock(directory: &Path) -> Result<Lock, Failure> {
    Lock::take(directory).map_err(not_locked)
}

fn not_locked(error: LockError) -> Failure {
    let (code, next) = match &error {
        LockError::InUse { .. } => ("in-use", "end that process first, or work on a backup"),
        LockError::Io { error, .. } => ("no-data", advice(error, "make the directory writable")),
    };
    Failure::new(USAGE, code, error.to_string()).next(next)
}

/// Like [`lock`], for a command that only reads. `None` when only another user could lock the
/// directory, or nobody at all, as on a disk that is mounted read-only.
pub(crate) fn lock_to_read(directory: &Path) -> Result<Option<Lock>, Failure> {
    match Lock::take(directory) {
        Err(LockError::Io { error, .. }) if files::is_read_only(&error) => Ok(None),
        lock => lock.map(Some).map_err(not_locked),
    }
}

/// Returns the files of a directory that hold a tree, in the order of their names.
pub(crate) fn names(disk: &Disk) -> Result<Vec<String>, Failure> {
    let mut names = disk.list().map_err(|error| io_failed(&error))?;
    names.retain(|name| name.ends_with(".onetree"));
    names.sort_unstable();
    Ok(names)
}

/// Reads a directory that a broker may be writing to. Returns the tree as it was at some moment in
/// the meantime. `shown`: whether progress may be shown.
///
/// A broker never changes a file that it has finished, and its log up to any batch is one revision
/// of the tree. Only two things can disturb the reading, and both are gone when it is repeated: a
/// file that was removed because the tree has just been saved; and a last batch that was half
/// written when we read it, but has a later batch behind it when we read on.
pub(crate) fn read_live(disk: &Disk, shown: bool) -> Result<(State, Report, Settings), Failure> {
    let settings = begin(disk)?;
    let mut before = None;
    let mut attempts = 0;
    loop {
        let counted = counted::reading(disk, shown, "read")?;
        let error = match files::check(&counted, settings.clone()) {
            Ok((state, report)) => return Ok((state, report, settings)),
            Err(error) => error,
        };
        attempts += 1;
        let passes = match &error {
            OpenError::Damaged(damage) if before.as_ref() == Some(damage) => false,
            OpenError::Damaged(damage) => {
                before = Some(damage.clone());
                true
            }
            OpenError::Io { error, .. } => error.kind() == ErrorKind::NotFound,
            OpenError::Newer { .. }
            | OpenError::Backup { .. }
            | OpenError::HalfBackup { .. }
            | OpenError::Unfinished { .. } => false,
        };
        if !passes || attempts == ATTEMPTS {
            return Err(unreadable(&error));
        }
        thread::sleep(PAUSE);
    }
}

/// Returns settings that suffice for reading a tree, with a new history.
pub(crate) fn begin(disk: &Disk) -> Result<Settings, Failure> {
    let all = disk.list().map_err(|error| io_failed(&error))?;
    if !all.iter().any(|name| name.ends_with(".onetree") || name == RESTORING) {
        return Err(no_data(&format!("there is no tree in {}", disk.show(""))));
    }
    let mut bits = [[0; 16]; 2];
    getrandom::fill(bits.as_flattened_mut())
        .map_err(|error| Failure::fault(format!("the system gives no randomness: {error}")))?;
    let [epoch, key] = bits.map(u128::from_le_bytes);
    Ok(Settings {
        epoch: Epoch(epoch),
        digest_key: DigestKey(key),
        bounds: Bounds::default(),
        retention: Vec::new(),
    })
}

/// The error when it cannot be known what the files contain.
pub(crate) fn unreadable(error: &OpenError) -> Failure {
    match error {
        OpenError::Damaged(damage) => Failure::new(FAULT, "damaged", damage.to_string())
            .next("go back to a backup: onetree restore --data DIR --force BACKUP; without one, take what is whole: onetree restore --data NEW --salvage DIR")
            .with("file", damage.file.as_str())
            .with("offset", damage.offset),
        OpenError::Newer { .. } => Failure::new(USAGE, "newer", error.to_string())
            .next("use the version of Onetree that wrote it, or a later one"),
        OpenError::Backup { .. } => Failure::new(USAGE, "no-data", error.to_string()),
        OpenError::HalfBackup { directory } => Failure::new(FAULT, "damaged", error.to_string())
            .next("remove what is in it, and make it again: onetree backup --data DIR BACKUP")
            .with("file", directory.as_str())
            .with("offset", 0),
        OpenError::Unfinished { .. } => Failure::new(USAGE, "unfinished", error.to_string())
            .next("run it again: onetree restore --data DIR --force BACKUP; without one, take what is whole: onetree restore --data NEW --salvage DIR, or DIR/before-restore-N, where what was moved is, if that is there; the rest is still in DIR: do not mix the two"),
        OpenError::Io { error: io, .. } if io.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
            Failure::new(FAULT, "io", error.to_string())
                .next("let the process open more files, one for each that is there: raise its hard limit (ulimit -n, LimitNOFILE)")
        }
        OpenError::Io { error: io, .. } if io.kind() == ErrorKind::StorageFull => {
            Failure::new(FAULT, "io", error.to_string())
                .next("make room on that disk; or take the tree to another: onetree backup --data DIR BACKUP, then onetree restore --data NEW BACKUP")
        }
        OpenError::Io { error: io, .. } => {
            let look = "look at the disk, at its free space, and at who may read and write the file";
            Failure::new(FAULT, "io", error.to_string()).next(advice(io, look))
        }
    }
}

/// The error when nothing at all could be salvaged.
pub(crate) fn unsalvageable(error: &OpenError) -> Failure {
    let failure = unreadable(error);
    match error {
        OpenError::Damaged(_) => failure.next(
            "nothing in it is whole: go back to a backup: onetree restore --data DIR --force BACKUP",
        ),
        _ => failure,
    }
}

/// Returns where something is damaged, for programs.
pub(crate) fn place(damage: &Damage) -> Value {
    json!({ "file": damage.file, "offset": damage.offset })
}

/// Returns why something may be lost, for programs.
pub(crate) fn loss(loss: Loss) -> &'static str {
    match loss {
        Loss::History => "history",
        Loss::Interval => "interval",
    }
}

/// Describes the batch that is cut. A batch that nobody was told of is not lost.
pub(crate) fn cut(report: &Report) -> &'static str {
    match report.lost {
        Some(Loss::Interval) => "the last batch",
        _ => "the last batch, of which nobody was told",
    }
}

/// Returns where a batch is cut, for programs.
pub(crate) fn torn((file, offset): &(String, u64)) -> Value {
    json!({ "file": file, "offset": offset })
}

/// The error when the file system refused something.
pub(crate) fn io_failed(error: &io::Error) -> Failure {
    Failure::new(FAULT, "io", error.to_string()).next("look at the disk, and at its free space")
}
