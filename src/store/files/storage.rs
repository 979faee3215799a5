//! The few things that the store asks of a file system, so that tests can put one below it that
//! loses, tears and fails.

use std::fs::{DirBuilder, File, Metadata, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::fs::{
    AtFlags, Dir, Gid, Mode, OFlags, Uid, fchown, fstatvfs, mkdirat, open, openat, renameat,
    unlinkat,
};
use rustix::io::{Errno, retry_on_intr};
use rustix::path::Arg;
use rustix::process::geteuid;

/// A directory of files.
pub trait Storage: Send + Sync + 'static {
    /// Makes a file of `bytes` zeros, all of them really written: a log that is written where
    /// there is something already is durable in half the time, because only data has to reach the
    /// disk. Replaces what has the name.
    ///
    /// # Errors
    /// The system's.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn StorageFile>>;

    /// Opens a file that is there.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>>;

    /// The names of all files.
    ///
    /// # Errors
    /// The system's.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Gives a file another name; replaces what has that. Durable after [`Storage::sync`].
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file, which those who have it open still read. Durable after [`Storage::sync`].
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names durable.
    ///
    /// # Errors
    /// The system's.
    fn sync(&self) -> io::Result<()>;

    /// A name's full path, for people.
    fn show(&self, name: &str) -> String;
}

/// A file that is open. It has no end but the one it was made with, or was written to.
pub trait StorageFile: Send {
    /// Its length, bytes.
    ///
    /// # Errors
    /// The system's.
    fn bytes(&self) -> io::Result<u64>;

    /// Reads at most `into.len()` bytes from `at`; fewer only at its end.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `at`.
    ///
    /// # Errors
    /// The system's.
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Returns when what was written is on the disk. After an error nobody knows what of it is.
    ///
    /// # Errors
    /// The system's.
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory of the system. It stays the one that it was: when that gets another name, and
/// another directory its name, nothing goes to the other one, which may be another broker's.
#[derive(Clone, Debug)]
pub struct Disk {
    directory: Arc<File>,
    /// Its name when it was opened.
    path: PathBuf,
}

/// The zeros that are written, and synced, at once: the sync of a commit waits for what is on its
/// way to the disk. With one sync at the end of 8 MiB it waited for 6 ms, for each file of the log;
/// in these pieces for half of one.
const ZEROS: usize = 256 << 10;

/// A large file is removed piece by piece, with a rest between: a tree of 190 MB that went at once
/// held up the sync of a commit for 35 to 45 ms, in pieces for no longer than a sync takes anyway.
const REMOVE_BYTES: u64 = 8 << 20;
const REST: Duration = Duration::from_millis(2);

impl Disk {
    /// Makes the directory, and those above it, when it is not there, for nobody but its user. What
    /// root makes is its who has the directory above.
    ///
    /// # Errors
    /// The system's.
    pub fn new(directory: PathBuf) -> io::Result<Disk> {
        make_directory(&directory)?;
        Ok(Disk { directory: Arc::new(File::open(&directory)?), path: directory })
    }

    /// Makes a directory in it, as [`Disk::new`] does; but one that is there is an error: it may be
    /// somebody else's, or a link to one that is.
    ///
    /// # Errors
    /// The system's.
    pub fn make_directory(&self, name: &str) -> io::Result<Disk> {
        let made = make_in(&self.directory, name)?;
        Ok(Disk { directory: Arc::new(made), path: self.path.join(name) })
    }

    /// Gives a file to another directory, where it replaces what has its name. Durable after
    /// [`Storage::sync`] of both.
    ///
    /// # Errors
    /// The system's.
    pub fn hand(&self, name: &str, to: &Disk) -> io::Result<()> {
        Ok(renameat(&*self.directory, name, &*to.directory, name)?)
    }

    /// Removes what is in a directory of it, if there is one; what is no directory, as a link to
    /// one, is removed itself.
    ///
    /// # Errors
    /// The system's.
    pub fn empty(&self, name: &str) -> io::Result<()> {
        Ok(empty(&self.directory, name)?)
    }

    /// As [`Disk::empty`], and the directory too.
    ///
    /// # Errors
    /// The system's.
    pub fn clear(&self, name: &str) -> io::Result<()> {
        Ok(clear(&self.directory, name)?)
    }

