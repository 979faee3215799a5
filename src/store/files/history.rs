//! Which history the files hold, and whether it may have lost its end.
//!
//! ```text
//! history.onetree := header with magic "1TREEHIS", weak u8, clean u8
//! ```

use std::io::{self, ErrorKind};

use onetree_protocol::Epoch;

use super::header;
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
        bytes[32..34].copy_from_slice(&[self.weak.into(), self.clean.into()]);
        header::write(&mut bytes, MAGIC, self.epoch);
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
        if file.read_at(&mut bytes, 0).map_err(failed)? < BYTES {
            let why = "this is no history of Onetree".to_owned();
            return Err(Damage { file: storage.show(NAME), offset: 0, why }.into());
        }
        let epoch = header::read(&bytes, MAGIC, "history", storage, NAME)?;
        Ok(Some(History { epoch, weak: bytes[32] != 0, clean: bytes[33] != 0 }))
    }
}
