//! The report of a benchmark.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::Common;
use super::super::exit::Failure;
use super::super::output::{Output, plural, thousands};
use super::processor::Used;
use super::tally::Tally;
use super::{Bench, With};

/// The results of a benchmark.
pub(super) struct Report {
    pub(super) bench: Load,
    pub(super) writes: u64,
    /// Writes that were due and were not made by the end.
    pub(super) missed: u64,
    /// The time from the end of the warm-up to the last answer.
    pub(super) writing: Duration,
    pub(super) total: Tally,
    /// The time from the end of the warm-up to the last delivery.
    pub(super) all: Duration,
    /// What the broker used, if it runs on this machine.
    pub(super) broker: Option<Used>,
    /// What this program used.
    pub(super) own: Option<Used>,
    /// How often the connection was lost meanwhile.
    pub(super) lost: u32,
}

/// The load that was requested.
pub(super) struct Load {
    publishers: u32,
    subscribers: u32,
    size: usize,
    rate: u32,
    with: With,
}

impl From<&Bench> for Load {
    fn from(bench: &Bench) -> Load {
        let Bench { publishers, subscribers, size, rate, with, .. } = *bench;
        Load { publishers, subscribers, size, rate, with }
    }
}

const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

/// From this share of a processor on, a program counts as busy.
const BUSY: f64 = 0.7;

/// From this number of processors on, the wait for them is reported.
const TOLD: f64 = 0.1;

impl Report {
    /// Prints the report.
    pub(super) fn print(&self, common: &Common, output: &mut Output) -> Result<(), Failure> {
        if common.json { output.line(&self.json().to_string()) } else { self.words(output) }
    }

    fn json(&self) -> Value {
        let Report { bench, total, writes, .. } = self;
        let latency: Map<String, Value> =
            self.quantiles().map(|(name, us)| (name.to_owned(), us.into())).into_iter().collect();
        json!({
            "with": self.with(),
            "publishers": bench.publishers,
            "subscribers": bench.subscribers,
            "size": bench.size,
            "seconds": self.writing.as_secs_f64(),
            "writes": writes,
            "writes_per_s": per_second(*writes, self.writing),
            "wanted_writes_per_s": self.wanted(),
            "rate_missed": self.is_rate_missed(),
            "deliveries": total.deliveries,
            "deliveries_per_s": per_second(total.deliveries, self.all),
            self.missing(): total.missing,
            "duplicates": total.duplicates,
            "latency_us": latency,
            "broker_cpus": self.broker.map(|used| used.processors),
            "broker_cpu_us_per_delivery": self.broker.filter(|_| bench.subscribers > 0).map(|used| self.each(used)),
            "bench_cpus": self.own.map(|used| used.processors),
            "bench_cpus_waited_for": self.own.map(|used| used.waiting),
            "bench_is_the_bottleneck": self.is_the_bottleneck(),
            "connection_lost": self.lost,
        })
    }

    fn words(&self, output: &mut Output) -> Result<(), Failure> {
        let Report { bench, total, writes, .. } = self;
        let Load { publishers, subscribers, size, .. } = bench;
        output.line(&format!(
            "{publishers} {}, {subscribers} {}, {} of {size} bytes, {:.1} s",
            plural(u64::from(*publishers), "publisher", "publishers"),
            plural(u64::from(*subscribers), "subscriber", "subscribers"),
            self.with(),
            self.writing.as_secs_f64()
        ))?;
        let (w, d) = (thousands(*writes), thousands(total.deliveries));
        let per_s = thousands(per_second(*writes, self.writing));
        let wanted = self.wanted().map(|n| format!(" of {} wanted", thousands(n)));
        let wanted = wanted.unwrap_or_default();
        output.line(&format!("writes      {w:>12}  {per_s:>12} writes/s{wanted}"))?;
        let per_s = thousands(per_second(total.deliveries, self.all));
        output.line(&format!("deliveries  {d:>12}  {per_s:>12} deliveries/s"))?;
        output.line(&format!("{:<12}{:>12}", self.missing(), thousands(total.missing)))?;
        output.line(&format!("duplicates  {:>12}", thousands(total.duplicates)))?;
        let latency = self.quantiles().map(|(name, us)| format!("{name} {}", millis(us)));
        if *subscribers > 0 {
            output.line(&format!("latency     {}", latency.join("  ")))?;
        }
        if let Some(own) = self.own {
            let broker = match self.broker {
                Some(used) => format!(
                    "broker {:.2} processors, {:.2} us a {}",
                    used.processors,
                    self.each(used),
                    if *subscribers > 0 { "delivery" } else { "write" }
                ),
                None => "broker not on this machine, or not to be seen".to_owned(),
            };
            let waiting = match own.waiting {
                little if little < TOLD => String::new(),
                much => format!(", and waited for {much:.2} more"),
            };
            output.line(&format!("cpu         {broker}; bench {:.2}{waiting}", own.processors))?;
        }
        if self.lost > 0 {
            let times =
                if self.lost == 1 { "once".to_owned() } else { format!("{} times", self.lost) };
            output.line(&format!(
                "warning     the connection was lost {times} meanwhile: what waited for it is in the figures"
            ))?;
        }
        if self.is_rate_missed() {
            output.line(
                "warning     the rate was missed, and latency counts from when each write was due, \
                 not from when it was made",
            )?;
        }
        if self.is_the_bottleneck() {
            output.line(
                "warning     bench was busier than the broker, or got too little of the machine: \
                 the broker may be faster than this; cargo bench --bench scenarios has a leaner \
                 load",
            )?;
        }
        Ok(())
    }

