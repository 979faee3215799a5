//! The log: every commit since the last saved tree, in files of a fixed size, batch after batch.
//!
//! ```text
//! log-<first revision, 16 hex>.onetree
//! file   := header with magic "1TREELOG", first revision u64, zeros to 64 bytes; batch*; zeros
//! batch  := mark u32, crc u32, length u32, commits u32, first revision u64, durable u64; commit*;
//!           zeros to 8 bytes
//! ```
//!
//! Numbers are little-endian. The checksum of a batch is the CRC-32 of all that follows it in its
//! header, then of what the header counts; it begins with the file's, so that a batch of another file
//! is none here.
//!
//! A file has its whole length before it has its name, and there is always room for one more header behind what
//! is in it: where that room is not, or a batch goes beyond the end, the file was cut.
//!
//! Each batch says up to where the file was on the disk when it was written (`durable`): what is
//! broken before that is damage, what is broken behind it was cut by a crash. So that this holds for
//! the last batch too, there is a batch without commits behind it as soon as it is on the disk: the
//! seal, which the next batch overwrites.
//!
//! When the disk fails, and at each start, the log goes on in a new file: whatever the old one has
//! from the new one's first revision on was never acknowledged, or is in the new one, and does not
//! count.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use onetree_core::Commit;
use onetree_protocol::Epoch;

use super::header::{self, Kind};
use super::record::{CommitRecord, Effects};
use super::spare::Ready;
use super::storage::{Storage, StorageFile};
use super::{Damage, OpenError, revision};

const KIND: Kind = Kind { magic: b"1TREELOG", what: "log", version: 1 };
const FILE_HEADER: usize = 64;
const BATCH_HEADER: usize = 32;
/// The first bytes of a batch: where a search for one looks closer.
const MARK: u32 = 0x3142_544f;
const ALIGN: usize = 8;

/// A log file: large enough that a new one is rare, small enough that its zeros are soon written.
pub(super) const FILE_BYTES: u64 = 8 << 20;

/// The end of a log, where it is written.
pub(super) struct LogWriter {
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

/// The revision that the header of a file says is its first; `None` where there is no whole header.
pub(super) fn begins(storage: &dyn Storage, name: &str) -> Option<u64> {
    let mut header = [0; FILE_HEADER];
    let read = storage.open(name).ok()?.read_at(&mut header, 0).ok()?;
    let whole = read == FILE_HEADER && header::read(&header, &KIND, storage, name).is_ok();
    whole.then(|| first_in(&header))
}

/// The name of the file whose first commit is `first`.
pub(super) fn name(first: u64) -> String {
    format!("log-{first:016x}.onetree")
}

/// The first revision of the file with this name.
pub(super) fn first_of(name: &str) -> Option<u64> {
    revision(name.strip_prefix("log-")?.strip_suffix(".onetree")?)
}

impl LogWriter {
    /// Begins a file of so many bytes, or more, with `commits`, the first of which has, or will
    /// have, the revision `first`; durable, with its name, when this returns. `spare`: a file of as
    /// many zeros that has the name [`SPARE`].
    pub(super) fn create(
        storage: &dyn Storage,
        epoch: Epoch,
        first: u64,
        bytes: u64,
        spare: Option<Ready>,
        commits: &[Arc<Commit>],
    ) -> io::Result<LogWriter> {
        let header = file_header(epoch, first);
        let seed = header::crc(&header);
        let mut buffer = header.to_vec();
        if !commits.is_empty() {
            batch(&mut buffer, seed, commits, FILE_HEADER as u64)?;
        }
        let needed = bytes.max((buffer.len() + BATCH_HEADER) as u64);
        let spare = spare.filter(|spare| spare.bytes >= needed);
        let length = spare.as_ref().map_or(needed, |spare| spare.bytes);
        let made = || {
            // Under another name until it is whole: a header that is torn would be damage.
            let mut file = match spare {
                Some(spare) => spare.file,
                None => storage.create(SPARE, length)?,
            };
            file.write_at(&buffer, 0)?;
            file.sync()?;
            storage.rename(SPARE, &name(first))?;
            storage.sync()?;
            Ok(file)
        };
        let file = made().inspect_err(|_: &io::Error| {
            // It takes room that there may be too little of. If it stays, the next one replaces it.
            let _ = storage.remove(SPARE);
        })?;
        let at = buffer.len() as u64;
        let next = first + commits.len() as u64;
        let name = name(first);
        let (durable, last) = (at, at);
        let mut log = LogWriter { file, name, seed, at, durable, next, last, length, buffer };
        if !commits.is_empty() {
            log.seal();
        }
        Ok(log)
    }

