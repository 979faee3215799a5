//! The tree that all benchmarks use, and how they measure.

use std::mem;
use std::time::{Duration, Instant};

use onetree_core::{Author, Feed, FeedLimits, Request, Settings, Snapshot, State, Step, Time};
use onetree_protocol::frame::{Do, Mode, ServerFrame, Sub};
use onetree_protocol::{Cookie, DigestKey, Epoch, Path, Revision, Value, View};

/// The number of entries that the goals are about.
pub(crate) const ENTRIES: usize = 1_000_000;

/// The bytes of a value.
pub(crate) const VALUE_BYTES: usize = 100;

/// `--test`: runs everything once, on a small tree, to see that it works.
pub(crate) fn is_trial() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// Returns the number of entries in the measured tree.
pub(crate) fn entries() -> usize {
    if is_trial() { 1_000 } else { ENTRIES }
}

/// SplitMix64: the same numbers in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// Returns `n` different paths of 3 to 6 segments and 30 to 52 bytes, in no order.
pub(crate) fn paths(n: usize) -> Vec<Path> {
    let mut random = Random(1);
    let mut paths: Vec<Path> = (0..n).map(|i| path(i, &mut random)).collect();
    for i in (1..n).rev() {
        paths.swap(i, random.below(i + 1));
    }
    paths
}

fn path(i: usize, random: &mut Random) -> Path {
    let (site, room) = (i % 50, i / 50 % 200);
    let mut text = format!("/site-{site:02}/room-{room:03}/entry-{i:06}");
    let more = ["sensor", "reading", "latest"];
    for segment in &more[..random.below(4)] {
        text.push('/');
        text.push_str(segment);
    }
    Path::parse(&text).unwrap()
}

/// Returns a value of about [`VALUE_BYTES`].
pub(crate) fn value(n: usize) -> Value {
    let mut text = format!("{{\"n\":{n},\"text\":\"");
    text.extend(std::iter::repeat_n('x', VALUE_BYTES.saturating_sub(text.len() + 2)));
    text.push_str("\"}");
    Value::json(&text)
}

/// Makes a request as a frame brings it: with its own copy of the path.
pub(crate) fn put(path: &Path, n: usize) -> Request {
    let (path, value) = (Path::parse(path.as_str()).unwrap(), value(n));
    let change = Do::Put { path, value, ttl_ms: None, ephemeral: false };
    Request { changes: vec![change], ..Request::default() }
}

/// Makes one commit, from the request to the answer.
pub(crate) fn write(state: &mut State, request: &Request) {
    let outcome = state.write(Time(1), &Author::default(), request);
    assert!(outcome.answer.is_ok() && outcome.commit.is_some());
}

/// The number of requests that are present at once: what the broker takes in one batch.
pub(crate) const BATCH: usize = 1024;

/// What is held while commits are made: nodes that are held are copied before they are changed.
#[derive(Clone, Copy)]
pub(crate) enum Held {
    Nothing,
    /// The state before the batch, to return to, as in a broker under load.
    EachBatch,
    /// A snapshot that is replaced after each commit.
    EachCommit,
}

/// Makes a batch of commits from requests that it consumes, as the broker gets them from its
/// sockets.
pub(crate) fn commit(state: &mut State, mut requests: Vec<Request>, held: Held) {
    let before = matches!(held, Held::EachBatch).then(|| state.checkpoint());
    let mut published = None;
    for some in requests.chunks_mut(State::FETCHED) {
        let hints = state.fetch(some.iter());
        for (request, hint) in some.iter_mut().zip(hints) {
            let request = mem::take(request);
            let outcome = state.write_at(hint, Time(1), &Author::default(), request);
            assert!(outcome.answer.is_ok() && outcome.commit.is_some());
            if matches!(held, Held::EachCommit) {
                published = Some(state.snapshot());
            }
        }
    }
    drop((before, published));
}

