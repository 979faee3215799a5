//! Random numbers with a seed that is printed, and repeated with `ONETREE_SEED`.

#[path = "../../crates/core/tests/common/rng.rs"]
mod chance;

use std::hash::{BuildHasher, RandomState};

pub(crate) use chance::Rng;

impl Rng {
    /// Takes the seed from `ONETREE_SEED`, or a random one. Prints it, which is shown when the test
    /// fails.
    pub(crate) fn any() -> Rng {
        let seed = match std::env::var("ONETREE_SEED") {
            Ok(seed) => seed.parse().expect("ONETREE_SEED is a number"),
            Err(_) => RandomState::new().hash_one("seed"),
        };
        println!("to run this again: ONETREE_SEED={seed}");
        Rng::new(seed)
    }
}
