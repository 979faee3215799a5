//! Makes the next file of the log in the background: filling it with zeros takes longer than a
//! subscriber should wait for a delivery.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::log;
use super::storage::{Storage, StorageFile};
use super::urgent::Urgent;

/// A file of zeros that does not have its final name yet.
pub(super) struct Ready {
    pub(super) file: Box<dyn StorageFile>,
    pub(super) bytes: u64,
}

/// The next file of the log. Dropping this waits for a file that is being made; afterwards another
/// store may use the files.
///
/// It starts as `None`. `None` -> `Some` when the present file is used up to an eighth; `Some` ->
/// `None` when a new file is begun, whether or not this one could be made.
#[derive(Default)]
pub(super) struct Spare(Option<JoinHandle<io::Result<Ready>>>);

impl Spare {
    /// Begins to make a file, unless one exists or is being made.
    pub(super) fn make(&mut self, storage: &Arc<dyn Storage>, bytes: u64, urgent: &Urgent) {
        if self.0.is_some() {
            return;
        }
        let (storage, doing) = (storage.clone(), urgent.begin());
        let make = move || {
            let _doing = doing;
            let made = storage.create(log::MAKING, bytes).inspect_err(|_| {
                // A file that failed takes space that may be scarce. If it cannot be removed, the
                // next one replaces it.
                let _ = storage.remove(log::MAKING);
            });
            made.map(|file| Ready { file, bytes })
        };
        // If no thread can be started, the file is made when it is needed.
        self.0 = thread::Builder::new().name("onetree-spare".to_owned()).spawn(make).ok();
    }

    /// Takes the file if it is large enough; waits if it is being made. After this call no other
    /// thread makes a file of that name.
    pub(super) fn take(&mut self, bytes: u64) -> Option<Ready> {
        let made = self.0.take()?.join().ok()?.ok()?;
        Some(made).filter(|made| made.bytes >= bytes)
    }

    /// Removes the file.
    pub(super) fn end(&mut self, storage: &dyn Storage) -> io::Result<()> {
        match self.take(0) {
            Some(_) => storage.remove(log::MAKING),
            None => Ok(()),
        }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.take(0);
    }
}
