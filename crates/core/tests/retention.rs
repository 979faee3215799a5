//! What a log keeps, exactly: as much as its rule lets it, whether there is something else under it
//! or not.

use onetree_core::{Author, Request, Retention, Settings, State, Time};
use onetree_protocol::frame::Do;
use onetree_protocol::{DigestKey, Epoch, LogKey, Path, Pattern, Value};

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn state(keep: Option<u64>, max_bytes: Option<u64>, max_age_ms: Option<u64>) -> State {
    let pattern = Pattern::parse("**/log").unwrap();
    State::new(Settings {
        epoch: Epoch(1),
        digest_key: DigestKey(7),
        bounds: Default::default(),
        retention: vec![Retention { pattern, keep, max_age_ms, max_bytes }],
    })
}

fn write(state: &mut State, now: u64, change: Do) {
    let request = Request { changes: vec![change], ..Request::default() };
    state.write(Time(now), &Author::default(), &request).answer.unwrap();
}

fn put(state: &mut State, at: &str) {
    let value = Value::text("not of the log");
    write(state, 1, Do::Put { path: path(at), value, ttl_ms: None, ephemeral: false });
}

/// Appends values of these lengths, with housekeeping after each; gives the bytes of each entry that
/// is left, oldest first.
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

/// Nothing, a value of the log's own, and other children: all the ways there are to count.
const BESIDE: [&[&str]; 4] =
    [&[], &["/log"], &["/log", "/log/other/deep"], &["/log/zz", "/log/other"]];

#[test]
fn a_log_that_outgrows_its_number_keeps_exactly_that() {
    for beside in BESIDE {
        // An eighth above it is let be.
        for (appended, kept) in [(40, 40), (45, 45), (46, 40), (50, 44), (52, 40)] {
            let lengths = vec![20; appended];
            let left = left(state(Some(40), None, None), beside, &lengths);
            assert_eq!(left.len(), kept, "{appended} beside {beside:?}");
        }
    }
}

#[test]
fn a_log_that_outgrows_its_bytes_keeps_as_many_as_fit() {
    let lengths: Vec<usize> = (0..200).map(|n| 10 + n * 37 % 90).collect();
    let key = left(state(None, Some(2_000), None), &[], &[0])[0];
    let sizes: Vec<u64> = lengths.iter().map(|length| key + *length as u64).collect();
    for beside in BESIDE {
        let left = left(state(None, Some(2_000), None), beside, &lengths);
        assert_eq!(left[..], sizes[sizes.len() - left.len()..], "beside {beside:?}");
        let bytes: u64 = left.iter().sum();
        // What else is under the log may make it due earlier.
        assert!(bytes <= 2_250 && bytes > 2_000 - sizes.iter().max().unwrap(), "{bytes}");
    }
    // Alone, entry by entry.
    let mut expected: Vec<u64> = Vec::new();
    for size in sizes {
        expected.push(size);
        if expected.iter().sum::<u64>() > 2_250 {
            while expected.iter().sum::<u64>() > 2_000 {
                expected.remove(0);
            }
        }
    }
    assert_eq!(left(state(None, Some(2_000), None), &[], &lengths), expected);
}

#[test]
fn what_is_too_old_goes_with_what_is_too_many() {
    // 30 a moment apart, then many at once: age and number each have their turn.
    let lengths = vec![20; 300];
    let left = left(state(Some(80), None, Some(40)), &[], &lengths);
    assert!(left.len() <= 40 + 5 && left.len() >= 40, "{}", left.len());
}

/// Logs whose oldest entry was written again are due, and there is nothing to trim: however many there
/// are, it takes no more stack and no longer turn than one.
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

    // All are due by when they were appended, and none has anything that is too old.
    let mut turns = 0;
    while state.due().is_some_and(|due| due <= Time(1_200)) {
        assert!(state.housekeep(Time(1_200)).is_none(), "there is nothing to commit");
        turns += 1;
        assert!(turns <= LOGS, "it does not end");
    }
    assert!(turns > 1, "all in one turn");
    assert_eq!(state.snapshot().entries(&Path::root()).count(), LOGS);
    // And when they are too old they go.
    let now = Time(900 + 1_200);
    while state.due().is_some_and(|due| due <= now) {
        state.housekeep(now);
    }
    assert_eq!(state.snapshot().entries(&Path::root()).count(), 0);
}

/// What has grown old together goes in pieces: nobody is delivered to while one of them is made.
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
            assert!(before - left <= 1_000, "{} in one piece", before - left);
            (before, pieces) = (left, pieces + 1);
        }
        assert_eq!((before, pieces), (0, 5), "beside {beside:?}");
    }
}

/// A log of which nothing is left is forgotten, whatever its rule.
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
