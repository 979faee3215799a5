//! The header with which each file begins, whatever its kind.
//!
//! ```text
//! header := magic 8 bytes, version u32, crc u32, epoch u128, then what is the kind's own
//! ```
//!
//! Numbers are little-endian. The checksum is the CRC-32 of everything that follows it in the
//! header. Each kind has its own versions.

use onetree_protocol::Epoch;

use super::storage::Storage;
use super::{Damage, OpenError};

/// No kind will have more formats than this. A higher number is a wrong bit, and not a later
/// format. The checksum cannot show that, because a later format may use another checksum.
const MOST_VERSION: u32 = 255;

/// A kind of file.
pub(super) struct Kind {
    pub(super) magic: &'static [u8; 8],
    /// What the file is, for messages.
    pub(super) what: &'static str,
    /// The format that is written. It and all formats before it can be read.
    pub(super) version: u32,
}

/// Fills in the common part of a header. The kind's own part must be there already.
pub(super) fn write(header: &mut [u8], kind: &Kind, epoch: Epoch) {
    header[0..8].copy_from_slice(kind.magic);
    header[8..12].copy_from_slice(&kind.version.to_le_bytes());
    header[16..32].copy_from_slice(&epoch.0.to_le_bytes());
    let crc = crc32fast::hash(&header[16..]);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
}

/// Checks the header of the file `name`, which must be of this kind. Returns the epoch.
pub(super) fn read(
    header: &[u8],
    kind: &Kind,
    storage: &dyn Storage,
    name: &str,
) -> Result<Epoch, OpenError> {
    let damage = |offset, why: String| Err(Damage { file: storage.show(name), offset, why }.into());
    if header[..8] != *kind.magic {
        return damage(0, format!("this is no {} of Onetree", kind.what));
    }
    let version = version(header);
    if version > MOST_VERSION {
        return damage(8, format!("there is no format {version}"));
    }
    if version > kind.version {
        let (file, version) = (storage.show(name), version.into());
        return Err(OpenError::Newer { file, version, known: kind.version });
    }
    if version == 0 {
        return damage(8, "there is no format 0".to_owned());
    }
    if crc32fast::hash(&header[16..]) != crc(header) {
        return damage(12, "the checksum of the header is wrong".to_owned());
    }
    Ok(Epoch(u128::from_le_bytes(part(header, 16))))
}

/// Returns the format that a header names.
pub(super) fn version(header: &[u8]) -> u32 {
    word(header, 8)
}

/// Returns the checksum that a header contains.
pub(super) fn crc(header: &[u8]) -> u32 {
    word(header, 12)
}

/// Returns the number of four bytes at `at`.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(part(bytes, at))
}

/// Returns the number of eight bytes at `at`.
pub(super) fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(part(bytes, at))
}

fn part<const BYTES: usize>(bytes: &[u8], at: usize) -> [u8; BYTES] {
    let mut part = [0; BYTES];
    part.copy_from_slice(&bytes[at..at + BYTES]);
    part
}
