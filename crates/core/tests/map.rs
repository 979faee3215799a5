//! The map against a model: a `BTreeMap`, and a list of what was forgotten.
//!
//! Each property prints its seed when it fails; `ONETREE_SEED=<seed> cargo test --test map` runs
//! the same cases again.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;

use onetree_core::map::{Hint, Item, Map, Summary};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestRunner};

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    key: Arc<str>,
    revision: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Sum {
    count: u64,
    digest: u64,
    revision: u64,
    /// The highest revision of the items that were forgotten: a residue.
    forgotten: u64,
}

impl Item for Entry {
    type Key = str;
    type Handle = Arc<str>;
    type Summary = Sum;

    /// (The maps of `map_cost.rs` have keys without letters.)
    const SPELLED: bool = true;

    fn letter(key: &str, place: usize) -> u8 {
        key.as_bytes().get(place).copied().unwrap_or(0)
    }

    fn parting(one: &str, other: &str) -> usize {
        let same = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other);
        same.count()
    }

    fn key(&self) -> &str {
        &self.key
    }

    fn handle(&self) -> Arc<str> {
        Arc::clone(&self.key)
    }

    fn summary(&self) -> Sum {
        let number: u64 = self.key.parse().expect("keys are numbers");
        let digest = (number << 32 | self.revision).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Sum { count: 1, digest, revision: self.revision, forgotten: 0 }
    }
}

impl Summary for Sum {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.digest = self.digest.wrapping_add(other.digest);
        self.revision = self.revision.max(other.revision);
        self.forgotten = self.forgotten.max(other.forgotten);
    }

    fn peak(&self) -> u64 {
        self.revision.max(self.forgotten)
    }

    fn residue(&self) -> Self {
        Self { forgotten: self.revision.max(self.forgotten), ..Self::default() }
    }

    fn replace(&mut self, old: &Self, new: &Self) -> bool {
        let falls = |sum, old, new| sum == old && new < old;
        if falls(self.revision, old.revision, new.revision)
            || falls(self.forgotten, old.forgotten, new.forgotten)
        {
            return false;
        }
        self.count = self.count - old.count + new.count;
        self.digest = self.digest.wrapping_sub(old.digest).wrapping_add(new.digest);
        self.revision = self.revision.max(new.revision);
        self.forgotten = self.forgotten.max(new.forgotten);
        true
    }
}

type Number = u16;

fn name(number: Number) -> Arc<str> {
    format!("{number:05}").into()
}