    /// How much is in it, bytes.
    pub(super) fn written(&self) -> u64 {
        self.at
    }

    /// How much more would go in, bytes.
    pub(super) fn room(&self) -> u64 {
        self.length.saturating_sub(self.at)
    }

    /// Whether it is time to think of the next one.
    pub(super) fn is_half_full(&self) -> bool {
        self.at > self.length / 2
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Writes commits as one batch behind all others; false, and nothing is written, when there is
    /// no room for it. Not yet durable.
    pub(super) fn append(&mut self, commits: &[Arc<Commit>]) -> io::Result<bool> {
        self.buffer.clear();
        batch(&mut self.buffer, self.seed, commits, self.durable)?;
        let end = self.at + self.buffer.len() as u64;
        if end + BATCH_HEADER as u64 > self.length {
            return Ok(false);
        }
        self.last = self.at;
        self.file.write_at(&self.buffer, self.at)?;
        self.at = end;
        self.next += commits.len() as u64;
        Ok(true)
    }

    /// Returns when all batches are on the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.durable = self.at;
        self.seal();
        Ok(())
    }

    /// As [`LogWriter::sync`], and the seal is on the disk too: without it the end is no good one.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.durable = self.at;
        self.write_seal()?;
        self.file.sync()
    }

    /// Takes back the last batch if it begins with revision `next`, as well as the disk lets it: so
    /// that it does not come back when the process ends now.
    pub(super) fn take_back(&mut self, next: u64) {
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
        let seal = batch_header(self.seed, &[], 0, self.next, self.durable);
        self.file.write_at(&seal, self.at)
    }
}

/// All that is in a file.
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

/// The length of a file that has room for what did not fit into this one.
pub(super) fn bytes_for(log: &LogWriter) -> u64 {
    (FILE_HEADER + log.buffer.len() + BATCH_HEADER) as u64
}

/// The name of a file that is being made.
pub(super) const SPARE: &str = "new.tmp";

fn file_header(epoch: Epoch, first: u64) -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    header[32..40].copy_from_slice(&first.to_le_bytes());
    header::write(&mut header, &KIND, epoch);
    header
}

/// The revision that a header says is the first of its file.
fn first_in(header: &[u8; FILE_HEADER]) -> u64 {
    number(&header[32..40])
}

/// Adds a batch to `buffer`.
fn batch(buffer: &mut Vec<u8>, seed: u32, commits: &[Arc<Commit>], durable: u64) -> io::Result<()> {
    let begins = buffer.len();
    buffer.resize(begins + BATCH_HEADER, 0);
    let mut effects = Effects::default();
    for commit in commits {
        let record = CommitRecord::new(commit, effects);
        *buffer = postcard::to_extend(&record, std::mem::take(buffer)).map_err(io::Error::other)?;
        effects = record.into_effects();
    }
    let (count, first) = (commits.len(), commits.first().map_or(0, |commit| commit.rev.get()));
    let payload = &buffer[begins + BATCH_HEADER..];
    let fits = u32::try_from(payload.len()).and(u32::try_from(count)).map_err(io::Error::other)?;
    let header = batch_header(seed, payload, fits, first, durable);
    buffer[begins..begins + BATCH_HEADER].copy_from_slice(&header);
    buffer.resize(begins + (buffer.len() - begins).next_multiple_of(ALIGN), 0);
    Ok(())
}

fn batch_header(
    seed: u32,
    payload: &[u8],
    commits: u32,
    first: u64,
    durable: u64,
) -> [u8; BATCH_HEADER] {
    let mut header = [0; BATCH_HEADER];
    header[0..4].copy_from_slice(&MARK.to_le_bytes());
    header[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[12..16].copy_from_slice(&commits.to_le_bytes());
    header[16..24].copy_from_slice(&first.to_le_bytes());
    header[24..32].copy_from_slice(&durable.to_le_bytes());
    let crc = batch_crc(seed, &header, payload);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    header
}

fn batch_crc(seed: u32, header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&header[8..]);
    hasher.update(payload);
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
    /// Where the last batch with commits is that [`LogFile::each`] has come to.
    last: Cell<(usize, usize)>,
    /// Whether the last batch that it has come to is a seal.
    sealed: Cell<bool>,
}

/// What there is in a file, some of which is broken.
pub(super) enum Piece {
    /// A commit.
    Commit(Commit),
    /// A batch that is not whole.
    Broken {
        /// Where it begins.
        at: u64,
    },
}

