//! Where commits are kept.
//!
//! # Layout
//!
//! - [`Store`]: what the owner task asks of a store
//! - [`files`]: commits in files, through crashes and power loss
//! - [`MemoryStore`]: keeps nothing, and fails on request: for tests and for trees that need not
//!   outlive the process

pub mod files;
mod memory;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use onetree_core::{Checkpoint, Commit};

pub use memory::MemoryStore;

/// A store that could not keep a batch. Nothing of it comes back, unless the disk has it all the
/// same, takes no word that it does not count, and the power goes before it does: then all of it is
/// there at the next start. A write of a client that numbers its writes takes effect once in any
/// case.
#[derive(Debug, thiserror::Error)]
#[error("cannot store commits {first} to {last}: {reason}")]
pub struct StoreError {
    /// The first revision of the batch.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// Why.
    pub reason: String,
}

/// A store that has ended otherwise than it should. What it has acknowledged is there at the next
/// start, as after a crash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store has not ended well: {0}")]
pub struct EndError(pub String);

/// What the owner task asks of a store. It belongs to that task alone, so it needs no locks; an
/// engine that blocks runs on a thread of its own and is waited for here.
pub trait Store: Send + 'static {
    /// Keeps the commits, all or none, in this order; to be called again only when this is over.
    /// They are acknowledged and shown only then, and are undone when it fails.
    ///
    /// # Errors
    /// When they could not be kept.
    fn append(
        &mut self,
        commits: &[Arc<Commit>],
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static;

    /// Whether what was appended survives `kill -9` and power loss: told to writers in `done`.
    fn durable(&self) -> bool;

    /// Whether nothing can be kept for now; kept true to the moment by the store, for those who
    /// report health.
    fn read_only(&self) -> Arc<AtomicBool> {
        Arc::default()
    }

    /// Whether it would have the whole state, so that it can let go of what made it.
    fn save_due(&self) -> bool {
        false
    }

    /// Keeps a state, all of whose commits it has kept.
    fn save(&mut self, state: Checkpoint) {
        let _ = state;
    }

    /// Returns when it has ended by itself, and nothing can be kept any more. To be asked once.
    fn gone(&mut self) -> impl Future<Output = ()> + Send + 'static {
        std::future::pending()
    }

    /// Nothing more comes: returns when everything is kept as well as it ever will be.
    ///
    /// # Errors
    /// When that is not as well as it should be.
    fn close(&mut self) -> impl Future<Output = Result<(), EndError>> + Send + 'static {
        std::future::ready(Ok(()))
    }
}