/// Selects the keys from the start of the range up to its end, which is not included.
fn span(range: &Range<Number>) -> impl Fn(&str) -> Ordering + Copy + use<> {
    let Range { start, end } = *range;
    move |key| match key.parse::<Number>().expect("keys are numbers") {
        number if number < start => Ordering::Less,
        number if number < end => Ordering::Equal,
        _ => Ordering::Greater,
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(Number),
    /// This many numbers, ascending.
    Load(Number, u8),
    Modify(Number, Number),
    /// With a hint that was fetched for others before, or just now, or with none; the last number
    /// says which.
    Upsert(Number, Number, u8),
    Remove(Number),
    Forget(Number),
    RemoveSpan(Range<Number>),
    Snapshot,
    Look {
        span: Range<Number>,
        above: Number,
        ends: u64,
    },
}

fn ops(keys: Number, count: usize) -> impl Strategy<Value = Vec<Op>> {
    let key = || 0..keys;
    // Include long spans and short ones.
    let range = move || {
        let end = prop_oneof![0..=keys, 0..=keys / 8, 0..4u16];
        (0..keys, end).prop_map(|(start, len)| start..start.saturating_add(len))
    };
    let op = prop_oneof![
        30 => key().prop_map(Op::Insert),
        6 => (key(), any::<u8>()).prop_map(|(key, len)| Op::Load(key, len)),
        15 => (key(), any::<Number>()).prop_map(|(key, to)| Op::Modify(key, to)),
        15 => (key(), any::<Number>(), any::<u8>())
            .prop_map(|(key, to, with)| Op::Upsert(key, to, with)),
        20 => key().prop_map(Op::Remove),
        12 => key().prop_map(Op::Forget),
        3 => range().prop_map(Op::RemoveSpan),
        3 => Just(Op::Snapshot),
        15 => (range(), any::<Number>(), any::<u64>())
            .prop_map(|(span, above, ends)| Op::Look { span, above, ends }),
    ];
    proptest::collection::vec(op, 1..count)
}

#[derive(Clone, Default)]
struct Model {
    revisions: BTreeMap<Number, u64>,
    forgotten: Vec<(Number, u64)>,
}

struct World<const LEAF: usize, const FANOUT: usize> {
    map: Map<Entry, LEAF, FANOUT>,
    model: Model,
    revision: u64,
    keys: Number,
    held: Vec<(Map<Entry, LEAF, FANOUT>, Model)>,
    hints: Vec<Hint>,
}

impl<const LEAF: usize, const FANOUT: usize> World<LEAF, FANOUT> {
    fn new(keys: Number) -> Self {
        let (map, model) = (Map::default(), Model::default());
        Self { map, model, revision: 0, keys, held: Vec::new(), hints: Vec::new() }
    }

    /// Returns a number that is there, if there is any: the one at or above `number`, or the first.
    fn present(&self, number: Number) -> Number {
        let mut from = self.model.revisions.range(number..);
        let found = from.next().or_else(|| self.model.revisions.iter().next());
        found.map_or(number, |(&number, _)| number)
    }

    fn insert(&mut self, number: Number) {
        self.revision += 1;
        let revision = self.revision;
        let old = self.map.insert(Entry { key: name(number), revision });
        let expected = self.model.revisions.insert(number, revision);
        assert_eq!(old.map(|entry| entry.revision), expected);
    }

    fn step(&mut self, op: &Op) -> usize {
        match *op {
            Op::Insert(number) => self.insert(number),
            Op::Load(start, len) => {
                (start..self.keys).take(len.into()).for_each(|number| self.insert(number));
            }
            Op::Modify(number, to) => {
                let number = if to % 8 == 0 { number } else { self.present(number) };
                let done = self.map.modify(&name(number), |entry| entry.revision = to.into());
                let expected = self.model.revisions.get_mut(&number);
                assert_eq!(done, expected.is_some());
                expected.into_iter().for_each(|revision| *revision = to.into());
            }
            Op::Upsert(number, to, with) => {
                let number = if to % 8 == 0 { number } else { self.present(number) };
                let hint = match with % 4 {
                    0 => Hint::default(),
                    // A hint for another key, or for this key from an earlier state of the map.
                    1 if !self.hints.is_empty() => self.hints[usize::from(with) % self.hints.len()],
                    _ => {
                        // Some keys that are there and some that are not, more than go down
                        // together.
                        let names: Vec<_> = (number..).take(40).map(name).collect();
                        let hints = self.map.fetch(names.iter().map(|name| &**name));
                        assert_eq!(hints.len(), names.len());
                        self.hints.extend(&hints);
                        hints[0]
                    }
                };
                let made = || Entry { key: name(number), revision: 0 };
                let change = |entry: &mut Entry| entry.revision = to.into();
                let there = self.map.upsert_at(hint, &name(number), made, change);
                let before = self.model.revisions.insert(number, to.into());
                assert_eq!(there, before.is_some());
            }
            Op::Remove(number) => {
                // Every eighth number need not be there.
                let number = if number % 8 == 0 { number } else { self.present(number) };
                let removed = self.map.remove(&name(number)).map(|entry| entry.revision);
                assert_eq!(removed, self.model.revisions.remove(&number));
            }
            Op::Forget(number) => {
                let number = if number % 8 == 0 { number } else { self.present(number) };
                let forgotten = self.map.forget(&name(number)).map(|entry| entry.revision);
                assert_eq!(forgotten, self.model.revisions.remove(&number));
                self.model.forgotten.extend(forgotten.map(|revision| (number, revision)));
            }
            Op::RemoveSpan(ref range) => self.remove_span(range),
            Op::Snapshot => self.held.push((self.map.clone(), self.model.clone())),
            Op::Look { ref span, above, ends } => {
                look(&self.map, &self.model, span, above.into(), ends);
            }
        }
        self.map.check_invariants();
        assert_eq!(self.map.len(), self.model.revisions.len());
        self.map.height()
    }

    fn remove_span(&mut self, range: &Range<Number>) {
        let removed = self.map.remove_span(span(range));
        let expected: Vec<_> =
            self.model.revisions.range(range.clone()).map(|(&n, &r)| (n, r)).collect();
        self.model.revisions.retain(|number, _| !range.contains(number));
        let sum = add_up(expected.iter().copied());
        assert_eq!(removed.count, expected.len());
        assert_eq!(
            (removed.summary.count, removed.summary.digest, removed.summary.revision),
            (sum.count, sum.digest, sum.revision)
        );
    }

    /// Checks that every snapshot shows what the model was when the snapshot was taken.
    fn finish(self) {
        for (map, model) in self.held.into_iter().chain([(self.map, self.model)]) {
            map.check_invariants();
            look(&map, &model, &(0..self.keys), 0, 0);
            for &number in model.revisions.keys() {
                assert!(map.contains(&name(number)));
            }
        }
    }
}

fn add_up(entries: impl Iterator<Item = (Number, u64)>) -> Sum {
    let mut sum = Sum::default();
    entries.for_each(|(n, revision)| sum.add(&Entry { key: name(n), revision }.summary()));
    sum
}

fn pair(entry: &Entry) -> (Number, u64) {
    (entry.key.parse().expect("keys are numbers"), entry.revision)
}

/// Takes items from both ends, as the bits of `ends` say, and puts the results together.
fn from_both_ends<'a>(
    mut iter: impl DoubleEndedIterator<Item = &'a Entry>,
    mut ends: u64,
) -> Vec<(Number, u64)> {
    let (mut front, mut back) = (Vec::new(), Vec::new());
    loop {
        ends = ends.rotate_right(1);
        let (next, side) = match ends & 1 {
            0 => (iter.next(), &mut front),
            _ => (iter.next_back(), &mut back),
        };
        let Some(entry) = next else { break };
        side.push(pair(entry));
    }
    assert!(iter.next().is_none() && iter.next_back().is_none(), "more after the end");
    front.extend(back.into_iter().rev());
    front
}