/// Where the batches of a file end.
pub(super) enum End {
    /// With zeros, or with the file.
    Clean,
    /// With a batch that is not whole, and nothing behind it says that it was on the disk.
    Torn {
        /// Where it begins.
        at: u64,
    },
    /// With a batch whose commits do not count any more.
    Superseded,
}

impl LogFile {
    /// Reads a file and checks its header.
    pub(super) fn read(
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

    /// Reads a file whose header is damaged: what it said is that it is of this history, and begins
    /// with this revision.
    pub(super) fn behind_header(
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

    /// Whether it ends with a seal, as far as [`LogFile::each`] or [`LogFile::pieces`] has come.
    pub(super) fn is_sealed(&self) -> bool {
        self.sealed.get()
    }

    /// Where the last batch with commits ends that [`LogFile::each`] has come to: there the seal is.
    pub(super) fn end(&self) -> u64 {
        self.last.get().1.max(FILE_HEADER) as u64
    }

    /// Whether the file was longer: behind `at`, where no whole batch is, there should be more of it. Not behind a
    /// seal, which is what there is room for.
    fn is_cut(&self, at: usize) -> bool {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let Some(header) = rest.first_chunk::<BATCH_HEADER>() else { return !self.is_sealed() };
        let payload = number(&header[8..12]) as usize;
        number(&header[..4]) == u64::from(MARK) && rest.len() - BATCH_HEADER < payload
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

    /// As [`LogFile::each`], past what is broken.
    pub(super) fn pieces(&self, until: u64, mut each: impl FnMut(Piece)) {
        let used = self.used() as usize;
        let mut at = FILE_HEADER;
        while at < used {
            let Some(batch) = self.batch(at) else {
                each(Piece::Broken { at: at as u64 });
                let later = (at + ALIGN..used).step_by(ALIGN);
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

    /// Makes the last batch that was read durable, and everything else was. The process before may
    /// have ended before it was on the disk; and if its sync had failed, the system may hold it for
    /// written although it is not. So it is written again, as it is.
    pub(super) fn settle(&self, storage: &dyn Storage) -> io::Result<()> {
        let (begins, end) = self.last.get();
        if begins == end {
            return Ok(());
        }
        let mut file = storage.open(&self.name)?;
        file.write_at(&self.bytes[begins..end.min(self.bytes.len())], begins as u64)?;
        file.sync()
    }

    /// The batch at `at`, if there is a whole one.
    fn batch(&self, at: usize) -> Option<Batch<'_>> {
        let header = self.bytes.get(at..at + BATCH_HEADER)?;
        if number(&header[..4]) != u64::from(MARK) {
            return None;
        }
        let begins = at + BATCH_HEADER;
        let payload =
            self.bytes.get(begins..begins.checked_add(number(&header[8..12]) as usize)?)?;
        (u64::from(batch_crc(self.seed, header, payload)) == number(&header[4..8])).then(|| Batch {
            commits: number(&header[12..16]) as u32,
            first: number(&header[16..24]),
            durable: number(&header[24..32]),
            payload,
        })
    }

    /// Where, behind `at`, a whole batch begins that was written when `at` was on the disk.
    fn proof(&self, at: usize) -> Option<usize> {
        let proves = |later: &usize| {
            self.batch(*later)
                .is_some_and(|batch| (at as u64) < batch.durable && batch.durable <= *later as u64)
        };
        (at + ALIGN..self.bytes.len()).step_by(ALIGN).find(proves)
    }
}

struct Batch<'a> {
    commits: u32,
    first: u64,
    durable: u64,
    payload: &'a [u8],
}

impl Batch<'_> {
    /// What it takes in the file.
    fn bytes(&self) -> usize {
        (BATCH_HEADER + self.payload.len()).next_multiple_of(ALIGN)
    }

    /// Gives each commit to `each`, up to one that cannot be read.
    fn commits(&self, each: &mut impl FnMut(Commit)) -> Result<(), String> {
        let mut rest = self.payload;
        for n in 0..u64::from(self.commits) {
            let wrong = |what: &dyn std::fmt::Display| {
                format!("commit {n} of a batch cannot be read: {what}")
            };
            let (record, behind) = postcard::take_from_bytes::<CommitRecord<'_>>(rest)
                .map_err(|error| wrong(&error))?;
            rest = behind;
            let commit = Commit::try_from(record).map_err(|error| wrong(&error))?;
            if commit.rev.get() != self.first + n {
                return Err(wrong(&format!("it is revision {}", commit.rev)));
            }
            each(commit);
        }
        Ok(())
    }
}

/// A number of up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    let mut eight = [0; 8];
    eight[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(eight)
}
