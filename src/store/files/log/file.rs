//! Reads a log file.

use std::cell::Cell;
use std::io;

use onetree_core::Commit;
use onetree_protocol::Epoch;

use super::batch::{self, Batch};
use super::{FILE_HEADER, KIND, file_header, first_in};
use crate::store::files::header;
use crate::store::files::storage::{Storage, StorageFile};
use crate::store::files::{Damage, OpenError};

/// The content of a log file.
pub(in crate::store::files) struct LogFile {
    pub(in crate::store::files) name: String,
    pub(in crate::store::files) epoch: Epoch,
    /// The revision of its first commit.
    pub(in crate::store::files) first: u64,
    bytes: Vec<u8>,
    seed: u32,
    /// Where the last batch with commits that [`LogFile::each`] has read begins and ends.
    last: Cell<(usize, usize)>,
    /// Whether the last batch that was read is a seal.
    sealed: Cell<bool>,
}

/// A piece of a file that is partly broken.
pub(in crate::store::files) enum Piece {
    /// A commit.
    Commit(Commit),
    /// A batch that is not intact.
    Broken {
        /// Where it begins.
        at: u64,
    },
}

/// How the batches of a file end.
pub(in crate::store::files) enum End {
    /// With zeros, or with the end of the file.
    Clean,
    /// With a batch that is not intact, and nothing behind it proves that the batch was on the
    /// disk.
    Torn {
        /// Where it begins.
        at: u64,
    },
    /// With a batch whose commits do not count any more.
    Superseded,
}

impl LogFile {
    /// Reads a file and checks its header.
    pub(in crate::store::files) fn read(
        storage: &dyn Storage,
        name: &str,
        file: &dyn StorageFile,
    ) -> Result<LogFile, OpenError> {
        let bytes = content(storage, name, file)?;
        let Some(header) = bytes.first_chunk::<FILE_HEADER>() else {
            let why = "the file is shorter than its header".to_owned();
            return Err(Damage { file: storage.show(name), offset: 0, why }.into());
        };
        let epoch = header::read(header, &KIND, storage, name)?;
        let (seed, first) = (header::crc(header), first_in(header));
        Ok(LogFile::of(name, (epoch, first), seed, bytes))
    }

    /// Reads a file whose header is damaged. The caller knows what the header said: the history and
    /// the first revision.
    pub(in crate::store::files) fn behind_header(
        storage: &dyn Storage,
        name: &str,
        file: &dyn StorageFile,
        (epoch, first): (Epoch, u64),
    ) -> Result<LogFile, OpenError> {
        let bytes = content(storage, name, file)?;
        let seed = header::crc(&file_header(epoch, first));
        Ok(LogFile::of(name, (epoch, first), seed, bytes))
    }

    fn of(name: &str, (epoch, first): (Epoch, u64), seed: u32, bytes: Vec<u8>) -> LogFile {
        let (last, sealed) = Default::default();
        LogFile { name: name.to_owned(), epoch, first, bytes, seed, last, sealed }
    }

    /// Whether the file ends with a seal, as far as [`LogFile::each`] or [`LogFile::pieces`] has
    /// read.
    pub(in crate::store::files) fn is_sealed(&self) -> bool {
        self.sealed.get()
    }

    /// Returns where the last batch with commits that [`LogFile::each`] has read ends. The seal is
    /// there.
    pub(in crate::store::files) fn end(&self) -> u64 {
        self.last.get().1.max(FILE_HEADER) as u64
    }

    /// Whether the file was longer once: behind `at`, where no intact batch is, more of the file is
    /// expected. Nothing is expected behind a seal, because the file has just enough room for that.
    fn is_cut(&self, at: usize) -> bool {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let Some(header) = rest.first_chunk::<{ batch::HEADER }>() else {
            return !self.is_sealed();
        };
        Batch::is_cut(header, rest.len())
    }

