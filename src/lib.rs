//! The broker of Onetree: the input and output around the state machine of `onetree-core`, which
//! holds the one true tree of topics.
//!
//! # Layout
//!
//! A commit passes through these modules in this order, and never goes back:
//!
//! - `server`: one port for HTTP and WebSocket, and one task for each connection
//! - `broker`: the one task that owns the writable tree
//! - [`store`]: where commits are stored
//! - [`fanout`]: which subscribers are interested in a change, and how the change reaches them
//!
//! Around them:
//!
//! - [`Broker`], [`Running`]: starting and stopping a broker
//! - [`config`]: `broker.toml`, the environment and flags

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
