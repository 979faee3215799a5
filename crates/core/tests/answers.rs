//! The memory of answers: how much is kept for a client, and that it is the same in every state
//! with the same history.

use std::sync::Arc;

use onetree_core::{
    Author, Bounds, Commit, Head, Outcome, Request, SavedClient, Settings, State, Time,
};
use onetree_protocol::frame::{Condition, Do};
use onetree_protocol::{Code, DigestKey, Epoch, Name, Path, Revision, Value};

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn settings(bounds: Bounds) -> Settings {
    Settings { epoch: Epoch(1), digest_key: DigestKey(7), bounds, retention: Vec::new() }
}

/// Makes a numbered write of `appends` appends.
fn write(state: &mut State, client: &str, seq: u64, appends: usize) -> Outcome {
    let author = Author { client: Name::parse(client), ..Author::default() };
    let append = Do::Append {
        path: path(&format!("/{}", "log".repeat(60))),
        value: Value::text("v"),
        ttl_ms: None,
        ephemeral: false,
    };
    let request = Request { seq: Some(seq), changes: vec![append; appends], ..Request::default() };
    state.write(Time(1), &author, &request)
}

/// Returns roughly how many bytes the answers of a client take.
fn bytes(client: &SavedClient) -> usize {
    let answer = |answer: &Arc<_>| match &**answer {
        Ok(answer) => {
            let answer: &onetree_core::Answer = answer;
            answer.paths.iter().map(|path| path.as_str().len()).sum()
        }
        Err(refusal) => {
            let refusal: &onetree_core::Refusal = refusal;
            refusal.message.len()
        }
    };
    client.answers.iter().map(|(_, one)| answer(one)).sum()
}

#[test]
fn the_answers_of_a_client_take_no_more_than_its_bytes() {
    let bounds = Bounds { dedup_client_bytes: 100_000, ..Bounds::default() };
    let mut state = State::new(settings(bounds));
    for seq in 1..=100 {
        write(&mut state, "large", seq, 100).answer.unwrap();
        write(&mut state, "small", seq, 1).answer.unwrap();
    }
    let clients: Vec<SavedClient> = state.checkpoint().clients().collect();
    let [large, small] = clients.as_slice() else { panic!("{} clients", clients.len()) };
    assert!((50_000..=100_000).contains(&bytes(large)), "{}", bytes(large));
    assert_eq!(small.answers.len(), 100, "one client does not count for another");
    // The newest answers are the ones that are kept.
    let first = 101 - large.answers.len() as u64;
    assert!(large.answers.iter().map(|(seq, _)| *seq).eq(first..=100));
    let known = write(&mut state, "large", first, 100);
    assert_eq!(known.answer.as_ref(), large.answers[0].1.as_ref().as_ref());
    let gone = write(&mut state, "large", first - 1, 100);
    assert_eq!(gone.answer.unwrap_err().code, Code::OutcomeUnknown);
    assert!(known.commit.is_none() && gone.commit.is_none(), "none takes effect again");
}

#[test]
fn the_last_answer_is_remembered_however_large() {
    let bounds = Bounds { dedup_client_bytes: 1, ..Bounds::default() };
    let mut state = State::new(settings(bounds));
    for seq in 1..=3 {
        let first = write(&mut state, "c", seq, 1_000).answer.unwrap();
        assert_eq!(write(&mut state, "c", seq, 1_000).answer.unwrap(), first);
        let clients: Vec<SavedClient> = state.checkpoint().clients().collect();
        assert_eq!(clients[0].answers.len(), 1);
    }
}

