//! `cargo bench -p onetree-core --bench figures`: the figures for a tree of a million entries. Each
//! stands beside its goal and its floor, which is what the same machine does in the same run
//! without such a tree. Everything goes through the public interface, as a broker uses it.

mod common;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use common::{
    BATCH, Held, Random, Row, Times, commit, entries, is_trial, paths, print, put, value,
};
use onetree_core::{Request, State};
use onetree_protocol::frame::List;
use onetree_protocol::{Depth, Path, Pattern, View};

/// The same allocator as in the program, for the floor too: docs/adr/0009-allocator.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Repeats of each measurement.
const RUNS: usize = 9;

/// The floor: an ordered map of shared paths to shared bytes, and nothing else.
type Bare = BTreeMap<Arc<str>, Arc<[u8]>>;

fn main() {
    let paths = paths(entries());
    let mut state = common::tree(&paths);
    let entry = |(n, path): (usize, &Path)| (Arc::<str>::from(path.as_str()), value(n).bytes);
    let mut bare: Bare = paths.iter().enumerate().map(entry).collect();
    let mut rows = updates(&mut state, &mut bare, &paths);
    rows.extend(reads(&state, &bare, &paths));
    rows.extend(since(&mut state, &paths));
    print(&rows);
}

/// A way of updating existing entries.
struct Way<'a> {
    figure: &'static str,
    goal: &'static str,
    /// The entries to update, in random order or in sequence.
    of: &'a [Path],
    in_order: bool,
    held: Held,
    tree: Times,
    bare: Times,
}

/// Puts at existing entries. Each batch of requests is made just before, as if it had been read
/// from the sockets, and is measured separately.
fn updates(state: &mut State, bare: &mut Bare, paths: &[Path]) -> Vec<Row> {
    let mut sorted = paths.to_vec();
    sorted.sort();
    let (some, few) = (&paths[..paths.len() / 100], &paths[..paths.len() / 1_000]);
    let way = |figure, goal, of, in_order, held| {
        let (tree, bare) = Default::default();
        Way { figure, goal, of, in_order, held, tree, bare }
    };
    let mut ways = [
        way("updates anywhere", "400k/s", paths, false, Held::Nothing),
        way("the same, a snapshot every 1,024", "", paths, false, Held::EachBatch),
        way("the same, a snapshot each time", "", paths, false, Held::EachCommit),
        way("updates of 10,000 of the entries", "", some, false, Held::Nothing),
        way("the same, a snapshot every 1,024", "", some, false, Held::EachBatch),
        way("updates of 1,000 of the entries", "", few, false, Held::Nothing),
        way("the same, a snapshot every 1,024", "", few, false, Held::EachBatch),
        way("updates of neighbours", "", &sorted, true, Held::Nothing),
        way("the same, a snapshot every 1,024", "", &sorted, true, Held::EachBatch),
    ];
    let mut random = Random(2);
    let (runs, batches) = if is_trial() { (1, 1) } else { (RUNS, 20) };
    // The ways take turns, so that a busy machine disturbs all of them.
    for _ in 0..runs {
        for way in &mut ways {
            let mut at = random.below(way.of.len());
            let mut next = || {
                at = if way.in_order { at + 1 } else { random.below(way.of.len()) };
                &way.of[at % way.of.len()]
            };
            for _ in 0..batches {
                let requests: Vec<Request> = (0..BATCH).map(|n| put(next(), n)).collect();
                let start = Instant::now();
                commit(state, requests, way.held);
                way.tree.add(start.elapsed(), BATCH);
            }
            for _ in 0..batches {
                let puts: Vec<(Arc<str>, Arc<[u8]>)> =
                    (0..BATCH).map(|n| (next().as_str().into(), value(n).bytes)).collect();
                let start = Instant::now();
                for (path, value) in puts {
                    *bare.get_mut(&path).unwrap() = value;
                }
                way.bare.add(start.elapsed(), BATCH);
            }
        }
    }
    let row = |Way { figure, goal, tree, bare, .. }| Row {
        figure,
        goal,
        measured: tree.rates(),
        floor: format!("{} BTreeMap, replace the value", bare.rates()),
    };
    ways.map(row).into()
}

