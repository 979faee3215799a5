//! Tests of the fan-out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use onetree_core::{Effect, Time};
use onetree_protocol::frame::{Delta, ServerFrame, Signal};
use onetree_protocol::{Act, Codec, Depth, LogKey, Path, Pattern, Revision, Value, View};

use super::*;

mod few;
mod outbox;
mod steps;
mod ways;

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn rev(n: u64) -> Revision {
    Revision::new(n).unwrap()
}

/// A subscriber that keeps what it receives.
#[derive(Default)]
struct Kept {
    deltas: Mutex<Vec<Arc<Frames>>>,
    signals: Mutex<Vec<Arc<Frames>>>,
    overflowed: AtomicBool,
    /// For each call: whether it might be written at once.
    at_once: Mutex<Vec<bool>>,
}

impl Sink for Kept {
    fn overflow(&self) {
        self.overflowed.store(true, Ordering::Relaxed);
    }

    fn deltas(&self, frames: &Arc<Frames>, at_once: bool) {
        self.at_once.lock().unwrap().push(at_once);
        self.deltas.lock().unwrap().push(frames.clone());
    }

    fn signals(&self, frames: &Arc<Frames>, at_once: bool) {
        self.at_once.lock().unwrap().push(at_once);
        self.signals.lock().unwrap().push(frames.clone());
    }
}

struct House {
    fanout: Fanout,
    people: Vec<(Arc<Subscriber>, Arc<Kept>)>,
}

impl House {
    fn new(people: usize) -> House {
        let person = |id| {
            let kept = Arc::new(Kept::default());
            (Arc::new(Subscriber::new(id as u64, Codec::Json, kept.clone())), kept)
        };
        House { fanout: Fanout::new(1000, LINES), people: (0..people).map(person).collect() }
    }

    fn register(&self, person: usize, sub: u32, view: View) -> Interest {
        let interest = Interest { sub, view: Arc::new(view), deltas: true, signals: true };
        self.fanout.register(&self.people[person].0, &interest);
        interest
    }

    fn commit(&self, n: u64, effects: Vec<Effect>) {
        self.commits([(n, effects)]);
    }

    fn commits(&self, commits: impl IntoIterator<Item = (u64, Vec<Effect>)>) {
        let commit =
            |(n, effects)| Arc::new(Commit { rev: rev(n), time: Time(0), effects, origin: None });
        self.fanout.publish(&commits.into_iter().map(commit).collect::<Vec<_>>());
    }

    /// Returns the deltas that a person has received, in order, and in how many pieces.
    fn deltas(&self, person: usize) -> (Vec<Delta>, usize) {
        let handed = self.people[person].1.deltas.lock().unwrap();
        (handed.iter().flat_map(|frames| deltas(frames.bytes())).collect(), handed.len())
    }

    /// Returns the paths in the delta for revision `n` that a person has received; empty when none
    /// came.
    fn told(&self, person: usize, n: u64) -> Vec<String> {
        let frames: Vec<Delta> =
            self.deltas(person).0.into_iter().filter(|delta| delta.rev == rev(n)).collect();
        let ends = frames.iter().filter(|delta| !delta.part).count();
        assert!(ends <= 1, "person {person} was told of {n} more than once");
        let text = |change: onetree_protocol::Change| match change.act {
            Act::Put(None) => format!("{} bare", change.path),
            _ => change.path.to_string(),
        };
        frames.into_iter().flat_map(|delta| delta.changes).map(text).collect()
    }
}

/// Ends each frame with a line break, so that frames can be told apart.
const LINES: Envelope = Envelope { room: 0, seal: |bytes, _, _| bytes.push(b'\n') };

/// Decodes the deltas of such lines.
fn deltas(lines: &[u8]) -> impl Iterator<Item = Delta> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| match Codec::Json.decode_server(line).unwrap() {
        ServerFrame::Delta(delta) => delta,
        other => panic!("not a delta: {other:?}"),
    })
}

fn put(at: &str) -> Effect {
    Effect::Put { path: path(at), value: Value::json("1"), expires: None, owner: None }
}

