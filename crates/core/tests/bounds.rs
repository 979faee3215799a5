//! Bounds, exactly. A write that reaches a bound is accepted, and a write that goes beyond it is
//! not. If there is more already, as after a start with smaller bounds, a write that adds nothing
//! is still accepted.

use onetree_core::{Author, Bounds, Request, Settings, State, Time};
use onetree_protocol::frame::Do;
use onetree_protocol::{Code, DigestKey, Epoch, Name, Path, Value};

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn settings(bounds: Bounds) -> Settings {
    Settings { epoch: Epoch(1), digest_key: DigestKey(7), bounds, retention: Vec::new() }
}

fn state(bounds: Bounds) -> State {
    State::new(settings(bounds))
}

/// Returns the state after a start with other bounds, with the session `s` open.
fn restarted(state: &State, bounds: Bounds) -> State {
    let saved = state.checkpoint();
    let mut state = State::load(settings(bounds), saved.head(), saved.slots(), saved.clients());
    state.await_owners(Time(1));
    state
}

fn put(at: &str, value: &str) -> Do {
    Do::Put { path: path(at), value: Value::text(value), ttl_ms: None, ephemeral: false }
}

/// Puts an entry that the session owns.
fn own(at: &str) -> Do {
    Do::Put { path: path(at), value: Value::text("me"), ttl_ms: None, ephemeral: true }
}

fn delete(at: &str) -> Do {
    Do::Delete { path: path(at) }
}

/// Writes as the session `s`. Returns the code of the refusal, if it is refused.
fn write(state: &mut State, changes: &[Do]) -> Option<Code> {
    let author = Author { session: Name::parse("s"), ..Author::default() };
    let request = Request { changes: changes.to_vec(), ..Request::default() };
    state.write(Time(1), &author, &request).answer.err().map(|refusal| refusal.code)
}

#[test]
fn a_session_owns_as_many_entries_as_go_in_one_commit() {
    let of = |commit_changes| Bounds { commit_changes, ..Bounds::default() };
    let refused = Some(Code::TooManyChanges);
    let mut state = state(of(3));
    state.open_session(Time(1), None, Name::parse("s").unwrap()).unwrap();
    assert_eq!(write(&mut state, &[own("/a")]), None);
    assert_eq!(write(&mut state, &[put("/others", "x")]), None);
    assert_eq!(write(&mut state, &[own("/b"), own("/c"), own("/d")]), refused);
    assert_eq!(write(&mut state, &[own("/b"), own("/b"), own("/c")]), None, "one came twice");
    assert_eq!(write(&mut state, &[own("/d")]), refused);
    assert_eq!(write(&mut state, &[own("/others")]), refused, "there, and another's");
    assert_eq!(write(&mut state, &[own("/a"), own("/b"), own("/c")]), None, "its own again");
    assert_eq!(write(&mut state, &[own("/d"), delete("/a")]), None, "one for another");
    assert_eq!(write(&mut state, &[own("/d"), own("/a")]), refused);
    // The session owns more than it may: a write may keep that number, but not raise it.
    let mut state = restarted(&state, of(2));
    assert_eq!(write(&mut state, &[own("/a"), delete("/d")]), None);
    assert_eq!(write(&mut state, &[own("/d")]), refused);
}

#[test]
fn a_tree_that_is_too_full_takes_what_makes_it_no_fuller() {
    let refused = Some(Code::TreeFull);
    let mut before = state(Bounds::default());
    for at in ["/a", "/b", "/c"] {
        assert_eq!(write(&mut before, &[put(at, "12345678")]), None);
    }
    // A bound on entries, on bytes, on both.
    for (entries, bytes) in [(2, 1 << 20), (1 << 20, 20), (2, 20)] {
        let mut state = restarted(&before, Bounds { entries, bytes, ..Bounds::default() });
        assert_eq!(write(&mut state, &[put("/d", "12345678")]), refused);
        assert_eq!(write(&mut state, &[put("/a", "87654321")]), None, "as much");
        assert_eq!(write(&mut state, &[delete("/a"), put("/d", "12345678")]), None, "for another");
        assert_eq!(write(&mut state, &[put("/b", "1")]), None, "less");
    }
}

#[test]
fn a_tree_is_filled_to_its_last_entry_and_its_last_byte() {
    let refused = Some(Code::TreeFull);
    for (entries, bytes) in [(2, 1 << 20), (1 << 20, 20)] {
        let mut state = state(Bounds { entries, bytes, ..Bounds::default() });
        assert_eq!(write(&mut state, &[put("/a", "12345678")]), None);
        assert_eq!(write(&mut state, &[put("/b", "12345678")]), None);
        assert_eq!(write(&mut state, &[put("/c", "")]), refused);
    }
}

#[test]
fn a_client_is_remembered_so_many_answers() {
    let mut state = state(Bounds { dedup_answers: 3, ..Bounds::default() });
    let author = Author { client: Name::parse("c"), ..Author::default() };
    let mut write = |seq| {
        let request =
            Request { seq: Some(seq), changes: vec![put("/a", "x")], ..Request::default() };
        state.write(Time(1), &author, &request).answer.map_err(|refusal| refusal.code)
    };
    let answers: Vec<_> = (1..=4).map(&mut write).collect();
    assert_eq!(write(1), Err(Code::OutcomeUnknown));
    for seq in 2..=4 {
        assert_eq!(write(seq), answers[seq as usize - 1]);
    }
}
