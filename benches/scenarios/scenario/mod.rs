//! The scenarios: the rows of the table in `docs/performance.md`.

mod fanout;
mod idle;
mod million;
mod paced;
mod refresh;
mod slow;
mod storm;
mod tree;

use super::args::Args;
use super::process::Usage;
use super::report::Figures;
use super::target::Target;

/// How a target is measured.
type Measure = dyn Fn(&Args, Target) -> Result<Figures, String>;

/// One measurement, for any target that it fits.
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// Whether it runs only when it is asked for.
    pub(crate) long: bool,
    pub(crate) fits: fn(Target) -> bool,
    pub(crate) measure: Box<Measure>,
    pub(crate) goals: Vec<Goal>,
}

/// What a figure of the broker is to be.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    pub(crate) figure: &'static str,
    /// At least `value`, or at most.
    pub(crate) least: bool,
    pub(crate) value: f64,
    /// Times this target's figure of the same run.
    pub(crate) of: Option<Target>,
}

impl Goal {
    pub(crate) fn least(figure: &'static str, value: f64) -> Goal {
        Goal { figure, least: true, value, of: None }
    }

    pub(crate) fn most(figure: &'static str, value: f64) -> Goal {
        Goal { figure, least: false, value, of: None }
    }

    /// As a ratio to what another target has.
    pub(crate) fn of(self, target: Target) -> Goal {
        Goal { of: Some(target), ..self }
    }

    pub(crate) fn text(&self) -> String {
        let Goal { figure, value, .. } = self;
        let bound = if self.least { "at least" } else { "at most" };
        match self.of {
            Some(target) => format!("{figure} {bound} {value} of {}", target.name()),
            None => format!("{figure} {bound} {value}"),
        }
    }
}

/// All scenarios.
pub(crate) fn all() -> Vec<Scenario> {
    let mut all = fanout::scenarios();
    all.extend(paced::scenarios());
    all.extend(refresh::scenarios());
    all.extend(idle::scenarios());
    all.extend(slow::scenarios());
    all.extend(storm::scenarios());
    all.extend(million::scenarios());
    all
}

/// What server and generator used between two moments.
struct Used {
    before: Usage,
    own: Usage,
    at: std::time::Instant,
}

impl Used {
    fn from(server: &super::process::Server) -> Used {
        let at = std::time::Instant::now();
        Used { before: server.usage(), own: Usage::own(), at }
    }

    /// Processors that the server and the generator had since then, and the server's nanoseconds.
    fn until(&self, server: &super::process::Server) -> (f64, f64, u64) {
        let wall = self.at.elapsed().as_nanos() as f64;
        let ns = server.usage().cpu_ns.saturating_sub(self.before.cpu_ns);
        let own = Usage::own().cpu_ns.saturating_sub(self.own.cpu_ns);
        (ns as f64 / wall, own as f64 / wall, ns)
    }
}

/// Says so where the generator had no time left.
fn bottleneck(own: f64, figures: &mut Figures) {
    if own > 0.9 {
        figures.notes.push(
            "WARNING: the load generator was busy all the time: the server may be faster than this"
                .to_owned(),
        );
    }
}

/// Adds quantiles of the generator's latencies, milliseconds.
fn latencies(generator: &super::load::Generator, figures: &mut Figures) {
    for (name, quantile) in [("p50_ms", 0.5), ("p99_ms", 0.99), ("max_ms", 1.0)] {
        let us = generator.tally.latency_us.value_at_quantile(quantile);
        figures.put(name, us as f64 / 1000.0);
    }
}
