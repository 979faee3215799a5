//! At a given rate: the cost, and the latency of each message.

use super::super::args::Args;
use super::super::dialect::onetree::Kind;
use super::super::figures::Figures;
use super::super::goal::Goal;
use super::super::load::Generator;
use super::super::load::pacer::Pacer;
use super::super::scenario::Scenario;
use super::super::target::Target;
use super::used::{Used, bottleneck, latencies};
use std::time::{Duration, Instant};

/// The size of a value, bytes.
const VALUE_BYTES: usize = 128;

/// Messages per second, and how many subscribers receive them.
const RATE: u32 = 1000;
const SUBSCRIBERS: usize = 100;

pub(crate) fn scenarios() -> Vec<Scenario> {
    let named = [("paced-put", Kind::Put), ("paced-signal", Kind::Signal)];
    named
        .map(|(name, kind)| Scenario {
            name: name.to_owned(),
            long: false,
            fits: |_| true,
            measure: Box::new(move |args, target| measure(args, target, kind)),
            goals: vec![
                Goal::most("cpu_us_per_delivery", 1.3).of(Target::FloorB),
                Goal::most("p99_ms", 1.0).of(Target::NatsWebSocket),
                Goal::most("p99_ms", 1.0).of(Target::Mosquitto),
                Goal::most("lost", 0.0),
            ],
        })
        .into()
}

fn measure(args: &Args, target: Target, kind: Kind) -> Result<Figures, String> {
    let server = target.start(&[])?;
    let mut generator = Generator::new();
    let rule = target.rule(0, VALUE_BYTES);
    generator.open(SUBSCRIBERS, server.address, rule, |_| target.subscriber(0, kind))?;
    let template = target.message(0, kind, VALUE_BYTES);
    let pacer = Pacer::start(&server, target, template, RATE, generator.start)?;
    generator.until(args.time / 4, |_| false);
    let before = generator.messages();
    generator.record(true);
    let used = Used::from(&server);
    let begin = Instant::now();
    generator.until(args.time, |_| false);
    let wall = begin.elapsed().as_secs_f64();
    let (server_cpus, own_cpus, ns) = used.until(&server);
    generator.record(false);
    let deliveries = generator.messages() - before;
    let sent = pacer.end()?;
    let expected = sent.messages * SUBSCRIBERS as u64;
    generator.until(Duration::from_secs(3), |generator| generator.messages() >= expected);
    generator.healthy()?;
    let mut figures = Figures::default();
    figures.put("cpu_us_per_delivery", ns as f64 / 1000.0 / deliveries.max(1) as f64);
    latencies(&generator, &mut figures);
    figures.put("deliveries_per_s", deliveries as f64 / wall);
    figures.put("lost", (expected - generator.messages().min(expected)) as f64);
    figures.put("server_cpus", server_cpus);
    figures.put("load_cpus", own_cpus);
    bottleneck(own_cpus, &mut figures);
    Ok(figures)
}
