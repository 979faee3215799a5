//! `cargo bench -p onetree --bench subscriptions`: a million subscriptions, spread over 10,000
//! connections and 100,000 topics: what each costs in memory, and how long a commit takes to find
//! the ten that see it. Each figure is shown beside its goal and its floor.
//!
//! Everything that a connection keeps for a subscription counts: its feed, the index, the view.

#[path = "../crates/core/benches/common/counting.rs"]
mod counting;

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use counting::{in_use, resident};
use onetree::fanout::{Envelope, Fanout, Frames, Sink, Subscriber};
use onetree_core::{
    Bounds, Commit, Effect, Feed, FeedLimits, Settings, Snapshot, State, Step, Time,
};
use onetree_protocol::frame::{Mode, Sub};
use onetree_protocol::{Change, Codec, DigestKey, Epoch, Path, Revision, Value, View};

const CONNECTIONS: usize = 10_000;

/// Subscriptions of each connection.
const SUBSCRIPTIONS: usize = 100;

/// Subscriptions of each topic.
const EACH: usize = 10;

/// How many commits are measured, each to another topic than the one before.
const COMMITS: usize = 200_000;

/// How many rounds a median is taken of.
const ROUNDS: usize = 20;

/// Counts what arrives: what a connection does with it is not measured here.
#[derive(Default)]
struct Counter(AtomicU64);

impl Sink for Counter {
    fn overflow(&self) {}

    fn deltas(&self, frames: &Arc<Frames>, _: bool) {
        self.0.fetch_add(frames.count() as u64, Ordering::Relaxed);
    }

    fn signals(&self, _: &Arc<Frames>, _: bool) {}
}

/// A connection, as far as its subscriptions are concerned.
struct Connection {
    counter: Arc<Counter>,
    subscriber: Arc<Subscriber>,
    feed: Feed,
}

impl Connection {
    fn new(id: usize) -> Connection {
        let counter = Arc::new(Counter::default());
        let subscriber = Arc::new(Subscriber::new(id as u64, Codec::Json, counter.clone()));
        let feed = Feed::new(FeedLimits {
            subscriptions: usize::MAX,
            view_bytes: usize::MAX,
            pattern_segments: usize::MAX,
            frame_bytes: 8 << 10,
            digest_scan: 10_000,
            digests: 1000,
            turn_slots: 1_000,
        });
        Connection { counter, subscriber, feed }
    }

    /// Adds a subscription as a frame brings it, with its own copy of the path, until it is live.
    fn subscribe(&mut self, sub: usize, path: &str, fanout: &Fanout, tree: &Snapshot) {
        let sub = Sub {
            id: 1,
            sub: sub as u32,
            view: View::tree(Path::parse(path).unwrap()),
            cookie: None,
            mode: Mode::Stay,
            signals: false,
            every_ms: 0,
            copy: false,
        };
        self.feed.subscribe(&sub, tree).unwrap();
        while let Some(step) = self.feed.poll(Time(1), || tree.clone(), true) {
            if let Step::Register(interest) = step {
                let view = fanout.register(&self.subscriber, &interest);
                self.feed.share(interest.sub, &view);
            }
        }
        assert!(self.feed.takes_live() && !self.feed.is_catching_up());
    }

    fn leave(&self, fanout: &Fanout) {
        for interest in self.feed.registered() {
            fanout.unregister(&self.subscriber, &interest);
        }
    }
}

fn topic(n: usize) -> String {
    format!("/site-{:02}/room-{:03}/entry-{n:06}", n % 50, n / 50 % 200)
}

/// Returns the topic of a connection's subscription. All topics are used in turn, and those of one
/// connection are far apart.
fn place(connection: usize, sub: usize, topics: usize) -> usize {
    (sub * (topics / SUBSCRIPTIONS) + connection) * 7_919 % topics
}

fn commit(rev: u64, topic: &str) -> Commit {
    let value = Value::json(&format!("{{\"n\":{rev},\"text\":\"{}\"}}", "x".repeat(100)));
    let path = Path::parse(topic).unwrap();
    let effects = vec![Effect::Put { path, value, expires: None, owner: None }];
    Commit { rev: Revision::new(rev).unwrap(), time: Time(0), effects, origin: None }
}

fn median(mut times: Vec<Duration>, each: usize) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6 / each as f64
}

fn row(figure: &str, goal: &str, measured: &str, floor: &str) {
    println!("{figure:<58}| {goal:>14} | {measured:<32}| {floor}");
}

