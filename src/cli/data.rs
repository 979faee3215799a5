//! Directories of files, as the commands see them that work without a broker.

use std::fs::{self, File};
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

/// How often a directory that a broker writes to is read again, and how long after.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// What to do where another user has what is there.
const NOT_OURS: &str = "run it as the user who has the directory and all that is in it, or give that to who runs it: chown -R USER DIR; or give another directory";

/// What to do about this error of the disk.
pub(crate) fn advice(error: &io::Error, otherwise: &'static str) -> &'static str {
    if error.kind() == ErrorKind::PermissionDenied { NOT_OURS } else { otherwise }
}

/// A directory that is there.
pub(crate) fn existing(directory: &Path) -> Result<Disk, Failure> {
    match fs::metadata(directory) {
        Ok(_) => disk(directory),
        Err(error) => Err(no_data(&format!("cannot read {}: {error}", directory.display()))),
    }
}

/// A directory that is to be filled, which is made when it is not there: it goes again when `fill`
/// fails. What `fill` has made in it is `fill`'s to take away.
pub(crate) fn filled<T>(
    directory: &Path,
    fill: impl FnOnce(&Disk) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let there = directory.exists();
    let done = made(directory).and_then(|disk| fill(&disk));
    if done.is_err() && !there {
        // The first error is the one to tell; and where something is in it, it stays.
        let _ = fs::remove_dir(directory);
    }
    done
}

/// A directory, which is made when it is not there, durably.
pub(crate) fn made(directory: &Path) -> Result<Disk, Failure> {
    let there = directory.exists();
    let disk = disk(directory).map_err(|failure| {
        failure.next("give a directory that can be written to, or that can be made")
    })?;
    if !there {
        let above = directory.parent().filter(|above| !above.as_os_str().is_empty());
        let above = above.unwrap_or(Path::new("."));
        File::open(above).and_then(|above| above.sync_all()).map_err(|error| io_failed(&error))?;
    }
    Ok(disk)
}

/// Whether there is something that is no directory. To make one there would say that it is there
/// already.
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

/// Locks a directory: no broker has it, and none can start with it as long as the lock lives.
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

/// As [`lock`], for who only reads: `None` where nobody but another user could lock it, or nobody
/// at all, as on a disk that is mounted to be read.
pub(crate) fn lock_to_read(directory: &Path) -> Result<Option<Lock>, Failure> {
    match Lock::take(directory) {
        Err(LockError::Io { error, .. }) if files::is_read_only(&error) => Ok(None),
        lock => lock.map(Some).map_err(not_locked),
    }
}

/// The files in a directory that hold a tree, in the order of their names.
pub(crate) fn names(disk: &Disk) -> Result<Vec<String>, Failure> {
    let mut names = disk.list().map_err(|error| io_failed(&error))?;
    names.retain(|name| name.ends_with(".onetree"));
    names.sort_unstable();
    Ok(names)
}

/// Reads a directory that a broker may be writing to: its tree as it was at some moment meanwhile.
/// `shown`: whether someone may look.
///
/// What a broker has finished it never changes, and its log up to any end is one revision of the
/// tree. Only two things can be in the way, and both have passed when it is read again: a file that
/// went because the tree has just been saved, and a batch at the end that was half written when we
/// came by, with a later one behind it when we were there.
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

/// A tree's settings as far as they matter to who only reads it; its history is new.
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

/// What the files hold cannot be known.
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

/// Nothing at all is whole of what was to be salvaged.
pub(crate) fn unsalvageable(error: &OpenError) -> Failure {
    let failure = unreadable(error);
    match error {
        OpenError::Damaged(_) => failure.next(
            "nothing in it is whole: go back to a backup: onetree restore --data DIR --force BACKUP",
        ),
        _ => failure,
    }
}

/// Where something is damaged, for programs.
pub(crate) fn place(damage: &Damage) -> Value {
    json!({ "file": damage.file, "offset": damage.offset })
}

/// Why something may be lost, for programs.
pub(crate) fn loss(loss: Loss) -> &'static str {
    match loss {
        Loss::History => "history",
        Loss::Interval => "interval",
    }
}

/// The batch that is cut. Who was not told of it has not lost it.
pub(crate) fn cut(report: &Report) -> &'static str {
    match report.lost {
        Some(Loss::Interval) => "the last batch",
        _ => "the last batch, of which nobody was told",
    }
}

/// Where a batch is cut, for programs.
pub(crate) fn torn((file, offset): &(String, u64)) -> Value {
    json!({ "file": file, "offset": offset })
}

/// The file system refused something.
pub(crate) fn io_failed(error: &io::Error) -> Failure {
    Failure::new(FAULT, "io", error.to_string()).next("look at the disk, and at its free space")
}
