//! The cost of the map's operations, in nodes visited (feature `count-visits`): this checks the
//! table in the module's documentation. Unlike time, it is the same on every machine.

#[path = "common/cost.rs"]
mod cost;

use std::cmp::Ordering;
use std::ops::Range;

use cost::{alone, cost};
use onetree_core::{Author, Request, Retention, Settings, State, Time};
use onetree_protocol::frame::Do;
use onetree_protocol::{DigestKey, Epoch, Path, Pattern, Value};

use onetree_core::map::{FANOUT, Hint, Item, LEAF, Map, Summary};

const ITEMS: u64 = 100_000;

#[derive(Clone)]
struct Entry {
    key: u64,
    revision: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Sum {
    count: u64,
    revision: u64,
}

impl Item for Entry {
    type Key = u64;
    type Handle = u64;
    type Summary = Sum;

    fn key(&self) -> &u64 {
        &self.key
    }

    fn handle(&self) -> u64 {
        self.key
    }

    fn summary(&self) -> Sum {
        Sum { count: 1, revision: self.revision }
    }
}

impl Summary for Sum {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.revision = self.revision.max(other.revision);
    }

    fn peak(&self) -> u64 {
        self.revision
    }
}

/// An entry whose key has letters.
#[derive(Clone)]
struct Word(String);

impl Item for Word {
    type Key = String;
    type Handle = String;
    type Summary = Sum;

    const SPELLED: bool = true;

    fn letter(key: &String, place: usize) -> u8 {
        key.as_bytes().get(place).copied().unwrap_or(0)
    }

    fn parting(one: &String, other: &String) -> usize {
        one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count()
    }

    fn key(&self) -> &String {
        &self.0
    }

    fn handle(&self) -> String {
        self.0.clone()
    }

    fn summary(&self) -> Sum {
        Sum { count: 1, revision: 1 }
    }
}

/// Returns every number once, in a scrambled order.
fn shuffled() -> impl Iterator<Item = u64> {
    (0..ITEMS).map(|number| number * 61_813 % ITEMS)
}

fn random() -> Map<Entry> {
    shuffled().map(|key| Entry { key, revision: 1 }).collect()
}

fn height(map: &Map<Entry>) -> u64 {
    map.height() as u64
}

fn span(range: Range<u64>) -> impl Fn(&u64) -> Ordering + Clone {
    move |key| match *key {
        key if key < range.start => Ordering::Less,
        key if key < range.end => Ordering::Equal,
        _ => Ordering::Greater,
    }
}

/// Spans of all lengths.
fn spans() -> impl Iterator<Item = Range<u64>> {
    shuffled().step_by(97).map(|start| start..start + (start * 7 % (ITEMS - start)))
}

#[test]
fn the_tree_is_as_high_as_the_logarithm() {
    let _alone = alone();
    let map = random();
    // Nodes are at least half full if nothing was removed.
    let limit = (ITEMS as f64 / (LEAF / 2) as f64).log((FANOUT / 2) as f64).ceil() as u64 + 1;
    assert!(height(&map) <= limit, "{} > {limit}", height(&map));
}

#[test]
fn a_snapshot_visits_nothing() {
    let _alone = alone();
    let map = random();
    let (visits, snapshot) = cost(|| {
        let snapshot = map.clone();
        assert_eq!((snapshot.len() as u64, snapshot.summary().count), (ITEMS, ITEMS));
        snapshot
    });
    assert_eq!(visits, 0);
    drop(snapshot);
}

#[test]
fn a_lookup_visits_one_path() {
    let _alone = alone();
    let map = random();
    for key in shuffled().step_by(97) {
        assert_eq!(cost(|| map.contains(&key)), (height(&map), true));
    }
    let mut map = map;
    let missing = ITEMS + 1;
    assert_eq!(cost(|| map.remove(&missing).is_some()), (height(&map), false));
    assert_eq!(cost(|| map.modify(&missing, |_| ())), (height(&map), false));
}

