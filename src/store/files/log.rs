//! The log: every commit since the last saved tree, in files of a fixed size, batch after batch.
//!
//! ```text
//! log-<first revision, 16 hex>.onetree
//! file   := magic "1TREELOG", version u32, crc u32, epoch u128, first revision u64, zeros to 64 bytes;
//!           batch*; zeros
//! batch  := mark u32, crc u32, length u32, commits u32, first revision u64; commit*; zeros to 8 bytes
//! ```
//!
//! Numbers are little-endian. A checksum is the CRC-32 of all that follows it in its header, then of
//! what the header counts; that of a batch begins with the file's, so that a batch of another file
//! is none here.
//!
//! Only the last batch of a log can be torn, because none is written before the one before it is on
//! the disk. When the disk fails, and at each start, the log goes on in a new file: whatever the
//! old one has from the new one's first revision on was never acknowledged, and does not count.

use std::io;
use std::sync::Arc;

use onetree_core::Commit;
use onetree_protocol::Epoch;

use super::record::CommitRecord;
use super::storage::{Storage, StorageFile};
use super::{Damage, OpenError};

/// The format that is written.
pub(super) const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"1TREELOG";
const FILE_HEADER: usize = 64;
const BATCH_HEADER: usize = 24;
/// The first bytes of a batch: where a search for one looks closer.
const MARK: u32 = 0x3142_544f;
const ALIGN: usize = 8;

/// A log file: large enough that a new one is rare, small enough that its zeros are soon written.
pub(super) const FILE_BYTES: u64 = 32 << 20;

/// The end of a log, where it is written.
pub(super) struct LogWriter {
    file: Box<dyn StorageFile>,
    name: String,
    seed: u32,
    at: u64,
    length: u64,
    buffer: Vec<u8>,
}

/// The name of the file whose first commit is `first`.
pub(super) fn name(first: u64) -> String {
    format!("log-{first:016x}.onetree")
}

/// The first revision of the file with this name.
pub(super) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-")?.strip_suffix(".onetree")?;
    u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 16)
}

impl LogWriter {
    /// Begins a file whose first commit will be `first`; durable, with its name, when this returns.
    pub(super) fn create(
        storage: &dyn Storage,
        epoch: Epoch,
        first: u64,
        bytes: u64,
    ) -> io::Result<LogWriter> {
        let name = name(first);
        // Under another name until it is whole: a header that is torn would be damage.
        let mut file = storage.create(SPARE, bytes)?;
        let header = file_header(epoch, first);
        let seed = u32::from_le_bytes([header[12], header[13], header[14], header[15]]);
        file.write_at(&header, 0)?;
        file.sync()?;
        storage.rename(SPARE, &name)?;
        storage.sync()?;
        let at = FILE_HEADER as u64;
        Ok(LogWriter { file, name, seed, at, length: bytes, buffer: Vec::new() })
    }

    /// How much is in it, bytes.
    pub(super) fn written(&self) -> u64 {
        self.at
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Writes commits as one batch behind all others; false, and nothing is written, when there is
    /// no room for it. Not yet durable.
    pub(super) fn append(&mut self, commits: &[Arc<Commit>]) -> io::Result<bool> {
        self.buffer.clear();
        self.buffer.resize(BATCH_HEADER, 0);
        for commit in commits {
            let buffer = std::mem::take(&mut self.buffer);
            let record = CommitRecord::from(&**commit);
            self.buffer = postcard::to_extend(&record, buffer).map_err(io::Error::other)?;
        }
        let length = self.buffer.len() - BATCH_HEADER;
        self.buffer.resize(self.buffer.len().next_multiple_of(ALIGN), 0);
        if self.at + self.buffer.len() as u64 > self.length {
            return Ok(false);
        }
        let length = u32::try_from(length).map_err(io::Error::other)?;
        let count = u32::try_from(commits.len()).map_err(io::Error::other)?;
        let first = commits.first().map_or(0, |commit| commit.rev.get());
        self.buffer[0..4].copy_from_slice(&MARK.to_le_bytes());
        self.buffer[8..12].copy_from_slice(&length.to_le_bytes());
        self.buffer[12..16].copy_from_slice(&count.to_le_bytes());
        self.buffer[16..24].copy_from_slice(&first.to_le_bytes());
        let crc = batch_crc(self.seed, &self.buffer[..BATCH_HEADER + length as usize]);
        self.buffer[4..8].copy_from_slice(&crc.to_le_bytes());
        self.file.write_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        Ok(true)
    }

    /// Returns when all batches are on the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

/// The length of a file that has room for what did not fit into this one.
pub(super) fn bytes_for(log: &LogWriter) -> u64 {
    (FILE_HEADER + log.buffer.len()) as u64
}

/// The name of a file that is being made.
pub(super) const SPARE: &str = "new.tmp";

fn file_header(epoch: Epoch, first: u64) -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    header[0..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..32].copy_from_slice(&epoch.0.to_le_bytes());
    header[32..40].copy_from_slice(&first.to_le_bytes());
    let crc = crc32fast::hash(&header[16..]);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    header
}

fn batch_crc(seed: u32, batch: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&batch[8..]);
    hasher.finalize()
}

