//! The one true tree: a pure, deterministic state machine. Time and requests come in, commits and
//! frames come out; `no_std`, so that a clock, a socket or a random iteration order does not
//! compile.
//!
//! # Layout
//!
//! - [`map`]: the summarized, ordered, copy-on-write map that everything persistent is made of
//! - [`State`]: the writable tree: requests become [`Commit`]s, commits become the next state
//! - [`Snapshot`]: the tree at one revision, immutable, O(1) to take: what everyone reads
//! - [`Feed`]: one connection's subscriptions, each a cursor into the tree: refresh, live, behind

#![no_std]

extern crate alloc;

mod commit;
pub mod map;
mod request;
mod settings;
mod slot;
mod snapshot;
mod state;
mod sync;

pub use commit::{Commit, Effect, Origin, Outcome};
pub use request::{Answer, Author, Refusal, Request};
pub use settings::{Bounds, Retention, Settings, Time};
pub use slot::Summary;
pub use snapshot::Snapshot;
pub use state::{Checkpoint, Head, Opened, SavedClient, SavedMarks, SavedSlot, State};
pub use sync::{Feed, FeedLimits, Interest, Motion, Standing, Step, concerns};
