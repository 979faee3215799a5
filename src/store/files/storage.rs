//! The few operations that the store needs of a file system, as traits, so that tests can put a
//! file system below it that loses, tears and fails.

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
    /// Makes a file of `bytes` zeros, all of which are really written: a write to a place that
    /// already has data is durable in half the time, because only the data has to reach the disk.
    /// Replaces a file that has the name.
    ///
    /// # Errors
    /// The errors of the system.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn StorageFile>>;

    /// Opens a file that exists.
    ///
    /// # Errors
    /// The errors of the system.
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>>;

    /// Returns the names of all files.
    ///
    /// # Errors
    /// The errors of the system.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Renames a file, and replaces the file that has the new name. Durable after
    /// [`Storage::sync`].
    ///
    /// # Errors
    /// The errors of the system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Whoever has it open can still read it. Durable after [`Storage::sync`].
    ///
    /// # Errors
    /// The errors of the system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes changes of names durable.
    ///
    /// # Errors
    /// The errors of the system.
    fn sync(&self) -> io::Result<()>;

    /// Returns the full path of a name, for messages.
    fn show(&self, name: &str) -> String;
}

/// An open file. It ends only where it ended when it was made, or where it was written to.
pub trait StorageFile: Send {
    /// Returns its length, bytes.
    ///
    /// # Errors
    /// The errors of the system.
    fn bytes(&self) -> io::Result<u64>;

    /// Reads at most `into.len()` bytes from `at`; fewer only at the end of the file.
    ///
    /// # Errors
    /// The errors of the system.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `at`.
    ///
    /// # Errors
    /// The errors of the system.
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Returns when everything that was written is on the disk. After an error it is unknown how
    /// much of it is.
    ///
    /// # Errors
    /// The errors of the system.
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory of the system. It stays the same directory even if it is renamed and another
/// directory gets its name: nothing goes to the other one, which may belong to another broker.
#[derive(Clone, Debug)]
pub struct Disk {
    directory: Arc<File>,
    /// Its name when it was opened.
    path: PathBuf,
}

/// How many zeros are written and synced at a time: the sync of a commit waits for what is on its
/// way to the disk. With one sync at the end of 8 MiB it waited 6 ms for each file of the log; in
/// pieces of this size, for half of one.
const ZEROS: usize = 256 << 10;

/// A large file is removed piece by piece, with a pause between: removing a tree of 190 MB in one
/// step held up the sync of a commit for 35 to 45 ms; in pieces it takes no longer than a sync
/// takes anyway.
const REMOVE_BYTES: u64 = 8 << 20;
const REST: Duration = Duration::from_millis(2);

impl Disk {
    /// Opens a directory. Makes it and its parents durably if they do not exist, accessible only to
    /// their user. What root makes belongs to the owner of the parent directory.
    ///
    /// # Errors
    /// The errors of the system.
    pub fn new(directory: PathBuf) -> io::Result<Disk> {
        make_directory(&directory)?;
        Ok(Disk { directory: Arc::new(File::open(&directory)?), path: directory })
    }

    /// Makes a directory in this one, like [`Disk::new`], but an existing directory is an error: it
    /// may belong to another user, or be a link to one that does.
    ///
    /// # Errors
    /// The errors of the system.
    pub fn make_directory(&self, name: &str) -> io::Result<Disk> {
        let made = make_in(&self.directory, name)?;
        Ok(Disk { directory: Arc::new(made), path: self.path.join(name) })
    }

    /// Moves a file to another directory, where it replaces the file with its name. Durable after
    /// [`Storage::sync`] of both.
    ///
    /// # Errors
    /// The errors of the system.
    pub fn hand(&self, name: &str, to: &Disk) -> io::Result<()> {
        Ok(renameat(&*self.directory, name, &*to.directory, name)?)
    }

    /// Removes everything in a subdirectory, if it exists. If it is not a directory, for example a
    /// link to one, it is removed itself.
    ///
    /// # Errors
    /// The errors of the system.
    pub fn empty(&self, name: &str) -> io::Result<()> {
        Ok(empty(&self.directory, name)?)
    }

