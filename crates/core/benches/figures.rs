//! `cargo bench -p onetree-core --bench figures`: the figures that the tree is asked for, each
//! beside its goal and the floor: what the same machine does in the same run without a tree.

mod common;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use common::{Random, Row, entries, is_trial, median, middle, paths, print, put, value, write};
use onetree_core::{Feed, FeedLimits, Snapshot, State, Step, Time};
use onetree_protocol::frame::{List, Mode, ServerFrame, Sub};
use onetree_protocol::{Cookie, Depth, Path, Pattern, Revision, View};

/// Repeats of each measurement; the middle one counts.
const RUNS: usize = 9;

fn main() {
    let paths = paths(entries());
    if std::env::var("K_UPD").is_ok() { let mut state = common::tree(&paths);
    let bare: BTreeMap<Arc<str>, Arc<[u8]>> =
        paths.iter().enumerate().map(|(n, path)| (path.as_str().into(), value(n).bytes)).collect();
 print(&updates(&mut state, bare.clone(), &paths)); return; }
    let mut state = common::tree(&paths);
    let bare: BTreeMap<Arc<str>, Arc<[u8]>> =
        paths.iter().enumerate().map(|(n, path)| (path.as_str().into(), value(n).bytes)).collect();
    let mut rows = updates(&mut state, bare.clone(), &paths);
    print(&rows); rows.extend(reads(&state, &bare));
    rows.extend(since(&mut state, &paths));
    print(&rows);
}

/// Puts at entries that are there, at random over the whole tree: the hardest case for caches.
fn updates(
    state: &mut State,
    mut bare: BTreeMap<Arc<str>, Arc<[u8]>>,
    paths: &[Path],
) -> Vec<Row> {
    let commits = if is_trial() { 100 } else { 100_000 };
    let mut random = Random(2);
    // All ways take turns, so that a busy machine is busy for all of them.
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..if is_trial() { 1 } else { RUNS } {
        let requests: Vec<_> =
            (0..commits).map(|n| put(&paths[random.below(paths.len())], n)).collect();
        for (way, every) in [usize::MAX, 64, 1].into_iter().enumerate() {if std::env::var("K_WAY").is_ok_and(|w| w != way.to_string()) { continue; }
            let mut published = None;
            let start = Instant::now();
            for (n, request) in requests.iter().enumerate() {
                write(state, request);
                if n % every == every - 1 {
                    published = Some(state.snapshot());
                }
            }
            times[way].push(start.elapsed().as_nanos() as f64 / commits as f64);
            drop(published);
        }
        let puts: Vec<(Arc<str>, Arc<[u8]>)> = (0..commits)
            .map(|n| (paths[random.below(paths.len())].as_str().into(), value(n).bytes))
            .collect();
        let start = Instant::now();
        for (path, value) in puts {
            *bare.get_mut(&path).unwrap() = value;
        }
        times[3].push(start.elapsed().as_nanos() as f64 / commits as f64);
    }
    let floor = middle(&mut times[3]);
    let rows = [
        ("commits of one update, no snapshot held", "400k/s"),
        ("the same, a snapshot published every 64", "400k/s"),
        ("the same, a snapshot published each time", "400k/s"),
    ];
    let row = |(way, (figure, goal)): (usize, (&'static str, &'static str))| Row {
        figure,
        goal,
        measured: per_second(middle(&mut times[way])),
        floor: format!("{} (BTreeMap, replace the value)", per_second(floor)),
    };
    rows.into_iter().enumerate().map(row).collect()
}

