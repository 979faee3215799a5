//! What was measured.

use std::time::Duration;

use serde_json::json;

use super::super::Common;
use super::super::exit::Failure;
use super::super::output::{Output, thousands};
use super::tally::Tally;
use super::{Bench, With};

/// What was measured.
pub(super) struct Report {
    pub(super) bench: Load,
    pub(super) writes: u64,
    /// From the first write to the last answer.
    pub(super) writing: Duration,
    pub(super) total: Tally,
    /// From the first write to the last delivery.
    pub(super) all: Duration,
}

/// What was asked for.
pub(super) struct Load {
    publishers: u32,
    subscribers: u32,
    size: usize,
    with: With,
}

impl From<&Bench> for Load {
    fn from(bench: &Bench) -> Load {
        let Bench { publishers, subscribers, size, with, .. } = *bench;
        Load { publishers, subscribers, size, with }
    }
}

const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

impl Report {
    /// Prints it.
    pub(super) fn print(&self, common: &Common, output: &mut Output) -> Result<(), Failure> {
        let Report { bench, total, writes, .. } = self;
        let quantiles = QUANTILES.map(|(name, q)| (name, total.latency_us.value_at_quantile(q)));
        let write_rate = per_second(*writes, self.writing);
        let delivery_rate = per_second(total.deliveries, self.all);
        let with = match bench.with {
            With::Append => "append",
            With::Put => "put",
            With::Signal => "signal",
        };
        // Between two puts of one entry nothing is lost when a subscriber sees the second alone.
        let missing = if bench.with == With::Put { "folded" } else { "lost" };
        if common.json {
            let latency: serde_json::Map<String, serde_json::Value> =
                quantiles.map(|(name, us)| (name.to_owned(), us.into())).into_iter().collect();
            let report = json!({
                "with": with,
                "publishers": bench.publishers,
                "subscribers": bench.subscribers,
                "size": bench.size,
                "seconds": self.writing.as_secs_f64(),
                "writes": writes,
                "writes_per_s": write_rate,
                "deliveries": total.deliveries,
                "deliveries_per_s": delivery_rate,
                missing: total.missing,
                "duplicates": total.duplicates,
                "latency_us": latency,
            });
            return output.line(&report.to_string());
        }
        let Load { publishers, subscribers, size, .. } = bench;
        output.line(&format!(
            "{}, {}, {with} of {size} bytes, {:.1} s",
            count(*publishers, "publisher"),
            count(*subscribers, "subscriber"),
            self.writing.as_secs_f64()
        ))?;
        let (w, d) = (thousands(*writes), thousands(total.deliveries));
        output.line(&format!("writes      {w:>12}  {:>12} writes/s", thousands(write_rate)))?;
        output
            .line(&format!("deliveries  {d:>12}  {:>12} deliveries/s", thousands(delivery_rate)))?;
        output.line(&format!("{missing:<12}{:>12}", thousands(total.missing)))?;
        output.line(&format!("duplicates  {:>12}", thousands(total.duplicates)))?;
        let latency: Vec<String> =
            quantiles.iter().map(|(name, us)| format!("{name} {}", millis(*us))).collect();
        output.line(&format!("latency     {}", latency.join("  ")))
    }
}

fn count(n: u32, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn per_second(n: u64, time: Duration) -> u64 {
    // Rates are far below 2^52.
    (n as f64 / time.as_secs_f64().max(1e-9)).round() as u64
}

fn millis(us: u64) -> String {
    format!("{}.{:03} ms", us / 1000, us % 1000)
}