#[test]
fn everyone_gets_one_delta_with_what_they_see() {
    let house = House::new(4);
    house.register(0, 1, View::tree(path("/a")));
    house.register(0, 2, View::tree(path("/a/b")));
    house.register(0, 3, View::tree(path("/a")));
    house.register(1, 1, View { depth: Depth::Children, ..View::tree(path("/a")) });
    house.register(2, 1, View { values: false, ..View::tree(Path::root()) });
    let patterns = vec![Pattern::parse("*/c").unwrap()];
    house.register(3, 1, View { patterns, ..View::tree(path("/a")) });
    house.commit(1, vec![put("/a/b/c"), put("/a/x"), put("/z")]);
    assert_eq!(house.told(0, 1), ["/a/b/c", "/a/x"]);
    assert_eq!(house.told(1, 1), ["/a/x"]);
    assert_eq!(house.told(2, 1), ["/a/b/c bare", "/a/x bare", "/z bare"]);
    assert_eq!(house.told(3, 1), ["/a/b/c"]);
    house.commit(2, vec![put("/other")]);
    assert!(house.told(0, 2).is_empty());
    assert_eq!(house.told(2, 2), ["/other bare"]);
}

#[test]
fn the_same_sight_is_encoded_once() {
    let house = House::new(3);
    for person in 0..3 {
        house.register(person, 1, View::tree(path("/a")));
    }
    // This person is in two groups, and still gets the delta once.
    house.register(2, 2, View::tree(Path::root()));
    house.commit(1, vec![put("/a/b")]);
    let bytes = |person: usize| house.people[person].1.deltas.lock().unwrap()[0].bytes().as_ptr();
    assert_eq!(bytes(0), bytes(1));
    assert_eq!(bytes(0), bytes(2));
    assert_eq!(house.told(2, 1), ["/a/b"]);
}

#[test]
fn drops_and_trims_reach_the_views_below() {
    let house = House::new(5);
    house.register(0, 1, View::tree(path("/a/b/c")));
    house.register(1, 1, View::tree(path("/a-b")));
    house.register(2, 1, View { depth: Depth::Entry, ..View::tree(path("/a")) });
    house.register(3, 1, View { depth: Depth::Entry, ..View::tree(Path::root()) });
    let key = LogKey { rev: rev(1), index: 0 };
    house.register(4, 1, View::tree(path(&format!("/log/{key}/thread"))));
    house.commit(1, vec![Effect::Drop { path: path("/a") }]);
    assert_eq!(house.told(0, 1), ["/a"]);
    assert!(house.told(1, 1).is_empty());
    assert_eq!(house.told(2, 1), ["/a"]);
    assert!(house.told(3, 1).is_empty());
    house.commit(2, vec![Effect::Trim { path: path("/log"), to: key }]);
    assert_eq!(house.told(4, 2), ["/log"]);
}

#[test]
fn who_has_left_is_not_told_and_leaves_nothing() {
    let house = House::new(2);
    let first = house.register(0, 1, View::tree(path("/a")));
    let again = house.register(0, 2, View::tree(path("/a")));
    let other = house.register(1, 1, View::tree(path("/a")));
    house.fanout.unregister(&house.people[0].0, &first);
    house.commit(1, vec![put("/a")]);
    assert_eq!(house.told(0, 1), ["/a"], "one of the two is still there");
    house.fanout.unregister(&house.people[0].0, &again);
    house.commit(2, vec![put("/a")]);
    assert!(house.told(0, 2).is_empty());
    assert_eq!(house.told(1, 2), ["/a"]);
    house.fanout.unregister(&house.people[1].0, &other);
    assert!(house.fanout.index.is_empty());
}

#[test]
fn a_crowd_comes_and_goes_and_who_is_there_is_told_once() {
    // These sizes lie around the limits at which a group's list is searched, gets a map of places,
    // and shrinks.
    for size in [1, 2, 15, 31, 32, 33, 34, 100, 1_000] {
        let house = House::new(size);
        let view = || View::tree(path("/a"));
        let mut there: Vec<(usize, Interest)> = Vec::new();
        for person in 0..size {
            there.push((person, house.register(person, 1, view())));
            if person % 3 == 0 {
                there.push((person, house.register(person, 2, view())));
            }
        }
        let mut commits = 0;
        let mut left = there.len();
        while !there.is_empty() {
            let told: Vec<usize> = there.iter().map(|(person, _)| *person).collect();
            if there.len() == left {
                commits += 1;
                house.commit(commits, vec![put("/a/b")]);
                for person in 0..size {
                    let expected = told.contains(&person);
                    assert_eq!(!house.told(person, commits).is_empty(), expected, "{person}");
                }
                left = left * 2 / 3;
            }
            // Take one from somewhere in the middle: an irregular order, but the same in each run.
            let (person, interest) = there.swap_remove(there.len() * 7 / 11);
            house.fanout.unregister(&house.people[person].0, &interest);
        }
        house.commit(commits + 1, vec![put("/a/b")]);
        assert!((0..size).all(|person| house.told(person, commits + 1).is_empty()));
        assert!(house.fanout.index.is_empty(), "{size}");
    }
}