fn main() {
    let trial = std::env::args().any(|argument| argument == "--test");
    let shrink = if trial { 100 } else { 1 };
    let (connections, commits) = (CONNECTIONS / shrink, COMMITS / shrink);
    let topics = connections * SUBSCRIPTIONS / EACH;
    let count = connections * SUBSCRIPTIONS;
    let settings = Settings {
        epoch: Epoch(1),
        digest_key: DigestKey(2),
        bounds: Bounds::default(),
        retention: Vec::new(),
    };
    let tree = State::new(settings).snapshot();
    let fanout = Fanout::new(16 << 10, Envelope::NONE);
    let mut all: Vec<Connection> = (0..connections).map(Connection::new).collect();

    // A first subscription of each, so that everything shared exists already.
    let before = (in_use(), resident());
    let start = Instant::now();
    for (n, connection) in all.iter_mut().enumerate() {
        for sub in 0..SUBSCRIPTIONS {
            connection.subscribe(sub, &topic(place(n, sub, topics)), &fanout, &tree);
        }
    }
    let subscribed = start.elapsed().as_secs_f64() * 1e6 / count as f64;
    let asked = (in_use() - before.0) as f64 / count as f64;
    let really = resident().saturating_sub(before.1) as f64 / count as f64;

    // The floor: a lookup of the path, and the same counters.
    let mut floor: HashMap<String, Vec<Arc<Counter>>> = HashMap::new();
    for (n, connection) in all.iter().enumerate() {
        for sub in 0..SUBSCRIPTIONS {
            let topic = topic(place(n, sub, topics));
            floor.entry(topic).or_default().push(connection.counter.clone());
        }
    }
    let (mut found, mut handed, mut looked_up) = (Vec::new(), Vec::new(), Vec::new());
    let told = |all: &[Connection]| -> u64 {
        all.iter().map(|one| one.counter.0.load(Ordering::Relaxed)).sum()
    };
    let mut rev = 0;
    for _ in 0..ROUNDS {
        let each = commits / ROUNDS;
        let batch: Vec<Arc<Commit>> = (0..each)
            .map(|_| {
                rev += 1;
                Arc::new(commit(rev, &topic(rev as usize * 7_919 % topics)))
            })
            .collect();
        let changes: Vec<Change> = batch.iter().flat_map(|commit| commit.changes()).collect();
        let start = Instant::now();
        let count: usize = changes.iter().map(|change| fanout.audience(change)).sum();
        found.push(start.elapsed());
        assert_eq!(count, each * EACH, "each is found once");
        let before = told(&all);
        let start = Instant::now();
        batch.iter().for_each(|commit| fanout.publish(std::slice::from_ref(commit)));
        handed.push(start.elapsed());
        assert_eq!(told(&all) - before, (each * EACH) as u64, "each is told once");
        let start = Instant::now();
        for change in &changes {
            for counter in black_box(&floor).get(change.path.as_str()).into_iter().flatten() {
                counter.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        looked_up.push(start.elapsed());
    }
    drop(floor);
    let each = commits / ROUNDS;
    let [found, handed, looked_up] = [found, handed, looked_up].map(|times| median(times, each));

    let start = Instant::now();
    all.iter().for_each(|connection| connection.leave(&fanout));
    let left = start.elapsed().as_secs_f64() * 1e6 / count as f64;

    // All in one group, and then they leave.
    let mut crowd: Vec<Connection> = (0..connections).map(Connection::new).collect();
    let start = Instant::now();
    crowd.iter_mut().for_each(|one| one.subscribe(1, "/all", &fanout, &tree));
    let gathered = start.elapsed().as_secs_f64() * 1e6 / connections as f64;
    let start = Instant::now();
    crowd.iter().for_each(|one| one.leave(&fanout));
    let dispersed = start.elapsed().as_secs_f64() * 1e6 / connections as f64;
    fanout.publish(&[Arc::new(commit(1, "/all"))]);
    assert_eq!(told(&crowd), 0, "nobody is left");

    println!("{count} subscriptions of {connections} connections to {topics} topics");
    row("figure", "goal", "measured", "floor");
    row(
        "bytes a subscription: feed, index, view",
        "150",
        &format!("{asked:.0}; {really:.0} resident"),
        "8: a reference in a list",
    );
    let floor = format!("{looked_up:.2}: a HashMap of paths, 10 counters");
    row("us for a change to find its 10", "2", &format!("{found:.2}"), &floor);
    row("the same, encoded and handed to them", "", &format!("{handed:.2}"), &floor);
    row("us for a subscription, until it is live", "", &format!("{subscribed:.2}"), "");
    row("us for a subscription that leaves", "", &format!("{left:.2}"), "");
    row("us for each of so many who enter one group", "", &format!("{gathered:.2}"), "");
    row("us for each of so many who leave it at once", "", &format!("{dispersed:.2}"), "");
}
