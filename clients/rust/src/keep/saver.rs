//! When the mirror goes into its file.

use std::sync::Arc;
use std::time::Duration;

use onetree_protocol::Cookie;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Keep, KeepError};
use crate::mirror::Snapshot;

/// While changes come, the file is rewritten this often: a second of changes is soon fetched
/// again.
const EVERY: Duration = Duration::from_secs(1);

/// But saving takes at most a fifth of the time: a mirror of a million entries is 100 MB.
const REST: u32 = 4;

/// While nothing changes, the cookie still moves; it is saved this often, so that it is never long
/// behind what deletes the broker remembers.
const IDLE_EVERY: Duration = Duration::from_secs(600);

/// Saves a mirror beside the work that goes on: at most once a second, and a fifth of the time.
/// What is given to it has been dealt with by whoever keeps the mirror.
#[derive(Debug)]
pub struct Saver {
    file: Arc<Keep>,
    saved: Option<Cookie>,
    /// Whether something changed since the last save was begun.
    changed: bool,
    /// Changes are not saved before.
    rest_until: Instant,
    /// When the last save was begun.
    began: Instant,
    saving: Option<JoinHandle<Result<(), KeepError>>>,
}

impl Saver {
    /// For `file`, which holds what is dated by `saved`.
    /// Needs a tokio runtime from here on.
    pub fn new(file: impl Into<Arc<Keep>>, saved: Option<Cookie>) -> Saver {
        let now = Instant::now();
        Saver {
            file: file.into(),
            saved,
            // One that is not there yet is made at once.
            changed: saved.is_none(),
            rest_until: now,
            began: now,
            saving: None,
        }
    }

    /// Something changed.
    pub fn note_change(&mut self) {
        self.changed = true;
    }

    /// Begins to save `now`, when it is time for that.
    pub fn save_when_due(&mut self, now: &Snapshot) {
        if self.saving.is_none() && Instant::now() >= self.due_at() {
            self.begin(now);
        }
    }

    fn begin(&mut self, now: &Snapshot) {
        let changed = std::mem::replace(&mut self.changed, false);
        self.began = Instant::now();
        // A mirror that was never whole, or was found to be wrong, is not worth a file. One that
        // was made right again is, though it is dated as the wrong one was.
        let Some(cookie) = now.cookie().filter(|cookie| changed || self.saved != Some(*cookie))
        else {
            return;
        };
        self.saved = Some(cookie);
        let (file, now) = (self.file.clone(), now.clone());
        self.saving = Some(tokio::task::spawn_blocking(move || file.save(&now)));
    }

    /// Whether a save is under way, whose end [`Saver::due`] waits for.
    pub fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    fn due_at(&self) -> Instant {
        if self.changed { self.rest_until } else { self.began + IDLE_EVERY }
    }

    /// Returns when a save has ended, or one may begin. Nothing is lost when this is dropped before
    /// it is done.
    ///
    /// # Errors
    /// When the save that has ended failed; the next one is as if it had not been tried.
    pub async fn due(&mut self) -> Result<(), KeepError> {
        match &mut self.saving {
            Some(saving) => {
                let saved = saving.await;
                self.saving = None;
                let took = self.began.elapsed();
                self.rest_until = Instant::now() + EVERY.max(took * REST);
                let saved =
                    saved.unwrap_or_else(|error| Err(self.file.unwritten(error.to_string())));
                if saved.is_err() {
                    (self.saved, self.changed) = (None, true);
                }
                saved
            }
            None => {
                tokio::time::sleep_until(self.due_at()).await;
                Ok(())
            }
        }
    }

    /// Saves `last`, whatever time it is, and waits for it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn save_last(&mut self, last: &Snapshot) -> Result<(), KeepError> {
        if self.saving.is_some() {
            // If that failed, so may this, which says so.
            let _ = self.due().await;
        }
        self.begin(last);
        match self.saving {
            Some(_) => self.due().await,
            None => Ok(()),
        }
    }
}
