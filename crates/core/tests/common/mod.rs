//! What the tests of the core share: random numbers, the truth, a mirror, and a simulated broker.
//!
//! # Layout
//!
//! - [`sim`]: a broker, its connections and their clients, one small step at a time
//! - [`line`]: one of its connections; [`knobs`]: the parameters of a simulation
//! - [`mirror`]: a client's copy that follows `spec/PROTOCOL.md` to the letter, and checks of it
//! - [`model`]: the writable tree, written a second time
//! - [`truth`]: the tree as a plain map, after each commit
//! - [`requests`]: the requests of random clients, on a few paths so that they meet; [`rng`]:
//!   random numbers
//!
//! A random test prints the seed of the case that failed. `ONETREE_SEED=<seed>` runs that case
//! alone, `ONETREE_CASES=<n>` runs `n` cases, and `ONETREE_TRACE=1` prints the commits and frames
//! of a simulation.

pub(crate) mod knobs;
pub(crate) mod line;
pub(crate) mod mirror;
pub(crate) mod model;
pub(crate) mod requests;
mod rng;
pub(crate) mod sim;
pub(crate) mod truth;

use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;

use onetree_protocol::{Path, Revision};

pub(crate) use rng::Rng;

/// Runs a random test with `usual` seeds, or as the environment says. Returns true if it ran them
/// all: then the test can also check that certain things happened in some case.
pub(crate) fn cases(usual: u64, mut case: impl FnMut(u64)) -> bool {
    let first = variable("ONETREE_SEED");
    let count = if first.is_some() { 1 } else { variable("ONETREE_CASES").unwrap_or(usual) };
    let first = first.unwrap_or_else(|| RandomState::new().hash_one("onetree"));
    for seed in (0..count).map(|place| first.wrapping_add(place)) {
        let _told = Told(seed);
        case(seed);
    }
    count >= usual
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Prints the seed of a case that panics.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this case again: ONETREE_SEED={}", self.0);
        }
    }
}

pub(crate) fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

pub(crate) fn rev(number: u64) -> Revision {
    Revision::new(number).unwrap()
}
