//! A connection, as the fan-out sees it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use onetree_protocol::{Codec, Revision};

use super::encode::Frames;

/// Where frames go: a connection's mailbox, or a benchmark's counter. No call may wait.
pub trait Sink: Send + Sync {
    /// Live deltas, each with all of its parts, in their order. `at_once`: they go to few, and may
    /// be written here.
    fn deltas(&self, frames: &Arc<Frames>, at_once: bool);
    /// It may have missed live deltas, and gets what changed from the tree instead.
    fn overflow(&self);
    /// Signals; dropped where there is no room. `at_once` as above.
    fn signals(&self, frames: &Arc<Frames>, at_once: bool);
}

/// One connection's place in the index.
pub struct Subscriber {
    pub(super) id: u64,
    pub(super) codec: Codec,
    pub(super) sink: Arc<dyn Sink>,
    /// The last commit that it was handed by a fan-out which looks at several groups.
    claimed: AtomicU64,
}

impl Subscriber {
    /// A subscriber; `id` is its own in the whole process.
    pub fn new(id: u64, codec: Codec, sink: Arc<dyn Sink>) -> Subscriber {
        Subscriber { id, codec, sink, claimed: AtomicU64::new(0) }
    }

    /// Whether it is the first time that `rev` comes by. Commits come from one task, so nothing
    /// else is ordered by this.
    pub(super) fn claim(&self, rev: Revision) -> bool {
        self.claimed.swap(rev.get(), Ordering::Relaxed) != rev.get()
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "subscriber {} ({})", self.id, self.codec.subprotocol())
    }
}