    /// Like [`Disk::empty`], and removes the subdirectory too.
    ///
    /// # Errors
    /// The errors of the system.
    pub fn clear(&self, name: &str) -> io::Result<()> {
        Ok(clear(&self.directory, name)?)
    }

    /// Removes an empty subdirectory.
    ///
    /// # Errors
    /// The errors of the system.
    pub fn remove_empty(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&*self.directory, name, AtFlags::REMOVEDIR)?)
    }

    fn open_as(&self, name: &str, flags: OFlags) -> io::Result<File> {
        // Like the standard library, which cannot open a file relative to a directory. In addition:
        // a link is not followed, because its target may belong to another user. A new file is only
        // for its user, even if others may look into the directory. Something other than a file,
        // such as a pipe, is not waited for.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mode = Mode::from_raw_mode(0o600);
        Ok(retry_on_intr(|| openat(&*self.directory, name, flags, mode))?.into())
    }

    /// Makes a new file. If the name exists already, for example as a link that somebody has put
    /// there, it is removed first, and neither written to nor given away.
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

    /// Returns an error if a file does not fit on the disk, before it takes all the space that
    /// other programs could have.
    fn room_for(&self, bytes: u64) -> io::Result<()> {
        let disk = fstatvfs(&*self.directory)?;
        // Some systems do not report it.
        let known = disk.f_blocks > 0;
        match known && disk.f_bavail.saturating_mul(disk.f_frsize) < bytes {
            true => Err(ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    /// Removes all but the beginning of a file that nobody reads.
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
            // Reading suffices for looking at it or restoring it. A later attempt to write gets an
            // error.
            Err(error) if is_read_only(&error) => self.open_as(name, OFlags::RDONLY)?,
            opened => opened?,
        };
        // While the file is read nobody removes pieces of it. On a system without such locks,
        // nobody can have taken the exclusive one either.
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Err(ErrorKind::NotFound.into()),
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Box::new(file)),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&*self.directory)? {
            // A name that is not text is not ours.
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
            // A link has nothing to remove, and neither has a pipe that nobody reads.
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

/// Makes a directory and its parents if they do not exist, accessible only to their user: their
/// files contain the names of sessions and clients, and whoever knows a name can use it. An
/// existing directory stays as it is. What root makes belongs to the owner of the parent directory.
///
/// # Errors
/// The errors of the system.
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
        // Another process may have made it meanwhile.
        Err(error) if error.kind() != ErrorKind::AlreadyExists || !directory.is_dir() => Err(error),
        _ => Ok(()),
    }
}

/// The flags for opening a directory to make another one in it: it need not be readable, if the
/// system supports that.
#[cfg(target_os = "linux")]
const ABOVE: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const ABOVE: OFlags = OFlags::RDONLY;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Makes a directory in another one, and gives it to the owner of that. It is durable, unless this
/// user may not read the other one, which then cannot be synced.
fn make_in(above: &File, name: impl Arg + Copy) -> io::Result<File> {
    mkdirat(above, name, Mode::from_raw_mode(0o700))?;
    // If something else has taken its place meanwhile, such as a link to another directory, that is
    // not given away.
    let made = openat(above, name, DIRECTORY, Mode::empty())?.into();
    give(&made, &above.metadata()?)?;
    // Opened again: `above` may be open as a path only, which cannot be synced.
    match openat(above, c".", DIRECTORY, Mode::empty()) {
        Err(Errno::ACCESS) => {}
        opened => File::from(opened?).sync_all()?,
    }
    Ok(made)
}

/// See [`Disk::empty`].
fn empty(above: &File, name: impl Arg + Copy) -> Result<(), Errno> {
    let directory = match openat(above, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        // Systems differ in the error for a link.
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

/// Whether the error is this one of the system.
pub(super) fn is(error: &io::Error, said: Errno) -> bool {
    error.raw_os_error() == Some(said.raw_os_error())
}

/// Gives what root has made to the owner of the directory that it is in: otherwise a broker that
/// runs as that user could neither read it nor start any more, because of a `restore` by root. If
/// root may not do that, or the file system knows no users, the file stays as it is.
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

/// Whether the error means that a file may be readable although it cannot be written.
pub fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// Whether the error means that there is no room for what was to be written.
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