/// What a log file holds.
pub(super) struct LogFile {
    pub(super) name: String,
    pub(super) epoch: Epoch,
    /// The revision of its first commit.
    pub(super) first: u64,
    bytes: Vec<u8>,
    seed: u32,
}

/// Where the batches of a file end.
pub(super) enum End {
    /// With zeros, or with the file.
    Clean,
    /// With a batch that is not whole, and nothing behind it.
    Torn {
        /// Where it begins.
        at: u64,
    },
    /// With a batch whose commits do not count any more.
    Superseded,
}

impl LogFile {
    /// Reads a file and checks its header.
    pub(super) fn read(storage: &dyn Storage, name: &str) -> Result<LogFile, OpenError> {
        let damage = |at: u64, why: &str| Damage {
            file: storage.show(name),
            offset: at,
            why: why.to_owned(),
        };
        let failed = |error| OpenError::Io { file: storage.show(name), error };
        let file = storage.open(name).map_err(failed)?;
        let length = usize::try_from(file.bytes().map_err(failed)?).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        let read = file.read_at(&mut bytes, 0).map_err(failed)?;
        bytes.truncate(read);
        let Some(header) = bytes.first_chunk::<FILE_HEADER>() else {
            return Err(damage(0, "the file is shorter than its header").into());
        };
        if header[..8] != *MAGIC {
            return Err(damage(0, "this is no log of Onetree").into());
        }
        let version = number(&header[8..12]);
        if version > u64::from(VERSION) {
            return Err(OpenError::Newer { file: storage.show(name), version, known: VERSION });
        }
        let seed = number(&header[12..16]) as u32;
        if crc32fast::hash(&header[16..]) != seed {
            return Err(damage(12, "the checksum of the header is wrong").into());
        }
        let mut epoch = [0; 16];
        epoch.copy_from_slice(&header[16..32]);
        let epoch = Epoch(u128::from_le_bytes(epoch));
        let first = number(&header[32..40]);
        Ok(LogFile { name: name.to_owned(), epoch, first, bytes, seed })
    }

    /// How much of it is not zeros at its end, bytes.
    pub(super) fn used(&self) -> u64 {
        self.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1)
    }

    /// Gives each commit of the file below `until` to `each`, in order.
    pub(super) fn each(
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
                if self.bytes[at.min(self.bytes.len())..].iter().all(|byte| *byte == 0) {
                    return Ok(End::Clean);
                }
                if let Some(later) = self.next_batch(at) {
                    let why = format!("a batch is broken, and one at {later} behind it is whole");
                    return Err(damage(at, why));
                }
                return Ok(End::Torn { at: at as u64 });
            };
            if batch.first >= until {
                return Ok(End::Superseded);
            }
            let mut rest = batch.payload;
            for n in 0..u64::from(batch.commits) {
                let wrong = |what: &dyn std::fmt::Display| {
                    damage(at, format!("commit {n} of a batch cannot be read: {what}"))
                };
                let (record, behind) = postcard::take_from_bytes::<CommitRecord<'_>>(rest)
                    .map_err(|error| wrong(&error))?;
                rest = behind;
                let commit = Commit::try_from(record).map_err(|error| wrong(&error))?;
                if commit.rev.get() != batch.first + n {
                    return Err(wrong(&format!("it is revision {}", commit.rev)));
                }
                each(commit);
            }
            at += (BATCH_HEADER + batch.payload.len()).next_multiple_of(ALIGN);
        }
    }

    /// The batch at `at`, if there is a whole one.
    fn batch(&self, at: usize) -> Option<Batch<'_>> {
        let header = self.bytes.get(at..at + BATCH_HEADER)?;
        if number(&header[..4]) != u64::from(MARK) {
            return None;
        }
        let length = number(&header[8..12]) as usize;
        let whole = self.bytes.get(at..(at + BATCH_HEADER).checked_add(length)?)?;
        (u64::from(batch_crc(self.seed, whole)) == number(&header[4..8])).then(|| Batch {
            commits: number(&header[12..16]) as u32,
            first: number(&header[16..24]),
            payload: &whole[BATCH_HEADER..],
        })
    }

    /// Where, behind `at`, a whole batch begins.
    fn next_batch(&self, at: usize) -> Option<usize> {
        (at + ALIGN..self.bytes.len()).step_by(ALIGN).find(|at| self.batch(*at).is_some())
    }
}

struct Batch<'a> {
    commits: u32,
    first: u64,
    payload: &'a [u8],
}

/// A number of up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    let mut eight = [0; 8];
    eight[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(eight)
}