    /// Returns how many writes per second all publishers together were to make.
    fn wanted(&self) -> Option<u64> {
        let Load { publishers, rate, .. } = self.bench;
        (rate > 0).then(|| u64::from(publishers) * u64::from(rate))
    }

    /// Whether more than 2 % of the writes were missed: a few that are late at the end do not count
    /// as a miss.
    fn is_rate_missed(&self) -> bool {
        self.missed.saturating_mul(50) > self.writes.saturating_add(self.missed)
    }

    /// Returns the quantiles of the latency in microseconds.
    fn quantiles(&self) -> [(&'static str, u64); QUANTILES.len()] {
        QUANTILES.map(|(name, q)| (name, self.total.latency_us.value_at_quantile(q)))
    }

    fn with(&self) -> &'static str {
        match self.bench.with {
            With::Append => "append",
            With::Put => "put",
            With::Signal => "signal",
        }
    }

    /// Returns the word for writes that a subscriber has not seen.
    fn missing(&self) -> &'static str {
        // If a subscriber sees only the second of two puts of one entry, nothing is lost.
        if self.bench.with == With::Put { "folded" } else { "lost" }
    }

    /// Returns the microseconds of processor time for each delivery, or for each write if there is
    /// no subscriber.
    fn each(&self, used: Used) -> f64 {
        let all = if self.bench.subscribers > 0 { self.total.deliveries } else { self.writes };
        used.time.as_secs_f64() * 1e6 / all.max(1) as f64
    }

    /// Whether the figures show the limit of this program and not that of the broker. That is the
    /// case in two situations: this program uses, or waits for, most of a processor, and it got
    /// more than the broker or waited for longer than it ran; or it uses far more than the broker.
    /// If a rate was requested and reached, neither is at its limit.
    fn is_the_bottleneck(&self) -> bool {
        let Some(Used { processors: own, waiting, .. }) = self.own else { return false };
        let broker = self.broker.map(|used| used.processors);
        let busy = own + waiting > BUSY && (own > broker.unwrap_or_default() || waiting > own);
        // When the broker waits, for its disk for example, both use little.
        let far_busier = own > BUSY / 2.0 && broker.is_some_and(|broker| own > 2.0 * broker);
        (self.bench.rate == 0 || self.is_rate_missed()) && (busy || far_busier)
    }
}

fn per_second(n: u64, time: Duration) -> u64 {
    // Rates are far below 2^52.
    (n as f64 / time.as_secs_f64().max(1e-9)).round() as u64
}

fn millis(us: u64) -> String {
    format!("{}.{:03} ms", us / 1000, us % 1000)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, OnceLock};

    use super::*;

    #[test]
    fn who_was_busier_than_the_broker_is_the_bottleneck() {
        let report = |rate, missed, own: (f64, f64), broker: Option<f64>| {
            let used = |(processors, waiting)| Used { time: Duration::ZERO, processors, waiting };
            let (second, lost) = (Duration::from_secs(1), 0);
            Report {
                bench: Load { publishers: 1, subscribers: 1, size: 20, rate, with: With::Put },
                writes: 100,
                missed,
                writing: second,
                total: Tally::new(1, Arc::new(OnceLock::new())),
                all: second,
                broker: broker.map(|processors| used((processors, 0.0))),
                own: Some(used(own)),
                lost,
            }
        };
        let is = |own, broker| report(0, 0, own, broker).is_the_bottleneck();
        assert!(is((0.9, 0.0), Some(0.5)) && is((0.9, 0.0), None));
        assert!(!is((0.9, 0.1), Some(1.2)), "the broker was");
        // Other programs used the machine.
        assert!(is((0.5, 0.3), Some(0.4)), "it would have taken more");
        assert!(is((0.3, 0.6), Some(0.35)), "it did not run");
        assert!(is((0.5, 0.0), Some(0.2)), "twice as busy as the broker");
        assert!(!is((0.05, 0.01), Some(0.02)), "both wait for a disk");
        assert!(!is((0.5, 0.0), None), "who is far away may be busy");
        // With a rate.
        let is = |missed| report(100, missed, (0.9, 0.0), Some(0.2)).is_the_bottleneck();
        assert!(!is(0) && !is(2) && is(3));
    }
}
