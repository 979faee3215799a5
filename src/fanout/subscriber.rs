//! A connection, as the fan-out sees it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use onetree_protocol::{Codec, Revision};

use super::encode::Frames;

/// Where frames go: the mailbox of a connection, or a counter in a benchmark. No call may wait.
pub trait Sink: Send + Sync {
    /// Receives live deltas, each with all its parts, in order. `at_once`: they go to few
    /// connections, and may be written in this call.
    fn deltas(&self, frames: &Arc<Frames>, at_once: bool);
    /// Notes that the subscriber may have missed live deltas, and must get the changes from the
    /// tree instead.
    fn overflow(&self);
    /// Receives signals; drops them if there is no room. `at_once` as in [`Sink::deltas`].
    fn signals(&self, frames: &Arc<Frames>, at_once: bool);
}

/// One connection's place in the index.
pub struct Subscriber {
    pub(super) id: u64,
    pub(super) codec: Codec,
    pub(super) sink: Arc<dyn Sink>,
    /// The revision of the last commit that was handed over by a fan-out to several groups.
    claimed: AtomicU64,
}

impl Subscriber {
    /// Makes a subscriber. `id` must be unique in the process.
    pub fn new(id: u64, codec: Codec, sink: Arc<dyn Sink>) -> Subscriber {
        Subscriber { id, codec, sink, claimed: AtomicU64::new(0) }
    }

    /// Returns whether this is the first call with `rev`. Commits come from one task, so no
    /// ordering of other memory depends on this.
    pub(super) fn claim(&self, rev: Revision) -> bool {
        self.claimed.swap(rev.get(), Ordering::Relaxed) != rev.get()
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "subscriber {} ({})", self.id, self.codec.subprotocol())
    }
}
