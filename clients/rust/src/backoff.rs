//! How long to wait before the next attempt to connect.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The longest wait that a broker can ask for. If a broker asks for a thousand years by mistake,
/// the client comes back before that.
const ASKED_MOST: Duration = Duration::from_secs(86_400);

/// Returns the wait that a broker asks for, up to a day. There is no jitter, because the broker has
/// spread its clients itself. A wait of zero does not count: with it all clients would come back at
/// once, for ever.
pub(crate) fn as_asked(wait: Option<Duration>) -> Option<Duration> {
    wait.filter(|wait| !wait.is_zero()).map(|wait| wait.min(ASKED_MOST))
}

/// Exponential backoff with full jitter: each wait is a random time below a bound that doubles. So
/// clients that lost their broker together do not come back together.
#[derive(Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
    random: StdRng,
}

impl Backoff {
    /// Waits of up to `base`, then up to twice that, and so on up to `cap`. The same `seed` gives
    /// the same waits.
    pub fn new(base: Duration, cap: Duration, seed: u64) -> Backoff {
        Backoff { base, cap, failures: 0, random: StdRng::seed_from_u64(seed) }
    }

    /// Returns the next wait. If the broker `asked` for one, that is the wait.
    pub fn next(&mut self, asked: Option<Duration>) -> Duration {
        let bound = self.base.saturating_mul(1u32 << self.failures.min(30)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        let jitter = bound.mul_f64(self.random.random::<f64>());
        as_asked(asked).unwrap_or(jitter)
    }

    /// The connection proved good: the next wait is short again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_random_below_a_bound_that_doubles_up_to_the_cap() {
        let (base, cap) = (Duration::from_millis(100), Duration::from_secs(20));
        let mut longest = [Duration::ZERO; 12];
        for seed in 0..200 {
            let mut backoff = Backoff::new(base, cap, seed);
            for (n, longest) in longest.iter_mut().enumerate() {
                let wait = backoff.next(None);
                assert!(wait <= (base * (1 << n)).min(cap), "wait {n} is {wait:?}");
                *longest = wait.max(*longest);
            }
            backoff.reset();
            assert!(backoff.next(None) <= base);
        }
        for (n, longest) in longest.iter().enumerate() {
            assert!(*longest > (base * (1 << n)).min(cap).mul_f64(0.9), "wait {n}: {longest:?}");
        }
    }

    #[test]
    fn what_the_broker_asks_for_is_kept_to() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(20), 1);
        assert_eq!(backoff.next(Some(Duration::from_secs(3))), Duration::from_secs(3));
        assert_eq!(backoff.next(Some(Duration::MAX)), ASKED_MOST);
        assert_ne!(backoff.next(Some(Duration::ZERO)), Duration::ZERO);
    }
}
