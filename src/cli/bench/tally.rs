//! What one subscriber has received, and what all of them have together.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::payload::Payload;

/// The longest latency that is told apart: a minute.
const LONGEST_US: u64 = 60_000_000;

/// What one subscriber has received.
pub(super) struct Tally {
    /// The last number from each publisher.
    last: Vec<u64>,
    /// When what is due counts as a delivery, after the warm-up.
    from: Arc<OnceLock<Duration>>,
    /// Payloads received, without duplicates.
    pub(super) deliveries: u64,
    /// Those that came again, or after a later one.
    pub(super) duplicates: u64,
    /// Numbers that were passed over, after the warm-up.
    pub(super) missing: u64,
    /// From when a write was due to when its change was seen, microseconds.
    pub(super) latency_us: Histogram<u64>,
}

impl Tally {
    /// Of a subscriber to `publishers`.
    pub(super) fn new(publishers: usize, from: Arc<OnceLock<Duration>>) -> Tally {
        Tally {
            last: vec![0; publishers],
            from,
            deliveries: 0,
            duplicates: 0,
            missing: 0,
            latency_us: histogram(),
        }
    }

    /// Takes note of a payload that is seen at `now`, since the start of the run.
    pub(super) fn take(&mut self, payload: Payload, now: Duration) {
        let Some(last) = self.last.get_mut(payload.publisher as usize) else { return };
        if payload.number <= *last {
            self.duplicates += 1;
            return;
        }
        let missing = payload.number - *last - 1;
        *last = payload.number;
        if self.from.get().is_some_and(|from| payload.due < *from) {
            return;
        }
        self.missing += missing;
        self.deliveries += 1;
        let latency = now.saturating_sub(payload.due).as_micros();
        self.latency_us.saturating_record(u64::try_from(latency).unwrap_or(LONGEST_US));
    }

    /// Whether it has seen the last write of `publisher`, the `number`th.
    pub(super) fn has(&self, publisher: usize, number: u64) -> bool {
        self.last.get(publisher).is_some_and(|last| *last >= number)
    }

    /// Adds what never came: `written` tells how many each publisher wrote, those this one follows.
    pub(super) fn end(&mut self, written: impl Iterator<Item = (usize, u64)>) {
        for (publisher, number) in written {
            let last = self.last.get(publisher).copied().unwrap_or(0);
            self.missing += number.saturating_sub(last);
        }
    }

    /// Adds another subscriber's.
    pub(super) fn add(&mut self, other: &Tally) {
        self.deliveries += other.deliveries;
        self.duplicates += other.duplicates;
        self.missing += other.missing;
        // Both have the same bounds, and cannot disagree.
        let _ = self.latency_us.add(&other.latency_us);
    }
}

/// A histogram of microseconds up to a minute, to three digits.
fn histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, LONGEST_US, 3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("the bounds are constants: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_repeats_are_counted() {
        // Numbers 1 to 3 belong to the warm-up; 2 of the first never comes.
        let from = Arc::new(OnceLock::from(Duration::from_millis(4)));
        let mut tally = Tally::new(2, from);
        for (publisher, number) in [(0, 1), (0, 3), (1, 1), (0, 4), (0, 4), (0, 7), (0, 6)] {
            let payload = Payload { due: Duration::from_millis(number), publisher, number };
            tally.take(payload, Duration::from_millis(2 * number));
        }
        assert_eq!((tally.deliveries, tally.duplicates, tally.missing), (2, 2, 2));
        assert!(tally.has(0, 7) && !tally.has(1, 2));
        tally.end([(0, 8), (1, 1)].into_iter());
        assert_eq!(tally.missing, 3);
        // To three digits.
        assert!((7000..7010).contains(&tally.latency_us.max()));
    }
}
