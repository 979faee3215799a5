//! As fast as possible: one message to many, many to one each, and commits.

use std::time::{Duration, Instant};

use super::super::args::Args;
use super::super::dialect::onetree::Kind;
use super::super::figures::Figures;
use super::super::goal::Goal;
use super::super::load::Generator;
use super::super::load::publisher::Publisher;
use super::super::scenario::Scenario;
use super::super::target::Target;
use super::used::{Used, bottleneck, latencies};

/// The size of a value, bytes.
const VALUE_BYTES: usize = 128;

/// How long nothing may arrive before missing messages count as lost.
const QUIET: Duration = Duration::from_secs(3);

/// Who sends to whom.
#[derive(Clone, Copy)]
struct Shape {
    topics: usize,
    /// Publishers to each topic.
    publishers: usize,
    /// Subscribers of each topic.
    subscribers: usize,
    kind: Kind,
}

pub(crate) fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    let floor = Target::FloorB;
    let nats = Target::NatsWebSocket;
    for subscribers in [1, 10, 100, 1000] {
        let shape = Shape { topics: 1, publishers: 1, subscribers, kind: Kind::Put };
        let mut goals = vec![Goal::most("lost", 0.0)];
        if subscribers >= 100 {
            goals.push(Goal::least("deliveries_per_s", 0.8).of(floor));
            goals.push(Goal::least("deliveries_per_s", 3.0).of(nats));
        }
        all.push(scenario(format!("put-{subscribers}"), shape, any, goals));
    }
    for subscribers in [1, 10] {
        let shape = Shape { topics: 1, publishers: 4, subscribers, kind: Kind::Put };
        let goals = vec![Goal::least("messages_per_s", 400_000.0), Goal::most("lost", 0.0)];
        all.push(scenario(format!("commits-{subscribers}"), shape, ours, goals));
    }
    for subscribers in [1, 10, 100, 1000] {
        let shape = Shape { topics: 1, publishers: 1, subscribers, kind: Kind::Signal };
        let mut goals = vec![Goal::most("lost", 0.0)];
        for peer in [nats, Target::Bun, Target::Redis] {
            goals.push(Goal::least("deliveries_per_s", 1.0).of(peer));
        }
        if subscribers >= 100 {
            goals.push(Goal::least("deliveries_per_s", 0.9).of(floor));
        }
        all.push(scenario(format!("signal-{subscribers}"), shape, any, goals));
    }
    for (name, kind) in [("many-put", Kind::Put), ("many-signal", Kind::Signal)] {
        let shape = Shape { topics: 100, publishers: 1, subscribers: 1, kind };
        let goals = vec![Goal::most("lost", 0.0), Goal::least("deliveries_per_s", 1.0).of(nats)];
        all.push(scenario(name.to_owned(), shape, any, goals));
    }
    all
}

fn any(_: Target) -> bool {
    true
}

fn ours(target: Target) -> bool {
    target.codec().is_some()
}

fn scenario(name: String, shape: Shape, fits: fn(Target) -> bool, goals: Vec<Goal>) -> Scenario {
    let measure = Box::new(move |args: &Args, target| measure(args, target, shape));
    Scenario { name, long: false, fits, measure, goals }
}

/// Returns how many messages the publishers to a topic may be ahead of its slowest subscriber:
/// enough to keep everyone busy, with a bounded number of bytes on the way to all.
fn ahead(topics: usize, subscribers: usize) -> u64 {
    (262_144 / (topics * subscribers) as u64).clamp(256, 4096)
}

fn measure(args: &Args, target: Target, shape: Shape) -> Result<Figures, String> {
    let server = target.start(&[])?;
    let mut generator = Generator::new();
    let Shape { topics, publishers, subscribers, kind } = shape;
    let mut all: Vec<Publisher> = Vec::new();
    for topic in 0..topics {
        let rule = target.rule(topic, VALUE_BYTES);
        let first = generator
            .open(subscribers, server.address, rule, |_| target.subscriber(topic, kind))?;
        let writers =
            generator.open(publishers, server.address, rule, |_| target.publisher(topic))?;
        for connection in writers..writers + publishers {
            let template = target.message(topic, kind, VALUE_BYTES);
            all.push(Publisher {
                connection,
                in_flight: target.in_flight().filter(|_| template.is_answered()),
                template,
                subscribers: first..first + subscribers,
                ahead: args.ahead.unwrap_or(ahead(topics, subscribers)) / publishers as u64,
                sent: 0,
                sharing: publishers as u64,
            });
        }
    }
    // About one in 64, and not always the same message of a batch.
    generator.tally.every = 61;
    let warm = args.time / 4;
    pump(&mut generator, &mut all, warm);
    let (before, sent_before) = (generator.messages(), sent(&all));
    generator.record(true);
    let used = Used::from(&server);
    let begin = Instant::now();
    pump(&mut generator, &mut all, args.time);
    let wall = begin.elapsed().as_secs_f64();
    let (server_cpus, own_cpus, ns) = used.until(&server);
    generator.record(false);
    let deliveries = generator.messages() - before;
    let messages = sent(&all) - sent_before;
    let lost = drain(&mut generator, sent(&all) * subscribers as u64);
    generator.healthy()?;
    let mut figures = Figures::default();
    figures.put("deliveries_per_s", deliveries as f64 / wall);
    figures.put("messages_per_s", messages as f64 / wall);
    figures.put("cpu_us_per_delivery", ns as f64 / 1000.0 / deliveries.max(1) as f64);
    latencies(&generator, &mut figures);
    figures.put("lost", lost as f64);
    figures.put("server_cpus", server_cpus);
    figures.put("load_cpus", own_cpus);
    figures.put("server_peak_mb", server.usage().peak as f64 / 1e6);
    bottleneck(own_cpus, &mut figures);
    Ok(figures)
}

fn sent(publishers: &[Publisher]) -> u64 {
    publishers.iter().map(|publisher| publisher.sent).sum()
}

/// Publishes for this long.
fn pump(generator: &mut Generator, publishers: &mut [Publisher], time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        for publisher in &mut *publishers {
            publisher.pump(generator);
        }
        generator.turn(Some(Duration::from_millis(20)));
    }
}

/// Waits for what is on its way. Returns how many messages have not arrived when all is quiet.
fn drain(generator: &mut Generator, expected: u64) -> u64 {
    loop {
        let before = generator.messages();
        if generator.until(QUIET, |generator| generator.messages() >= expected) {
            return 0;
        }
        if generator.messages() == before {
            return expected - before;
        }
    }
}
