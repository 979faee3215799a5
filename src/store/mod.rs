//! The stores: where commits are stored.
//!
//! # Layout
//!
//! - [`Store`]: what the owner task needs of a store
//! - [`files`]: commits in files, which survive crashes and power loss
//! - [`MemoryStore`]: keeps nothing, and fails on request; for tests, and for trees that need not
//!   outlive the process

pub mod files;
mod memory;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use onetree_core::{Checkpoint, Commit};

pub use memory::MemoryStore;

/// A store could not store a batch.
///
/// Nothing of the batch comes back at the next start, with one exception: the disk has the batch
/// all the same, does not accept the note that the batch does not count, and the power fails before
/// it accepts the note. Then the whole batch is there at the next start. A write of a client that
/// numbers its writes takes effect only once in any case.
#[derive(Debug, thiserror::Error)]
#[error("cannot store commits {first} to {last}: {reason}")]
pub struct StoreError {
    /// The first revision of the batch.
    pub first: u64,
    /// The last revision of the batch.
    pub last: u64,
    /// Why the batch could not be stored.
    pub reason: String,
}

/// A store has ended in a way that it should not. What it has acknowledged is there at the next
/// start, as after a crash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store has not ended well: {0}")]
pub struct EndError(pub String);

/// What the tasks of connections see of a store.
#[derive(Debug, Default)]
pub struct Condition {
    /// Whether nothing can be stored at present.
    pub read_only: AtomicBool,
    /// Whether the store saves the tree, so that commits may have to wait for it.
    pub saving: AtomicBool,
}

/// What the owner task needs of a store. The store belongs to that task alone, so it needs no
/// locks. An engine that blocks runs on a thread of its own; these functions wait for it.
pub trait Store: Send + 'static {
    /// Stores the commits, all or none, in this order. Call this again only when the future has
    /// completed. The commits are acknowledged and shown only then, and are undone when it fails.
    ///
    /// # Errors
    /// When the commits could not be stored.
    fn append(
        &mut self,
        commits: &[Arc<Commit>],
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static;

    /// Whether what was appended survives `kill -9` and power loss. Writers are told this in
    /// `done`.
    fn durable(&self) -> bool;

    /// Returns the store's condition, for all other tasks. The store keeps it up to date.
    fn condition(&self) -> Arc<Condition> {
        Arc::default()
    }

    /// Whether the store asks for the whole state, so that it can delete the commits that led to
    /// it.
    fn save_due(&self) -> bool {
        false
    }

    /// Saves a state, all of whose commits were stored before.
    fn save(&mut self, state: Checkpoint) {
        let _ = state;
    }

    /// Completes when the store has ended by itself and nothing can be stored any more. Call this
    /// once.
    fn gone(&mut self) -> impl Future<Output = ()> + Send + 'static {
        std::future::pending()
    }

    /// Closes the store; no more commits come. Completes when everything is stored as well as it
    /// ever will be.
    ///
    /// # Errors
    /// When that is not as well as it should be.
    fn close(&mut self) -> impl Future<Output = Result<(), EndError>> + Send + 'static {
        std::future::ready(Ok(()))
    }
}
