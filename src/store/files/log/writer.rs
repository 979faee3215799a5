//! Writes to the end of the log.

use std::io;
use std::sync::Arc;

use onetree_core::Commit;
use onetree_protocol::Epoch;

use super::{FILE_HEADER, MAKING, batch, file_header, name};
use crate::store::files::header;
use crate::store::files::spare::Ready;
use crate::store::files::storage::{Storage, StorageFile, is_full};

/// When a disk has no room for a whole file, a file of this fraction of its size is made (128 KiB
/// of 8 MiB), so that commits continue as long as there is any room.
const SMALL: u64 = 64;

/// The next file is made when this fraction of the present one is used: the rest is the time for
/// it. A broker that is hardly written to does without one.
const NEXT: u64 = 8;

/// The last file of a log, which is written to.
pub(in crate::store::files) struct LogWriter {
    file: Box<dyn StorageFile>,
    name: String,
    seed: u32,
    /// Where the next batch goes.
    at: u64,
    /// Where the part that is on the disk ends.
    durable: u64,
    /// The revision behind the last commit in the file.
    next: u64,
    /// Where the last batch that was to be written begins.
    last: u64,
    length: u64,
    buffer: Vec<u8>,
}

impl LogWriter {
    /// Makes a file of at least `bytes` bytes, with `commits` in it. The first of them has, or will
    /// have, the revision `first`. The file is durable, with its name, when this returns. If there
    /// is no room for that size, the file is small, but has at least `least` bytes. `spare` is a
    /// file of zeros that has the name [`MAKING`] and is used if it is large enough.
    pub(in crate::store::files) fn create(
        storage: &dyn Storage,
        epoch: Epoch,
        first: u64,
        (least, bytes): (u64, u64),
        spare: Option<Ready>,
        commits: &[Arc<Commit>],
    ) -> io::Result<LogWriter> {
        let header = file_header(epoch, first);
        let seed = header::crc(&header);
        let mut buffer = header.to_vec();
        if !commits.is_empty() {
            batch::write(&mut buffer, seed, commits, FILE_HEADER as u64)?;
        }
        let at = buffer.len() as u64;
        let next = first + commits.len() as u64;
        // The file has a seal from the beginning: it may replace, by its name, a file that was
        // closed properly.
        buffer.extend(batch::header(seed, &[], 0, next, at));
        let least = least.max(buffer.len() as u64);
        let spare = spare.filter(|spare| spare.bytes >= bytes.max(least));
        let made = || {
            // Use another name until the file is complete: a torn header would count as damage.
            let Ready { mut file, bytes } = match spare {
                Some(spare) => spare,
                None => ready(storage, least, bytes.max(least))?,
            };
            file.write_at(&buffer, 0)?;
            file.sync()?;
            storage.rename(MAKING, &name(first))?;
            storage.sync()?;
            Ok((file, bytes))
        };
        let (file, length) = made().inspect_err(|_: &io::Error| {
            // A file that failed takes space that may be scarce. If it cannot be removed, the next
            // one replaces it.
            let _ = storage.remove(MAKING);
        })?;
        let name = name(first);
        let (durable, last) = (at, at);
        Ok(LogWriter { file, name, seed, at, durable, next, last, length, buffer })
    }

    /// Returns how many bytes of the file are used.
    pub(in crate::store::files) fn written(&self) -> u64 {
        self.at
    }

    /// Returns how many more bytes the file has room for.
    pub(in crate::store::files) fn room(&self) -> u64 {
        self.length.saturating_sub(self.at)
    }

    /// Whether it is time to prepare the next file.
    pub(in crate::store::files) fn needs_next(&self) -> bool {
        self.at > self.length / NEXT
    }

    /// Returns the name of the file.
    pub(in crate::store::files) fn name(&self) -> &str {
        &self.name
    }

    /// Writes commits as one batch behind all others. Returns false, and writes nothing, when there
    /// is no room for it. The batch is not durable yet.
    pub(in crate::store::files) fn append(&mut self, commits: &[Arc<Commit>]) -> io::Result<bool> {
        self.buffer.clear();
        batch::write(&mut self.buffer, self.seed, commits, self.durable)?;
        let end = self.at + self.buffer.len() as u64;
        if end + batch::HEADER as u64 > self.length {
            return Ok(false);
        }
        self.last = self.at;
        self.file.write_at(&self.buffer, self.at)?;
        self.at = end;
        self.next += commits.len() as u64;
        Ok(true)
    }

    /// Returns when all batches are on the disk.
    pub(in crate::store::files) fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.durable = self.at;
        self.seal();
        Ok(())
    }

    /// Like [`LogWriter::sync`], but the seal is on the disk too: without it the history was not
    /// closed properly.
    pub(in crate::store::files) fn end(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.durable = self.at;
        self.write_seal()?;
        self.file.sync()
    }

    /// Takes back the last batch if it begins with revision `next`, as far as the disk allows it,
    /// so that the batch does not come back if the process ends now.
    pub(in crate::store::files) fn take_back(&mut self, next: u64) {
        if self.next > next {
            (self.at, self.next) = (self.last, next);
        }
        self.seal();
    }

    /// Writes the seal: everything up to `durable` is on the disk, and nothing comes behind it yet.
    fn seal(&mut self) {
        // If this fails, only the information in the seal is lost; the next batch will fail too.
        let _ = self.write_seal();
    }

    fn write_seal(&mut self) -> io::Result<()> {
        let seal = batch::header(self.seed, &[], 0, self.next, self.durable);
        self.file.write_at(&seal, self.at)
    }
}

/// Makes a file of `bytes` zeros, or a small one if there is no room for so many.
fn ready(storage: &dyn Storage, least: u64, bytes: u64) -> io::Result<Ready> {
    let make = |bytes| Ok(Ready { file: storage.create(MAKING, bytes)?, bytes });
    match make(bytes) {
        Err(error) if is_full(&error) => make((bytes / SMALL).max(least)),
        made => made,
    }
}

/// Returns the length of a file that has room for the batch that did not fit into this one.
pub(in crate::store::files) fn bytes_for(log: &LogWriter) -> u64 {
    (FILE_HEADER + log.buffer.len() + batch::HEADER) as u64
}
