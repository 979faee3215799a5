//! How much a log keeps, exactly: as much as its rule allows, whether or not there is something
//! else under it.

use onetree_core::{Author, Request, Retention, Settings, State, Time};
use onetree_protocol::frame::Do;
use onetree_protocol::{DigestKey, Epoch, LogKey, Path, Pattern, Value};

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn settings(keep: Option<u64>, max_bytes: Option<u64>, max_age_ms: Option<u64>) -> Settings {
    let pattern = Pattern::parse("**/log").unwrap();
    Settings {
        epoch: Epoch(1),
        digest_key: DigestKey(7),
        bounds: Default::default(),
        retention: vec![Retention { pattern, keep, max_age_ms, max_bytes }],
    }
}

fn state(keep: Option<u64>, max_bytes: Option<u64>, max_age_ms: Option<u64>) -> State {
    State::new(settings(keep, max_bytes, max_age_ms))
}

fn write(state: &mut State, now: u64, change: Do) {
    let request = Request { changes: vec![change], ..Request::default() };
    state.write(Time(now), &Author::default(), &request).answer.unwrap();
}

fn put(state: &mut State, at: &str) {
    let value = Value::text("not of the log");
    write(state, 1, Do::Put { path: path(at), value, ttl_ms: None, ephemeral: false });
}

/// Appends values of these lengths, with housekeeping after each. Returns the bytes of each entry
/// that is left, oldest first.
fn left(mut state: State, beside: &[&str], lengths: &[usize]) -> Vec<u64> {
    for at in beside {
        put(&mut state, at);
    }
    for (n, length) in lengths.iter().enumerate() {
        let (path, value) = (path("/log"), Value::text(&"v".repeat(*length)));
        let now = 10 + n as u64;
        write(&mut state, now, Do::Append { path, value, ttl_ms: None, ephemeral: false });
        while state.housekeep(Time(now)).is_some() {}
    }
    let snapshot = state.snapshot();
    for at in beside {
        assert!(snapshot.get(&path(at)).is_some(), "{at} is gone");
    }
    let log = path("/log");
    let entries = snapshot.entries(&log);
    let own = entries.filter(|(path, ..)| LogKey::of(path).is_some() && path.depth() == 2);
    own.map(|(path, _, value)| (path.as_str().len() + value.bytes.len()) as u64).collect()
}

/// Nothing, a value of the log's own, and other children: these are all the ways in which entries
/// are counted.
const BESIDE: [&[&str]; 4] =
    [&[], &["/log"], &["/log", "/log/other/deep"], &["/log/zz", "/log/other"]];

#[test]
fn a_log_that_outgrows_its_number_keeps_exactly_that() {
    for beside in BESIDE {
        // An excess of an eighth is allowed.
        for (appended, kept) in [(40, 40), (45, 45), (46, 40), (50, 44), (52, 40)] {
            let lengths = vec![20; appended];
            let left = left(state(Some(40), None, None), beside, &lengths);
            assert_eq!(left.len(), kept, "{appended} beside {beside:?}");
        }
    }
}

#[test]
fn a_log_under_an_entry_that_went_is_counted_anew() {
    // The entry was deleted and is forgotten: only what is under it shows that it was there.
    let mut settings = settings(Some(10), None, None);
    settings.bounds.tombstones = 0;
    let mut state = State::new(settings);
    let append = |state: &mut State, log: &Path| {
        let (path, value) = (log.clone(), Value::text("v"));
        write(state, 1, Do::Append { path, value, ttl_ms: None, ephemeral: false });
        while state.housekeep(Time(1)).is_some() {}
        state
            .snapshot()
            .entries(log)
            .filter(|(path, ..)| path.parent().as_ref() == Some(log))
            .count()
    };
    for _ in 0..2 {
        append(&mut state, &path("/log"));
    }
    let entries: Vec<Path> =
        state.snapshot().entries(&path("/log")).map(|(path, ..)| path.clone()).collect();
    for entry in &entries {
        let inner = entry.child("log").unwrap();
        for _ in 0..10 {
            append(&mut state, &inner);
        }
        write(&mut state, 1, Do::Delete { path: entry.clone() });
        while state.housekeep(Time(1)).is_some() {}
    }
    let to = LogKey::of(&entries[1]).unwrap();
    write(&mut state, 1, Do::Trim { path: path("/log"), to });
    for entry in &entries {
        let inner = entry.child("log").unwrap();
        for left in 1..=10 {
            assert_eq!(append(&mut state, &inner), left, "of {left} appended to {inner}");
        }
    }
}

#[test]
fn a_log_that_outgrows_its_bytes_keeps_as_many_as_fit() {
    let lengths: Vec<usize> = (0..200).map(|n| 10 + n * 37 % 90).collect();
    let key = left(state(None, Some(2_000), None), &[], &[0])[0];
    let sizes: Vec<u64> = lengths.iter().map(|length| key + *length as u64).collect();
    let mut expected: Vec<u64> = Vec::new();
    for size in sizes {
        expected.push(size);
        if expected.iter().sum::<u64>() > 2_250 {
            while expected.iter().sum::<u64>() > 2_000 {
                expected.remove(0);
            }
        }
    }
    for beside in BESIDE {
        let left = left(state(None, Some(2_000), None), beside, &lengths);
        assert_eq!(left, expected, "what is beside the entries does not count: {beside:?}");
    }
}

