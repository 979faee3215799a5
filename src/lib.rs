//! Onetree's broker: the I/O around the one true tree of `onetree-core`.
//!
//! # Layout
//!
//! In the order that a commit goes through the house, which it never turns back in:
//!
//! - `server`: one port, HTTP and WebSocket; a task for each connection
//! - `broker`: the one task that owns the writable tree
//! - [`store`]: where commits are kept
//! - [`fanout`]: who is interested in a change, and how it gets to them
//!
//! and around these:
//!
//! - [`Broker`], [`Running`]: starting and stopping
//! - [`config`]: `broker.toml`, environment and flags

mod broker;
mod clock;
pub mod config;
mod descriptors;
pub mod fanout;
mod listening;
mod random;
mod run;
mod server;
pub mod store;

pub use broker::{Hooks, OnCommit};
pub use clock::SystemClock;
pub use config::Config;
pub use random::NoRandomness;
pub use run::{Broker, Failed, Running, StartError};