    /// Removes a directory of it in which there is nothing.
    ///
    /// # Errors
    /// The system's.
    pub fn remove_empty(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&*self.directory, name, AtFlags::REMOVEDIR)?)
    }

    fn open_as(&self, name: &str, flags: OFlags) -> io::Result<File> {
        // As that of the standard library, which has no open in a directory; but a link is no file
        // of ours, as what it leads to may be somebody else's, and a file is for its user alone,
        // also where others may look into the directory. What is no file, as a pipe, is not waited
        // for.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mode = Mode::from_raw_mode(0o600);
        Ok(retry_on_intr(|| openat(&*self.directory, name, flags, mode))?.into())
    }

    /// Makes a file that was not there: what is no file of ours, as a link that somebody has put
    /// there, is neither written to nor given away.
    fn make(&self, name: &str) -> io::Result<File> {
        let make = || self.open_as(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL);
        let file = match make() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                unlinkat(&*self.directory, name, AtFlags::empty())?;
                make()?
            }
            made => made?,
        };
        give(&file, &self.directory.metadata()?)?;
        Ok(file)
    }

    /// Says that a file does not go on the disk before all that others could have is filled with
    /// it.
    fn room_for(&self, bytes: u64) -> io::Result<()> {
        let disk = fstatvfs(&*self.directory)?;
        // Some systems do not know.
        let known = disk.f_blocks > 0;
        match known && disk.f_bavail.saturating_mul(disk.f_frsize) < bytes {
            true => Err(ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    /// Takes away all but the beginning of a file that nobody reads.
    fn shorten(&self, name: &str) -> io::Result<()> {
        let file = self.open_as(name, OFlags::WRONLY)?;
        let mut bytes = file.metadata()?.len();
        if bytes <= REMOVE_BYTES || file.try_lock().is_err() {
            return Ok(());
        }
        while bytes > REMOVE_BYTES {
            bytes -= REMOVE_BYTES;
            file.set_len(bytes)?;
            thread::sleep(REST);
        }
        Ok(())
    }
}

impl Storage for Disk {
    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn StorageFile>> {
        let mut file = self.make(name)?;
        self.room_for(bytes)?;
        let zeros = vec![0; ZEROS.min(usize::try_from(bytes).unwrap_or(ZEROS))];
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(zeros.len() as u64) as usize;
            file.write_all(&zeros[..piece])?;
            left -= piece as u64;
            if left > 0 {
                file.sync_data()?;
            }
        }
        file.sync_all()?;
        Ok(Box::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let file = match self.open_as(name, OFlags::RDWR) {
            // To look at it, or to restore it, takes no more. Who goes on to write is told then.
            Err(error) if is_read_only(&error) => self.open_as(name, OFlags::RDONLY)?,
            opened => opened?,
        };
        // As long as it is read nobody takes pieces of it away. Where the system has no such locks
        // nobody can have taken the other one either.
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Err(ErrorKind::NotFound.into()),
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Box::new(file)),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&*self.directory)? {
            // A name that is no text is none of ours.
            names.extend(entry?.file_name().to_str().map(str::to_owned));
        }
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&*self.directory, from, &*self.directory, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match self.shorten(name) {
            // A link has nothing to take away, nor has a pipe that nobody reads.
            Err(error) if is(&error, Errno::LOOP) || is(&error, Errno::NXIO) => {}
            shortened => shortened?,
        }
        Ok(unlinkat(&*self.directory, name, AtFlags::empty())?)
    }

    fn sync(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn show(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

/// Makes a directory, and those above it, when it is not there, for nobody but its user: the names
/// of sessions and of clients are in its files, and who says one has it. One that is there stays as
/// it is. What root makes is its who has the directory above.
///
/// # Errors
/// The system's.
pub(super) fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    let above = directory.parent().unwrap_or(directory);
    make_directory(above)?;
    let Some(name) = directory.file_name() else {
        return DirBuilder::new().mode(0o700).create(directory);
    };
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    let above = open(above, ABOVE | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?.into();
    match make_in(&above, name) {
        // Another may have made it meanwhile.
        Err(error) if error.kind() != ErrorKind::AlreadyExists || !directory.is_dir() => Err(error),
        _ => Ok(()),
    }
}

/// What a directory is opened for that another one is made in: it need not be readable, where the
/// system knows that.
#[cfg(target_os = "linux")]
const ABOVE: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const ABOVE: OFlags = OFlags::RDONLY;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Makes a directory in another one, and gives it to who has that.
fn make_in(above: &File, name: impl Arg + Copy) -> io::Result<File> {
    mkdirat(above, name, Mode::from_raw_mode(0o700))?;
    // What has taken its place meanwhile, as a link to another, is not given away.
    let made = openat(above, name, DIRECTORY, Mode::empty())?.into();
    give(&made, &above.metadata()?)?;
    Ok(made)
}

/// See [`Disk::empty`].
fn empty(above: &File, name: impl Arg + Copy) -> Result<(), Errno> {
    let directory = match openat(above, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        // Systems differ in what they say of a link.
        Err(Errno::NOTDIR | Errno::LOOP) => return unlinkat(above, name, AtFlags::empty()),
        opened => File::from(opened?),
    };
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if ![c".", c".."].contains(&name) {
            clear(&directory, name)?;
        }
    }
    Ok(())
}

/// See [`Disk::clear`].
fn clear(above: &File, name: impl Arg + Copy) -> Result<(), Errno> {
    empty(above, name)?;
    match unlinkat(above, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        cleared => cleared,
    }
}

/// Whether the system has said this.
pub(super) fn is(error: &io::Error, said: Errno) -> bool {
    error.raw_os_error() == Some(said.raw_os_error())
}

/// Gives what root has made to who has the directory that it is in: a broker that runs as that user
/// could otherwise neither read it nor start any more, because of a `restore` by root. Where root
/// may not, or the disk knows no users, it stays as it is.
pub(super) fn give(made: &File, directory: &Metadata) -> io::Result<()> {
    let (uid, gid) = (directory.uid(), directory.gid());
    if !geteuid().is_root() || made.metadata()?.uid() == uid {
        return Ok(());
    }
    match fchown(made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
        Err(Errno::PERM | Errno::INVAL | Errno::NOTSUP | Errno::ROFS) => Ok(()),
        given => Ok(given?),
    }
}

/// Whether this may be read although it cannot be written.
pub fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// Whether there is no room for what was to be written.
pub(super) fn is_full(error: &io::Error) -> bool {
    let kind = error.kind();
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

impl StorageFile for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match FileExt::read_at(self, &mut into[done..], at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
