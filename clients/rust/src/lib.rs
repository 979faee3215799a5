//! The Rust client of Onetree: live copies (mirrors) of parts of the broker's tree, and writes that
//! take effect once.
//!
//! ```no_run
//! use onetree_client::{Client, Event, MirrorOptions, Options, Path, Put, Revision, Value, View};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(Options::new("ws://127.0.0.1:7400")).await?;
//!
//! let theme = Path::parse("/config/theme")?;
//! let done = client.put(theme.clone(), Value::json(r#"{"dark":true}"#)).await?;
//! client.append(Path::parse("/chat/rust/log")?, Value::text("hello")).await?;
//! let only_if_absent = Put::new(theme.clone(), Value::json("{}")).if_rev(Revision::ZERO);
//! assert!(client.write(only_if_absent).await.is_err_and(|error| error.is_conflict()));
//!
//! let mirror = client.mirror(View::tree(Path::parse("/config")?), MirrorOptions::new());
//! let mut changes = mirror.changes();
//! mirror.at(done.rev).await?; // read your own write
//! println!("{:?}", mirror.get(&theme));
//! while let Some(event) = changes.next().await {
//!     if let Event::Fresh { changes, .. } | Event::Delta { changes, .. } = event {
//!         println!("{} changes", changes.len());
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What it takes care of
//!
//! - If the connection is lost, the client connects again. Mirrors go on from where they are, in
//!   one round trip.
//! - If the answer to a write is lost, the client sends the write again. The write takes effect
//!   once.
//! - A mirror never shows half a commit. It compares itself with the broker's digest, and starts
//!   again from nothing by itself if the two differ.
//! - An application that reads events slowly costs bounded memory: events that it has not read are
//!   folded.
//!
//! The client does *not* write ephemeral entries again when they are gone with a lost session: only
//! the application knows whether they are still true. [`Event::Online`] says when a session was
//! lost.
//!
//! # For tests
//!
//! To give a test a broker of its own, start `onetree serve --memory --listen 127.0.0.1:0` as a
//! child process. The broker takes a free port, and the last word of the first line that it prints
//! is its URL. Its data is gone when it ends. Do not share one client between several
//! `#[tokio::test]`s: each has a runtime of its own, and a client ends with the runtime that it was
//! started on.
//!
//! # Layout
//!
//! - [`Client`], [`Options`]: the connection. [`Status`], [`Statuses`]: the state of the
//!   connection. [`Put`], [`Append`], … [`Write`]: what to write
//! - [`Mirror`]: a live copy. [`Changes`], [`Event`]: what happens to the mirror. [`Snapshot`]: the
//!   mirror at one revision
//! - [`Keep`]: a file in which a mirror survives the process. [`Mirror::transact`],
//!   [`Transaction`]: transactions that run again if what they read has changed
//! - [`Error`], [`ConnectError`]: what went wrong and what to do next. [`word`]: the word of any
//!   error of this crate. What the client gives is `Serialize` (serde), in the form that it has in
//!   JSON frames
//! - [`session`], [`mirror`], [`backoff`]: the rules as pure code, without I/O and without a clock,
//!   for tests and simulations. `transport` is the WebSocket, and `driver` is the task that
//!   connects the rules with the transport. `shared` is the state of a mirror that the driver
//!   writes and the application reads

/// Compiles the program in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod backoff;
mod changes;
mod client;
mod driver;
mod errors;
mod event;
mod gaps;
mod keep;
mod live;
pub mod mirror;
mod options;
mod request;
pub mod session;
mod shared;
mod status;
mod transact;
mod transport;
mod word;

pub use changes::Changes;
pub use client::{Client, Pending};
pub use errors::{ConnectError, Error, Refusal, Sent};
pub use event::{Connection, Event, Status, Verdict};
pub use keep::{Keep, KeepError, Saver};
pub use live::{Mirror, MirrorOptions};
pub use mirror::{Difference, Entry, Snapshot};
pub use options::{Options, Reconnect};
pub use request::{Append, Delete, Done, DropTree, Found, List, Put, Trim, Txn, Write};
pub use status::Statuses;
pub use transact::{Abort, Committed, TransactError, Transaction};
pub use word::word;

pub use onetree_protocol as protocol;
pub use onetree_protocol::frame::{Condition, Do as Step, Reason, RefreshKind};
pub use onetree_protocol::{
    Act, Action, Change, Code, Codec, Cookie, Depth, Digest, LogKey, MediaType, Path, Pattern,
    Revision, Value, View,
};
