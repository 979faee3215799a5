//! A batch: the results of events, from the moment when the first event is taken until all are
//! stored.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use onetree_core::{Answer, Checkpoint, Commit, Refusal, Snapshot};
use onetree_protocol::Path;
use tokio::time::{Instant, timeout_at};

use super::event::Event;
use super::mailbox::Mailbox;
use crate::store::StoreError;

/// How many changes and other events are taken together and stored with one call. At 2 us each, a
/// batch is applied in about the time that the disk takes for one sync, so neither waits long for
/// the other.
pub(super) const BATCH_EVENTS: usize = 1024;

/// A disk that has not answered for this long is said to hang: the slowest disk that works takes a
/// tenth of this.
const HANGS: Duration = Duration::from_secs(2);

/// The results of events, before they are stored.
pub(super) struct Batch {
    /// The state before the batch, to go back to when it cannot be stored.
    pub(super) before: Checkpoint,
    /// When the first event of the batch was taken.
    pub(super) begun: Option<Instant>,
    /// How many changes and other events it has.
    pub(super) events: usize,
    pub(super) commits: Vec<Arc<Commit>>,
    /// The tree right after each commit; only used for [`super::Hooks::on_commit`].
    pub(super) trees: Vec<Snapshot>,
    /// The logs that retention has trimmed in this batch, each with the number of entries trimmed.
    /// `nothing_due`: no more housekeeping was due at the end of the batch.
    pub(super) trims: Vec<(Path, u64)>,
    pub(super) nothing_due: bool,
    /// The answers: to which connection, and to which request.
    pub(super) answers: Vec<(Arc<Mailbox>, u32, Result<Answer, Refusal>)>,
    /// The connections whose goodbyes are answered with this batch. What their sessions owned is
    /// deleted in this batch, or was deleted before.
    pub(super) left: Vec<Arc<Mailbox>>,
    /// Events that wait until the batch is stored, such as departures: they end what the batch may
    /// still need.
    pub(super) afterwards: Vec<Event>,
    pub(super) stop: bool,
}

impl Batch {
    /// Makes an empty batch on top of this state.
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

    /// Whether the batch takes more events. It may exceed its size by one turn or one write.
    pub(super) fn has_room(&self) -> bool {
        self.events < BATCH_EVENTS && !self.stop
    }

    /// Undoes the batch: nothing of it has happened, and each answer becomes `refusal`. That
    /// includes refusals and writes that changed nothing, because they may depend on a write that
    /// is undone.
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
    /// The tree at the end of the batch.
    pub(super) snapshot: Snapshot,
    stored: Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>,
    since: Instant,
    /// Whether it was logged that the store takes too long.
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

    /// Waits until the batch is stored, and logs when that takes too long: a disk that hangs does
    /// not fail, so nothing else reports it.
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

    /// Waits until the batch is stored. Waits for ever when no batch is being stored.
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
