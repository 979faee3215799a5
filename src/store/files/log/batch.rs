//! A batch: the commits that one sync makes durable together.

use std::io;
use std::sync::Arc;

use onetree_core::Commit;

use crate::store::files::header::{number, word};
use crate::store::files::record::{CommitRecord, Effects};

pub(super) const HEADER: usize = 32;
pub(super) const ALIGN: usize = 8;
/// The first bytes of a batch. A search for batches looks only at places with this mark.
const MARK: u32 = 0x3142_544f;

/// A batch in a file.
pub(super) struct Batch<'a> {
    pub(super) commits: u32,
    /// The revision of its first commit.
    pub(super) first: u64,
    /// How far the file was on the disk when the batch was written.
    pub(super) durable: u64,
    payload: &'a [u8],
}

impl Batch<'_> {
    /// Returns the batch at `at` of a file's `bytes`, if there is an intact one. `seed` is the
    /// checksum in the file's header.
    pub(super) fn read(bytes: &[u8], at: usize, seed: u32) -> Option<Batch<'_>> {
        let header = bytes.get(at..at + HEADER)?;
        if word(header, 0) != MARK {
            return None;
        }
        let begins = at + HEADER;
        let payload = bytes.get(begins..begins.checked_add(word(header, 8) as usize)?)?;
        (checksum(seed, header, payload) == word(header, 4)).then(|| Batch {
            commits: word(header, 12),
            first: number(header, 16),
            durable: number(header, 24),
            payload,
        })
    }

    /// Whether `rest`, the header of a batch that is not intact, says that the batch is longer than
    /// what is left of the file. `len` is the number of bytes left.
    pub(super) fn is_cut(rest: &[u8; HEADER], len: usize) -> bool {
        word(rest, 0) == MARK && len - HEADER < word(rest, 8) as usize
    }

    /// Returns how many bytes it takes in the file.
    pub(super) fn bytes(&self) -> usize {
        (HEADER + self.payload.len()).next_multiple_of(ALIGN)
    }

    /// Calls `each` with each commit, up to one that cannot be read.
    pub(super) fn commits(&self, each: &mut impl FnMut(Commit)) -> Result<(), String> {
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

/// Appends a batch to `buffer`.
pub(super) fn write(
    buffer: &mut Vec<u8>,
    seed: u32,
    commits: &[Arc<Commit>],
    durable: u64,
) -> io::Result<()> {
    let begins = buffer.len();
    buffer.resize(begins + HEADER, 0);
    let mut effects = Effects::default();
    for commit in commits {
        let record = CommitRecord::new(commit, effects);
        *buffer = postcard::to_extend(&record, std::mem::take(buffer)).map_err(io::Error::other)?;
        effects = record.into_effects();
    }
    let (count, first) = (commits.len(), commits.first().map_or(0, |commit| commit.rev.get()));
    let payload = &buffer[begins + HEADER..];
    let fits = u32::try_from(payload.len()).and(u32::try_from(count)).map_err(io::Error::other)?;
    let header = header(seed, payload, fits, first, durable);
    buffer[begins..begins + HEADER].copy_from_slice(&header);
    buffer.resize(begins + (buffer.len() - begins).next_multiple_of(ALIGN), 0);
    Ok(())
}

pub(super) fn header(
    seed: u32,
    payload: &[u8],
    commits: u32,
    first: u64,
    durable: u64,
) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0..4].copy_from_slice(&MARK.to_le_bytes());
    header[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[12..16].copy_from_slice(&commits.to_le_bytes());
    header[16..24].copy_from_slice(&first.to_le_bytes());
    header[24..32].copy_from_slice(&durable.to_le_bytes());
    let crc = checksum(seed, &header, payload);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    header
}

fn checksum(seed: u32, header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&header[8..]);
    hasher.update(payload);
    hasher.finalize()
}
