//! What was used between two moments, and how long that took.

use std::time::Instant;

use super::super::figures::Figures;
use super::super::load::Generator;
use super::super::process::{Server, Usage};

/// What the server and the generator used between two moments.
pub(super) struct Used {
    before: Usage,
    own: Usage,
    at: Instant,
}

impl Used {
    pub(super) fn from(server: &Server) -> Used {
        let at = Instant::now();
        Used { before: server.usage(), own: Usage::own(), at }
    }

    /// Returns how many processors the server and the generator have used since then, and the
    /// server's nanoseconds.
    pub(super) fn until(&self, server: &Server) -> (f64, f64, u64) {
        let wall = self.at.elapsed().as_nanos() as f64;
        let ns = server.usage().cpu_ns.saturating_sub(self.before.cpu_ns);
        let own = Usage::own().cpu_ns.saturating_sub(self.own.cpu_ns);
        (ns as f64 / wall, own as f64 / wall, ns)
    }
}

/// Adds a warning if the generator had no time left.
pub(super) fn bottleneck(own: f64, figures: &mut Figures) {
    if own > 0.9 {
        figures.notes.push(
            "WARNING: the load generator was busy all the time: the server may be faster than this"
                .to_owned(),
        );
    }
}

/// Adds quantiles of the generator's latencies, milliseconds.
pub(super) fn latencies(generator: &Generator, figures: &mut Figures) {
    for (name, quantile) in [("p50_ms", 0.5), ("p99_ms", 0.99), ("max_ms", 1.0)] {
        let us = generator.tally.latency_us.value_at_quantile(quantile);
        figures.put(name, us as f64 / 1000.0);
    }
}
