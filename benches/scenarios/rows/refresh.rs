//! Mirrors that are brought to the present: with a cookie, and from nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use onetree_protocol::frame::{Do, Fresh, RefreshKind};
use onetree_protocol::{Codec, Cookie, Path, ServerFrame};

use super::super::args::Args;
use super::super::dialect::onetree::{Kind, Op, sub};
use super::super::figures::Figures;
use super::super::goal::Goal;
use super::super::load::Generator;
use super::super::load::client::Client;
use super::super::load::pacer::Pacer;
use super::super::scenario::Scenario;
use super::super::target::Target;
use super::tree::{self, VALUE_BYTES};

const ENTRIES: usize = 100_000;

/// How many entries are changed, and how many are deleted, while the mirror is away.
const CHANGED: usize = 100;

/// How often a mirror comes back; the median counts.
const TIMES: usize = 21;

/// What is sent around an entry, bytes.
const AROUND_BYTES: usize = 64;

pub(crate) fn scenarios() -> Vec<Scenario> {
    let ours = |target: Target| target.codec().is_some();
    vec![
        Scenario {
            name: "resume".to_owned(),
            long: false,
            fits: ours,
            measure: Box::new(resume),
            goals: vec![
                Goal::most("bytes_ratio", 1.2),
                Goal::most("server_ms", 2.0),
                Goal::most("wrong", 0.0),
            ],
        },
        Scenario {
            name: "refresh".to_owned(),
            long: false,
            fits: ours,
            measure: Box::new(full),
            goals: vec![
                Goal::least("entries_per_s", 1_500_000.0),
                Goal::most("p99_ratio", 1.2),
                Goal::most("growth_mib", 4.0),
                Goal::most("wrong", 0.0),
            ],
        },
    ]
}

fn all() -> Path {
    Path::parse("/tree").expect("it is a path")
}

/// Brings a mirror to the present. Returns the kind of its refresh, the `fresh` frame, and the
/// mirror's cookie.
fn mirror(
    client: &mut Client,
    cookie: Option<Cookie>,
) -> Result<(RefreshKind, Fresh, Cookie), String> {
    client.hello(vec![sub(1, all(), cookie, false)])?;
    let ServerFrame::Welcome(welcome) = client.wait(Op::Welcome)? else { unreachable!() };
    let ServerFrame::Refresh(refresh) = client.wait(Op::Refresh)? else { unreachable!() };
    let ServerFrame::Fresh(fresh) = client.wait(Op::Fresh)? else { unreachable!() };
    let cookie = Cookie { epoch: welcome.epoch, rev: fresh.rev, view: fresh.view };
    Ok((refresh.kind, fresh, cookie))
}

fn codec(target: Target) -> Codec {
    target.codec().expect("it is the broker")
}

fn resume(args: &Args, target: Target) -> Result<Figures, String> {
    let mut figures = Figures::default();
    let entries = if args.trial { 1000 } else { ENTRIES };
    let codec = codec(target);
    let server = target.start(&[])?;
    let mut writer = tree::grow(server.address, codec, entries)?;
    let (_, _, cookie) = mirror(&mut Client::connect(server.address, codec)?, None)?;
    // From everywhere in the tree.
    let step = entries / (2 * CHANGED);
    let mut changes = Vec::new();
    let mut own = 0;
    for number in 0..CHANGED {
        let (changed, deleted) = (2 * number * step, (2 * number + 1) * step);
        own += tree::path(changed).as_str().len() + VALUE_BYTES + AROUND_BYTES;
        own += tree::path(deleted).as_str().len() + AROUND_BYTES;
        changes.push(tree::put(changed, 1));
        changes.push(Do::Delete { path: tree::path(deleted) });
    }
    // Each in a commit of its own, as in practice.
    for change in changes {
        writer.write(vec![change])?;
    }
    let (mut cpu, mut wall, mut bytes, mut wrong) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..TIMES {
        let mut client = Client::connect(server.address, codec)?;
        std::thread::sleep(Duration::from_millis(5));
        let before = server.usage().cpu_ns;
        let begin = Instant::now();
        let (kind, fresh, _) = mirror(&mut client, Some(cookie))?;
        wall.push(begin.elapsed().as_secs_f64() * 1000.0);
        // What is left to do after the last frame belongs to the connection too.
        std::thread::sleep(Duration::from_millis(5));
        cpu.push((server.usage().cpu_ns - before) as f64 / 1e6);
        bytes = client.bytes;
        let count = fresh.digest.map_or(0, |digest| digest.count);
        wrong += u32::from(kind != RefreshKind::Delta || count != (entries - CHANGED) as u64);
    }
    cpu.sort_by(f64::total_cmp);
    wall.sort_by(f64::total_cmp);
    figures.put("server_ms", cpu[TIMES / 2]);
    figures.put("wall_ms", wall[TIMES / 2]);
    figures.put("bytes", bytes as f64);
    figures.put("bytes_ratio", bytes as f64 / own as f64);
    figures.put("wrong", f64::from(wrong));
    if args.trial {
        figures.notes.push(format!("TRIAL: {entries} entries instead of {ENTRIES}"));
    }
    Ok(figures)
}