#[test]
fn a_write_visits_two_paths() {
    let _alone = alone();
    let mut map = random();
    let h = height(&map);
    for key in shuffled().step_by(97) {
        assert_eq!(cost(|| map.modify(&key, |entry| entry.revision = 2)), (2 * h, true));
        let (visits, old) = cost(|| map.insert(Entry { key, revision: 3 }));
        assert_eq!((visits, old.map(|entry| entry.revision)), (2 * h, Some(2)));
    }
    // One way down to find the item, one to write; and on each level a new node, or a look at two
    // neighbours and a join with one of them.
    for key in shuffled().step_by(7) {
        let h = height(&map);
        let (visits, _) = cost(|| map.remove(&key).expect("it was there"));
        assert!(visits <= 2 * h + 4 * h, "{visits} > 6 * {h}");
    }
    for key in shuffled().step_by(7) {
        let h = height(&map);
        let (visits, _) = cost(|| map.insert(Entry { key, revision: 1 }));
        assert!(visits <= 2 * h + h + 1, "{visits} > 3 * {h} + 1");
    }
}

#[test]
fn a_summary_visits_two_paths() {
    let _alone = alone();
    let map = random();
    for range in spans() {
        let (visits, sum) = cost(|| map.span_summary(span(range.clone())));
        assert_eq!(sum.count, range.end - range.start);
        assert!(visits <= 2 * height(&map), "{visits} for {range:?}");
    }
}

#[test]
fn changes_cost_what_changed() {
    let _alone = alone();
    let mut map = random();
    let h = height(&map);
    let recent = |sum: &Sum| sum.revision > 1;
    for changed in [0, 1, 10, 100, 1000] {
        for key in shuffled().take(changed) {
            map.modify(&key, |entry| entry.revision = 2);
        }
        let all = |_: &u64| Ordering::Equal;
        let limit = 2 * h + changed as u64 * h;
        let (visits, found) = cost(|| map.range_where(all, recent).count());
        assert_eq!(found, changed);
        assert!(visits <= limit, "{visits} > {limit}");
        let (visits, found) = cost(|| map.range_where(all, recent).rev().count());
        assert_eq!(found, changed);
        assert!(visits <= limit, "{visits} > {limit}");
        let (visits, found) = cost(|| map.range_above(all, 1, |_| true).count());
        assert_eq!(found, changed);
        assert!(visits <= limit, "{visits} > {limit}");
    }
}

#[test]
fn a_range_enters_what_is_read() {
    let _alone = alone();
    let map = random();
    let h = height(&map);
    let (visits, key) = cost(|| map.range(span(500..ITEMS)).next().map(|entry| entry.key));
    assert_eq!(key, Some(500));
    assert!(visits <= 3 * h, "{visits}");
    let (visits, key) = cost(|| map.iter().next_back().map(|entry| entry.key));
    assert_eq!(key, Some(ITEMS - 1));
    assert!(visits <= h + 1, "{visits}");
}

#[test]
fn a_big_range_is_removed_without_a_look_inside() {
    let _alone = alone();
    for snapshot_held in [false, true] {
        let mut map = random();
        let snapshot = snapshot_held.then(|| map.clone());
        let h = height(&map);
        let (visits, removed) = cost(|| map.remove_span(span(100..ITEMS - 100)));
        assert_eq!((removed.count as u64, removed.summary.count), (ITEMS - 200, ITEMS - 200));
        assert_eq!(map.len(), 200);
        // On each level: two runs of children freed, residues left at two edges, a few joins.
        let limit = h * (2 * FANOUT as u64 + 2 * h + 8);
        assert!(visits <= limit, "{visits} > {limit}");
        assert!(limit < ITEMS / LEAF as u64 / 4, "a limit that means something");
        map.check_invariants();
        assert!(snapshot.is_none_or(|snapshot| snapshot.len() as u64 == ITEMS));
    }
    let mut map = random();
    let (visits, removed) = cost(|| map.remove_span(span(ITEMS..2 * ITEMS)));
    assert_eq!(removed.count, 0);
    assert!(visits <= 2 * height(&map), "{visits}");
}

