//! Which history the files hold, and whether it may have lost its end.
//!
//! ```text
//! history.onetree := magic "1TREEHIS", version u32, crc u32, epoch u128, weak u8, clean u8
//! ```

use std::io::{self, ErrorKind};

use onetree_protocol::Epoch;

use super::log::VERSION;
use super::storage::Storage;
use super::{Damage, OpenError};

const MAGIC: &[u8; 8] = b"1TREEHIS";
/// The name of the file.
pub(super) const NAME: &str = "history.onetree";
/// The name of a file that is being made.
pub(super) const SPARE: &str = "history.tmp";
const BYTES: usize = 34;

/// Which history it is, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct History {
    pub(super) epoch: Epoch,
    /// Commits are acknowledged before they are on the disk.
    pub(super) weak: bool,
    /// It was ended on purpose, with everything on the disk.
    pub(super) clean: bool,
}

impl History {
    /// Writes it; durable when this returns.
    pub(super) fn write(&self, storage: &dyn Storage) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[32..34].copy_from_slice(&[self.weak.into(), self.clean.into()]);
        let crc = crc32fast::hash(&bytes[16..]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        let mut file = storage.create(SPARE, 0)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        storage.rename(SPARE, NAME)?;
        storage.sync()
    }

    /// Reads it; `None` when there is none.
    pub(super) fn read(storage: &dyn Storage) -> Result<Option<History>, OpenError> {
        let failed = |error| OpenError::Io { file: storage.show(NAME), error };
        let file = match storage.open(NAME) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = [0; BYTES];
        let damage =
            |why: &str| Damage { file: storage.show(NAME), offset: 0, why: why.to_owned() };
        if file.read_at(&mut bytes, 0).map_err(failed)? < BYTES || bytes[0..8] != *MAGIC {
            return Err(damage("this is no history of Onetree").into());
        }
        let version = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        if version > VERSION {
            let (file, version) = (storage.show(NAME), version.into());
            return Err(OpenError::Newer { file, version, known: VERSION });
        }
        if version == 0 {
            return Err(damage("there is no format 0").into());
        }
        let crc = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        if crc32fast::hash(&bytes[16..]) != crc {
            return Err(damage("its checksum is wrong").into());
        }
        let mut epoch = [0; 16];
        epoch.copy_from_slice(&bytes[16..32]);
        let epoch = Epoch(u128::from_le_bytes(epoch));
        Ok(Some(History { epoch, weak: bytes[32] != 0, clean: bytes[33] != 0 }))
    }
}