#[test]
fn those_of_one_interest_share_one_view() {
    let house = House::new(2);
    let view = |person: usize, view: View| {
        let interest = Interest { sub: 1, view: Arc::new(view), deltas: true, signals: true };
        (house.fanout.register(&house.people[person].0, &interest), interest)
    };
    let (first, _) = view(0, View::tree(path("/a")));
    let (second, own) = view(1, View::tree(path("/a")));
    assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&second, &own.view));
    let (other, _) = view(1, View { values: false, ..View::tree(path("/a")) });
    assert!(!Arc::ptr_eq(&first, &other));
}

#[test]
fn many_register_and_leave_at_once_and_the_index_stays_right() {
    let house = House::new(64);
    std::thread::scope(|scope| {
        for (person, (subscriber, _)) in house.people.iter().enumerate() {
            let fanout = &house.fanout;
            scope.spawn(move || {
                for round in 0..200 {
                    // The same few bases again and again: groups end while others join them.
                    let base = path(&format!("/base-{}", (person + round) % 4));
                    let view = Arc::new(View::tree(base));
                    let interest = Interest { sub: 1, view, deltas: true, signals: true };
                    fanout.register(subscriber, &interest);
                    if round % 50 == 0 {
                        let effects = vec![Effect::Drop { path: Path::root() }];
                        let commit = Commit { rev: rev(1), time: Time(0), effects, origin: None };
                        fanout.publish(&[Arc::new(commit)]);
                    }
                    fanout.unregister(subscriber, &interest);
                }
                let last = Interest {
                    sub: 2,
                    view: Arc::new(View::tree(path("/last"))),
                    deltas: true,
                    signals: true,
                };
                fanout.register(subscriber, &last);
            });
        }
    });
    house.commit(9, vec![put("/last")]);
    house.commit(10, (0..4).map(|base| put(&format!("/base-{base}"))).collect());
    for person in 0..64 {
        assert_eq!(house.told(person, 9), ["/last"]);
        assert!(house.told(person, 10).is_empty());
    }
}

#[test]
fn a_large_commit_comes_in_parts() {
    let house = House::new(1);
    house.register(0, 1, View::tree(Path::root()));
    let paths: Vec<String> = (0..100).map(|n| format!("/entry/number/{n}")).collect();
    house.commit(1, paths.iter().map(|path| put(path)).collect());
    assert_eq!(house.told(0, 1), paths);
    let handed = house.people[0].1.deltas.lock().unwrap();
    let parts: Vec<&[u8]> = handed[0].bytes().trim_ascii_end().split(|b| *b == b'\n').collect();
    assert!(parts.len() > 2, "{} parts", parts.len());
    assert_eq!((handed.len(), handed[0].count()), (1, parts.len()));
    for (at, part) in parts.iter().enumerate() {
        assert!(part.len() <= 1000, "part {at} has {} bytes", part.len());
        let Ok(ServerFrame::Delta(delta)) = Codec::Json.decode_server(part) else { panic!() };
        assert_eq!(delta.part, at + 1 < parts.len());
    }
}

#[test]
fn what_follows_one_another_and_goes_to_the_same_goes_together() {
    let house = House::new(3);
    house.register(0, 1, View::tree(path("/a")));
    house.register(1, 1, View::tree(path("/b")));
    house.register(2, 1, View::tree(Path::root()));
    house.register(2, 2, View { values: false, ..View::tree(path("/b")) });
    let at = [(1, "/a/x"), (2, "/a/y"), (3, "/b/x"), (4, "/c"), (5, "/c/d"), (6, "/a/z")];
    house.commits(at.map(|(n, at)| (n, vec![put(at)])));
    let of = |person| {
        let (deltas, pieces) = house.deltas(person);
        (deltas.iter().map(|delta| delta.rev.get()).collect::<Vec<_>>(), pieces)
    };
    assert_eq!(of(0), (vec![1, 2, 6], 2));
    assert_eq!(of(1), (vec![3], 1));
    assert_eq!(of(2), (vec![1, 2, 3, 4, 5, 6], 4), "in their order, whatever goes together");
    assert_eq!(house.told(2, 3), ["/b/x"], "one view sees the value");
}