    /// Returns the length of the file, bytes.
    pub(in crate::store::files) fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Returns the length of the file without the zeros at its end, bytes.
    fn used(&self) -> u64 {
        self.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1)
    }

    /// Calls `each` with each commit of the file below `until`, in order.
    pub(in crate::store::files) fn each(
        &self,
        storage: &dyn Storage,
        until: u64,
        mut each: impl FnMut(Commit),
    ) -> Result<End, OpenError> {
        let damage = |at: usize, why: String| {
            OpenError::from(Damage { file: storage.show(&self.name), offset: at as u64, why })
        };
        let mut at = FILE_HEADER;
        loop {
            let Some(batch) = self.batch(at) else {
                if self.is_cut(at) {
                    return Err(damage(
                        at.min(self.bytes.len()),
                        "the file was cut here".to_owned(),
                    ));
                }
                if self.bytes[at.min(self.bytes.len())..].iter().all(|byte| *byte == 0) {
                    return Ok(End::Clean);
                }
                if let Some(later) = self.proof(at) {
                    let why =
                        format!("a batch is broken that was whole when byte {later} was written");
                    return Err(damage(at, why));
                }
                return Ok(End::Torn { at: at as u64 });
            };
            if batch.first >= until {
                return Ok(End::Superseded);
            }
            batch.commits(&mut each).map_err(|why| damage(at, why))?;
            let end = at + batch.bytes();
            self.sealed.set(batch.commits == 0);
            if batch.commits > 0 {
                self.last.set((at, end));
            }
            at = end;
        }
    }

    /// Like [`LogFile::each`], but skips what is broken.
    pub(in crate::store::files) fn pieces(&self, until: u64, mut each: impl FnMut(Piece)) {
        let used = self.used() as usize;
        let mut at = FILE_HEADER;
        while at < used {
            let Some(batch) = self.batch(at) else {
                each(Piece::Broken { at: at as u64 });
                let later = (at + batch::ALIGN..used).step_by(batch::ALIGN);
                at = later.into_iter().find(|later| self.batch(*later).is_some()).unwrap_or(used);
                continue;
            };
            if batch.first >= until {
                return;
            }
            if batch.commits(&mut |commit| each(Piece::Commit(commit))).is_err() {
                each(Piece::Broken { at: at as u64 });
            }
            self.sealed.set(batch.commits == 0);
            at += batch.bytes();
        }
        if self.is_cut(at) {
            each(Piece::Broken { at: at as u64 });
        }
    }

    /// Makes the last batch that was read durable; everything before it is durable already. The
    /// process before may have ended before that batch was on the disk. And if its sync had failed,
    /// the system may regard the batch as written although it is not. So the batch is written
    /// again, unchanged.
    pub(in crate::store::files) fn settle(&self, storage: &dyn Storage) -> io::Result<()> {
        let (begins, end) = self.last.get();
        if begins == end {
            return Ok(());
        }
        let mut file = storage.open(&self.name)?;
        file.write_at(&self.bytes[begins..end.min(self.bytes.len())], begins as u64)?;
        file.sync()
    }

    /// Returns the batch at `at`, if there is an intact one.
    fn batch(&self, at: usize) -> Option<Batch<'_>> {
        Batch::read(&self.bytes, at, self.seed)
    }

    /// Returns where, behind `at`, an intact batch begins that was written when `at` was already on
    /// the disk.
    fn proof(&self, at: usize) -> Option<usize> {
        let proves = |later: &usize| {
            self.batch(*later)
                .is_some_and(|batch| (at as u64) < batch.durable && batch.durable <= *later as u64)
        };
        (at + batch::ALIGN..self.bytes.len()).step_by(batch::ALIGN).find(proves)
    }
}

/// Returns the whole content of a file.
fn content(
    storage: &dyn Storage,
    name: &str,
    file: &dyn StorageFile,
) -> Result<Vec<u8>, OpenError> {
    let failed = |error| OpenError::Io { file: storage.show(name), error };
    let length = usize::try_from(file.bytes().map_err(failed)?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, 0).map_err(failed)?;
    bytes.truncate(read);
    Ok(bytes)
}
