//! Where commits are kept.
//!
//! # Layout
//!
//! - [`Store`]: what the owner task asks of a store
//! - [`MemoryStore`]: keeps nothing, and fails on request: for tests and for trees that need not
//!   outlive the process

mod memory;

use std::sync::Arc;

use onetree_core::Commit;

pub use memory::MemoryStore;

/// A store that could not keep a batch; nothing of the batch may come back after a restart.
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

/// What the owner task asks of a store. It belongs to that task alone, so it needs no locks; an
/// engine that blocks runs on a thread of its own and is waited for here.
pub trait Store: Send + 'static {
    /// Keeps the commits, all or none, in this order. They are acknowledged and shown only when
    /// this is over, and are undone when it fails.
    ///
    /// # Errors
    /// When they could not be kept.
    fn append(
        &mut self,
        commits: &[Arc<Commit>],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether what was appended survives `kill -9` and power loss: told to writers in `done`.
    fn durable(&self) -> bool;
}
