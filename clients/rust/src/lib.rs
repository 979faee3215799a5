//! The Rust client of Onetree: live mirrors of one true tree of topics, and writes to it.
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
//! - A lost connection is opened again; mirrors go on from where they are, in one round trip.
//! - A write whose answer was lost is sent again, and takes effect once.
//! - A mirror never shows half a commit, checks itself against the broker's digest, and starts
//!   again by itself when it is wrong.
//! - An application that reads slowly costs bounded memory: what it has not read is folded.
//!
//! Ephemeral entries that died with a lost session are *not* put again: whether they should be is
//! the application's to know ([`Event::Online`] says when).
//!
//! # For tests
//!
//! A broker of the test's own is `onetree serve --memory --listen 127.0.0.1:0`, as a child process:
//! it takes a port that is free, the last word of the first line that it prints is its URL, and
//! what it holds goes with it. One client for several `#[tokio::test]` does not do: each has a
//! runtime of its own, and a client ends with the one that it was started on.
//!
//! # Layout
//!
//! - [`Client`], [`Options`]: the connection; [`Status`], [`Statuses`]: how it stands. [`Put`],
//!   [`Append`], … [`Write`]: what is written
//! - [`Mirror`]: a live copy; [`Changes`], [`Event`]: what happens to it; [`Snapshot`]: it, at one
//!   revision
//! - [`Keep`]: where it survives the process; [`Mirror::transact`], [`Transaction`]: transactions
//!   that run again
//! - [`Error`], [`ConnectError`]: what goes wrong and what to do next; [`word`]: which of them it
//!   is, in one word. What the client gives is `Serialize` (serde), as it stands in JSON frames
//! - [`session`], [`mirror`], [`backoff`]: the rules, pure: no I/O and no clock, for tests and
//!   simulations. `transport` is the WebSocket, `driver` the task that joins the two;
//!   `shared` is what that writes of a mirror and the application reads

/// What its program says is compiled.
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
