//! Durable writes per second, beside the floor.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use onetree::store::files::{self, Disk, FileOptions, OpenedStore};
use onetree::store::{Store, StoreError};
use onetree::{Broker, Config, Hooks};
use onetree_client::{Client, Options, Put};
use onetree_core::map::Hint;
use onetree_core::{Author, Request, Snapshot, Time};
use tokio::runtime::Runtime;

use crate::content::{VALUE_BYTES, append, path, put, settings, value};
use crate::directory::Directory;
use crate::figures::{Figures, median};

/// How many writes wait at once.
const IN_FLIGHT: [usize; 3] = [1, 100, 1_000];

/// About what one commit of such a value takes in the log, bytes.
const RECORD_BYTES: usize = 200;

/// How many entries are written, over and over.
const ENTRIES: usize = 100_000;

/// How many topics or logs there are when few are written.
const FEW: usize = 100;

/// How many writes are searched for together, as the broker's owner does for those of one
/// connection.
const TURN: usize = 256;

/// Requests are made beforehand for at most this many writes per second: each takes about 350
/// bytes.
const MOST_PER_SECOND: f64 = 1e6;

/// How often each measurement is repeated, in turns with its floor.
const ROUNDS: usize = 3;

/// Makes the write with a number.
type Make = fn(usize) -> Request;

pub(crate) fn run(trial: bool) {
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
            rows[1].push(runtime.block_on(store(in_flight, long, |n| put(n % ENTRIES))));
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
    places(&runtime, long);
}

/// Measures the store again, by where the writes are.
fn places(runtime: &Runtime, long: Duration) {
    let in_flight = IN_FLIGHT[2];
    let places: [(&str, Make); 3] = [
        ("puts among 100,000", |n| put(n % ENTRIES)),
        ("puts among 100", |n| put(n % FEW)),
        ("appends to 100 logs", |n| append(n % FEW, n)),
    ];
    println!("\n{in_flight} in flight         floor/s  store/s  of floor  p50 ms  p99 ms");
    let mut rows: [Vec<[Figures; 2]>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (row, (_, make)) in rows.iter_mut().zip(places) {
            let floor = floor(in_flight, long);
            row.push([floor, runtime.block_on(store(in_flight, long, make))]);
        }
    }
    for (row, (name, _)) in rows.into_iter().zip(places) {
        let (floors, stores) = row.into_iter().map(|[floor, store]| (floor, store)).unzip();
        let (floor, store) = (median(floors), median(stores));
        println!(
            "{name:>22}  {:>8.0}  {:>7.0}  {:>8.2}  {:>6.2}  {:>6.2}",
            floor.per_second,
            store.per_second,
            store.per_second / floor.per_second,
            store.p50,
            store.p99,
        );
    }
}

/// Half of what is in flight is on its way to the disk; the other half gathers meanwhile.
fn batch(in_flight: usize) -> usize {
    in_flight.div_ceil(2)
}

/// A file of zeros that is overwritten from its beginning to its end, and synced after each batch.
fn floor(in_flight: usize, long: Duration) -> Figures {
    let directory = Directory::new();
    let path = directory.0.join("raw");
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
    Figures::new(writes, began.elapsed(), latencies)
}

/// The store and the tree alone, as the broker's owner drives them: it searches for all writes of a
/// turn together, and holds the tree at the end of each batch until the batch is stored. The
/// requests are made beforehand, because in the broker other tasks make them.
async fn store(in_flight: usize, long: Duration, make: Make) -> Figures {
    let directory = Directory::new();
    let storage = Arc::new(Disk::new(directory.0.clone()).unwrap());
    let opened = files::open(storage, settings(), FileOptions::default()).unwrap();
    let OpenedStore { mut store, mut state, .. } = opened;
    let most = (long.as_secs_f64() * MOST_PER_SECOND) as usize;
    let mut requests: VecDeque<Request> = (0..most).map(make).collect();
    let (mut writes, mut latencies) = (0, Vec::new());
    let mut storing: Option<Storing> = None;
    let began = Instant::now();
    while began.elapsed() < long && requests.len() >= in_flight {
        let start = Instant::now();
        let mut commits = Vec::with_capacity(batch(in_flight));
        while commits.len() < batch(in_flight) {
            let turn = TURN.min(batch(in_flight) - commits.len());
            let hints = match turn {
                1 => vec![Hint::default()],
                _ => state.fetch(requests.iter().take(turn)),
            };
            let author = Author::default();
            commits.extend(hints.into_iter().zip(requests.drain(..turn)).filter_map(
                |(hint, request)| state.write_at(hint, Time(1), &author, request).commit,
            ));
        }
        writes += commits.len();
        if let Some(storing) = storing.take() {
            latencies.push(storing.end().await);
        }
        let stored = store.append(&commits).boxed();
        storing = Some(Storing { start, stored, _tree: state.snapshot() });
        if in_flight == 1
            && let Some(storing) = storing.take()
        {
            latencies.push(storing.end().await);
        }
    }
    if let Some(storing) = storing {
        storing.end().await;
    }
    let figures = Figures::new(writes, began.elapsed(), latencies);
    store.close().await.expect("the store ends well");
    figures
}

/// A batch on its way to the disk.
struct Storing {
    start: Instant,
    stored: BoxFuture<'static, Result<(), StoreError>>,
    _tree: Snapshot,
}

impl Storing {
    /// Waits until the batch is stored. Returns how long that took from its first write.
    async fn end(self) -> Duration {
        self.stored.await.unwrap();
        self.start.elapsed()
    }
}

fn config() -> Config {
    let mut config = Config::default();
    config.listen.set_port(0);
    config
}

/// The whole broker, and a client in the same process: both share the machine.
async fn broker(in_flight: usize, long: Duration) -> Figures {
    let directory = Directory::new();
    let storage = Arc::new(Disk::new(directory.0.clone()).unwrap());
    let broker = Broker::start_from(config(), storage, Hooks::default()).await.unwrap();
    let client = Client::connect(Options::new(broker.url())).await.unwrap();
    let (mut writes, mut latencies, mut waiting) = (0, Vec::new(), VecDeque::new());
    let began = Instant::now();
    while began.elapsed() < long {
        let put = Put::new(path(writes % ENTRIES), value(writes));
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
    figures
}
