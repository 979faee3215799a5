//! The history file: which history the files hold, whether its end may be lost, and which log file
//! has the end.
//!
//! ```text
//! history.onetree := header with magic "1TREEHIS", weak u8, end u8, log u64
//! end := 1 when it is clean, and 2 when it is a backup; 3 when both
//! ```
//!
//! A file of format 1 has no `log`, so no missing log file can be found by it.

use std::io::{self, ErrorKind};

use onetree_protocol::Epoch;

use super::header::{self, Kind};
use super::storage::Storage;
use super::{Damage, OpenError};

const KIND: Kind = Kind { magic: b"1TREEHIS", what: "history", version: 2 };
/// The name of the file that identifies the history.
pub const NAME: &str = "history.onetree";
/// The name of the file while it is being made.
pub(super) const MAKING: &str = "history.tmp";
const BYTES: usize = 42;
const BYTES_1: usize = 34;
const CLEAN: u8 = 1;
const BACKUP: u8 = 2;

/// The history that the files hold, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct History {
    pub(super) epoch: Epoch,
    /// Commits are acknowledged before they are on the disk.
    pub(super) weak: bool,
    /// The history was closed properly, with everything on the disk.
    pub(super) clean: bool,
    /// The files are a copy, and the history continues elsewhere.
    pub(super) backup: bool,
    /// The first revision of the last file of the log: that file or a later one must exist. Each
    /// log file is named here before anything in it is acknowledged. 0: there is no log file, and
    /// everything is in a saved tree. `None`: not known, in a file of format 1.
    pub(super) log: Option<u64>,
}

impl History {
    /// Makes a new history in which nothing is acknowledged except what is in a saved tree, if it
    /// has one.
    pub(super) fn begun(epoch: Epoch, has_tree: bool) -> History {
        History { epoch, weak: false, clean: has_tree, backup: false, log: Some(0) }
    }

    /// Writes the history. It is durable when this returns.
    pub(super) fn write(&self, storage: &dyn Storage) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        let end = (u8::from(self.clean) * CLEAN) | (u8::from(self.backup) * BACKUP);
        bytes[32..34].copy_from_slice(&[self.weak.into(), end]);
        bytes[34..42].copy_from_slice(&self.log.unwrap_or_default().to_le_bytes());
        header::write(&mut bytes, &KIND, self.epoch);
        let mut file = storage.create(MAKING, 0)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        storage.rename(MAKING, NAME)?;
        storage.sync()
    }

    /// Whether something may have been acknowledged that the disk does not have. If so, the next
    /// start begins a new history.
    pub(super) fn may_have_lost(&self) -> bool {
        self.weak && !self.clean
    }

    /// Whether there must be a saved tree: the history began with one, and nothing was written
    /// since.
    pub(super) fn has_tree(&self) -> bool {
        self.clean && self.log == Some(0)
    }

    /// Whether the log file that begins with this revision was closed properly.
    pub(super) fn has_ended(&self, log: u64) -> bool {
        self.clean && log > 0 && self.log == Some(log)
    }

    /// Reads the history; `None` when there is none.
    pub(super) fn read(storage: &dyn Storage) -> Result<Option<History>, OpenError> {
        let failed = |error| OpenError::Io { file: storage.show(NAME), error };
        let file = match storage.open(NAME) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = [0; BYTES];
        let read = file.read_at(&mut bytes, 0).map_err(failed)?;
        let first = header::version(&bytes) == 1;
        let length = if first { BYTES_1 } else { BYTES };
        if read < length {
            let why = "this is no history of Onetree".to_owned();
            return Err(Damage { file: storage.show(NAME), offset: 0, why }.into());
        }
        let epoch = header::read(&bytes[..length], &KIND, storage, NAME)?;
        let log = (!first).then(|| header::number(&bytes, 34));
        let (weak, end) = (bytes[32] != 0, bytes[33]);
        let (clean, backup) = (end & CLEAN != 0, end & BACKUP != 0);
        Ok(Some(History { epoch, weak, clean, backup, log }))
    }
}