#[test]
fn many_searches_go_down_once_each_and_their_hints_save_another() {
    let _alone = alone();
    let mut map: Map<Word> = shuffled().map(|key| Word(format!("{key:06}"))).collect();
    let h = map.height() as u64;
    let keys: Vec<String> = (0..100).map(|key| format!("{:06}", key * 997)).collect();
    let (visits, hints) = cost(|| map.fetch(&keys));
    assert_eq!((visits, hints.len()), (100 * h, 100));
    for (key, hint) in keys.iter().zip(hints) {
        let made = || unreachable!("it is there");
        let (visits, done) = cost(|| map.upsert_at(hint, key, made, |_| {}));
        assert_eq!((visits, done), (2 * h, true));
    }
    // A key that is not there yet also takes one search.
    let key = "000000+".to_owned();
    let fresh = || Word(key.clone());
    let (visits, there) = cost(|| map.upsert_at(Hint::default(), &key, fresh, |_| {}));
    assert!(!there && (2 * h..=2 * h + 3).contains(&visits), "{visits}");
}

#[test]
fn loading_in_order_fills_the_leaves() {
    let _alone = alone();
    let ascending: Map<Entry> = (0..ITEMS).map(|key| Entry { key, revision: 1 }).collect();
    let leaves = ITEMS / LEAF as u64;
    // Every inner node but those at the right edge has all children but two.
    let limit = leaves + leaves.div_ceil(FANOUT as u64 - 3) + height(&ascending);
    let (visits, count) = cost(|| ascending.iter().count() as u64);
    assert_eq!(count, ITEMS);
    assert!(visits <= limit, "{visits} > {limit}");
}

#[test]
fn a_map_that_shrank_is_not_spread_out() {
    let _alone = alone();
    let mut map = random();
    let kept = |key: u64| key.is_multiple_of(50);
    for key in shuffled().filter(|key| !kept(*key)) {
        map.remove(&key);
    }
    let (visits, count) = cost(|| map.iter().count() as u64);
    assert_eq!(count, ITEMS / 50);
    // Any two neighbours together hold at least half a node's worth.
    assert!(visits <= count / (LEAF as u64 / 4) * 5 / 4, "{visits}");
    map.check_invariants();
}

/// A queue: its oldest entry is deleted again and again, and the tombstones stay for a day.
#[test]
fn a_delete_in_a_log_costs_no_more_behind_tombstones() {
    const QUEUE: usize = 10_000;
    let _alone = alone();
    let log = Path::parse("/log").unwrap();
    let pattern = Pattern::parse("**").unwrap();
    let rule =
        Retention { pattern, keep: Some(1_000_000), max_age_ms: Some(1 << 40), max_bytes: None };
    let mut state = State::new(Settings {
        epoch: Epoch(1),
        digest_key: DigestKey(7),
        bounds: Default::default(),
        retention: vec![rule],
    });
    let mut write = |changes: Vec<Do>| {
        let request = Request { changes, ..Request::default() };
        state.write(Time(1), &Author::default(), &request).answer.unwrap().paths
    };
    let append = Do::Append { path: log, value: Value::text("v"), ttl_ms: None, ephemeral: false };
    let entries = write(vec![append; QUEUE]);
    let mut most = [0, 0];
    for (n, path) in entries.into_iter().enumerate() {
        let (visits, _) = cost(|| write(vec![Do::Delete { path }]));
        let half = &mut most[n * 2 / QUEUE];
        *half = visits.max(*half);
    }
    assert!(most[1] < most[0] + 50, "{most:?} nodes for one delete");
}
