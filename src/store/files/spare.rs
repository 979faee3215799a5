//! The next file of the log, made beside the commits: to fill it with zeros takes longer than a
//! subscriber should wait for a delivery.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::log;
use super::storage::{Storage, StorageFile};

/// A file of zeros that has no name of its own yet.
pub(super) struct Ready {
    pub(super) file: Box<dyn StorageFile>,
    pub(super) bytes: u64,
}

/// The next file of the log.
///
/// Starts `None`. `None` -> `Some` when the present file is half full; `Some` -> `None` when a file
/// is begun, whatever has become of this one.
#[derive(Default)]
pub(super) struct Spare(Option<JoinHandle<io::Result<Ready>>>);

impl Spare {
    /// Begins to make one, if none is there or being made.
    pub(super) fn make(&mut self, storage: &Arc<dyn Storage>, bytes: u64) {
        if self.0.is_some() {
            return;
        }
        let storage = storage.clone();
        let make = move || {
            let made = storage.create(log::MAKING, bytes).inspect_err(|_| {
                // It takes room that there may be too little of. If it stays, the next replaces it.
                let _ = storage.remove(log::MAKING);
            });
            made.map(|file| Ready { file, bytes })
        };
        // Without it the file is made when it is wanted.
        self.0 = thread::Builder::new().name("onetree-spare".to_owned()).spawn(make).ok();
    }

    /// The one that is there, if it is large enough; one that is being made is waited for.
    /// Afterwards nobody else makes a file of its name.
    pub(super) fn take(&mut self, bytes: u64) -> Option<Ready> {
        let made = self.0.take()?.join().ok()?.ok()?;
        Some(made).filter(|made| made.bytes >= bytes)
    }

    /// Nothing is left of it.
    pub(super) fn end(&mut self, storage: &dyn Storage) -> io::Result<()> {
        match self.take(0) {
            Some(_) => storage.remove(log::MAKING),
            None => Ok(()),
        }
    }
}