#[test]
fn a_restart_remembers_the_same_answers() {
    let bounds = Bounds { dedup_client_bytes: 20_000, dedup_answers: 8, ..Bounds::default() };
    let mut made = State::new(settings(bounds));
    let mut commits: Vec<Arc<Commit>> = Vec::new();
    // First a few large answers, then more small ones than are remembered by number.
    let appends = |seq: u64| if seq % 20 < 10 { seq as usize * 5 % 70 } else { 1 };
    let clients = |state: &State| state.checkpoint().clients().collect::<Vec<_>>();
    for seq in 1..=60 {
        commits.extend(write(&mut made, "c", seq, appends(seq)).commit);
        let mut replayed = State::new(settings(bounds));
        let saved = commits.len() / 2;
        commits[..saved].iter().for_each(|commit| replayed.replay(commit));
        let from = replayed.checkpoint();
        let mut loaded = State::load(settings(bounds), from.head(), from.slots(), from.clients());
        for commit in &commits[saved..] {
            replayed.replay(commit);
            loaded.replay(commit);
        }
        assert_eq!(clients(&replayed), clients(&made), "after {seq}");
        assert_eq!(clients(&loaded), clients(&made), "after {seq}");
    }
}

#[test]
fn a_commit_has_so_many_conditions() {
    let bounds = Bounds { commit_conditions: 3, ..Bounds::default() };
    let mut state = State::new(settings(bounds));
    let condition = Condition::Tree { path: path("/a/b"), rev: Revision::ZERO };
    for (count, code) in [(3, None), (4, Some(Code::TooManyChanges))] {
        let request = Request { conditions: vec![condition.clone(); count], ..Request::default() };
        let answer = state.write(Time(1), &Author::default(), &request).answer;
        assert_eq!(answer.err().map(|refusal| refusal.code), code, "{count} conditions");
    }
}

/// Writes one path at a given time. With `since`, the write may be one that was sent before.
fn put(state: &mut State, at: u64, client: &str, since: Option<u64>) -> Result<Revision, Code> {
    let since = since.map(|rev| Revision::new(rev).unwrap());
    let author = Author { client: Name::parse(client), session: None, since };
    let put =
        Do::Put { path: path("/a"), value: Value::text(client), ttl_ms: None, ephemeral: false };
    let request = Request { seq: Some(1), changes: vec![put], ..Request::default() };
    let outcome = state.write(Time(at), &author, &request);
    outcome.answer.map(|answer| answer.rev).map_err(|refusal| refusal.code)
}

/// Does everything that is due.
fn housekeep(state: &mut State, at: u64) {
    while state.housekeep(Time(at)).is_some() {}
}

/// Returns the state after a restart from what was saved.
fn restarted(state: &State, bounds: Bounds) -> State {
    let saved = state.checkpoint();
    State::load(settings(bounds), saved.head(), saved.slots(), saved.clients())
}

#[test]
fn the_answers_of_all_clients_together_have_a_bound() {
    let bounds = Bounds { dedup_bytes: 60_000, ..Bounds::default() };
    let mut state = State::new(settings(bounds));
    let held = |state: &State| {
        let clients: Vec<SavedClient> = state.checkpoint().clients().collect();
        (clients.len(), clients.iter().map(bytes).sum::<usize>())
    };
    for client in 0..30 {
        write(&mut state, &format!("c{client:02}"), 1, 20).answer.unwrap();
        housekeep(&mut state, 1);
        let (clients, bytes) = held(&state);
        assert!(clients == client + 1 || clients > 8, "{clients} after {client}");
        assert!(bytes <= 60_000, "{bytes} of {clients}");
    }
    // After a restart with less room, clients that no longer fit are forgotten. One client stays,
    // however much it holds.
    let smaller = Bounds { dedup_bytes: 1, ..bounds };
    let mut state = restarted(&state, smaller);
    housekeep(&mut state, 1);
    assert_eq!(held(&state).0, 1);
    assert!(write(&mut state, "new", 1, 20).answer.is_ok());
    housekeep(&mut state, 2);
    assert_eq!(held(&state).0, 1);
}

