//! Some clients stop reading while much is sent: what the others notice, what it costs, and what
//! the slow ones have when they read again.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::super::args::Args;
use super::super::dialect::onetree::{Kind, Op};
use super::super::dialect::{MARK, stamp};
use super::super::figures::Figures;
use super::super::goal::Goal;
use super::super::load::Generator;
use super::super::load::connection::Connection;
use super::super::load::pacer::Pacer;
use super::super::process::Server;
use super::super::scenario::Scenario;
use super::super::target::Target;
use super::used::Used;

const VALUE_BYTES: usize = 1024;

/// Messages per second, and for how long.
const RATE: u32 = 5000;
const TIME: Duration = Duration::from_secs(20);

/// How long the slow clients may take to have everything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who reads, who stops, and what is sent.
#[derive(Clone, Copy)]
struct Shape {
    readers: usize,
    slow: usize,
    kind: Kind,
    /// Whether the slow clients read again at the end, and must then have everything.
    again: bool,
}

pub(crate) fn scenarios() -> Vec<Scenario> {
    let shapes = [
        ("stalled-put", Shape { readers: 9, slow: 1, kind: Kind::Put, again: true }),
        ("stalled-append", Shape { readers: 9, slow: 1, kind: Kind::Append, again: true }),
        ("stopped-put", Shape { readers: 10, slow: 100, kind: Kind::Put, again: false }),
        ("stopped-append", Shape { readers: 10, slow: 100, kind: Kind::Append, again: false }),
    ];
    shapes
        .map(|(name, shape)| Scenario {
            name: name.to_owned(),
            long: true,
            // A server that only passes messages on has no log entries.
            fits: if shape.kind == Kind::Put {
                |_| true
            } else {
                |target| target.codec().is_some()
            },
            measure: Box::new(move |args, target| measure(args, target, shape)),
            goals: vec![
                Goal::most("p99_ratio", 1.2),
                Goal::most("growth_mib", 1.0),
                Goal::most("slow_lost", 0.0),
                Goal::most("cut_off", 0.0),
                Goal::most("lost", 0.0),
            ],
        })
        .into()
}

/// The results of one run.
struct Phase {
    p99_ms: f64,
    growth: f64,
    lost: u64,
    /// Puts of which the readers saw only a later one.
    folded: u64,
    slow_lost: u64,
    cut_off: usize,
    health_ms: f64,
    server_cpus: f64,
    load_cpus: f64,
}

fn measure(args: &Args, target: Target, shape: Shape) -> Result<Figures, String> {
    let mut figures = Figures::default();
    let time = args.at_most(TIME, &mut figures);
    // The same run without the slow clients and with them, each with its own server: what the tree
    // itself takes is in both.
    let alone = phase(target, shape, time, false)?;
    let beside = phase(target, shape, time, true)?;
    figures.put("p99_ratio", beside.p99_ms / alone.p99_ms);
    figures.put("p99_ms", beside.p99_ms);
    figures.put("p99_alone_ms", alone.p99_ms);
    figures.put("growth_mib", (beside.growth - alone.growth) / f64::from(1 << 20));
    figures.put("all_growth_mib", beside.growth / f64::from(1 << 20));
    figures.put("server_cpus", beside.server_cpus);
    figures.put("server_cpus_alone", alone.server_cpus);
    figures.put("load_cpus", beside.load_cpus);
    figures.put("lost", beside.lost as f64);
    figures.put("slow_lost", beside.slow_lost as f64);
    figures.put("cut_off", beside.cut_off as f64);
    if target.codec().is_some() {
        figures.put("folded", beside.folded as f64);
        figures.put("healthz_max_ms", beside.health_ms);
        figures.put("healthz_alone_ms", alone.health_ms);
    }
    Ok(figures)
}

