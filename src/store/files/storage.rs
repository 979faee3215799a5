//! The few things that the store asks of a file system, so that tests can put one below it that
//! loses, tears and fails.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

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

/// A directory of the system.
#[derive(Clone, Debug)]
pub struct Disk {
    directory: PathBuf,
}

/// The zeros that are written at once.
const ZEROS: usize = 1 << 20;

/// A large file is removed piece by piece, with a rest between: a tree of 190 MB that went at once
/// held up the sync of a commit for 35 to 45 ms, in pieces for no longer than a sync takes anyway.
const REMOVE_BYTES: u64 = 8 << 20;
const REST: Duration = Duration::from_millis(2);

impl Disk {
    /// Makes the directory when it is not there.
    ///
    /// # Errors
    /// The system's.
    pub fn new(directory: PathBuf) -> io::Result<Disk> {
        fs::create_dir_all(&directory)?;
        Ok(Disk { directory })
    }
}

impl Storage for Disk {
    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn StorageFile>> {
        let path = self.directory.join(name);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
        let mut file = open?;
        let zeros = vec![0; ZEROS.min(usize::try_from(bytes).unwrap_or(ZEROS))];
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(zeros.len() as u64) as usize;
            file.write_all(&zeros[..piece])?;
            left -= piece as u64;
        }
        file.sync_all()?;
        Ok(Box::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let path = self.directory.join(name);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            // To look at it, or to restore it, takes no more. Who goes on to write is told then.
            Err(error) if is_read_only(&error) => File::open(&path)?,
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
        for entry in fs::read_dir(&self.directory)? {
            // A name that is no text is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.directory.join(name);
        shorten(&path)?;
        fs::remove_file(path)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn show(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

/// Whether this may be read although it cannot be written.
pub fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// Takes away all but the beginning of a file that nobody reads.
fn shorten(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
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