#[test]
fn of_what_goes_together_the_part_that_is_needed() {
    let house = House::new(1);
    house.register(0, 1, View::tree(Path::root()));
    house.commits((3..6).map(|n| (n, vec![put("/a"), put("/b")])));
    let handed = house.people[0].1.deltas.lock().unwrap();
    let needed = |above: u64| {
        let bytes = handed[0].needed(|at| at > rev(above))?;
        Some(deltas(&bytes).map(|delta| delta.rev.get()).collect::<Vec<_>>())
    };
    assert_eq!(needed(0), Some(vec![3, 4, 5]));
    assert_eq!(needed(3), Some(vec![4, 5]));
    assert_eq!(needed(4), Some(vec![5]));
    assert_eq!(needed(5), None);
}

#[test]
fn a_run_ends_when_it_is_large() {
    let house = House::new(1);
    house.register(0, 1, View::tree(Path::root()));
    let large = Value::text(&"x".repeat(7_000));
    let put = || Effect::Put { path: path("/a"), value: large.clone(), expires: None, owner: None };
    house.commits((1..10).map(|n| (n, vec![put()])));
    let (deltas, pieces) = house.deltas(0);
    assert_eq!((deltas.len(), pieces), (9, 3));
}

#[test]
fn a_signal_comes_once_and_only_to_those_who_want_it() {
    let house = House::new(3);
    house.register(0, 1, View::tree(path("/a")));
    house.register(0, 2, View::tree(path("/a/b")));
    house.register(1, 1, View::tree(path("/x")));
    let view = Arc::new(View::tree(path("/a")));
    let deaf = Interest { sub: 1, view, deltas: true, signals: false };
    house.fanout.register(&house.people[2].0, &deaf);
    let signal = |json| Signal { path: path("/a/b"), value: Value::json(json) };
    house.fanout.signal(&[signal("1"), signal("2")]);
    let count = |person: usize| {
        let signals = house.people[person].1.signals.lock().unwrap();
        signals.iter().map(|frames| frames.count()).collect::<Vec<_>>()
    };
    assert_eq!([count(0), count(1), count(2)], [vec![2], vec![], vec![]]);
}

/// Registers this many subscriptions of one person at the root, each with patterns that nobody else
/// has.
fn patterned(
    house: &House,
    subs: usize,
    pattern: impl Fn(usize, usize) -> String,
) -> Vec<Interest> {
    let view = |n: usize| {
        let patterns = (0..32).map(|k| Pattern::parse(&pattern(n, k)).unwrap()).collect();
        View { patterns, ..View::tree(Path::root()) }
    };
    (0..subs).map(|n| house.register(0, n as u32, view(n))).collect()
}

#[test]
fn who_leaves_many_views_of_one_base_does_not_search_through_all_of_them() {
    let house = House::new(1);
    let begun = Instant::now();
    let view = |n: u32| View { tail: Some(n), ..View::tree(Path::root()) };
    let there: Vec<Interest> = (0..20_000).map(|n| house.register(0, n, view(n))).collect();
    house.commit(1, vec![put("/a")]);
    assert_eq!(house.told(0, 1), ["/a"]);
    for interest in &there {
        house.fanout.unregister(&house.people[0].0, interest);
    }
    assert!(house.fanout.index.is_empty());
    // Comparing each with each of the others would take 400 million steps.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn a_change_is_not_matched_with_each_of_many_patterns() {
    let house = House::new(1);
    let nasty = "*/**/".repeat(14);
    let mut there = patterned(&house, 256, |n, k| format!("**/{nasty}z{n}-{k}"));
    there.extend(patterned(&house, 256, |n, k| format!("*/{n}/{k}")));
    let deep = format!("/f{}", "/a".repeat(31));
    let begun = Instant::now();
    house.commit(1, vec![put(&deep); 1_000]);
    house.commit(2, vec![put("/a/b/c"), put("/a/7/31"), put(&format!("{}/z3-4", "/a".repeat(16)))]);
    // Matching each with each would take 16 million steps.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(house.told(0, 1).is_empty());
    assert_eq!(house.told(0, 2).len(), 2);
    for interest in &there {
        house.fanout.unregister(&house.people[0].0, interest);
    }
    assert!(house.fanout.index.is_empty());
}