/// Refreshes one after the other until it is told to end. Returns how many, how long, and how many
/// bytes.
fn refreshes(
    address: std::net::SocketAddr,
    codec: Codec,
    entries: u64,
    ending: &AtomicBool,
) -> Result<(Vec<f64>, usize, u32), String> {
    let (mut times, mut bytes, mut wrong) = (Vec::new(), 0, 0);
    while times.is_empty() || !ending.load(Ordering::Relaxed) {
        let mut client = Client::connect(address, codec)?;
        let begin = Instant::now();
        let (kind, fresh, _) = mirror(&mut client, None)?;
        times.push(begin.elapsed().as_secs_f64());
        bytes = client.bytes;
        let count = fresh.digest.map_or(0, |digest| digest.count);
        wrong += u32::from(kind != RefreshKind::Full || count != entries);
    }
    times.sort_by(f64::total_cmp);
    Ok((times, bytes, wrong))
}

/// Returns the result of `measure` while two threads only run loops.
fn beside_loops<T>(measure: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let measured = measure();
        over.store(true, Ordering::Relaxed);
        measured
    })
}

fn full(args: &Args, target: Target) -> Result<Figures, String> {
    let mut figures = Figures::default();
    let entries = if args.trial { 1000 } else { ENTRIES };
    let codec = codec(target);
    let server = target.start(&[])?;
    drop(tree::grow(server.address, codec, entries)?);
    // Alone, for the speed and the memory. The first refresh only warms up.
    let never = Arc::new(AtomicBool::new(true));
    std::thread::sleep(Duration::from_millis(200));
    let before = server.usage();
    let run = |ending: &Arc<AtomicBool>| {
        let (address, ending) = (server.address, ending.clone());
        std::thread::spawn(move || refreshes(address, codec, entries as u64, &ending))
    };
    let ended = |thread: std::thread::JoinHandle<Result<_, String>>| {
        thread.join().map_err(|_| "the mirror panicked".to_owned())?
    };
    ended(run(&never))?;
    let over = Arc::new(AtomicBool::new(false));
    let cpu = server.usage().cpu_ns;
    let thread = run(&over);
    std::thread::sleep(args.time);
    over.store(true, Ordering::Relaxed);
    let (times, bytes, wrong) = ended(thread)?;
    let cpu = server.usage().cpu_ns - cpu;
    figures.put("entries_per_s", entries as f64 / times[times.len() / 2]);
    figures.put("refresh_ms", times[times.len() / 2] * 1000.0);
    figures.put("cpu_us_per_entry", cpu as f64 / 1e3 / (entries * times.len()) as f64);
    figures.put("bytes_per_entry", bytes as f64 / entries as f64);
    let growth = server.usage().peak.saturating_sub(before.peak.max(before.resident));
    figures.put("growth_mib", growth as f64 / f64::from(1 << 20));
    figures.put("wrong", f64::from(wrong));

    // A writer, without and with a client that refreshes all the time; and beside two bare loops,
    // which use as many processors as a refresh and its reader, and nothing of the broker's.
    let mut generator = Generator::new();
    let rule = target.rule(0, VALUE_BYTES);
    generator.open(1, server.address, rule, |_| target.subscriber(0, Kind::Put))?;
    let template = target.message(0, Kind::Put, VALUE_BYTES);
    let pacer = Pacer::start(&server, target, template, 1000, generator.start)?;
    generator.until(args.time / 4, |_| false);
    let p99 = |generator: &mut Generator| {
        generator.record(true);
        generator.until(args.time, |_| false);
        generator.record(false);
        generator.tally.latency_us.value_at_quantile(0.99) as f64 / 1000.0
    };
    let alone = p99(&mut generator);
    let over = Arc::new(AtomicBool::new(false));
    let thread = run(&over);
    let beside = p99(&mut generator);
    over.store(true, Ordering::Relaxed);
    ended(thread)?;
    let busy = beside_loops(|| p99(&mut generator));
    pacer.end()?;
    generator.healthy()?;
    figures.put("p99_alone_ms", alone);
    figures.put("p99_beside_ms", beside);
    figures.put("p99_busy_ms", busy);
    figures.put("p99_ratio", beside / alone);
    figures.put("p99_of_busy", beside / busy);
    if args.trial {
        figures.notes.push(format!("TRIAL: {entries} entries instead of {ENTRIES}"));
    }
    Ok(figures)
}