/// Replies under messages. They are removed with the messages, and their bytes count, but not their
/// number.
#[test]
fn what_is_under_the_entries_counts_in_bytes_and_not_in_number() {
    let append = |log: &str| {
        let value = Value::text(&"v".repeat(100));
        Do::Append { path: path(log), value, ttl_ms: None, ephemeral: false }
    };
    let entries = |state: &State| {
        let snapshot = state.snapshot();
        let all: Vec<Path> =
            snapshot.entries(&path("/log")).map(|(path, ..)| path.clone()).collect();
        let own = |path: &&Path| LogKey::of(path).is_some() && path.depth() == 2;
        (all.iter().filter(own).cloned().collect::<Vec<Path>>(), all.len())
    };
    let replied = |keep, max_bytes, at: usize| {
        let mut state = state(keep, max_bytes, None);
        for _ in 0..10 {
            write(&mut state, 1, append("/log"));
        }
        let to = entries(&state).0[at].clone();
        for _ in 0..100 {
            write(&mut state, 1, append(to.as_str()));
        }
        write(&mut state, 1, append("/log"));
        while state.housekeep(Time(1)).is_some() {}
        let (own, all) = entries(&state);
        let replies = all - own.len();
        (own.len(), replies)
    };
    assert_eq!(replied(Some(20), None, 4), (11, 100), "there are few entries");
    assert_eq!(replied(Some(4), None, 4), (4, 0), "with what is under them");
    // A reply has 150 bytes and an entry 124.
    assert_eq!(replied(None, Some(20_000), 4), (11, 100), "all fits");
    assert_eq!(replied(None, Some(10_000), 4), (6, 0), "the fifth goes, and then the others fit");
    assert_eq!(replied(None, Some(10_000), 0), (10, 0), "the first is enough");
    assert_eq!(replied(None, Some(10_000), 9), (1, 0), "all up to the one that is too large");
}

#[test]
fn what_is_too_old_goes_with_what_is_too_many() {
    // One entry each millisecond: they reach the age of 40 ms before there are 80 of them.
    let lengths = vec![20; 300];
    let left = left(state(Some(80), None, Some(40)), &[], &lengths);
    assert!(left.len() <= 40 + 5 && left.len() >= 40, "{}", left.len());
}

/// Logs whose oldest entry was written again are due although there is nothing to trim. However
/// many they are, this takes no more stack and no longer turns than for one.
#[test]
fn many_logs_that_are_due_for_nothing_are_noted_anew() {
    const LOGS: usize = 10_000;
    let mut state = state(None, None, Some(1_000));
    let step = |n: usize| Do::Append {
        path: path(&format!("/{n}/log")),
        value: Value::text("v"),
        ttl_ms: None,
        ephemeral: false,
    };
    let request = Request { changes: (0..LOGS).map(step).collect(), ..Request::default() };
    let entries = state.write(Time(10), &Author::default(), &request).answer.unwrap().paths;
    let again = |path: &Path| {
        let value = Value::text("again");
        Do::Put { path: path.clone(), value, ttl_ms: None, ephemeral: false }
    };
    let request = Request { changes: entries.iter().map(again).collect(), ..Request::default() };
    state.write(Time(900), &Author::default(), &request).answer.unwrap();

    // All are due by the time at which they were appended, but nothing in them is too old.
    let mut turns = 0;
    while state.due().is_some_and(|due| due <= Time(1_200)) {
        assert!(state.housekeep(Time(1_200)).is_none(), "there is nothing to commit");
        turns += 1;
        assert!(turns <= LOGS, "it does not end");
    }
    assert!(turns > 1, "all in one turn");
    assert_eq!(state.snapshot().entries(&Path::root()).count(), LOGS);
    // When the entries are too old they are removed.
    let now = Time(900 + 1_200);
    while state.due().is_some_and(|due| due <= now) {
        state.housekeep(now);
    }
    assert_eq!(state.snapshot().entries(&Path::root()).count(), 0);
}

/// Entries that become too old together are removed in pieces, because nothing is delivered while
/// one piece is made.
#[test]
fn what_is_too_old_goes_in_pieces() {
    for beside in BESIDE {
        let mut state = state(None, None, Some(1_000));
        for at in beside {
            put(&mut state, at);
        }
        let step = Do::Append {
            path: path("/log"),
            value: Value::text("v"),
            ttl_ms: None,
            ephemeral: false,
        };
        let request = Request { changes: vec![step; 5_000], ..Request::default() };
        state.write(Time(10), &Author::default(), &request).answer.unwrap();
        let (mut before, mut pieces) = (5_000, 0);
        let now = Time(2_000);
        while state.housekeep(now).is_some() {
            let snapshot = state.snapshot();
            let left = snapshot.entries(&path("/log"));
            let left = left.filter(|(path, ..)| LogKey::of(path).is_some()).count();
            assert!(before - left <= 250, "{} in one piece", before - left);
            (before, pieces) = (left, pieces + 1);
        }
        assert_eq!((before, pieces), (0, 20), "beside {beside:?}");
    }
}

