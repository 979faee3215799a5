//! The broker from outside, in one binary: it links once.
//!
//! # Layout
//!
//! - `server`: what is not as it should be gets its code, is logged once, and disturbs nobody;
//!   stopping, failing, taking over
//! - `limits`, `answers`: every configured limit, crossed; of the memory of answers apart
//! - `cli`: the command line, as scripts see it
//! - `disk`: what is acknowledged is there at the next start
//! - `clock`: a system clock that is set forward and back
//! - `fuzz`: conversations by chance
//! - `full`: a disk that is full for a while
//! - `irc`: conversations through a network that fails
//! - `promises`: each of them, in a `world` of writers, followers and networks that fail; with
//!   `ONETREE_UNDER_LOAD=1` beside the `load` of the benchmarks
//! - `transcripts`: the conversations of the specification, played
//! - `address`: one that nobody else is given
//! - `paced`: who is told at intervals
//! - `wire`: a client that says exactly what a test wants, independent of the client library
//! - `logs`: what the broker logs; `http`: what it tells of itself; `directory`: one of a test's
//!   own
//! - `crash`: the program, killed again and again
//! - `power`: a disk that forgets what was not synced, that of the tests of the store

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
