//! Counts what one subscriber has received, or all of them together.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::payload::Payload;

/// The longest latency that is recorded: a minute.
const LONGEST_US: u64 = 60_000_000;

/// What one subscriber has received.
pub(super) struct Tally {
    /// The last number from each publisher.
    last: Vec<u64>,
    /// The end of the warm-up: payloads that were due before do not count.
    from: Arc<OnceLock<Duration>>,
    /// Payloads received, without duplicates.
    pub(super) deliveries: u64,
    /// Payloads that came again, or after a later one.
    pub(super) duplicates: u64,
    /// Numbers that were skipped, after the warm-up.
    pub(super) missing: u64,
    /// The time from when a write was due to when its change was seen, microseconds.
    pub(super) latency_us: Histogram<u64>,
}

impl Tally {
    /// Makes a tally for a subscriber to this many `publishers`.
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

    /// Counts a payload that is seen at `now`, which is the time since the start of the run.
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

    /// Whether the write of `publisher` with this number, or a later one, has been seen.
    pub(super) fn has(&self, publisher: usize, number: u64) -> bool {
        self.last.get(publisher).is_some_and(|last| *last >= number)
    }

    /// Adds what never came. `written` has the publishers that this subscriber follows, each with
    /// the number of its writes.
    pub(super) fn end(&mut self, written: impl Iterator<Item = (usize, u64)>) {
        for (publisher, number) in written {
            let last = self.last.get(publisher).copied().unwrap_or(0);
            self.missing += number.saturating_sub(last);
        }
    }

    /// Adds the counts of another subscriber.
    pub(super) fn add(&mut self, other: &Tally) {
        self.deliveries += other.deliveries;
        self.duplicates += other.duplicates;
        self.missing += other.missing;
        // This cannot fail: both histograms have the same bounds.
        let _ = self.latency_us.add(&other.latency_us);
    }
}

/// Makes a histogram of microseconds up to a minute, with three digits.
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
        // Numbers 1 to 3 belong to the warm-up; number 2 of the first publisher never comes.
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