#[test]
fn what_goes_piece_by_piece_comes_whole_and_in_order() {
    let house = House::new(3);
    house.register(0, 1, View::tree(Path::root()));
    let leaving = house.register(1, 1, View::tree(path("/n")));
    let paths = |from: usize| (from..from + 40).map(|n| format!("/n/{n}")).collect::<Vec<_>>();
    let commit = |n, paths: &[String]| {
        let effects = paths.iter().map(|path| put(path)).collect();
        Arc::new(Commit { rev: rev(n), time: Time(0), effects, origin: None })
    };
    let commits = [commit(1, &paths(0)), commit(2, &["/x".into()]), commit(3, &paths(40))];
    let mut publication = house.fanout.publication(&commits);
    assert!(publication.go_on() && publication.go_on());
    assert!(house.told(0, 1).is_empty(), "a commit is not told before all of it is found");
    // Others register and leave meanwhile.
    house.register(2, 1, View::tree(path("/n")));
    house.fanout.unregister(&house.people[1].0, &leaving);
    let mut pieces = 2;
    while publication.go_on() {
        pieces += 1;
    }
    assert_eq!(pieces, 81 / 16);
    assert_eq!(house.told(0, 1), paths(0));
    assert_eq!(house.told(0, 2), ["/x"]);
    assert_eq!(house.told(0, 3), paths(40));
    // Other tasks get their turn among commits that need no lookup, too.
    let same: Vec<_> = (4..44).map(|n| commit(n, &["/same".into()])).collect();
    let mut publication = house.fanout.publication(&same);
    let pieces = (0..).take_while(|_| publication.go_on()).count();
    assert_eq!(pieces, 40 / 16);
    assert_eq!(house.told(0, 43), ["/same"]);
    let revs = |person| house.deltas(person).0.iter().map(|d| d.rev.get()).collect::<Vec<_>>();
    assert!(revs(0).is_sorted() && revs(1).is_empty());
    assert_eq!(house.told(2, 3), paths(40), "of what follows it misses nothing");
}

#[test]
fn many_views_with_patterns_reach_no_deeper_than_they_say() {
    let house = House::new(1);
    for n in 0..20 {
        let patterns = vec![Pattern::parse(&format!("**/x{n}")).unwrap()];
        let view = View { depth: Depth::Children, patterns, ..View::tree(path("/a")) };
        house.register(0, n, view);
    }
    house.commit(1, vec![put("/a/b/x3")]);
    assert!(house.told(0, 1).is_empty());
    house.commit(2, vec![put("/a/x3")]);
    assert_eq!(house.told(0, 2), ["/a/x3"]);
}

/// Somebody may come between the moment that a group is found empty and its end.
#[test]
fn a_group_that_somebody_has_come_to_stays() {
    let house = House::new(1);
    for many in [1, 20] {
        let interest = |n: u32| {
            let patterns = vec![Pattern::parse(&format!("x{n}")).unwrap()];
            let view = Arc::new(View { patterns, ..View::tree(path("/a")) });
            Interest { sub: n, view, deltas: true, signals: false }
        };
        let mut groups = groups::Groups::new();
        (0..many).for_each(|n| groups.insert(Arc::new(group::Group::new(&interest(n)))));
        groups.get(&interest(0)).unwrap().insert(&house.people[0].0);
        (0..many).for_each(|n| groups.remove_empty(&interest(n)));
        assert!(groups.len() == 1 && groups.get(&interest(0)).is_some());
    }
}

/// Who has an interval and wants signals is told of no commit, beside those who want all.
#[test]
fn who_wants_signals_alone_gets_no_deltas() {
    let house = House::new(2);
    house.register(1, 1, View::tree(path("/a")));
    let view = Arc::new(View::tree(path("/a")));
    let interest = Interest { sub: 1, view, deltas: false, signals: true };
    house.fanout.register(&house.people[0].0, &interest);
    house.commit(1, vec![put("/a/b")]);
    assert!(house.told(0, 1).is_empty());
    assert_eq!(house.told(1, 1), ["/a/b"]);
}
