//! `cargo bench -p onetree-core --bench tree`: the common operations of a broker on the tree, each
//! beside its floor, with a small tree that fits into the caches and with a large one.

#[expect(dead_code, reason = "each benchmark uses its part")]
mod common;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use common::{BATCH, Held, Random, commit, put, value};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use onetree_core::{Request, State};
use onetree_protocol::{Path, Revision, View};

fn main() {
    divan::main();
}

/// The numbers of entries.
const SIZES: [usize; 2] = [1_000, common::ENTRIES];

/// A tree that is being changed.
struct Tree {
    state: State,
    paths: Vec<Path>,
    random: Random,
}

impl Tree {
    /// Returns the tree of this size, which is made once.
    fn of(size: usize) -> MutexGuard<'static, Tree> {
        static TREES: [LazyLock<Mutex<Tree>>; 2] = [
            LazyLock::new(|| Mutex::new(Tree::new(SIZES[0]))),
            LazyLock::new(|| Mutex::new(Tree::new(common::entries()))),
        ];
        TREES[usize::from(size != SIZES[0])].lock().unwrap()
    }

    fn new(size: usize) -> Tree {
        let paths = common::paths(size);
        Tree { state: common::tree(&paths), paths, random: Random(2) }
    }

    fn any(&mut self) -> &Path {
        &self.paths[self.random.below(self.paths.len())]
    }

    fn requests(&mut self, count: usize) -> Vec<Request> {
        (0..count).map(|n| put(self.any(), n)).collect()
    }
}

/// Commits of one update each, anywhere in the tree.
mod apply {
    use super::*;

    fn run(bencher: Bencher<'_, '_>, size: usize, held: Held) {
        let tree = RefCell::new(Tree::of(size));
        bencher
            .counter(ItemsCount::new(BATCH))
            .with_inputs(|| tree.borrow_mut().requests(BATCH))
            .bench_local_values(|requests| commit(&mut tree.borrow_mut().state, requests, held));
    }

    #[divan::bench(args = SIZES)]
    fn nothing_held(bencher: Bencher<'_, '_>, size: usize) {
        run(bencher, size, Held::Nothing);
    }

    #[divan::bench(args = SIZES)]
    fn snapshot_each_batch(bencher: Bencher<'_, '_>, size: usize) {
        run(bencher, size, Held::EachBatch);
    }

    #[divan::bench(args = SIZES)]
    fn snapshot_each_commit(bencher: Bencher<'_, '_>, size: usize) {
        run(bencher, size, Held::EachCommit);
    }

    /// The floor: replaces the value in a `BTreeMap`.
    #[divan::bench(args = SIZES)]
    fn floor(bencher: Bencher<'_, '_>, size: usize) {
        let mut tree = Tree::of(size);
        let entry = |path: &Path| (Arc::<str>::from(path.as_str()), value(0).bytes);
        let mut map: BTreeMap<_, _> = tree.paths.iter().map(entry).collect();
        bencher
            .counter(ItemsCount::new(BATCH))
            .with_inputs(|| (0..BATCH).map(|_| entry(tree.any())).collect::<Vec<_>>())
            .bench_local_values(|puts| {
                for (path, value) in puts {
                    map.insert(path, value);
                }
            });
    }
}

/// Makes the mirror of a site, one fiftieth of the tree, from nothing.
mod refresh {
    use super::*;

    #[divan::bench(args = SIZES)]
    fn frames(bencher: Bencher<'_, '_>, size: usize) {
        let snapshot = Tree::of(size).state.snapshot();
        let view = View::tree(common::site());
        bencher
            .counter(ItemsCount::new(snapshot.summary(&view.base).live))
            .bench(|| common::refresh(&snapshot, &view, None));
    }

    /// The floor: puts as many shared paths and values into a list.
    #[divan::bench(args = SIZES)]
    fn floor(bencher: Bencher<'_, '_>, size: usize) {
        let snapshot = Tree::of(size).state.snapshot();
        let entries = || snapshot.entries(&common::site());
        let shared: Vec<_> =
            entries().map(|(path, rev, value)| (path.clone(), rev, value.clone())).collect();
        bencher.counter(ItemsCount::new(shared.len())).bench(|| shared.clone());
    }
}

/// Brings a mirror of everything over the last hundred changes.
mod changes_since {
    use super::*;

    fn changed(size: usize) -> (MutexGuard<'static, Tree>, Revision, Vec<Path>) {
        let mut tree = Tree::of(size);
        let before = tree.state.rev();
        let paths: Vec<Path> = (0..100).map(|_| tree.any().clone()).collect();
        let requests: Vec<Request> = paths.iter().map(|path| put(path, 0)).collect();
        commit(&mut tree.state, requests, Held::Nothing);
        (tree, before, paths)
    }

    #[divan::bench(args = SIZES)]
    fn frames(bencher: Bencher<'_, '_>, size: usize) {
        let (tree, before, _) = changed(size);
        let (snapshot, view) = (tree.state.snapshot(), View::tree(Path::root()));
        bencher.bench(|| common::refresh(&snapshot, &view, Some(before)));
    }

    /// The floor: fetches the same entries, each by its path.
    #[divan::bench(args = SIZES)]
    fn floor(bencher: Bencher<'_, '_>, size: usize) {
        let (tree, _, paths) = changed(size);
        let snapshot = tree.state.snapshot();
        bencher.bench(|| paths.iter().filter_map(|path| snapshot.get(path)).count());
    }
}

/// Computes the digest of the subtree of a site, one fiftieth of the tree.
mod digest {
    use super::*;

    #[divan::bench(args = SIZES)]
    fn subtree(bencher: Bencher<'_, '_>, size: usize) {
        let (snapshot, view) = (Tree::of(size).state.snapshot(), View::tree(common::site()));
        bencher.bench(|| snapshot.digest(black_box(&view), &mut 0));
    }

    /// The floor: fetches one entry by its path.
    #[divan::bench(args = SIZES)]
    fn floor(bencher: Bencher<'_, '_>, size: usize) {
        let tree = Tree::of(size);
        let snapshot = tree.state.snapshot();
        bencher.bench(|| snapshot.get(black_box(&tree.paths[0])));
    }
}

mod snapshot {
    use super::*;

    #[divan::bench(args = SIZES)]
    fn take(bencher: Bencher<'_, '_>, size: usize) {
        let tree = Tree::of(size);
        bencher.bench(|| tree.state.snapshot());
    }

    /// The floor: one reference count up and down.
    #[divan::bench]
    fn floor(bencher: Bencher<'_, '_>) {
        let shared = Arc::new(0_u64);
        bencher.bench(|| black_box(&shared).clone());
    }
}