/// What readers do with a snapshot.
fn reads(state: &State, bare: &Bare, paths: &[Path]) -> Vec<Row> {
    let n = bare.len();
    let snapshot = state.snapshot();
    let root = Path::root();
    let all = View::tree(root.clone());
    let seen = View { patterns: vec![Pattern::parse("**").unwrap()], ..all.clone() };
    let page = List {
        id: 1,
        path: root.clone(),
        depth: Depth::Tree,
        after: None,
        before: None,
        reverse: false,
        limit: 0,
        values: true,
    };
    let mut random = Random(4);
    let mut times: [Times; 10] = Default::default();
    for _ in 0..if is_trial() { 1 } else { RUNS } {
        let mut time = |way: usize, operations: usize, run: &mut dyn FnMut()| {
            times[way].add(common::time(run), operations);
        };
        time(0, n, &mut || {
            let sizes = snapshot.entries(&root).map(|(path, rev, value)| {
                path.as_str().len() + value.bytes.len() + (rev.get() & 1) as usize
            });
            black_box(sizes.sum::<usize>());
        });
        time(1, n, &mut || {
            black_box(bare.iter().map(|(path, value)| path.len() + value.len()).sum::<usize>());
        });
        time(2, n, &mut || assert!(snapshot.digest(&seen, &mut { usize::MAX }).is_some()));
        time(3, n, &mut || {
            let first = |bytes: &[u8]| usize::from(bytes[0]);
            let all = bare.iter().map(|(path, value)| first(path.as_bytes()) + first(value));
            black_box(all.sum::<usize>());
        });
        time(4, n, &mut || drop(black_box(snapshot.list(&page, usize::MAX, usize::MAX))));
        time(5, n, &mut || assert_eq!(common::refresh(&snapshot, &all, None), n));
        time(6, n, &mut || {
            let all = bare.iter().map(|(path, value)| (path.clone(), value.clone()));
            drop(black_box(all.collect::<Vec<_>>()));
        });
        let mut some = || -> Vec<Path> {
            let any = |_| Path::parse(paths[random.below(n)].as_str()).unwrap();
            (0..BATCH).map(any).collect()
        };
        let (some, others) = (some(), some());
        time(7, BATCH, &mut || assert!(some.iter().all(|path| snapshot.get(path).is_some())));
        time(8, BATCH, &mut || assert!(others.iter().all(|path| bare.contains_key(path.as_str()))));
        time(9, 1_000, &mut || (0..1_000).for_each(|_| drop(black_box(state.snapshot()))));
    }
    let shared = Arc::new(0_u64);
    let clone = Times::of(RUNS, 1_000, || {
        (0..1_000).for_each(|_| drop(black_box(black_box(&shared).clone())));
    });
    let [iterate, bare_iterate, seen, bare_read, list, refresh, bare_clone, get, bare_get, take] =
        times;
    let row = |figure, goal, tree: &Times, floor: &Times, what| {
        let floor = format!("{} {what}", floor.rates());
        Row { figure, goal, measured: tree.rates(), floor }
    };
    let shared = "BTreeMap, collect shared paths and values";
    vec![
        row("entries fetched by path, anywhere", "", &get, &bare_get, "BTreeMap, look up"),
        row("entries iterated", "10M/s", &iterate, &bare_iterate, "BTreeMap, iterate"),
        row(
            "entries matched with a pattern, for a digest",
            "",
            &seen,
            &bare_read,
            "BTreeMap, iterate and read a byte of each path and value",
        ),
        row("entries listed", "", &list, &bare_clone, shared),
        row("entries of a refresh, as frames", "", &refresh, &bare_clone, shared),
        Row {
            figure: "a snapshot, taken and dropped",
            goal: "1 us",
            measured: take.spans(),
            floor: format!("{} one reference count up and down", clone.spans()),
        },
    ]
}

/// A hundred changes anywhere in the tree: the cost of bringing a mirror over them, and of checking
/// the mirror. It is measured right after the changes were made, and again when the caches hold
/// something else. All first measurements come before all second ones, because emptying the caches
/// for the latter would empty them for the former.
fn since(state: &mut State, paths: &[Path]) -> Vec<Row> {
    let mut random = Random(3);
    let mut times: [[Times; 5]; 2] = Default::default();
    let other = vec![1_u64; if is_trial() { 1 } else { 16 << 20 }];
    let runs = if is_trial() { 1 } else { 50 };
    for run in 0..2 * runs {
        let before = state.rev();
        let touched: Vec<&Path> = (0..100).map(|_| &paths[random.below(paths.len())]).collect();
        let requests: Vec<Request> = touched.iter().map(|path| put(path, 0)).collect();
        commit(state, requests, Held::Nothing);
        let snapshot = state.snapshot();
        let parents: Vec<Path> = touched.iter().filter_map(|path| path.parent()).collect();
        let (all, site) = (View::tree(Path::root()), View::tree(common::site()));
        let cold = run / runs;
        let mut time = |way: usize, run: &mut dyn FnMut()| {
            if cold == 1 {
                black_box(other.iter().sum::<u64>());
            }
            times[cold][way].add(common::time(run), 1);
        };
        time(0, &mut || {
            black_box(common::refresh(&snapshot, &all, Some(before)));
        });
        time(1, &mut || {
            black_box(snapshot.digest(&all, &mut 0));
        });
        time(2, &mut || {
            black_box(snapshot.digest(&site, &mut 0));
        });
        time(3, &mut || {
            for parent in &parents {
                black_box(snapshot.summary(parent).digest());
            }
        });
        time(4, &mut || {
            for path in &touched {
                black_box(snapshot.get(path));
            }
        });
    }
    let [warm, cold] = &times;
    let row = |figure, goal, times: &[Times; 5], way: usize| Row {
        figure,
        goal,
        measured: times[way].spans(),
        floor: format!("{} the 100 entries, each by its path", times[4].spans()),
    };
    let kept = |figure, way: usize| Row {
        figure,
        goal: "100 us",
        measured: warm[way].spans(),
        floor: String::from("0: it is kept, or is a sum of what is"),
    };
    vec![
        row("changes since, 100 anywhere, just made", "100 us", warm, 0),
        row("the same, from memory", "100 us", cold, 0),
        kept("the digest of the tree after them", 1),
        kept("the digest of a subtree of 20,000", 2),
        row("100 digests, of all subtrees that changed", "", warm, 3),
        row("the same, from memory", "", cold, 3),
    ]
}
