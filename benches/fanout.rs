//! `cargo bench -p onetree --bench fanout`: one commit to 1,000 subscribers in this process, from
//! the commit to the outboxes of their connections. What follows, one write to a socket for each,
//! is the work of the operating system.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use onetree::fanout::{Envelope, Fanout, Frames, Item, Outbox, Sink, Subscriber};
use onetree_core::{Commit, Effect, Interest, Time};
use onetree_protocol::frame::{Delta, ServerFrame};
use onetree_protocol::{Codec, Path, Revision, Value, View};
use tokio::net::tcp::OwnedWriteHalf;

fn main() {
    divan::main();
}

const SINKS: usize = 1_000;

/// The largest frame of a refresh or a delta.
const FRAME_BYTES: usize = 16 << 10;

/// A connection's outbox.
struct Connection(Outbox);

impl Connection {
    fn new() -> Connection {
        Connection(Outbox::new(1 << 20, 8_192, Weak::<OwnedWriteHalf>::new()))
    }

    /// Takes out what has arrived, as the connection's task does before it writes.
    fn take(&self) -> usize {
        let mut taken = Vec::new();
        assert!(self.0.take(&mut taken, usize::MAX, Revision::MAX), "it has overflowed");
        taken.len()
    }
}

impl Sink for Connection {
    fn overflow(&self) {}

    fn deltas(&self, frames: &Arc<Frames>, _: bool) {
        self.0.push(Item::Deltas(frames.clone()), false);
    }

    fn signals(&self, frames: &Arc<Frames>, _: bool) {
        self.0.push(Item::Signals(frames.clone()), false);
    }
}

/// Counts what arrives: the fan-out alone.
#[derive(Default)]
struct Counter(AtomicU64);

impl Sink for Counter {
    fn overflow(&self) {}

    fn deltas(&self, frames: &Arc<Frames>, _: bool) {
        self.0.fetch_add(frames.count() as u64, Ordering::Relaxed);
    }

    fn signals(&self, frames: &Arc<Frames>, _: bool) {
        self.0.fetch_add(frames.count() as u64, Ordering::Relaxed);
    }
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn topic() -> Path {
    path("/site-07/room-031/entry-000007/sensor")
}

/// The view of a subscriber, and its codec.
type Place = fn(usize) -> (View, Codec);

/// Everyone sees the whole site, in JSON.
fn one_view(_: usize) -> (View, Codec) {
    (View::tree(path("/site-07")), Codec::Json)
}

/// Views at four levels above the topic, half of them in MessagePack, so each commit is encoded
/// twice.
fn mixed_views(n: usize) -> (View, Codec) {
    let bases = ["/", "/site-07", "/site-07/room-031", "/site-07/room-031/entry-000007"];
    (View::tree(path(bases[n / 2 % bases.len()])), Codec::ALL[n % 2])
}

/// Nobody sees the topic: each subscriber has its own room beside it.
fn elsewhere(n: usize) -> (View, Codec) {
    (View::tree(path(&format!("/site-07/hall-{n:03}"))), Codec::Json)
}

fn house<S: Sink + 'static>(place: Place, sink: fn() -> S) -> (Fanout, Vec<Arc<S>>) {
    let fanout = Fanout::new(FRAME_BYTES, Envelope::NONE);
    let sinks: Vec<Arc<S>> = (0..SINKS).map(|_| Arc::new(sink())).collect();
    for (n, sink) in sinks.iter().enumerate() {
        let (view, codec) = place(n);
        let subscriber = Arc::new(Subscriber::new(n as u64, codec, sink.clone()));
        let interest = Interest { sub: 1, view: Arc::new(view), deltas: true, signals: false };
        fanout.register(&subscriber, &interest);
    }
    (fanout, sinks)
}

/// A commit that puts this many values of about 100 bytes.
fn commit(rev: u64, changes: usize) -> Arc<Commit> {
    let text = format!("{{\"n\":{},\"text\":\"{}\"}}", 100_000 + rev, "x".repeat(81));
    let part = |n| if n == 0 { topic() } else { topic().child(&format!("part-{n}")).unwrap() };
    puts(rev, (0..changes).map(part), &Value::json(&text))
}

/// A commit that puts this value at each of these paths.
fn puts(rev: u64, paths: impl Iterator<Item = Path>, value: &Value) -> Arc<Commit> {
    let put = |path| Effect::Put { path, value: value.clone(), expires: None, owner: None };
    let (rev, effects) = (Revision::new(rev).unwrap(), paths.map(put).collect());
    Arc::new(Commit { rev, time: Time(0), effects, origin: None })
}

/// Measures commits into outboxes. They are emptied after each commit, outside the measurement.
fn into_outboxes(
    bencher: Bencher<'_, '_>,
    place: Place,
    commit: impl Fn(u64) -> Arc<Commit> + Sync,
) {
    let (fanout, sinks) = house(place, Connection::new);
    let mut rev = 0;
    bencher
        .counter(ItemsCount::new(SINKS))
        .with_inputs(|| {
            let waiting: usize = sinks.iter().map(|sink| sink.take()).sum();
            assert!(rev == 0 || waiting == SINKS, "someone was not told");
            rev += 1;
            commit(rev)
        })
        .bench_local_refs(|commit| fanout.publish(std::slice::from_ref(commit)));
}

fn into_counters(bencher: Bencher<'_, '_>, place: Place) {
    let (fanout, sinks) = house(place, Counter::default);
    let mut rev = 0;
    bencher
        .counter(ItemsCount::new(SINKS))
        .with_inputs(|| {
            rev += 1;
            commit(rev, 1)
        })
        .bench_local_refs(|commit| fanout.publish(std::slice::from_ref(commit)));
    black_box(sinks);
}

