//! What events have come to, from when the first is taken until it is stored.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use onetree_core::{Answer, Checkpoint, Commit, Refusal, Snapshot};
use onetree_protocol::Path;
use tokio::time::{Instant, timeout_at};

use super::event::Event;
use super::mailbox::Mailbox;
use crate::store::StoreError;

/// Changes and other events that are taken at once, and stored with one call. At 2 us each a batch
/// is applied in about as long as the disk takes for one sync, so that neither waits for the other
/// for long.
pub(super) const BATCH_EVENTS: usize = 1024;

/// A disk that has not answered for so long hangs: the slowest that works takes a tenth of it.
const HANGS: Duration = Duration::from_secs(2);

/// What events have come to, before that is stored.
pub(super) struct Batch {
    /// The state before it, to go back to.
    pub(super) before: Checkpoint,
    /// When its first event was taken.
    pub(super) begun: Option<Instant>,
    /// Changes and other events in it.
    pub(super) events: usize,
    pub(super) commits: Vec<Arc<Commit>>,
    /// The tree right after each commit; only for [`super::Hooks::on_commit`].
    pub(super) trees: Vec<Snapshot>,
    /// The logs that retention has trimmed in it, and of how many entries; whether nothing more was
    /// due at its end.
    pub(super) trims: Vec<(Path, u64)>,
    pub(super) nothing_due: bool,
    /// To whom, and to which request.
    pub(super) answers: Vec<(Arc<Mailbox>, u32, Result<Answer, Refusal>)>,
    /// Whose goodbye is answered with it: what their sessions owned is deleted in it, or before.
    pub(super) left: Vec<Arc<Mailbox>>,
    /// What waits until the batch is stored: departures, which end what the batch may still need.
    pub(super) afterwards: Vec<Event>,
    pub(super) stop: bool,
}

impl Batch {
    /// An empty one, on top of this state.
    pub(super) fn new(before: Checkpoint) -> Batch {
        Batch {
            before,
            begun: None,
            events: 0,
            commits: Vec::new(),
            trees: Vec::new(),
            trims: Vec::new(),
            nothing_due: false,
            answers: Vec::new(),
            left: Vec::new(),
            afterwards: Vec::new(),
            stop: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events == 0 && self.commits.is_empty()
    }

    /// Whether it takes more. It may become larger by one turn, or one write.
    pub(super) fn has_room(&self) -> bool {
        self.events < BATCH_EVENTS && !self.stop
    }

    /// Nothing of it has happened: each answer is this refusal. That goes for its refusals and its
    /// writes of nothing as well: they may rest on a write that has been undone.
    pub(super) fn undo(&mut self, refusal: &Refusal) {
        self.commits.clear();
        self.trees.clear();
        self.trims.clear();
        self.nothing_due = false;
        for (_, _, answer) in &mut self.answers {
            *answer = Err(refusal.clone());
        }
    }
}

/// A batch that is being stored.
pub(super) struct Storing {
    pub(super) batch: Batch,
    /// The tree at its end.
    pub(super) snapshot: Snapshot,
    stored: Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>,
    since: Instant,
    /// Whether the log was told that it takes too long.
    hangs: bool,
}

impl Storing {
    pub(super) fn new(
        batch: Batch,
        snapshot: Snapshot,
        stored: Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>,
    ) -> Storing {
        Storing { batch, snapshot, stored, since: Instant::now(), hangs: false }
    }

    /// Waits until the batch is stored. A disk that hangs does not fail, so nobody else says what
    /// is the matter.
    async fn answer(&mut self) -> Result<(), StoreError> {
        if !self.hangs {
            if let Ok(stored) = timeout_at(self.since + HANGS, &mut self.stored).await {
                return stored;
            }
            self.hangs = true;
            let seconds = self.since.elapsed().as_secs();
            tracing::warn!("the disk has not answered for {seconds} s: writes wait for it");
        }
        let stored = (&mut self.stored).await;
        let after_ms = self.since.elapsed().as_millis() as u64;
        tracing::warn!(after_ms, "the disk has answered");
        stored
    }

    /// Waits until the batch is stored; for ever, when none is being stored.
    pub(super) async fn end(storing: &mut Option<Storing>) -> (Storing, Result<(), StoreError>) {
        let result = match storing {
            Some(storing) => storing.answer().await,
            None => std::future::pending().await,
        };
        match storing.take() {
            Some(storing) => (storing, result),
            None => unreachable!("it was there above"),
        }
    }
}