/// Compares everything that can be asked about a span with a naive filter.
fn look<const LEAF: usize, const FANOUT: usize>(
    map: &Map<Entry, LEAF, FANOUT>,
    model: &Model,
    range: &Range<Number>,
    above: u64,
    ends: u64,
) {
    let place = span(range);
    let inside: Vec<_> = model.revisions.range(range.clone()).map(|(&n, &r)| (n, r)).collect();
    assert_eq!(from_both_ends(map.range(place), ends), inside);
    assert_eq!(map.range(place).rev().count(), inside.len());
    let keep = |sum: &Sum| sum.revision > above;
    let recent: Vec<_> = inside.iter().copied().filter(|&(_, r)| r > above).collect();
    assert_eq!(from_both_ends(map.range_where(place, keep), ends), recent);
    assert_eq!(from_both_ends(map.range_above(place, above, |_| true), ends), recent);
    let even = |sum: &Sum| sum.count > 1 || sum.digest.is_multiple_of(2);
    let both = from_both_ends(map.range_where(place, |sum| keep(sum) && even(sum)), ends);
    assert_eq!(from_both_ends(map.range_above(place, above, even), ends), both);
    assert_eq!(map.range_above(place, u64::MAX, |_| true).count(), 0);
    assert!(map.iter().map(pair).eq(model.revisions.iter().map(|(&n, &r)| (n, r))));

    let (sum, exact) = (map.span_summary(place), add_up(inside.into_iter()));
    assert_eq!(Sum { forgotten: 0, ..sum.clone() }, exact);
    let lost = model.forgotten.iter().filter(|(number, _)| range.contains(number));
    let least = lost.map(|&(_, revision)| revision).max().unwrap_or(0);
    assert!(sum.forgotten >= least, "{} was forgotten, not {}", least, sum.forgotten);
    assert!(map.summary().forgotten == model.forgotten.iter().map(|f| f.1).max().unwrap_or(0));
}

