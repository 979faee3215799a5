//! What a log keeps, exactly: as much as its rule lets it, whether there is something else under it
//! or not.

use onetree_core::{Author, Request, Retention, Settings, State, Time};
use onetree_protocol::frame::Do;
use onetree_protocol::{DigestKey, Epoch, LogKey, Path, Pattern, Value};

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn state(keep: Option<u64>, max_bytes: Option<u64>, max_age_ms: Option<u64>) -> State {
    let pattern = Pattern::parse("log").unwrap();
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
