//! When a mirror is saved to its file.

use std::sync::Arc;
use std::time::Duration;

use onetree_protocol::Cookie;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Keep, KeepError};
use crate::mirror::Snapshot;

/// The shortest time between two saves while changes come. If the process dies, one second of
/// changes is quickly fetched again.
const EVERY: Duration = Duration::from_secs(1);

/// A save that took t is followed by a rest of at least 4 t, so saving takes at most a fifth of the
/// time: the file of a mirror of a million entries has 100 MB.
const REST: u32 = 4;

/// How often the cookie is saved while nothing changes. The cookie moves all the same, and a saved
/// cookie must not fall far behind: the broker remembers deletes only for so long.
const IDLE_EVERY: Duration = Duration::from_secs(600);

/// Saves a mirror in the background: at most once a second, and at most a fifth of the time. Give
/// it only snapshots that the application has dealt with.
#[derive(Debug)]
pub struct Saver {
    file: Arc<Keep>,
    saved: Option<Cookie>,
    /// Whether something has changed since the last save began.
    changed: bool,
    /// Changes are not saved before this time.
    rest_until: Instant,
    /// When the last save began.
    began: Instant,
    saving: Option<JoinHandle<Result<(), KeepError>>>,
}

impl Saver {
    /// A saver for `file`, which holds a copy with the cookie `saved`. Needs a tokio runtime from
    /// here on.
    pub fn new(file: impl Into<Arc<Keep>>, saved: Option<Cookie>) -> Saver {
        let now = Instant::now();
        Saver {
            file: file.into(),
            saved,
            // If there is no file yet, it is written at once.
            changed: saved.is_none(),
            rest_until: now,
            began: now,
            saving: None,
        }
    }

    /// Notes that something has changed, so that the next save comes soon.
    pub fn note_change(&mut self) {
        self.changed = true;
    }

    /// Begins to save `now`, if it is time for a save.
    pub fn save_when_due(&mut self, now: &Snapshot) {
        if self.saving.is_none() && Instant::now() >= self.due_at() {
            self.begin(now);
        }
    }

    fn begin(&mut self, now: &Snapshot) {
        let changed = std::mem::replace(&mut self.changed, false);
        self.began = Instant::now();
        // A mirror that was never whole, or was found to be wrong, has no cookie and is not saved.
        // If a mirror was made right again, it is saved even though its cookie may be the one of
        // the wrong copy.
        let Some(cookie) = now.cookie().filter(|cookie| changed || self.saved != Some(*cookie))
        else {
            return;
        };
        self.saved = Some(cookie);
        let (file, now) = (self.file.clone(), now.clone());
        self.saving = Some(tokio::task::spawn_blocking(move || file.save(&now)));
    }

    /// Returns whether a save is under way. [`Saver::due`] waits for its end.
    pub fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    fn due_at(&self) -> Instant {
        if self.changed { self.rest_until } else { self.began + IDLE_EVERY }
    }

    /// Waits until the save under way has ended or, if there is none, until the next one may begin.
    /// Nothing is lost if the future is dropped before it is done.
    ///
    /// # Errors
    /// If the save that has ended failed. The next save is made as if this one had not been tried.
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

    /// Saves `last` at once, and waits until it is saved.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub async fn save_last(&mut self, last: &Snapshot) -> Result<(), KeepError> {
        if self.saving.is_some() {
            // If that save failed, the next one probably fails, too, and reports the error.
            let _ = self.due().await;
        }
        self.begin(last);
        match self.saving {
            Some(_) => self.due().await,
            None => Ok(()),
        }
    }
}
