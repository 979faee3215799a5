//! What is not as it should be gets its code, is logged once, and disturbs nobody else.
//!
//! # Layout
//!
//! - `frames`: what the broker sends fits into a frame
//! - `input`: frames and messages that are wrong
//! - `http`: what comes instead of a good upgrade; whose pages may connect; health
//! - `look`: how it goes, as JSON; the console
//! - `ends`: sessions that are taken over, stores that fail, shutdown
//! - `greedy`: clients that ask for more than their share
//! - `rest`: connections that rest, and are written for
//! - `slow`: clients that do not read, or are slow

mod ends;
mod frames;
mod greedy;
mod http;
mod input;
mod look;
mod rest;
mod slow;
