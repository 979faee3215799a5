//! How long the commits of the last seconds took.

use std::array::from_fn;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many full seconds the statistics cover.
const WINDOW: u64 = 5;

/// How many seconds are kept: besides the full ones, the current second, which is not full yet, and
/// one that nobody reads while it is emptied for the next.
const KEPT: usize = WINDOW as usize + 2;

/// How many buckets each doubling is divided into: the reported values are at most an eighth too
/// high.
const STEPS: u32 = 8;

/// The number of buckets. They cover up to 2^27 us, two minutes; anything longer counts as that.
const BUCKETS: usize = (STEPS * 25) as usize;

/// A histogram of the last seconds. One task writes it, and any task may read it without a lock.
/// Writing costs one look at the clock and one addition for each batch.
#[derive(Debug)]
pub(crate) struct Latency {
    started: Instant,
    seconds: [Second; KEPT],
}

#[derive(Debug)]
struct Second {
    /// Which second this is, counted from 1 at the start; 0: not used yet.
    number: AtomicU64,
    buckets: [AtomicU32; BUCKETS],
}

/// The statistics of the last full seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recent {
    /// How many commits there were.
    pub(crate) count: u64,
    /// The median and the 99th percentile, as upper bounds in microseconds.
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

impl Default for Latency {
    fn default() -> Latency {
        let second =
            || Second { number: AtomicU64::new(0), buckets: from_fn(|_| AtomicU32::new(0)) };
        Latency { started: Instant::now(), seconds: from_fn(|_| second()) }
    }
}

impl Latency {
    /// How far back [`Latency::recent`] looks.
    pub(crate) const WINDOW: Duration = Duration::from_secs(WINDOW);

    /// Records that this many commits took from `begun` until now. Only the one task that commits
    /// may call this.
    pub(crate) fn record(&self, begun: Instant, commits: usize) {
        let now = Instant::now();
        let took = now.saturating_duration_since(begun);
        self.add(now.saturating_duration_since(self.started), took, commits);
    }

    fn add(&self, at: Duration, took: Duration, commits: usize) {
        let number = at.as_secs() + 1;
        let second = &self.seconds[(number % KEPT as u64) as usize];
        if second.number.load(Ordering::Relaxed) != number {
            second.buckets.iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
            second.number.store(number, Ordering::Release);
        }
        let us = took.as_micros().try_into().unwrap_or(u64::MAX);
        second.buckets[bucket(us)].fetch_add(commits as u32, Ordering::Relaxed);
    }

    /// Returns the statistics of the last full seconds; `None` when there was no commit.
    pub(crate) fn recent(&self) -> Option<Recent> {
        self.recent_at(self.started.elapsed())
    }

    fn recent_at(&self, at: Duration) -> Option<Recent> {
        let present = at.as_secs() + 1;
        let mut sums = [0u64; BUCKETS];
        for second in &self.seconds {
            let number = second.number.load(Ordering::Acquire);
            if number == 0 || number >= present || number + WINDOW < present {
                continue;
            }
            for (sum, bucket) in sums.iter_mut().zip(&second.buckets) {
                *sum += u64::from(bucket.load(Ordering::Relaxed));
            }
        }
        let count: u64 = sums.iter().sum();
        let quantile = |hundredths: u64| {
            let rank = (count * hundredths).div_ceil(100);
            let mut seen = 0;
            let place = sums.iter().position(|sum| {
                seen += sum;
                seen >= rank
            });
            top(place.unwrap_or(BUCKETS - 1))
        };
        (count > 0).then(|| Recent { count, p50_us: quantile(50), p99_us: quantile(99) })
    }
}

/// Returns the bucket of this many microseconds: one bucket for each value below 8, then eight for
/// each doubling.
fn bucket(us: u64) -> usize {
    let steps = u64::from(STEPS);
    if us < steps {
        return us as usize;
    }
    let doublings = us.ilog2() - STEPS.ilog2();
    let step = (us >> doublings) - steps;
    (u64::from(STEPS * (doublings + 1)) + step).min(BUCKETS as u64 - 1) as usize
}

/// Returns the largest value of a bucket, microseconds.
fn top(bucket: usize) -> u64 {
    let (row, step) = (bucket as u64 / u64::from(STEPS), bucket as u64 % u64::from(STEPS));
    match row {
        0 => step,
        _ => ((u64::from(STEPS) + step + 1) << (row - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_bucket_holds_what_lies_up_to_its_top() {
        for us in (0..5000).chain([1 << 20, (1 << 26) + 12345]) {
            let place = bucket(us);
            assert!(us <= top(place) && top(place) <= us + us / 8, "{us} in {}", top(place));
            assert!(place == 0 || us > top(place - 1), "{us} is above {}", top(place - 1));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_the_last_full_seconds() {
        let latency = Latency::default();
        assert_eq!(latency.recent_at(at(0)), None);
        latency.add(at(100), Duration::from_micros(7), 98);
        latency.add(at(200), Duration::from_micros(1000), 2);
        assert_eq!(latency.recent_at(at(999)), None, "the second is not full");
        let recent = latency.recent_at(at(1000)).unwrap();
        assert_eq!((recent.count, recent.p50_us, recent.p99_us), (100, 7, 1023));
        // A second with many faster commits: the slow ones are less than a hundredth now.
        latency.add(at(1500), Duration::from_micros(3), 900);
        let recent = latency.recent_at(at(5999)).unwrap();
        assert_eq!((recent.count, recent.p50_us, recent.p99_us), (1000, 3, 7));
        assert_eq!(latency.recent_at(at(6000)).unwrap().count, 900, "the first second is over");
        assert_eq!(latency.recent_at(at(7000)), None);
        // The slot of an old second is used again.
        latency.add(at(7100), Duration::from_micros(5), 1);
        let recent = latency.recent_at(at(8000)).unwrap();
        assert_eq!((recent.count, recent.p50_us, recent.p99_us), (1, 5, 5));
    }
}
