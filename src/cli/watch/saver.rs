//! When the mirror goes into its file.

use std::future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use onetree_client::Snapshot;
use onetree_protocol::Cookie;
use tokio::task::JoinHandle;

use super::super::exit::Failure;
use super::super::state::StateFile;

/// While changes come, the state file is rewritten this often: a second of changes is soon fetched
/// again.
const EVERY: Duration = Duration::from_secs(1);

/// But saving takes at most a fifth of the time: a mirror of a million entries is 100 MB.
const REST: u32 = 4;

/// While nothing changes, the cookie still moves; it is saved this often, so that it is never long
/// behind what deletes the broker remembers.
const IDLE_EVERY: Duration = Duration::from_secs(600);

/// Saves a mirror, beside the work that goes on.
pub(super) struct Saver {
    file: Arc<StateFile>,
    saved: Option<Cookie>,
    /// Whether something changed since the last save was begun.
    changed: bool,
    /// Changes are not saved before.
    rest_until: Instant,
    /// When the last save was begun.
    began: Instant,
    saving: Option<JoinHandle<Result<(), Failure>>>,
}

impl Saver {
    /// For `file`, which holds what is dated by `saved`.
    pub(super) fn new(file: StateFile, saved: Option<Cookie>) -> Saver {
        let now = Instant::now();
        Saver {
            file: Arc::new(file),
            saved,
            // One that is not there yet is made at once.
            changed: saved.is_none(),
            rest_until: now,
            began: now,
            saving: None,
        }
    }

    /// Something changed.
    pub(super) fn note_change(&mut self) {
        self.changed = true;
    }

    /// Begins to save `now`, when it is time for that.
    pub(super) fn save_when_due(&mut self, now: &Snapshot) {
        if self.saving.is_none() && Instant::now() >= self.due_at() {
            self.begin(now);
        }
    }

    fn begin(&mut self, now: &Snapshot) {
        (self.began, self.changed) = (Instant::now(), false);
        // A mirror that was never whole, or was found to be wrong, is not worth a file.
        let Some(cookie) = now.cookie().filter(|cookie| self.saved != Some(*cookie)) else {
            return;
        };
        self.saved = Some(cookie);
        let (file, now) = (self.file.clone(), now.clone());
        self.saving = Some(tokio::task::spawn_blocking(move || file.save(&cookie, now.entries())));
    }

    fn due_at(&self) -> Instant {
        if self.changed { self.rest_until } else { self.began + IDLE_EVERY }
    }

    /// Returns when a save has ended, or one may begin.
    pub(super) async fn due(&mut self) -> Result<(), Failure> {
        match &mut self.saving {
            Some(saving) => {
                let saved = saving.await;
                self.saving = None;
                let took = self.began.elapsed();
                self.rest_until = Instant::now() + EVERY.max(took * REST);
                saved.unwrap_or_else(|error| Err(Failure::fault(format!("saving: {error}"))))
            }
            None => {
                tokio::time::sleep_until(self.due_at().into()).await;
                Ok(())
            }
        }
    }

    /// Saves `last`, whatever time it is, and waits for it.
    pub(super) async fn save_last(&mut self, last: &Snapshot) -> Result<(), Failure> {
        if self.saving.is_some() {
            self.due().await?;
        }
        self.begin(last);
        match self.saving {
            Some(_) => self.due().await,
            None => Ok(()),
        }
    }
}

/// As [`Saver::due`], where there may be no file: then never.
pub(super) async fn due(saver: &mut Option<Saver>) -> Result<(), Failure> {
    match saver {
        Some(saver) => saver.due().await,
        None => future::pending().await,
    }
}
