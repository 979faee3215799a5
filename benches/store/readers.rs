//! Readers beside writers: how long a `get` takes, and how long a write takes until a subscriber
//! that follows little sees it, while another client writes durably at several rates. Each rate is
//! measured in turns with nobody writing.

use std::thread;
use std::time::{Duration, Instant};

use onetree_client::Put;
use onetree_protocol::Path;

use crate::content::{path, value};
use crate::directory::Directory;
use crate::figures::{at, middle};
use crate::program::Program;
use crate::steady::{follower, getter, prober, writer};

/// Writes per second beside the readers; `None`: as fast as possible, with 1,000 in flight.
const RATES: [Option<usize>; 5] = [Some(0), Some(1_000), Some(10_000), Some(50_000), None];

/// How often each is repeated, in turns.
const ROUNDS: usize = 5;

/// 200 requests and 100 deliveries per second: hardly any load, and enough for a p99.
const GET_EVERY: Duration = Duration::from_millis(5);
const PUT_EVERY: Duration = Duration::from_millis(10);

/// One round at one rate.
struct Round {
    written: f64,
    /// Shares of the machine used by the broker and by all clients.
    broker: f64,
    clients: f64,
    /// p50 and p99, milliseconds.
    get: (f64, f64),
    delivery: (f64, f64),
}

pub(crate) fn run(trial: bool) {
    let long = Duration::from_millis(if trial { 100 } else { 3_000 });
    let rounds = if trial { 1 } else { ROUNDS };
    let directory = Directory::new();
    let program = Program::serve(&directory.0, "");
    let mut rates: [Vec<Round>; RATES.len()] = Default::default();
    for _ in 0..rounds {
        for (rate, done) in RATES.iter().zip(&mut rates) {
            done.push(round(&program, *rate, long));
            // A tree that is still being saved belongs to the round before.
            thread::sleep(long / 10);
        }
    }
    println!("\nreaders beside writers; median of {rounds} rounds of {long:?}, in turns\n");
    println!(
        "writes/s wanted     done | broker  clients (of the machine) | get p50 ms  p99 ms  times | delivery p50 ms  p99 ms  times"
    );
    let mut alone = (f64::NAN, f64::NAN);
    for (rate, rounds) in RATES.iter().zip(&rates) {
        let of = |figure: fn(&Round) -> f64| middle(rounds.iter().map(figure).collect());
        let (get, delivery) = (of(|round| round.get.1), of(|round| round.delivery.1));
        if *rate == Some(0) {
            alone = (get, delivery);
        }
        println!(
            "{:>15} {:>8.0} | {:>5.0}%   {:>5.0}%                | {:>10.2}  {:>6.2}  {:>5.1} | {:>15.2}  {:>6.2}  {:>5.1}",
            rate.map_or("all it takes".to_owned(), |rate| rate.to_string()),
            of(|round| round.written),
            of(|round| round.broker) * 100.0,
            of(|round| round.clients) * 100.0,
            of(|round| round.get.0),
            get,
            get / alone.0,
            of(|round| round.delivery.0),
            delivery,
            delivery / alone.1,
        );
    }
}

fn round(program: &Program, rate: Option<usize>, long: Duration) -> Round {
    let url = &program.url;
    let start = Instant::now();
    let idle = Path::parse("/idle/entry").unwrap();
    let load = (rate != Some(0))
        .then(|| writer(url, rate, |n| Put::new(path(n % 100_000), value(n)).into()));
    let follows = follower(url, Path::parse("/idle").unwrap(), start);
    // Wait until all are connected, and the writer has reached its rate.
    thread::sleep(long / 10);
    let puts = prober(url, idle.clone(), PUT_EVERY, start);
    let gets = getter(url, idle, GET_EVERY);
    let (before, begun) = (program.used(), Instant::now());
    thread::sleep(long);
    let (after, took) = (program.used(), begun.elapsed().as_secs_f64());
    let mut gets = gets.end();
    puts.end();
    // What was written last is still on its way.
    thread::sleep(Duration::from_millis(50));
    let mut deliveries: Vec<Duration> =
        follows.end().into_iter().map(|(came, due)| came - due).collect();
    let written = load.map_or(0.0, |load| load.end() as f64 / start.elapsed().as_secs_f64());
    gets.sort_unstable();
    deliveries.sort_unstable();
    let cores = thread::available_parallelism().map_or(1, usize::from) as f64;
    Round {
        written,
        broker: (after.0 - before.0) / took / cores,
        clients: (after.1 - before.1) / took / cores,
        get: (at(&gets, 0.5), at(&gets, 0.99)),
        delivery: (at(&deliveries, 0.5), at(&deliveries, 0.99)),
    }
}
