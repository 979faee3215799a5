//! The memory for deletes has a bound in bytes, whatever their number.

use onetree_core::{Bounds, Request, Settings, State, Time};
use onetree_protocol::frame::Do;
use onetree_protocol::{DigestKey, Epoch, LogKey, Path, Value};

/// What a tombstone or mark takes besides its path.
const EACH: u64 = 384;

fn long(number: usize) -> String {
    format!("/{number:04}/{}", ["x".repeat(200), "y".repeat(200)].join("/"))
}

fn write(state: &mut State, change: Do) {
    let request = Request { changes: vec![change], ..Request::default() };
    state.write(Time(1), &Default::default(), &request).answer.unwrap();
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn put(at: &str) -> Do {
    Do::Put { path: path(at), value: Value::text("x"), ttl_ms: None, ephemeral: false }
}

fn settings() -> Settings {
    let (epoch, digest_key) = (Epoch(1), DigestKey(7));
    Settings { epoch, digest_key, bounds: Bounds::default(), retention: Vec::new() }
}

fn delete(at: &str) -> Do {
    Do::Delete { path: path(at) }
}

fn drop_tree(at: &str) -> Do {
    Do::Drop { path: path(at) }
}

fn housekeep(state: &mut State) {
    while state.housekeep(Time(1)).is_some() {}
    assert!(state.due().is_none_or(|due| due > Time(1)), "{:?}", state.due());
}

/// Returns the bytes of what is remembered at paths without an entry.
fn kept(state: &State) -> u64 {
    let at = state.checkpoint();
    let gone = at.slots().filter(|slot| slot.value.is_none());
    gone.map(|slot| EACH + slot.path.as_str().len() as u64).sum()
}

#[test]
fn deletes_with_long_paths_are_forgotten_by_their_bytes() {
    let mut settings = settings();
    settings.bounds.tombstone_bytes = 64_000;
    let each = EACH + long(0).len() as u64;
    let (exactly, over) = (64_000 / each, (64_000 + 64_000 / 8) / each);
    let mut state = State::new(settings.clone());
    for number in 0..over as usize {
        write(&mut state, put(&long(number)));
        // A drop is remembered like a delete.
        let at = long(number);
        write(&mut state, if number % 2 == 0 { delete(&at) } else { drop_tree(&at) });
        housekeep(&mut state);
    }
    assert_eq!((kept(&state), state.snapshot().horizon().get()), (over * each, 0));
    // A saved state remembers as much.
    let at = state.checkpoint();
    let mut again = State::load(settings, at.head(), at.slots(), at.clients());
    for state in [&mut state, &mut again] {
        // Beyond an eighth above the bound, it is cut to the bound exactly.
        write(state, put("/a"));
        write(state, put(&long(9_999)));
        write(state, delete(&long(9_999)));
        assert_eq!(state.due(), Some(Time(0)));
        housekeep(state);
        assert_eq!(kept(state), exactly * each);
        assert!(state.snapshot().horizon().get() > 0);
        assert!(state.snapshot().get(&path("/a")).is_some());
    }
    assert_eq!(state.snapshot().horizon(), again.snapshot().horizon());
    // When the paths are written again, their tombstones are gone.
    for number in 0..exactly as usize {
        write(&mut state, put(&long(over as usize - number)));
    }
    assert!(kept(&state) < exactly * each);
}

fn append(at: &str) -> Do {
    Do::Append { path: path(at), value: Value::text("x"), ttl_ms: None, ephemeral: false }
}

fn newest(state: &State) -> LogKey {
    LogKey { rev: state.rev(), index: 0 }
}

#[test]
fn what_goes_with_a_drop_or_a_trim_is_remembered_by_that_alone() {
    let mut settings = settings();
    settings.bounds.tombstones = 8;
    let mut state = State::new(settings.clone());
    let rounds = |state: &mut State, count| {
        for _ in 0..count {
            // A path with everything that can be remembered about one path, and deletes under it.
            write(state, append("/job"));
            write(state, Do::Trim { path: path("/job"), to: newest(state) });
            write(state, put("/job"));
            write(state, put("/job/a"));
            write(state, delete("/job/a"));
            write(state, delete("/job"));
            write(state, put("/job/b"));
            write(state, drop_tree("/job"));
            // Entries that are deleted before their log is trimmed.
            write(state, append("/log"));
            let entry = path("/log").child(&newest(state).to_string()).unwrap();
            write(state, delete(entry.as_str()));
            write(state, append("/log"));
            write(state, Do::Trim { path: path("/log"), to: newest(state) });
            housekeep(state);
        }
        assert_eq!((kept(state), state.snapshot().horizon().get()), (2 * (EACH + 4), 0));
    };
    rounds(&mut state, 50);
    let at = state.checkpoint();
    rounds(&mut state, 50);
    // The same holds after these commits are undone, and in the saved state.
    let mut again = State::load(settings, at.head(), at.slots(), at.clients());
    state.restore(at);
    rounds(&mut state, 50);
    rounds(&mut again, 50);
    // Before a change a drop of nothing is left out; behind one it is remembered, once.
    for _ in 0..50 {
        let request = Request { changes: vec![put("/x"), drop_tree("/job")], ..Request::default() };
        state.write(Time(1), &Default::default(), &request).answer.unwrap();
        housekeep(&mut state);
    }
    assert_eq!((kept(&state), state.snapshot().horizon().get()), (2 * (EACH + 4), 0));
}

#[test]
fn a_path_that_comes_and_goes_is_remembered_once() {
    let mut settings = settings();
    settings.bounds.tombstones = 8;
    let mut state = State::new(settings);
    for _ in 0..50 {
        write(&mut state, put("/presence"));
        write(&mut state, delete("/presence"));
        housekeep(&mut state);
    }
    assert_eq!(state.snapshot().horizon().get(), 0, "other deletes are forgotten for it");
}