#[test]
fn a_first_write_of_a_client_that_was_forgotten_is_not_done_again() {
    let bounds = Bounds { dedup_clients: 3, ..Bounds::default() };
    let mut state = State::new(settings(bounds));
    put(&mut state, 1, "before", None).unwrap();
    let since = Some(state.rev().get());
    put(&mut state, 2, "a", None).unwrap();
    assert_eq!(put(&mut state, 2, "a", since), Ok(Revision::new(2).unwrap()), "remembered");
    for (at, client) in [(3, "b"), (4, "c"), (5, "d"), (6, "e")] {
        put(&mut state, at, client, None).unwrap();
        housekeep(&mut state, at);
    }
    for mut state in [restarted(&state, bounds), state] {
        assert_eq!(put(&mut state, 7, "a", since), Err(Code::OutcomeUnknown));
        // A client that began after everything that was forgotten has never been here. Neither has
        // a client that has sent nothing before.
        let now = Some(state.rev().get());
        assert!(put(&mut state, 7, "new", now).is_ok());
        assert!(put(&mut state, 7, "fresh", None).is_ok());
    }
}

#[test]
fn a_first_write_is_not_done_again_when_all_were_forgotten_by_their_age() {
    let bounds = Bounds { dedup_ms: 10, ..Bounds::default() };
    let mut state = State::new(settings(bounds));
    put(&mut state, 1, "a", None).unwrap();
    assert_eq!(put(&mut state, 2, "lost-on-its-way", Some(0)), Ok(Revision::new(2).unwrap()));
    housekeep(&mut state, 1000);
    assert_eq!(state.checkpoint().clients_len(), 0);
    for mut state in [restarted(&state, bounds), state] {
        assert_eq!(put(&mut state, 1000, "a", Some(0)), Err(Code::OutcomeUnknown));
    }
}

#[test]
fn a_first_write_that_a_restart_came_before_is_done_where_nobody_was_forgotten() {
    let bounds = Bounds::default();
    let mut state = State::new(settings(bounds));
    put(&mut state, 1, "a", None).unwrap();
    let since = Some(state.rev().get());
    for (at, client) in [(2, "b"), (3, "c")] {
        put(&mut state, at, client, None).unwrap();
    }
    let mut state = restarted(&state, bounds);
    assert!(put(&mut state, 4, "lost-on-its-way", since).is_ok());
    // An older store did not save who was forgotten: then the client may have been here.
    let saved = state.checkpoint();
    let head = Head { forgotten: None, ..saved.head() };
    let mut state = State::load(settings(bounds), head, saved.slots(), saved.clients());
    assert_eq!(put(&mut state, 5, "late", since), Err(Code::OutcomeUnknown));
}

#[test]
fn clients_that_wrote_in_one_moment_are_forgotten_in_any_order() {
    // Within one moment the order is by name: the client that wrote last goes first.
    let bounds = Bounds { dedup_clients: 2, ..Bounds::default() };
    let mut state = State::new(settings(bounds));
    for client in ["z", "y", "a"] {
        put(&mut state, 1, client, None).unwrap();
    }
    housekeep(&mut state, 1);
    for mut state in [restarted(&state, bounds), state] {
        assert_eq!(put(&mut state, 2, "a", Some(2)), Err(Code::OutcomeUnknown));
    }
}

#[test]
fn a_first_write_that_changed_nothing_is_not_done_again_either() {
    let bounds = Bounds { dedup_ms: 10, ..Bounds::default() };
    let mut state = State::new(settings(bounds));
    put(&mut state, 1, "before", None).unwrap();
    let since = Some(state.rev());
    let delete = |state: &mut State, at: u64, since: Option<Revision>| {
        let author = Author { client: Name::parse("x"), session: None, since };
        let changes = vec![Do::Delete { path: path("/lock") }];
        let request = Request { seq: Some(1), changes, ..Request::default() };
        state.write(Time(at), &author, &request).answer.map_err(|refusal| refusal.code)
    };
    delete(&mut state, 2, None).unwrap();
    for mut state in [restarted(&state, bounds), state] {
        housekeep(&mut state, 50);
        assert_eq!(delete(&mut state, 60, since).unwrap_err(), Code::OutcomeUnknown);
    }
}
