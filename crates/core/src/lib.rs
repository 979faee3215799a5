//! The one true tree of topics, as a pure, deterministic state machine. Time and requests go in;
//! commits and frames come out. The crate is `no_std`: code that reads a clock, opens a socket or
//! depends on a random iteration order does not compile.
//!
//! # Layout
//!
//! - [`map`]: the ordered, copy-on-write map with summaries, in which the tree keeps its entries
//! - [`State`]: the writable tree. It turns requests into [`Commit`]s and applies commits
//! - [`Snapshot`]: the tree at one revision: immutable, O(1) to take; all reads go through it
//! - [`Feed`]: the subscriptions of one connection, each with a cursor into the tree. It makes the
//!   frames that bring each mirror to the present and keep it there

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
