//! Whatever goes wrong gets its code, is logged once, and disturbs nobody else.
//!
//! # Layout
//!
//! - `frames`: everything that the broker sends fits into a frame
//! - `input`: frames and messages that are wrong
//! - `http`: requests other than a valid upgrade; whose pages may connect; health
//! - `look`: monitoring as JSON; the console
//! - `ends`: sessions that are taken over, stores that fail, shutdown
//! - `greedy`: clients that ask for more than their share
//! - `rest`: connections at rest, to which other tasks write
//! - `slow`: clients that do not read, or are slow

mod ends;
mod frames;
mod greedy;
mod http;
mod input;
mod look;
mod rest;
mod slow;
