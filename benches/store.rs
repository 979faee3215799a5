//! `cargo bench --bench store`: what the disk costs, each figure beside a loop that only writes and
//! syncs, on the same disk in the same run. `-- --test` runs everything once, in seconds.
//! ONETREE_BENCH_DIR: a directory on the disk that is to be measured.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use onetree::store::Store;
use onetree::store::files::{self, Disk, FileOptions, OpenedStore};
use onetree::{Broker, Config, Hooks};
use onetree_client::{Client, MirrorOptions, Options, Put};
use onetree_core::{Author, Request, Settings, State, Time};
use onetree_protocol::frame::Do;
use onetree_protocol::{DigestKey, Epoch, Path, Value, View};

/// The writes that wait at once.
const IN_FLIGHT: [usize; 3] = [1, 100, 1_000];

/// An entry's value, bytes.
const VALUE_BYTES: usize = 150;

/// What one commit of such a value takes in the log, about.
const RECORD_BYTES: usize = 200;

/// Each measurement is repeated so often, in turns with its floor.
const ROUNDS: usize = 3;

fn main() {
    let trial = std::env::args().any(|argument| argument == "--test");
    let long = Duration::from_millis(if trial { 50 } else { 1_500 });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("durable writes of {VALUE_BYTES} bytes; median of {ROUNDS} rounds of {long:?}\n");
    println!(
        "in flight  floor/s   p50 ms  p99 ms | store/s   of floor  p50 ms  p99 ms | broker/s  of floor  p50 ms  p99 ms"
    );
    for in_flight in IN_FLIGHT {
        let mut rows: [Vec<Figures>; 3] = Default::default();
        for _ in 0..ROUNDS {
            rows[0].push(floor(in_flight, long));
            rows[1].push(runtime.block_on(store(in_flight, long)));
            rows[2].push(runtime.block_on(broker(in_flight, long)));
        }
        let [floor, store, broker] = rows.map(median);
        let of = |figures: &Figures| figures.per_second / floor.per_second;
        println!(
            "{in_flight:>9}  {:>8.0}  {:>6.2}  {:>6.2} | {:>8.0}  {:>8.2}  {:>6.2}  {:>6.2} | {:>8.0}  {:>8.2}  {:>6.2}  {:>6.2}",
            floor.per_second,
            floor.p50,
            floor.p99,
            store.per_second,
            of(&store),
            store.p50,
            store.p99,
            broker.per_second,
            of(&broker),
            broker.p50,
            broker.p99,
        );
    }
    start(&runtime, if trial { 1_000 } else { 1_000_000 });
}

/// Writes a second, and how long each took, milliseconds.
struct Figures {
    per_second: f64,
    p50: f64,
    p99: f64,
}

impl Figures {
    fn new(writes: usize, time: Duration, mut latencies: Vec<Duration>) -> Figures {
        latencies.sort_unstable();
        let at = |part: f64| {
            let place = ((latencies.len() - 1) as f64 * part) as usize;
            latencies[place].as_secs_f64() * 1e3
        };
        Figures { per_second: writes as f64 / time.as_secs_f64(), p50: at(0.5), p99: at(0.99) }
    }
}

fn median(mut figures: Vec<Figures>) -> Figures {
    figures.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    figures.swap_remove(figures.len() / 2)
}