/// A log without entries is forgotten, whatever its rule.
#[test]
fn a_log_without_entries_takes_no_memory() {
    for age in [None, Some(1_000)] {
        let mut state = state(Some(40), None, age);
        for n in 0..100 {
            let log = path(&format!("/{n}/log"));
            let change = Do::Append {
                path: log,
                value: Value::text("v"),
                ttl_ms: Some(50),
                ephemeral: false,
            };
            write(&mut state, 10, change);
        }
        assert_eq!(state.logs(), 100);
        while state.housekeep(Time(100)).is_some() {}
        assert_eq!(state.snapshot().entries(&Path::root()).count(), 0);
        assert_eq!(state.logs(), 0, "{age:?}");
    }
}

/// It does not matter how the last entry goes: with the whole log, or by itself.
#[test]
fn a_log_whose_last_entry_is_taken_away_takes_no_memory() {
    for age in [None, Some(1_000)] {
        let mut state = state(Some(40), None, age);
        let log = path("/log");
        let ways: [fn(Path, LogKey) -> Do; 4] = [
            |log, to| Do::Trim { path: log, to },
            |log, to| Do::Delete { path: log.child(&to.to_string()).unwrap() },
            |log, to| Do::Drop { path: log.child(&to.to_string()).unwrap() },
            |log, _| Do::Drop { path: log },
        ];
        for (way, goes) in ways.iter().enumerate() {
            let (path, value) = (log.clone(), Value::text("v"));
            write(&mut state, 10, Do::Append { path, value, ttl_ms: None, ephemeral: false });
            assert_eq!(state.logs(), 1);
            let only = LogKey { rev: state.rev(), index: 0 };
            write(&mut state, 10, goes(log.clone(), only));
            assert_eq!(state.logs(), 0, "way {way}, {age:?}");
        }
    }
}

/// An entry that is written again is the same entry: it does not make the log longer.
#[test]
fn a_log_whose_entries_are_written_again_keeps_them() {
    let mut state = state(Some(10), None, None);
    let append =
        Do::Append { path: path("/log"), value: Value::text("v"), ttl_ms: None, ephemeral: false };
    let request = Request { changes: vec![append; 10], ..Request::default() };
    let entries = state.write(Time(1), &Author::default(), &request).answer.unwrap().paths;
    for entry in entries.iter().cycle().take(30) {
        put(&mut state, entry.as_str());
        assert!(state.housekeep(Time(1)).is_none(), "{entry} was written again");
    }
}

/// All states with the same history trim at the same moment, whether they wrote, replayed or loaded
/// it.
#[test]
fn a_log_is_counted_alike_after_a_restart() {
    let settings = || settings(Some(40), Some(8_000), None);
    let (mut made, mut replayed) = (State::new(settings()), State::new(settings()));
    let append = |log: &str| Do::Append {
        path: path(log),
        value: Value::text("v"),
        ttl_ms: None,
        ephemeral: false,
    };
    let mut commits = Vec::new();
    let mut write = |state: &mut State, changes: Vec<Do>| {
        let request = Request { changes, ..Request::default() };
        let outcome = state.write(Time(1), &Author::default(), &request);
        commits.extend(outcome.commit);
        outcome.answer.unwrap().paths
    };
    // An entry can be removed in many ways, and be written again.
    let log = write(&mut made, vec![append("/log"); 30]);
    write(&mut made, vec![append("/other/log"); 30]);
    write(&mut made, vec![append(log[9].as_str()); 30]);
    write(&mut made, vec![Do::Trim { path: path("/log"), to: LogKey::of(&log[2]).unwrap() }]);
    write(&mut made, vec![Do::Drop { path: log[9].clone() }]);
    write(&mut made, vec![Do::Delete { path: log[5].clone() }]);
    let value = Value::text("again");
    let put = Do::Put { path: log[7].clone(), value, ttl_ms: None, ephemeral: false };
    write(&mut made, vec![Do::Delete { path: log[7].clone() }, put]);
    write(&mut made, vec![Do::Drop { path: path("/other") }]);
    write(&mut made, vec![append("/other/log"); 3]);
    commits.iter().for_each(|commit| replayed.replay(commit));
    let from = made.checkpoint();
    let loaded = State::load(settings(), from.head(), from.slots(), from.clients());
    // 25 entries are left in one log and 3 in the other. At 45 none is removed, at 46 six are.
    for mut state in [made, replayed, loaded] {
        for (log, left) in [("/log", 25), ("/other/log", 3)] {
            let mut write = |count: usize| {
                let request = Request { changes: vec![append(log); count], ..Request::default() };
                state.write(Time(2), &Author::default(), &request).answer.unwrap();
                let trims = std::iter::from_fn(|| state.housekeep(Time(2))).count();
                (trims, state.snapshot().entries(&path(log)).count())
            };
            assert_eq!(write(45 - left), (0, 45), "{log}");
            assert_eq!(write(1), (1, 40), "{log}");
        }
    }
}
