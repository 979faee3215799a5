//! The tree that everything here is measured on, and how.

#![expect(dead_code, reason = "each benchmark uses its part")]

use std::time::Instant;

use onetree_core::{Author, Request, Settings, Snapshot, State, Time};
use onetree_protocol::frame::Do;
use onetree_protocol::{DigestKey, Epoch, Path, Revision, Value};

/// What the goals are about.
pub(crate) const ENTRIES: usize = 1_000_000;
/// Of a value, bytes.
pub(crate) const VALUE_BYTES: usize = 100;

/// `--test`: everything once, on a small tree, to see that it runs.
pub(crate) fn is_trial() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// Entries of the tree that is measured on.
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

/// So many different paths of 3 to 6 segments, 21 to 57 bytes, 39 in the middle; in no order.
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

/// A value of about [`VALUE_BYTES`], never the same twice.
pub(crate) fn value(n: usize) -> Value {
    let mut text = format!("{{\"n\":{n},\"text\":\"");
    text.extend(std::iter::repeat_n('x', VALUE_BYTES.saturating_sub(text.len() + 2)));
    text.push_str("\"}");
    Value::json(&text)
}

pub(crate) fn put(path: &Path, n: usize) -> Request {
    let (path, value) = (path.clone(), value(n));
    let change = Do::Put { path, value, ttl_ms: None, ephemeral: false };
    Request { changes: vec![change], ..Request::default() }
}

pub(crate) fn write(state: &mut State, request: &Request) -> Revision {
    state.write(Time(1), &Author::default(), request).answer.unwrap().rev
}

/// A tree with an entry at each of these paths.
pub(crate) fn tree(paths: &[Path]) -> State {
    let epoch = Epoch(1);
    let settings = Settings {
        epoch,
        digest_key: DigestKey(7),
        bounds: Default::default(),
        retention: Vec::new(),
    };
    let mut state = State::new(settings);
    for (n, path) in paths.iter().enumerate() {
        // Its own copy of the path, as one that a frame brought.
        let path = Path::parse(path.as_str()).unwrap();
        write(&mut state, &put(&path, n));
    }
    state
}

/// So many commits, each a put at any of the paths.
pub(crate) fn change(state: &mut State, paths: &[Path], commits: usize, random: &mut Random) {
    for n in 0..commits {
        write(state, &put(&paths[random.below(paths.len())], n));
    }
}

/// The subtree of a site: one fiftieth of the tree.
pub(crate) fn site() -> Path {
    Path::parse("/site-07").unwrap()
}

/// The middle one of the runs, nanoseconds for each of `operations`.
pub(crate) fn median(runs: usize, operations: usize, mut run: impl FnMut()) -> f64 {
    let runs = if is_trial() { 1 } else { runs };
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_nanos() as f64 / operations as f64
        })
        .collect();
    middle(&mut times)
}

pub(crate) fn middle(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    if times.is_empty() { return 1.0; } times[times.len() / 2]
}

/// One line of a table.
pub(crate) struct Row {
    pub(crate) figure: &'static str,
    pub(crate) goal: &'static str,
    pub(crate) measured: String,
    pub(crate) floor: String,
}

/// Prints a table, as it stands in docs/measurements.md.
pub(crate) fn print(rows: &[Row]) {
    println!("| figure | goal | measured | floor |");
    println!("|---|---|---|---|");
    for Row { figure, goal, measured, floor } in rows {
        println!("| {figure} | {goal} | {measured} | {floor} |");
    }
}

/// The whole tree, as a snapshot is read through its public face.
pub(crate) fn digest_of(snapshot: &Snapshot, base: &Path) -> u64 {
    snapshot.summary(base).digest().count
}
