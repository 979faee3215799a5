//! The results of measurements.

use std::time::Duration;

/// Writes per second, and how long each took, milliseconds.
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Figures {
    pub(crate) fn new(writes: usize, time: Duration, mut latencies: Vec<Duration>) -> Figures {
        latencies.sort_unstable();
        let (p50, p99) = (at(&latencies, 0.5), at(&latencies, 0.99));
        Figures { per_second: writes as f64 / time.as_secs_f64(), p50, p99 }
    }
}

/// Returns the median round.
pub(crate) fn median(mut figures: Vec<Figures>) -> Figures {
    figures.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    figures.swap_remove(figures.len() / 2)
}

/// Returns the time that this fraction of them does not exceed, milliseconds. `sorted` must be
/// sorted.
pub(crate) fn at(sorted: &[Duration], part: f64) -> f64 {
    let place = (sorted.len().saturating_sub(1) as f64 * part) as usize;
    sorted.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// Returns the median of numbers.
pub(crate) fn middle(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}
