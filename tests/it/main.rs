//! The broker from outside, in one binary, because it then links only once.
//!
//! # Layout
//!
//! - `server`: whatever goes wrong gets its code, is logged once, and disturbs nobody; shutdown,
//!   failures, takeovers
//! - `limits`, `answers`: tests that exceed every configured limit; those for remembered answers
//!   separately
//! - `cli`: the command line, as scripts use it
//! - `disk`: what is acknowledged is there at the next start
//! - `clock`: a system clock that is set forward and back
//! - `fuzz`: random sessions
//! - `full`: a disk that is full for a while
//! - `irc`: conversations over a network that fails
//! - `promises`: each of the promises, in a `world` of writers, followers and networks that fail;
//!   with `ONETREE_UNDER_LOAD=1` beside the `load` of the benchmarks
//! - `transcripts`: the sessions of the specification, played
//! - `address`: an address that nobody else is given
//! - `paced`: subscriptions with an interval
//! - `wire`: a client that sends exactly what a test wants, independent of the client library
//! - `logs`: what the broker logs; `http`: what it reports about itself; `directory`: a directory
//!   of a test's own
//! - `crash`: the program, killed again and again
//! - `power`: a disk that forgets what was not synced, from the tests of the store

mod address;
mod answers;
mod cli;
mod clock;
mod crash;
mod directory;
mod disk;
mod full;
mod fuzz;
mod http;
mod irc;
mod limits;
mod load;
mod logs;
mod paced;
mod power;
mod promises;
mod server;
mod transcripts;
mod wire;
mod world;