/// A directory on the disk, empty.
fn directory() -> PathBuf {
    let parent = std::env::var_os("ONETREE_BENCH_DIR").map(PathBuf::from);
    let parent = parent.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    let directory = parent.join(format!("onetree-bench-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// Half of what is in flight is on its way to the disk, the other half comes together meanwhile.
fn batch(in_flight: usize) -> usize {
    in_flight.div_ceil(2)
}

/// A file of zeros that is overwritten from its beginning to its end, and synced after each batch.
fn floor(in_flight: usize, long: Duration) -> Figures {
    let directory = directory();
    let path = directory.join("raw");
    let mut file = OpenOptions::new().create_new(true).write(true).open(path).unwrap();
    let bytes = 64 << 20;
    file.write_all(&vec![0; bytes]).unwrap();
    file.sync_all().unwrap();
    let piece = vec![7; batch(in_flight) * RECORD_BYTES];
    let (mut at, mut writes, mut latencies) = (0, 0, Vec::new());
    let began = Instant::now();
    while began.elapsed() < long {
        let start = Instant::now();
        file.write_all_at(&piece, at as u64).unwrap();
        file.sync_data().unwrap();
        latencies.push(start.elapsed());
        writes += batch(in_flight);
        at = if at + 2 * piece.len() > bytes { 0 } else { at + piece.len() };
    }
    let figures = Figures::new(writes, began.elapsed(), latencies);
    fs::remove_dir_all(directory).unwrap();
    figures
}

fn settings() -> Settings {
    let (epoch, digest_key) = (Epoch(1), DigestKey(7));
    Settings { epoch, digest_key, bounds: Default::default(), retention: Vec::new() }
}

fn path(n: usize) -> Path {
    Path::parse(&format!("/site-{:02}/room-{:03}/entry-{n:07}", n % 50, n / 50 % 200)).unwrap()
}

fn value(n: usize) -> Value {
    Value::text(&format!("{n:0VALUE_BYTES$}"))
}

fn put(n: usize) -> Request {
    let change = Do::Put { path: path(n), value: value(n), ttl_ms: None, ephemeral: false };
    Request { changes: vec![change], ..Request::default() }
}

/// The store and the tree alone, as the broker's owner drives them.
async fn store(in_flight: usize, long: Duration) -> Figures {
    let directory = directory();
    let storage = Arc::new(Disk::new(directory.clone()).unwrap());
    let opened = files::open(storage, settings(), FileOptions::default()).unwrap();
    let OpenedStore { mut store, mut state, .. } = opened;
    let (mut writes, mut latencies, mut storing) = (0, Vec::new(), None);
    let began = Instant::now();
    while began.elapsed() < long {
        let start = Instant::now();
        let commits: Vec<_> = (0..batch(in_flight))
            .filter_map(|n| {
                state.write(Time(1), &Author::default(), &put((writes + n) % 100_000)).commit
            })
            .collect();
        writes += commits.len();
        if let Some((before, stored)) = storing.take() {
            let stored: futures_util::future::BoxFuture<'_, Result<(), _>> = stored;
            stored.await.unwrap();
            latencies.push(Instant::elapsed(&before));
        }
        storing = Some((start, store.append(&commits).boxed()));
        if in_flight == 1
            && let Some((before, stored)) = storing.take()
        {
            stored.await.unwrap();
            latencies.push(Instant::elapsed(&before));
        }
    }
    if let Some((_, stored)) = storing {
        stored.await.unwrap();
    }
    let figures = Figures::new(writes, began.elapsed(), latencies);
    store.close().await;
    fs::remove_dir_all(directory).unwrap();
    figures
}

fn config() -> Config {
    let mut config = Config::default();
    config.listen.set_port(0);
    config
}

/// The whole broker, and a client in the same process: both share the machine.
async fn broker(in_flight: usize, long: Duration) -> Figures {
    let directory = directory();
    let storage = Arc::new(Disk::new(directory.clone()).unwrap());
    let broker = Broker::start_from(config(), storage, Hooks::default()).await.unwrap();
    let client = Client::connect(Options::new(broker.url())).await.unwrap();
    let (mut writes, mut latencies, mut waiting) = (0, Vec::new(), VecDeque::new());
    let began = Instant::now();
    while began.elapsed() < long {
        let put = Put::new(path(writes % 100_000), value(writes));
        waiting.push_back((Instant::now(), client.enqueue(put).await.unwrap()));
        writes += 1;
        if waiting.len() >= in_flight {
            let (start, done) = waiting.pop_front().unwrap();
            assert!(done.await.unwrap().durable);
            latencies.push(start.elapsed());
        }
    }
    for (_, done) in waiting {
        done.await.unwrap();
    }
    let figures = Figures::new(writes, began.elapsed(), latencies);
    client.close().await;
    broker.shutdown().await;
    fs::remove_dir_all(directory).unwrap();
    figures
}

/// A start with so many entries, up to the first subscriber that is served.
fn start(runtime: &tokio::runtime::Runtime, entries: usize) {
    let directory = directory();
    let disk = Disk::new(directory.clone()).unwrap();
    let mut state = State::new(settings());
    for n in 0..entries {
        state.write(Time(1), &Author::default(), &put(n));
    }
    let bytes = files::save(&disk, Epoch(1), &settings(), &state.checkpoint()).unwrap();
    drop(state);
    let took = runtime.block_on(async {
        let began = Instant::now();
        let broker = Broker::start_from(config(), Arc::new(disk), Hooks::default()).await.unwrap();
        let started = began.elapsed();
        let client = Client::connect(Options::new(broker.url())).await.unwrap();
        let view = View::tree(Path::parse("/site-07/room-003").unwrap());
        let mirror = client.mirror(view, MirrorOptions::new());
        mirror.fresh().await.unwrap();
        assert!(!mirror.snapshot().is_empty());
        let served = began.elapsed();
        broker.shutdown().await;
        (started, served)
    });
    println!(
        "\na start with {entries} entries ({} MB): {:.2} s, and its first subscriber is served after {:.2} s",
        bytes / 1_000_000,
        took.0.as_secs_f64(),
        took.1.as_secs_f64()
    );
    fs::remove_dir_all(directory).unwrap();
}