#[divan::bench(args = [1, 100], sample_count = 1_000, sample_size = 1)]
fn outboxes_of_one_view(bencher: Bencher<'_, '_>, changes: usize) {
    into_outboxes(bencher, one_view, |rev| commit(rev, changes));
}

#[divan::bench(args = [1, 100], sample_count = 1_000, sample_size = 1)]
fn outboxes_of_mixed_views(bencher: Bencher<'_, '_>, changes: usize) {
    into_outboxes(bencher, mixed_views, |rev| commit(rev, changes));
}

/// Each subscriber sees a part of the commit that nobody else sees, so it is encoded for each.
#[divan::bench(args = [1_000, 10_000], sample_count = 20, sample_size = 1)]
fn outboxes_of_views_of_their_own(bencher: Bencher<'_, '_>, changes: usize) {
    let part = |n: usize| path(&format!("/site-07/hall-{:03}/part-{n}", n % SINKS));
    into_outboxes(bencher, elsewhere, |rev| puts(rev, (0..changes).map(part), &Value::json("1")));
}

/// Half of the subscribers see no values.
#[divan::bench(sample_count = 1_000, sample_size = 1)]
fn outboxes_with_and_without_values(bencher: Bencher<'_, '_>) {
    let place: Place = |n| (View { values: n % 2 == 0, ..one_view(n).0 }, Codec::Json);
    into_outboxes(bencher, place, |rev| commit(rev, 1));
}

/// A hundred commits at once, which are handed over together.
#[divan::bench(sample_count = 1_000, sample_size = 1)]
fn outboxes_of_one_view_100_commits(bencher: Bencher<'_, '_>) {
    let (fanout, sinks) = house(one_view, Connection::new);
    let mut rev = 0;
    bencher
        .counter(ItemsCount::new(SINKS * 100))
        .with_inputs(|| {
            sinks.iter().for_each(|sink| assert!(rev == 0 || sink.take() > 0));
            rev += 100;
            (0..100).map(|n| commit(rev + n, 1)).collect::<Vec<_>>()
        })
        .bench_local_refs(|commits| fanout.publish(commits));
}

/// A commit to one of 100,000 topics, which ten of 10,000 connections follow; each connection
/// follows 100 topics.
#[divan::bench]
fn one_topic_of_a_million_subscriptions(bencher: Bencher<'_, '_>) {
    const CONNECTIONS: usize = 10_000;
    const EACH: usize = 100;
    const TOPICS: usize = 100_000;
    let name = |topic: usize| path(&format!("/many/g-{:03}/t-{topic:06}", topic / 1000));
    let fanout = Fanout::new(FRAME_BYTES, Envelope::NONE);
    let sinks: Vec<Arc<Counter>> = (0..CONNECTIONS).map(|_| Arc::default()).collect();
    for (n, sink) in sinks.iter().enumerate() {
        let subscriber = Arc::new(Subscriber::new(n as u64, Codec::Json, sink.clone()));
        for sub in 0..EACH {
            let view = Arc::new(View::tree(name((n * EACH + sub) % TOPICS)));
            let sub = u32::try_from(sub).unwrap();
            let interest = Interest { sub, view, deltas: true, signals: false };
            fanout.register(&subscriber, &interest);
        }
    }
    let (mut rev, mut expected) = (0, 0);
    bencher
        .with_inputs(|| {
            rev += 1;
            expected += 10;
            let path = name(rev as usize * 49_999 % TOPICS);
            let effect = Effect::Put { path, value: Value::json("1"), expires: None, owner: None };
            let rev = Revision::new(rev).unwrap();
            Arc::new(Commit { rev, time: Time(0), effects: vec![effect], origin: None })
        })
        .bench_local_refs(|commit| fanout.publish(std::slice::from_ref(commit)));
    let came: u64 = sinks.iter().map(|sink| sink.0.load(Ordering::Relaxed)).sum();
    assert_eq!(came, expected, "not everyone was told");
}

#[divan::bench]
fn counters_of_one_view(bencher: Bencher<'_, '_>) {
    into_counters(bencher, one_view);
}

#[divan::bench]
fn counters_of_mixed_views(bencher: Bencher<'_, '_>) {
    into_counters(bencher, mixed_views);
}

/// What the subscriptions of others cost a commit that they do not see.
#[divan::bench]
fn nobody_sees_it(bencher: Bencher<'_, '_>) {
    into_counters(bencher, elsewhere);
}

/// The floor: increment a reference count for each of 1,000 queues behind a lock, without finding
/// or encoding anything.
#[divan::bench(sample_count = 1_000, sample_size = 1)]
fn floor_queues(bencher: Bencher<'_, '_>) {
    type Queue = Mutex<Vec<Arc<[Bytes]>>>;
    let queues: Vec<Arc<Queue>> = (0..SINKS).map(|_| Arc::default()).collect();
    bencher
        .counter(ItemsCount::new(SINKS))
        .with_inputs(|| {
            queues.iter().for_each(|queue| queue.lock().unwrap().clear());
            Arc::from([Bytes::from_static(b"a frame")])
        })
        .bench_local_refs(|frame: &mut Arc<[Bytes]>| {
            queues.iter().for_each(|queue| queue.lock().unwrap().push(frame.clone()));
        });
}

/// What encoding for each subscriber would cost, instead of once.
#[divan::bench]
fn instead_encoded_for_each(bencher: Bencher<'_, '_>) {
    let rev = Revision::new(1).unwrap();
    let changes = commit(1, 1).changes();
    let frame = ServerFrame::Delta(Delta { rev, since: None, sub: None, part: false, changes });
    bencher.counter(ItemsCount::new(SINKS)).bench_local(|| {
        for _ in 0..SINKS {
            black_box(Codec::Json.encode_server(black_box(&frame)));
        }
    });
}