fn reads(state: &State, bare: &BTreeMap<Arc<str>, Arc<[u8]>>) -> Vec<Row> {
    let n = bare.len();
    let snapshot = state.snapshot();
    let walked = View {
        patterns: vec![Pattern::parse("**").unwrap()],
        ..View::tree(Path::root())
    };
    let iterate = median(RUNS, n, || {
        black_box(snapshot.digest(&walked, usize::MAX));
    });
    let page = List {
        id: 1,
        path: Path::root(),
        depth: Depth::Tree,
        after: None,
        before: None,
        reverse: false,
        limit: 0,
        values: true,
    };
    let list = median(RUNS, n, || {
        black_box(snapshot.list(&page, usize::MAX, usize::MAX));
    });
    let refresh = median(RUNS, n, || {
        black_box(run(&snapshot, None));
    });
    let bare_iterate = median(RUNS, n, || {
        black_box(bare.iter().map(|(path, value)| path.len() + value.len()).sum::<usize>());
    });
    let bare_clone = median(RUNS, n, || {
        let all = bare.iter().map(|(path, value)| (path.clone(), value.clone()));
        black_box(all.collect::<Vec<_>>());
    });
    let take = median(RUNS, 1_000, || {
        for _ in 0..1_000 {
            black_box(state.snapshot());
        }
    });
    let shared = Arc::new(0_u64);
    let clone = median(RUNS, 1_000, || {
        for _ in 0..1_000 {
            black_box(black_box(&shared).clone());
        }
    });
    let rows = [
        ("entries of a view walked through", "10M/s", iterate, bare_iterate, "BTreeMap, iterate"),
        ("entries listed", "", list, bare_clone, "BTreeMap, collect shared keys and values"),
        ("entries refreshed, as frames", "", refresh, bare_clone, "the same"),
    ];
    let mut rows: Vec<Row> = rows
        .into_iter()
        .map(|(figure, goal, time, floor, what)| Row {
            figure,
            goal,
            measured: per_second(time),
            floor: format!("{} ({what})", per_second(floor)),
        })
        .collect();
    rows.push(Row {
        figure: "snapshot",
        goal: "1 us",
        measured: format!("{take:.0} ns"),
        floor: format!("{clone:.0} ns (one reference count up and down)"),
    });
    rows
}

/// A hundred changes anywhere in the tree: what brings a mirror over them, and what checks it.
fn since(state: &mut State, paths: &[Path]) -> Vec<Row> {
    let mut random = Random(3);
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..if is_trial() { 1 } else { 50 } {
        let before = state.rev();
        let touched: Vec<&Path> = (0..100).map(|_| &paths[random.below(paths.len())]).collect();
        for path in &touched {
            write(state, &put(path, 0));
        }
        let snapshot = state.snapshot();
        let mut time = |way: usize, run: &mut dyn FnMut()| {
            let start = Instant::now();
            run();
            times[way].push(start.elapsed().as_nanos() as f64 / 1_000.0);
        };
        let view = View::tree(Path::root());
        time(0, &mut || {
            black_box(run(&snapshot, Some(before)));
        });
        time(1, &mut || {
            black_box(snapshot.digest(&view, 0));
        });
        let sites: Vec<Path> = touched.iter().filter_map(|path| path.parent()).collect();
        time(2, &mut || {
            for site in &sites {
                black_box(common::digest_of(&snapshot, site));
            }
        });
        time(3, &mut || {
            for path in &touched {
                black_box(snapshot.get(path));
            }
        });
    }
    let [since, whole, parts, gets] = times.map(|mut times| middle(&mut times));
    let get = || format!("{gets:.0} us (the 100 entries fetched by path)");
    vec![
        Row {
            figure: "the changes since 100 commits anywhere",
            goal: "100 us",
            measured: format!("{since:.0} us"),
            floor: get(),
        },
        Row {
            figure: "the digest of everything after them",
            goal: "100 us",
            measured: format!("{whole:.1} us"),
            floor: String::from("0 (it is kept)"),
        },
        Row {
            figure: "100 digests, of the subtrees that changed",
            goal: "",
            measured: format!("{parts:.0} us"),
            floor: get(),
        },
    ]
}

/// A refresh from `since`, or from nothing, to the last frame; the number of changes.
fn run(snapshot: &Snapshot, since: Option<Revision>) -> usize {
    let limits = FeedLimits { subscriptions: 1, frame_bytes: 16 << 10, digest_scan: 1_000 };
    let view = View::tree(Path::root());
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

fn per_second(nanoseconds: f64) -> String {
    let rate = 1e9 / nanoseconds;
    if rate >= 1e6 { format!("{:.1}M/s", rate / 1e6) } else { format!("{:.0}k/s", rate / 1e3) }
}