/// Runs a refresh of `view` from `since`, or from nothing, to its last frame. Returns the number of
/// changes.
pub(crate) fn refresh(snapshot: &Snapshot, view: &View, since: Option<Revision>) -> usize {
    let limits = FeedLimits {
        subscriptions: 1,
        view_bytes: 1 << 20,
        pattern_segments: 1_000,
        frame_bytes: 16 << 10,
        digest_scan: 1_000,
        digests: 1000,
        turn_slots: 1_000,
    };
    let view = view.clone();
    let epoch = snapshot.epoch();
    let cookie = since.map(|rev| Cookie { epoch, rev, view: view.fingerprint() });
    let mode = Mode::Once;
    let sub = Sub { id: 1, sub: 1, view, cookie, mode, signals: false, every_ms: 0, copy: false };
    let mut feed = Feed::new(limits);
    feed.subscribe(&sub, snapshot).unwrap();
    let mut changes = 0;
    while let Some(step) = feed.poll(Time(1), || snapshot.clone(), true) {
        if let Step::Frame(ServerFrame::Entries(entries)) = step {
            changes += entries.changes.len();
        }
    }
    changes
}

/// Returns the path of a site: one fiftieth of the tree.
pub(crate) fn site() -> Path {
    Path::parse("/site-07").unwrap()
}

/// Returns the state of a broker with an entry at each of these paths, each from a commit of its
/// own.
pub(crate) fn tree(paths: &[Path]) -> State {
    let mut state = State::new(Settings {
        epoch: Epoch(1),
        digest_key: DigestKey(7),
        bounds: Default::default(),
        retention: Vec::new(),
    });
    for (n, path) in paths.iter().enumerate() {
        write(&mut state, &put(path, n));
    }
    state
}

pub(crate) fn time(run: &mut dyn FnMut()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

/// How long the runs of one operation took, in nanoseconds for each operation.
#[derive(Default)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    /// Measures `runs` runs.
    pub(crate) fn of(runs: usize, operations: usize, mut run: impl FnMut()) -> Times {
        let mut times = Times::default();
        for _ in 0..if is_trial() { 1 } else { runs } {
            times.add(time(&mut run), operations);
        }
        times
    }

    pub(crate) fn add(&mut self, time: Duration, operations: usize) {
        self.0.push(time.as_nanos() as f64 / operations as f64);
    }

    /// Returns the middle run, so that a run which the rest of the machine has disturbed does not
    /// count.
    pub(crate) fn median(&self) -> f64 {
        let mut times = self.0.clone();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }

    pub(crate) fn best(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// Returns "median (best)", as operations a second.
    pub(crate) fn rates(&self) -> String {
        format!("{} ({})", rate(self.median()), rate(self.best()))
    }

    /// Returns "median (best)", as the time of one operation.
    pub(crate) fn spans(&self) -> String {
        format!("{} ({})", span(self.median()), span(self.best()))
    }
}

fn rate(nanoseconds: f64) -> String {
    let rate = 1e9 / nanoseconds;
    if rate >= 1e6 { format!("{:.1}M/s", rate / 1e6) } else { format!("{:.0}k/s", rate / 1e3) }
}

fn span(nanoseconds: f64) -> String {
    match nanoseconds {
        ..1e3 => format!("{nanoseconds:.0} ns"),
        ..1e4 => format!("{:.1} us", nanoseconds / 1e3),
        ..1e6 => format!("{:.0} us", nanoseconds / 1e3),
        _ => format!("{:.0} ms", nanoseconds / 1e6),
    }
}

/// One line of a table.
pub(crate) struct Row {
    pub(crate) figure: &'static str,
    /// Empty: there is no goal.
    pub(crate) goal: &'static str,
    pub(crate) measured: String,
    pub(crate) floor: String,
}

/// Prints a table in the form that it has in docs/measurements.md.
pub(crate) fn print(rows: &[Row]) {
    println!("| figure | goal | measured: median (best) | floor: median (best) |");
    println!("|---|---|---|---|");
    for Row { figure, goal, measured, floor } in rows {
        println!("| {figure} | {goal} | {measured} | {floor} |");
    }
}
