//! What all tasks can read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use onetree_core::Snapshot;
use onetree_protocol::Revision;
use tokio::sync::watch;
use tokio::time::Instant;

use super::counters::Counters;
use crate::fanout::Fanout;
use crate::store::Condition;

/// What the owner of the tree shows to all other tasks.
pub(crate) struct Shared {
    /// The newest tree, published as soon as its last commit is stored. That commit may still be on
    /// its way to the outboxes.
    pub(crate) published: ArcSwap<Snapshot>,
    /// The newest tree whose commits have all been written to connections or have reached the
    /// outboxes.
    pub(crate) settled: watch::Sender<Arc<Snapshot>>,
    pub(crate) fanout: Fanout,
    pub(crate) store: Arc<Condition>,
    pub(crate) counters: Arc<Counters>,
    /// Since when a batch of commits is being stored.
    storing: Mutex<Option<Instant>>,
}

impl Shared {
    pub(crate) fn new(snapshot: Snapshot, fanout: Fanout, store: Arc<Condition>) -> Shared {
        let snapshot = Arc::new(snapshot);
        let (published, settled) = (snapshot.clone().into(), watch::Sender::new(snapshot));
        let storing = Mutex::default();
        Shared { published, settled, fanout, store, counters: Arc::default(), storing }
    }

    /// Notes when a batch of commits was given to the store; `None`: the store has answered.
    pub(super) fn storing_since(&self, since: Option<Instant>) {
        *self.storing.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Returns how long a batch of commits has been waiting for the store.
    pub(crate) fn storing(&self) -> Option<Duration> {
        let since = *self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| since.elapsed())
    }

    /// Returns the latest tree that has settled.
    pub(crate) fn settled(&self) -> Arc<Snapshot> {
        self.settled.borrow().clone()
    }

    /// Waits until a revision has settled.
    pub(crate) async fn settles(&self, rev: Revision) {
        // This cannot fail: `self` holds the sender.
        let _ = self.settled.subscribe().wait_for(|settled| settled.rev() >= rev).await;
    }

    /// Returns the latest tree that is published.
    pub(crate) fn latest(&self) -> Snapshot {
        Snapshot::clone(&self.published.load())
    }
}
