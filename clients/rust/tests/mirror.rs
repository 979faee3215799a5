//! The pure mirror against a model: a tree that remembers every revision.
//!
//! Random stories print their seed when they fail. `ONETREE_SEED=<seed> cargo test --test mirror`
//! plays them again.

mod naive;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};

use naive::takes;
use onetree_client::mirror::{Outcome, State};
use onetree_client::protocol::frame::{Fresh, Refresh};
use onetree_client::protocol::{DigestKey, Epoch};
use onetree_client::{
    Act, Change, Depth, Digest, Entry, LogKey, Path, Pattern, Reason, RefreshKind, Revision,
    Snapshot, Value, View,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

type Tree = BTreeMap<Path, (Revision, Value)>;

const KEY: DigestKey = DigestKey(7);
const EPOCH: Epoch = Epoch(1);

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn rev(n: u64) -> Revision {
    Revision::new(n).unwrap()
}

fn log_key(n: u64) -> LogKey {
    LogKey { rev: rev(n), index: 0 }
}

/// What a commit does, before it has a revision.
#[derive(Clone, Debug)]
enum Commit {
    Put(Path),
    Delete(Path),
    Drop(Path),
    Append(Path),
    /// Trims the log up to this percentage of the revisions.
    Trim(Path, u64),
    /// Two changes that belong together.
    Move(Path, Path),
}

/// What a broker sends its mirror next.
#[derive(Clone, Debug)]
enum Step {
    Commit(Commit),
    /// Send what happened, commit by commit.
    Live,
    /// Send it folded, from this many revisions before the mirror's.
    Fold(u64),
    Sync,
    /// Lose the connection, and refresh in pieces of this size. May stop before `fresh`.
    Refresh {
        full: bool,
        piece: usize,
        cut: bool,
        key: u128,
    },
}

/// The tree at each revision, and the changes of each commit.
struct Model {
    trees: Vec<Tree>,
    commits: Vec<Vec<Change>>,
}

impl Model {
    fn now(&self) -> u64 {
        self.trees.len() as u64 - 1
    }

    fn commit(&mut self, commit: &Commit) {
        let at = rev(self.now() + 1);
        let mut tree = self.trees.last().unwrap().clone();
        let value = Value::text(&format!("v{at}"));
        let put = |path: &Path| (path.clone(), Act::Put(Some(value.clone())));
        let acts = match commit {
            Commit::Put(path) => vec![put(path)],
            Commit::Delete(path) => vec![(path.clone(), Act::Delete)],
            Commit::Drop(path) => vec![(path.clone(), Act::Drop)],
            Commit::Append(log) => {
                vec![put(&log.child(&log_key(at.get()).to_string()).unwrap())]
            }
            Commit::Trim(log, part) => {
                let to = log_key(at.get() * part / 100);
                vec![(log.clone(), Act::Trim { to, gap: false })]
            }
            Commit::Move(from, to) => vec![(from.clone(), Act::Delete), put(to)],
        };
        let changes: Vec<Change> =
            acts.into_iter().map(|(path, act)| Change { path, rev: at, act }).collect();
        changes.iter().for_each(|change| apply(&mut tree, change));
        self.trees.push(tree);
        self.commits.push(changes);
    }

    fn seen(&self, view: &View, at: Revision) -> Tree {
        let tree = &self.trees[at.get() as usize];
        tree.iter().filter(|(p, _)| view.sees(p)).map(|(p, e)| (p.clone(), e.clone())).collect()
    }

    /// Returns what leads a mirror from `since` to now: puts and deletes, in path order.
    fn fold(&self, view: &View, since: u64) -> Vec<Change> {
        let (old, new) = (self.seen(view, rev(since)), self.seen(view, rev(self.now())));
        let mut changes = Vec::new();
        for (path, (at, value)) in &new {
            if old.get(path).is_none_or(|(before, _)| before != at) {
                let act = Act::Put(Some(value.clone()));
                changes.push(Change { path: path.clone(), rev: *at, act });
            }
        }
        // A tombstone for each path that was there at any time, as a tree keeps them.
        let there = (since..=self.now()).flat_map(|at| self.seen(view, rev(at)).into_keys());
        let gone: BTreeSet<Path> = there.filter(|path| !new.contains_key(path)).collect();
        for path in gone {
            let last = |at: &u64| self.trees[*at as usize - 1].contains_key(&path);
            let at = (since + 1..=self.now()).rev().find(last).unwrap();
            changes.push(Change { path, rev: rev(at), act: Act::Delete });
        }
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        changes
    }
}

/// The meaning of a change, implemented in another way than in the mirror.
fn apply(tree: &mut Tree, change: &Change) {
    tree.retain(|path, _| !takes(change, path));
    if let Act::Put(value) = &change.act {
        let value = value.clone().unwrap_or_else(|| Value::text(""));
        tree.insert(change.path.clone(), (change.rev, value));
    }
}

fn digest(tree: &Tree, key: DigestKey) -> Digest {
    let mut digest = Digest::default();
    tree.iter().for_each(|(path, (rev, _))| digest.insert(key.hash(path, *rev)));
    digest
}

fn contents(snapshot: &Snapshot, values: bool) -> Tree {
    let entry = |(path, entry): (&Path, &onetree_client::Entry)| {
        assert_eq!(entry.value.is_some(), values);
        let value = entry.value.clone().unwrap_or_else(|| Value::text(""));
        (path.clone(), (entry.rev, value))
    };
    snapshot.iter().map(entry).collect()
}

/// A mirror, and an application that follows its events.
struct Bench {
    view: View,
    key: DigestKey,
    mirror: State,
    follower: Tree,
}

impl Bench {
    fn new(view: View) -> Bench {
        let mut mirror = State::new(view.clone(), None);
        mirror.handle_key(KEY);
        Bench { view, key: KEY, mirror, follower: Tree::new() }
    }

    /// Checks the outcome of a frame: the mirror is the view of the tree at its revision, and an
    /// application that applies its events has the same.
    fn check(&mut self, model: &Model, outcome: &Outcome) {
        match outcome {
            Outcome::Fresh { changes } | Outcome::Delta { changes, .. } => {
                changes.iter().for_each(|change| apply(&mut self.follower, change));
                self.follower.retain(|path, _| self.view.sees(path));
            }
            Outcome::Corrupt { .. } | Outcome::Broken(_) => panic!("{outcome:?}"),
            Outcome::Nothing | Outcome::Refreshing { .. } | Outcome::Synced { .. } => {}
        }
        let snapshot = self.mirror.snapshot();
        let mut expected = model.seen(&self.view, snapshot.rev());
        assert_eq!(self.mirror.digest(), digest(&expected, self.key));
        if !self.view.values {
            expected.values_mut().for_each(|(_, value)| *value = Value::text(""));
        }
        assert_eq!(contents(snapshot, self.view.values), expected, "at {}", snapshot.rev());
        assert_eq!(self.follower, expected, "the follower at {}", snapshot.rev());
        if let Some(cookie) = snapshot.cookie() {
            assert_eq!(cookie.rev, snapshot.rev());
        }
    }

    fn at(&self) -> u64 {
        self.mirror.snapshot().rev().get()
    }

    fn refresh(&mut self, model: &Model, full: bool, piece: usize, cut: bool) {
        let from = self.mirror.snapshot().cookie().map(|cookie| cookie.rev).filter(|_| !full);
        let (kind, why) = match from {
            Some(_) => (RefreshKind::Delta, Reason::Cookie),
            None => (RefreshKind::Full, Reason::NoCookie),
        };
        let mut changes = model.fold(&self.view, from.map_or(0, Revision::get));
        if !self.view.values {
            for change in &mut changes {
                if let Act::Put(value) = &mut change.act {
                    *value = None;
                }
            }
        }
        let refresh = Refresh { sub: 1, kind, why, from };
        let outcome = self.mirror.handle_refresh(&refresh);
        self.check(model, &outcome);
        for piece in changes.chunks(piece) {
            let outcome = self.mirror.handle_entries(piece.to_vec());
            self.check(model, &outcome);
            // A delta is not for a mirror that is being refreshed.
            let ignored = self.mirror.handle_delta(None, rev(model.now()), piece);
            assert_eq!(ignored, Outcome::Nothing);
        }
        if cut {
            self.mirror.handle_lost();
            let late = Fresh { sub: 1, rev: rev(0), view: self.view.fingerprint(), digest: None };
            assert_eq!(self.mirror.handle_fresh(&late, EPOCH), Outcome::Nothing);
            return;
        }
        let now = rev(model.now());
        let digest = Some(digest(&model.seen(&self.view, now), self.key));
        let fresh = Fresh { sub: 1, rev: now, view: self.view.fingerprint(), digest };
        let outcome = self.mirror.handle_fresh(&fresh, EPOCH);
        assert!(matches!(outcome, Outcome::Fresh { .. }), "{outcome:?}");
        self.check(model, &outcome);
        assert_eq!(self.mirror.snapshot().rev(), now);
    }

    fn step(&mut self, model: &mut Model, step: &Step) {
        match step {
            Step::Commit(commit) => model.commit(commit),
            Step::Live => {
                for at in 1..=model.now() {
                    let outcome =
                        self.mirror.handle_delta(None, rev(at), &model.commits[at as usize - 1]);
                    self.check(model, &outcome);
                }
            }
            Step::Fold(before) => {
                let since = self.at().saturating_sub(*before);
                let changes = model.fold(&self.view, since);
                let now = rev(model.now());
                let outcome = self.mirror.handle_delta(Some(rev(since)), now, &changes);
                self.check(model, &outcome);
            }
            Step::Sync if self.at() == model.now() && self.mirror.is_fresh() => {
                let digest = digest(&model.seen(&self.view, rev(self.at())), self.key);
                let outcome = self.mirror.handle_sync(rev(self.at()), Some(digest));
                assert_eq!(outcome, Outcome::Synced { verified: true });
            }
            Step::Sync => {}
            Step::Refresh { full, piece, cut, key } => {
                self.mirror.handle_lost();
                self.key = DigestKey(*key);
                self.mirror.handle_key(self.key);
                self.refresh(model, *full, *piece, *cut);
            }
        }
    }
}

fn some_path() -> impl Strategy<Value = Path> {
    let segment = prop::sample::select(vec!["a", "b", "a-b", "log", "000000000000020000"]);
    prop::collection::vec(segment, 0..4)
        .prop_map(|parts| Path::parse(&format!("/{}", parts.join("/"))).unwrap())
}

fn some_commit() -> impl Strategy<Value = Commit> {
    prop_oneof![
        4 => some_path().prop_map(Commit::Put),
        2 => some_path().prop_map(Commit::Delete),
        1 => some_path().prop_map(Commit::Drop),
        3 => some_path().prop_map(Commit::Append),
        1 => (some_path(), 0u64..100).prop_map(|(log, part)| Commit::Trim(log, part)),
        1 => (some_path(), some_path()).prop_map(|(from, to)| Commit::Move(from, to)),
    ]
}

fn some_step() -> impl Strategy<Value = Step> {
    let refresh = (any::<bool>(), 1usize..5, any::<bool>(), 0u128..3)
        .prop_map(|(full, piece, cut, key)| Step::Refresh { full, piece, cut, key });
    prop_oneof![
        6 => some_commit().prop_map(Step::Commit),
        2 => Just(Step::Live),
        2 => (0u64..4).prop_map(Step::Fold),
        1 => Just(Step::Sync),
        2 => refresh,
    ]
}

fn some_view() -> impl Strategy<Value = View> {
    let depth = prop::sample::select(vec![Depth::Tree, Depth::Tree, Depth::Children, Depth::Entry]);
    let base = prop_oneof![Just(Path::root()), some_path()];
    let pattern = prop::sample::select(vec!["*", "**/log/*", "a/**"]);
    let patterns = prop::collection::vec(pattern, 0..2);
    (base, depth, patterns, any::<bool>()).prop_map(|(base, depth, patterns, values)| {
        let patterns = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        View { base, depth, patterns, tail: None, values }
    })
}

/// Plays a thousand random stories.
fn play<S: Strategy>(story: &S, tell: impl Fn(S::Value)) {
    let seed = match std::env::var("ONETREE_SEED") {
        Ok(seed) => seed.parse().expect("ONETREE_SEED is a number"),
        Err(_) => RandomState::new().hash_one("seed"),
    };
    let mut runner = TestRunner::new(Config {
        cases: 1000,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    });
    let result = runner.run(story, |story| {
        tell(story);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}\nto run this again: ONETREE_SEED={seed}");
    }
}

/// Promise "snapshot": after every frame a mirror is its view of the tree at its revision.
#[test]
fn a_mirror_is_its_view_at_its_revision() {
    let steps = prop::collection::vec(some_step(), 1..60);
    play(&(some_view(), steps), |(view, steps)| {
        let mut bench = Bench::new(view);
        let mut model = Model { trees: vec![Tree::new()], commits: Vec::new() };
        for step in &steps {
            bench.step(&mut model, step);
        }
        bench.mirror.handle_lost();
        bench.refresh(&model, false, 3, false);
    });
}

/// What a slow reader gets, folded, leads from what it knew to the present.
#[test]
fn the_difference_of_two_snapshots_takes_one_to_the_other() {
    let steps = prop::collection::vec(some_step(), 1..60);
    play(&(steps, 0usize..60), |(steps, cut)| {
        let mut bench = Bench::new(View::tree(Path::root()));
        let mut model = Model { trees: vec![Tree::new()], commits: Vec::new() };
        let mut before = Snapshot::default();
        for (at, step) in steps.iter().enumerate() {
            if at == cut {
                before = bench.mirror.snapshot().clone();
            }
            bench.step(&mut model, step);
        }
        let now = bench.mirror.snapshot();
        let changes = now.since(&before);
        assert!(changes.windows(2).all(|pair| pair[0].path < pair[1].path));
        let mut tree = contents(&before, true);
        changes.iter().for_each(|change| apply(&mut tree, change));
        assert_eq!(tree, contents(now, true));
    });
}

fn put(at: &str, n: u64) -> Change {
    Change { path: path(at), rev: rev(n), act: Act::Put(Some(Value::text("x"))) }
}

/// A fresh mirror of the root at revision 5, which holds `/a`.
fn fresh() -> State {
    let mut mirror = State::new(View::tree(Path::root()), None);
    mirror.handle_key(KEY);
    let refresh = Refresh { sub: 1, kind: RefreshKind::Full, why: Reason::NoCookie, from: None };
    mirror.handle_refresh(&refresh);
    mirror.handle_entries(vec![put("/a", 5)]);
    let view = mirror.view().fingerprint();
    let fresh = Fresh { sub: 1, rev: rev(5), view, digest: Some(of(&mirror_of(&[("/a", 5)]))) };
    assert!(matches!(mirror.handle_fresh(&fresh, EPOCH), Outcome::Fresh { .. }));
    mirror
}

fn mirror_of(entries: &[(&str, u64)]) -> Tree {
    entries.iter().map(|(at, n)| (path(at), (rev(*n), Value::text("x")))).collect()
}

fn of(tree: &Tree) -> Digest {
    digest(tree, KEY)
}

#[test]
fn a_delta_from_beyond_the_mirror_is_refused_whole() {
    let mut mirror = fresh();
    let outcome = mirror.handle_delta(Some(rev(6)), rev(8), &[put("/b", 8)]);
    assert!(matches!(outcome, Outcome::Broken(_)), "{outcome:?}");
    assert_eq!(mirror.snapshot().len(), 1);
    assert!(!mirror.is_fresh() && mirror.snapshot().cookie().is_none());
}

#[test]
fn frames_that_break_a_rule_are_not_applied_in_part() {
    let without = Change { act: Act::Put(None), ..put("/c", 7) };
    for second in [put("/c", 9), without] {
        let mut mirror = fresh();
        let outcome = mirror.handle_delta(None, rev(7), &[put("/b", 7), second]);
        assert!(matches!(outcome, Outcome::Broken(_)), "{outcome:?}");
        assert!(mirror.snapshot().get(&path("/b")).is_none());
    }
    let mut mirror = fresh();
    mirror.handle_lost();
    let ahead =
        Refresh { sub: 1, kind: RefreshKind::Delta, why: Reason::Cookie, from: Some(rev(6)) };
    assert!(matches!(mirror.handle_refresh(&ahead), Outcome::Broken(_)));
}

#[test]
fn what_comes_without_a_refresh_breaks_a_rule_where_the_mirror_is_fresh() {
    let view = fresh().view().fingerprint();
    let whole = Fresh { sub: 1, rev: rev(6), view, digest: None };
    let entries = |mirror: &mut State| mirror.handle_entries(vec![put("/b", 6)]);
    let end = |mirror: &mut State| mirror.handle_fresh(&whole, EPOCH);
    for stray in [&entries as &dyn Fn(&mut State) -> Outcome, &end] {
        let mut mirror = fresh();
        let outcome = stray(&mut mirror);
        assert!(matches!(outcome, Outcome::Broken(_)), "{outcome:?}");
        assert!(!mirror.is_fresh() && mirror.snapshot().cookie().is_none());
        assert_eq!(mirror.snapshot().len(), 1);
        // The frame was sent before the mirror was started again.
        assert_eq!(stray(&mut mirror), Outcome::Nothing);
    }
}

#[test]
fn a_delta_that_the_mirror_has_is_skipped() {
    let mut mirror = fresh();
    assert_eq!(mirror.handle_delta(None, rev(5), &[put("/b", 5)]), Outcome::Nothing);
    assert_eq!(mirror.snapshot().len(), 1);
}

#[test]
fn a_wrong_copy_is_found_by_its_digest_and_loses_its_cookie() {
    // The counts are equal: only the sum differs.
    let expected = of(&mirror_of(&[("/a", 4)]));
    let mut mirror = fresh();
    let found = mirror.digest();
    let outcome = mirror.handle_sync(rev(6), Some(expected));
    assert_eq!(outcome, Outcome::Corrupt { expected, found });
    assert_eq!(mirror.snapshot().cookie(), None);
    assert_eq!(mirror.snapshot().rev(), rev(5));
    assert_eq!(mirror.handle_sync(rev(6), Some(found)), Outcome::Nothing);

    let mut mirror = fresh();
    assert_eq!(mirror.handle_sync(rev(6), Some(found)), Outcome::Synced { verified: true });
    assert_eq!(mirror.handle_sync(rev(7), None), Outcome::Synced { verified: false });
    assert_eq!(mirror.snapshot().cookie().map(|cookie| cookie.rev), Some(rev(7)));
    // A digest of an earlier revision says nothing about the present one.
    assert_eq!(mirror.handle_sync(rev(6), Some(expected)), Outcome::Nothing);
}

#[test]
fn an_outrun_refresh_throws_away_what_was_staged() {
    let mut mirror = fresh();
    let again = Refresh { sub: 1, kind: RefreshKind::Full, why: Reason::Outrun, from: None };
    mirror.handle_refresh(&again);
    mirror.handle_entries(vec![put("/old", 6)]);
    mirror.handle_refresh(&again);
    mirror.handle_entries(vec![put("/new", 7)]);
    let view = mirror.view().fingerprint();
    let digest = Some(of(&mirror_of(&[("/new", 7)])));
    let outcome = mirror.handle_fresh(&Fresh { sub: 1, rev: rev(7), view, digest }, EPOCH);
    let Outcome::Fresh { changes } = outcome else { panic!("{outcome:?}") };
    let said: Vec<_> = changes.iter().map(|c| (c.path.as_str(), c.act == Act::Delete)).collect();
    assert_eq!(said, [("/a", true), ("/new", false)]);
}

/// A sweep that outlives its snapshot makes another round, and sends what it had read from a newer
/// snapshot twice.
#[test]
fn what_two_rounds_of_a_sweep_bring_is_told_once() {
    let mut state = fresh();
    let (a, b) = (put("/log/00000000000006000", 6), put("/log/00000000000007000", 7));
    let rounds = [a.clone(), b.clone(), b.clone()];
    let Outcome::Delta { changes, .. } = state.handle_delta(Some(rev(5)), rev(7), &rounds) else {
        panic!("a delta");
    };
    assert_eq!(changes, [a, b]);

    state.handle_lost();
    let (kind, why) = (RefreshKind::Delta, Reason::Cookie);
    state.handle_refresh(&Refresh { sub: 1, kind, why, from: Some(rev(7)) });
    let (c, d) = (put("/log/00000000000008000", 8), put("/log/00000000000009000", 9));
    for piece in [vec![c.clone(), d.clone()], vec![d.clone()]] {
        assert_eq!(state.handle_entries(piece), Outcome::Nothing);
    }
    let view = state.view().fingerprint();
    let whole = Fresh { sub: 1, rev: rev(9), view, digest: None };
    let Outcome::Fresh { changes } = state.handle_fresh(&whole, EPOCH) else { panic!("fresh") };
    assert_eq!(changes, [c, d]);
}

/// Both puts of a transaction have its revision.
#[test]
fn what_one_commit_puts_twice_is_told_as_it_is_last() {
    let say = |text| Change { act: Act::Put(Some(Value::text(text))), ..put("/b", 6) };
    for (first, last) in [("1", "2"), ("1", "1")] {
        let mut state = fresh();
        let outcome = state.handle_delta(None, rev(6), &[say(first), say(last)]);
        let Outcome::Delta { changes, .. } = outcome else { panic!("{outcome:?}") };
        let mut tree = mirror_of(&[("/a", 5)]);
        changes.iter().for_each(|change| apply(&mut tree, change));
        assert_eq!(tree, contents(state.snapshot(), true));
    }
}

#[test]
fn a_refresh_tells_what_its_view_makes_of_it() {
    let view = View { base: path("/v"), values: false, ..View::tree(Path::root()) };
    let mut mirror = State::new(view.clone(), None);
    let fresh = |at| Fresh { sub: 1, rev: rev(at), view: view.fingerprint(), digest: None };
    let (kind, why) = (RefreshKind::Full, Reason::NoCookie);
    mirror.handle_refresh(&Refresh { sub: 1, kind, why, from: None });
    mirror.handle_fresh(&fresh(1), EPOCH);
    mirror.handle_lost();
    let (kind, why) = (RefreshKind::Delta, Reason::Cookie);
    mirror.handle_refresh(&Refresh { sub: 1, kind, why, from: Some(rev(1)) });
    mirror.handle_entries(vec![put("/v/a", 2), put("/elsewhere", 2)]);
    let Outcome::Fresh { changes } = mirror.handle_fresh(&fresh(3), EPOCH) else { panic!("fresh") };
    assert_eq!(changes, [Change { act: Act::Put(None), ..put("/v/a", 2) }]);
}

#[test]
fn differences_say_what_was_there_and_what_is() {
    let mut mirror = fresh();
    mirror.handle_delta(None, rev(6), &[put("/b", 6), put("/c", 6)]);
    let before = mirror.snapshot().clone();
    let gone = Change { path: path("/a"), rev: rev(7), act: Act::Delete };
    mirror.handle_delta(None, rev(8), &[gone, put("/c", 8), put("/d", 7)]);
    let differences = mirror.snapshot().differences(&before);
    let entry = |of: &Option<Entry>| of.as_ref().map(|entry| entry.rev.get());
    let said: Vec<_> = differences
        .iter()
        .map(|d| (d.path.as_str(), d.rev.get(), entry(&d.old), entry(&d.new)))
        .collect();
    let expected =
        [("/a", 8, Some(5), None), ("/c", 8, Some(6), Some(8)), ("/d", 7, None, Some(7))];
    assert_eq!(said, expected);
    assert!(before.differences(&before).is_empty());
}
