//! The end of the log, where it is written.

use std::io;
use std::sync::Arc;

use onetree_core::Commit;
use onetree_protocol::Epoch;

use super::{FILE_HEADER, MAKING, batch, file_header, name};
use crate::store::files::header;
use crate::store::files::spare::Ready;
use crate::store::files::storage::{Storage, StorageFile, is_full};

/// Where a disk has no room for a file, one of this part of it is made (128 KiB of 8 MiB): the
/// commits go on for as long as there is any.
const SMALL: u64 = 64;

/// The end of a log, where it is written.
pub(in crate::store::files) struct LogWriter {
    file: Box<dyn StorageFile>,
    name: String,
    seed: u32,
    /// Where the next batch comes.
    at: u64,
    /// Where what is on the disk ends.
    durable: u64,
    /// The revision behind the last that is in it.
    next: u64,
    /// Where the last batch began, when it was to be written.
    last: u64,
    length: u64,
    buffer: Vec<u8>,
}

impl LogWriter {
    /// Begins a file of `bytes`, or more, with `commits`, the first of which has, or will have, the
    /// revision `first`; durable, with its name, when this returns. Where there is no room for so
    /// many it is a small one, of at least `least`. `spare`: a file of as many zeros that has the
    /// name [`MAKING`].
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
        // It has its end from the beginning: the file may take the place of one that was ended, by
        // its name.
        buffer.extend(batch::header(seed, &[], 0, next, at));
        let least = least.max(buffer.len() as u64);
        let spare = spare.filter(|spare| spare.bytes >= bytes.max(least));
        let made = || {
            // Under another name until it is whole: a header that is torn would be damage.
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
            // It takes room that there may be too little of. If it stays, the next one replaces it.
            let _ = storage.remove(MAKING);
        })?;
        let name = name(first);
        let (durable, last) = (at, at);
        Ok(LogWriter { file, name, seed, at, durable, next, last, length, buffer })
    }

    /// How much is in it, bytes.
    pub(in crate::store::files) fn written(&self) -> u64 {
        self.at
    }

    /// How much more would go in, bytes.
    pub(in crate::store::files) fn room(&self) -> u64 {
        self.length.saturating_sub(self.at)
    }

    /// Whether it is time to think of the next one.
    pub(in crate::store::files) fn is_half_full(&self) -> bool {
        self.at > self.length / 2
    }

    /// Its name.
    pub(in crate::store::files) fn name(&self) -> &str {
        &self.name
    }

    /// Writes commits as one batch behind all others; false, and nothing is written, when there is
    /// no room for it. Not yet durable.
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

    /// As [`LogWriter::sync`], and the seal is on the disk too: without it the end is no good one.
    pub(in crate::store::files) fn end(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.durable = self.at;
        self.write_seal()?;
        self.file.sync()
    }

    /// Takes back the last batch if it begins with revision `next`, as well as the disk lets it: so
    /// that it does not come back when the process ends now.
    pub(in crate::store::files) fn take_back(&mut self, next: u64) {
        if self.next > next {
            (self.at, self.next) = (self.last, next);
        }
        self.seal();
    }

    /// Says that everything up to `durable` is on the disk, and that nothing comes behind it yet.
    fn seal(&mut self) {
        // When this fails, nothing is lost but what it would say; the next batch will fail too.
        let _ = self.write_seal();
    }

    fn write_seal(&mut self) -> io::Result<()> {
        let seal = batch::header(self.seed, &[], 0, self.next, self.durable);
        self.file.write_at(&seal, self.at)
    }
}

/// A file of `bytes` zeros, or where there is no room for them a small one.
fn ready(storage: &dyn Storage, least: u64, bytes: u64) -> io::Result<Ready> {
    let make = |bytes| Ok(Ready { file: storage.create(MAKING, bytes)?, bytes });
    match make(bytes) {
        Err(error) if is_full(&error) => make((bytes / SMALL).max(least)),
        made => made,
    }
}

/// The length of a file that has room for what did not fit into this one.
pub(in crate::store::files) fn bytes_for(log: &LogWriter) -> u64 {
    (FILE_HEADER + log.buffer.len() + batch::HEADER) as u64
}
