//! Very many connections that receive little.

use std::time::{Duration, Instant};

use super::super::args::Args;
use super::super::dialect::onetree::Kind;
use super::super::figures::Figures;
use super::super::goal::Goal;
use super::super::load::Generator;
use super::super::scenario::Scenario;
use super::super::target::Target;

const CONNECTIONS: usize = 10_000;

/// The sizes of a small and a large message, bytes.
const SMALL_BYTES: usize = 128;
const LARGE_BYTES: usize = 64 << 10;

/// How often the small message is sent.
const TIMES: usize = 11;

/// The pause after the large message.
const REST: Duration = Duration::from_secs(60);

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![Scenario {
        name: "idle".to_owned(),
        long: true,
        fits: |_| true,
        measure: Box::new(measure),
        goals: vec![
            Goal::most("kib_per_connection", 6.0),
            Goal::most("open_s", 2.0),
            Goal::most("one_to_all_ms", 1.0).of(Target::NatsWebSocket),
            Goal::most("kept_kib_per_connection", 2.0),
        ],
    }]
}

fn measure(args: &Args, target: Target) -> Result<Figures, String> {
    let mut figures = Figures::default();
    let count = args.count(CONNECTIONS, &mut figures);
    let server = target.start(&[])?;
    let mut generator = Generator::new();
    let rule = target.rule(0, SMALL_BYTES);
    // What a server needs once does not belong to a connection.
    let publisher = generator.open(1, server.address, rule, |_| target.publisher(0))?;
    generator.until(Duration::from_millis(200), |_| false);
    let empty = server.usage().resident;
    let begin = Instant::now();
    let first =
        generator.open(count, server.address, rule, |_| target.subscriber(0, Kind::Signal))?;
    let open = begin.elapsed();
    generator.until(Duration::from_secs(1), |_| false);
    let per_connection = |bytes: u64| (bytes as f64 - empty as f64) / 1024.0 / count as f64;
    let idle = per_connection(server.usage().resident);
    figures.put("kib_per_connection", idle);
    figures.put("open_s", open.as_secs_f64());
    figures.put("opened_per_s", count as f64 / open.as_secs_f64());

    let mut took = Vec::new();
    for _ in 0..TIMES {
        took.push(one(&mut generator, target, publisher, count, SMALL_BYTES)?);
    }
    took.sort_by(f64::total_cmp);
    figures.put("one_to_all_ms", took[TIMES / 2]);

    for connection in &mut generator.connections[first..first + count] {
        connection.rule = target.rule(0, LARGE_BYTES);
    }
    figures.put("large_to_all_ms", one(&mut generator, target, publisher, count, LARGE_BYTES)?);
    figures.put("peak_mb", server.usage().peak as f64 / 1e6);
    generator.until(args.at_most(REST, &mut figures), |_| false);
    generator.healthy()?;
    figures.put("kept_kib_per_connection", per_connection(server.usage().resident) - idle);
    Ok(figures)
}

/// Sends one message to all. Returns the milliseconds until all have it.
fn one(
    generator: &mut Generator,
    target: Target,
    publisher: usize,
    count: usize,
    size: usize,
) -> Result<f64, String> {
    let expected = generator.messages() + count as u64;
    let begin = Instant::now();
    let at = generator.tally.now();
    let connection = &mut generator.connections[publisher];
    target.message(0, Kind::Signal, size).write(1, at, &mut connection.out);
    connection.flush();
    if !generator.until(Duration::from_secs(30), |generator| generator.messages() >= expected) {
        let missing = expected - generator.messages();
        return Err(format!("{missing} of {count} did not get a message of {size} bytes"));
    }
    Ok(begin.elapsed().as_secs_f64() * 1000.0)
}
