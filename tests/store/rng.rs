//! Random numbers with a seed that is printed, and replayed from `ONETREE_SEED`.

use std::hash::{BuildHasher, RandomState};

/// SplitMix64.
pub(crate) struct Rng(u64);

impl Rng {
    /// From `ONETREE_SEED`, or from nowhere; says so, which is seen when the test fails.
    pub(crate) fn any() -> Rng {
        let seed = match std::env::var("ONETREE_SEED") {
            Ok(seed) => seed.parse().expect("ONETREE_SEED is a number"),
            Err(_) => RandomState::new().hash_one("seed"),
        };
        println!("to run this again: ONETREE_SEED={seed}");
        Rng(seed)
    }

    pub(crate) fn of(seed: u64) -> Rng {
        Rng(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Yes, in so many of a hundred cases.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