/// Runs random sequences of operations, and expects that some reach `height`.
fn run<const LEAF: usize, const FANOUT: usize>(
    cases: u32,
    keys: Number,
    count: usize,
    height: usize,
) {
    let seed = match std::env::var("ONETREE_SEED") {
        Ok(seed) => seed.parse().expect("ONETREE_SEED is a number"),
        Err(_) => RandomState::new().hash_one("seed"),
    };
    println!("to run this again: ONETREE_SEED={seed}");
    let mut runner = TestRunner::new(Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    });
    let highest = Cell::new(0);
    let story = |ops: Vec<Op>| -> TestCaseResult {
        let mut world = World::<LEAF, FANOUT>::new(keys);
        for op in &ops {
            highest.set(highest.get().max(world.step(op)));
        }
        world.finish();
        Ok(())
    };
    if let Err(error) = runner.run(&ops(keys, count), story) {
        panic!("{error}\nONETREE_SEED={seed}");
    }
    assert!(highest.get() >= height, "no tree was higher than {}", highest.get());
}

#[test]
fn behaves_as_the_model_in_small_nodes() {
    run::<4, 4>(192, 600, 120, 4);
}

#[test]
fn behaves_as_the_model_in_odd_nodes() {
    run::<7, 5>(96, 900, 160, 4);
}

#[test]
fn behaves_as_the_model_in_nodes_of_the_usual_size() {
    run::<{ onetree_core::map::LEAF }, { onetree_core::map::FANOUT }>(24, 9000, 400, 3);
}

fn loaded(count: Number) -> Map<Entry, 4, 4> {
    (0..count).map(|number| Entry { key: name(number), revision: 1 }).collect()
}

#[test]
fn empty() {
    let mut map: Map<Entry> = Map::new();
    assert!(map.is_empty());
    assert_eq!((map.len(), map.height()), (0, 1));
    assert_eq!(map.summary(), Sum::default());
    assert_eq!(map.span_summary(span(&(0..9))), Sum::default());
    assert!(map.get("00001").is_none() && map.iter().next().is_none());
    assert!(map.remove("00001").is_none() && map.forget("00001").is_none());
    assert!(!map.modify("00001", |_| unreachable!("there is no such item")));
    assert_eq!(map.remove_span(span(&(0..9))).count, 0);
    map.check_invariants();
}

#[test]
fn emptied_in_every_direction() {
    let orders: [fn(Number) -> Number; 3] = [|n| n, |n| 999 - n, |n| n * 7 % 1000];
    for order in orders {
        let mut map = loaded(1000);
        for number in (0..1000).map(order) {
            assert!(map.remove(&name(number)).is_some());
            map.check_invariants();
        }
        assert_eq!((map.len(), map.height(), map.summary()), (0, 1, Sum::default()));
    }
}

#[test]
fn a_residue_stays_near_the_key() {
    let mut map = loaded(1000);
    map.modify(&name(500), |entry| entry.revision = 70);
    assert_eq!(map.forget(&name(500)).map(|entry| entry.revision), Some(70));
    assert_eq!(map.span_summary(span(&(500..501))).forgotten, 70);
    assert_eq!(map.span_summary(span(&(0..480))).forgotten, 0);
    assert_eq!(map.span_summary(span(&(520..1000))).forgotten, 0);
}

