//! The log: every commit since the last saved tree, in batches, in files of a fixed size.
//!
//! ```text
//! log-<first revision, 16 hex>.onetree
//! file   := header with magic "1TREELOG", first revision u64, zeros to 64 bytes; batch*; zeros
//! batch  := mark u32, crc u32, length u32, commits u32, first revision u64, durable u64; commit*;
//!           zeros to 8 bytes
//! ```
//!
//! Numbers are little-endian. The checksum of a batch is the CRC-32 of everything that follows it
//! in its header, and of the `length` bytes behind the header. It starts from the checksum of the
//! file's header, so a batch from another file is not valid here.
//!
//! A file has its whole length before it has its name, and there is always room for one more header
//! behind its content. If that room is missing, or a batch extends beyond the end, the file was
//! cut.
//!
//! Each batch records how far the file was on the disk when the batch was written (`durable`). A
//! broken batch before that point is damage; a broken batch behind it was cut by a crash. So that
//! this works for the last batch too, a batch without commits is written behind it as soon as it is
//! on the disk: the seal, which the next batch overwrites.
//!
//! When the disk fails, and at each start, the log continues in a new file. Whatever the old file
//! has from the new file's first revision on was never acknowledged or is in the new file, and does
//! not count.

mod batch;
mod file;
mod writer;

use onetree_protocol::Epoch;

use super::header::{self, Kind};
use super::revision;
use super::storage::Storage;

pub(super) use file::{End, LogFile, Piece};
pub(super) use writer::{LogWriter, bytes_for};

const KIND: Kind = Kind { magic: b"1TREELOG", what: "log", version: 1 };
const FILE_HEADER: usize = 64;

/// The default size of a log file: large enough that a new one is rare, small enough that its zeros
/// are written quickly.
pub(super) const FILE_BYTES: u64 = 8 << 20;

/// The name of a file while it is being made.
pub(super) const MAKING: &str = "new.tmp";

/// Returns the first revision according to the header of a file; `None` if the header is not
/// intact.
pub(super) fn begins(storage: &dyn Storage, name: &str) -> Option<u64> {
    let mut header = [0; FILE_HEADER];
    let read = storage.open(name).ok()?.read_at(&mut header, 0).ok()?;
    let whole = read == FILE_HEADER && header::read(&header, &KIND, storage, name).is_ok();
    whole.then(|| first_in(&header))
}

/// Returns the name of the file whose first commit is `first`.
pub(super) fn name(first: u64) -> String {
    format!("log-{first:016x}.onetree")
}

/// Returns the first revision of the file with this name.
pub(super) fn first_of(name: &str) -> Option<u64> {
    revision(name.strip_prefix("log-")?.strip_suffix(".onetree")?)
}

fn file_header(epoch: Epoch, first: u64) -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    header[32..40].copy_from_slice(&first.to_le_bytes());
    header::write(&mut header, &KIND, epoch);
    header
}

/// Returns the first revision that a header names.
fn first_in(header: &[u8; FILE_HEADER]) -> u64 {
    header::number(header, 32)
}