fn phase(target: Target, shape: Shape, time: Duration, stop: bool) -> Result<Phase, String> {
    let Shape { readers, slow, kind, again } = shape;
    let slow = if stop { slow } else { 0 };
    let server = target.start(&[])?;
    let mut generator = Generator::new();
    let rule = target.rule(0, VALUE_BYTES);
    let all = readers + slow;
    generator.open(all, server.address, rule, |_| target.subscriber(0, kind))?;
    // The latencies of clients that stop do not count.
    for connection in &mut generator.connections[readers..] {
        connection.watch = target.codec().map(|_| Vec::new());
        connection.timed = false;
    }
    // Stop them before anything is sent: what a hundred more clients would read is another load,
    // and its backlog would be measured.
    for number in readers..all {
        generator.stall(number, true);
    }
    generator.tally.every = 7;
    let template = target.message(0, kind, VALUE_BYTES);
    let pacer = Pacer::start(&server, target, template, RATE, generator.start)?;
    generator.until((time / 4).min(Duration::from_secs(2)), |_| false);
    let health = target.codec().map(|_| Health::watch(server.address));
    let before = server.usage().resident;
    generator.record(true);
    let used = Used::from(&server);
    let begin = Instant::now();
    let mut most = before;
    while begin.elapsed() < time {
        generator.until(Duration::from_millis(250), |_| false);
        most = most.max(resident(&server));
    }
    generator.record(false);
    let (server_cpus, load_cpus, _) = used.until(&server);
    // For puts the latest state counts; the last frames show what each client has.
    let folds = kind == Kind::Put && target.codec().is_some();
    for connection in &mut generator.connections[..readers] {
        connection.watch = folds.then(Vec::new);
    }
    generator.until(Duration::from_millis(100), |_| false);
    let p99_ms = generator.tally.latency_us.value_at_quantile(0.99) as f64 / 1000.0;
    let health_ms = health.map_or(0.0, Health::end);
    let paced = pacer.end()?;
    let sent = paced.messages;
    let growth = most as f64 - before as f64;
    let missing = |one: &Connection| sent.saturating_sub(one.received.messages);
    // For messages the number that is missing; for puts whether the client is behind.
    let behind = |one: &Connection| match &one.watch {
        Some(seen) if folds => u64::from(last(seen) < sent),
        _ => missing(one),
    };
    generator.until(PATIENCE, |generator| {
        generator.connections[..readers].iter().all(|one| behind(one) == 0)
    });
    let lost = generator.connections[..readers].iter().map(behind).sum();
    let folded = match folds {
        true => generator.connections[..readers].iter().map(missing).sum(),
        false => 0,
    };
    // The slow clients read again if the shape says so; otherwise gigabytes of a log would be sent
    // to a hundred clients.
    let slow = if again { readers..all } else { 0..0 };
    for number in slow.clone() {
        generator.stall(number, false);
    }
    let patience = if target.codec().is_some() { PATIENCE } else { PATIENCE / 10 };
    generator.until(patience, |generator| {
        let mut slow = generator.connections[slow.clone()].iter();
        slow.all(|one| one.ended.is_some() || behind(one) == 0)
    });
    let slow_lost = generator.connections[slow]
        .iter()
        .map(|one| match &one.watch {
            // For a log every entry counts.
            Some(seen) if kind == Kind::Append => sent - numbers(seen).len() as u64,
            _ => behind(one),
        })
        .sum();
    let cut_off = generator.connections.iter().filter(|one| one.ended.is_some()).count();
    if let Some(error) = generator.tally.errors.first() {
        return Err(error.clone());
    }
    Ok(Phase {
        p99_ms,
        growth,
        lost,
        folded,
        slow_lost,
        cut_off,
        health_ms,
        server_cpus,
        load_cpus,
    })
}

fn resident(server: &Server) -> u64 {
    server.usage().resident
}

/// Returns the number of the last payload that came.
fn last(seen: &[(Op, Vec<u8>)]) -> u64 {
    let frames = seen.iter().rev().filter_map(|(_, frame)| stamp(frame, 0));
    frames.map(|(_, number, _)| number).next().unwrap_or(0)
}

/// Returns the numbers of all payloads that came.
fn numbers(seen: &[(Op, Vec<u8>)]) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    for (_, frame) in seen {
        let mut rest = &frame[..];
        while let Some((_, number, at)) = stamp(rest, 0) {
            numbers.insert(number);
            rest = &rest[at + MARK.len()..];
        }
    }
    numbers
}

/// Requests the broker's health over HTTP again and again.
struct Health {
    ending: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Duration>,
}

impl Health {
    fn watch(address: SocketAddr) -> Health {
        let ending = Arc::new(AtomicBool::new(false));
        let over = ending.clone();
        let thread = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let begin = Instant::now();
                // An answer that does not come counts as the time that was spent waiting.
                let _ = ask(address);
                longest = longest.max(begin.elapsed());
                std::thread::sleep(Duration::from_millis(50));
            }
            longest
        });
        Health { ending, thread }
    }

    /// Ends it. Returns the longest time that an answer took, milliseconds.
    fn end(self) -> f64 {
        self.ending.store(true, Ordering::Relaxed);
        self.thread.join().map_or(f64::INFINITY, |longest| longest.as_secs_f64() * 1000.0)
    }
}

fn ask(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map(drop)
}