#[test]
fn a_residue_outlives_splits_joins_and_cuts() {
    let mut map = loaded(1000);
    map.forget(&name(500)).expect("it was there");
    let lost = |map: &Map<Entry, 4, 4>| map.span_summary(span(&(500..501))).forgotten;
    for number in (480..520).rev() {
        map.insert(Entry { key: format!("{number:05}").into(), revision: 1 });
        assert_eq!(lost(&map), 1);
    }
    for number in 490..510 {
        map.remove(&name(number));
        assert_eq!(lost(&map), 1);
    }
    assert!(map.remove_span(span(&(300..700))).count > 300);
    map.check_invariants();
    assert_eq!(lost(&map), 1);
    map.remove_span(|_| Ordering::Equal);
    map.check_invariants();
    assert!(map.is_empty());
    assert_eq!(lost(&map), 1);
}

#[test]
fn a_snapshot_is_never_written() {
    let mut map = loaded(1000);
    let before = map.clone();
    map.remove_span(span(&(100..900)));
    map.modify(&name(950), |entry| entry.revision = 9);
    map.insert(Entry { key: name(2000), revision: 9 });
    assert_eq!((before.len(), map.len()), (1000, 201));
    assert_eq!(before.summary(), loaded(1000).summary());
    assert_eq!(before.get(&name(950)).map(|entry| entry.revision), Some(1));
    before.check_invariants();
}

#[test]
fn a_hint_from_another_map_does_no_harm() {
    let hints = loaded(200).fetch((0..200).map(name).collect::<Vec<_>>().iter().map(|n| &**n));
    let mut map = loaded(120);
    for number in 0..200 {
        let hint = hints[usize::from(199 - number)];
        let made = || Entry { key: name(number), revision: 0 };
        let there = map.upsert_at(hint, &name(number), made, |entry| entry.revision = 7);
        assert_eq!(there, number < 120);
    }
    assert_eq!(map.len(), 200);
    assert!(map.iter().all(|entry| entry.revision == 7));
    map.check_invariants();
}

#[test]
fn a_span_that_is_not_monotone_breaks_nothing() {
    let mut map = loaded(1000);
    let odd = |key: &str| match key.as_bytes()[4] % 3 {
        0 => Ordering::Greater,
        1 => Ordering::Equal,
        _ => Ordering::Less,
    };
    let _ = (map.span_summary(odd), map.range(odd).count());
    let removed = map.remove_span(odd).count;
    map.check_invariants();
    assert_eq!(map.len() + removed, 1000);
}

#[test]
fn words_that_begin_other_words_are_found_and_their_absence_too() {
    const WORDS: usize = 2_000;
    let word = |n: usize| Arc::<str>::from(n.to_string());
    let mut map: Map<Entry, 4, 4> = Map::default();
    let mut model = BTreeMap::new();
    // Each word once, in no order; among them 1, 10, 100 and 1000.
    for n in (0..WORDS).map(|n| n * 773 % WORDS) {
        assert!(map.insert(Entry { key: word(n), revision: 1 }).is_none());
        model.insert(word(n), 1);
    }
    for n in (0..WORDS).filter(|n| n % 3 != 0) {
        assert!(map.remove(&word(n)).is_some());
        model.remove(&word(n));
    }
    map.check_invariants();
    for n in 0..WORDS * 10 {
        assert_eq!(map.contains(&word(n)), model.contains_key(&word(n)), "{n}");
    }
    assert!(map.iter().map(|entry| &entry.key).eq(model.keys()));
}

/// Builds maps of every size up to some levels of the smallest nodes, then changes them like any
/// other map.
#[test]
fn a_map_that_is_built_from_items_in_order_is_like_one_that_they_were_put_into() {
    for size in (0..200).chain([1_000, 5_000]) {
        let item = |number| Entry { key: name(number), revision: u64::from(number) + 1 };
        let residue = Sum { forgotten: 7, ..Sum::default() };
        let mut built: Map<Entry, 4, 4> = Map::from_sorted((0..size).map(item), &residue);
        built.check_invariants();
        assert!(built.iter().cloned().eq((0..size).map(item)), "{size}");
        assert_eq!((built.len(), built.summary().forgotten), (size as usize, 7));
        for number in (0..size).step_by(3) {
            built.remove(&name(number));
            built.insert(item(number + size));
        }
        built.check_invariants();
    }
}
