//! The memory of answers: how much of it there is for a client, and that it is the same wherever it was made.

use std::sync::Arc;

use onetree_core::{Author, Bounds, Commit, Outcome, Request, SavedClient, Settings, State, Time};
use onetree_protocol::frame::{Condition, Do};
use onetree_protocol::{Code, DigestKey, Epoch, Name, Path, Revision, Value};

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn settings(bounds: Bounds) -> Settings {
    Settings { epoch: Epoch(1), digest_key: DigestKey(7), bounds, retention: Vec::new() }
}

/// A numbered write of so many appends.
fn write(state: &mut State, client: &str, seq: u64, appends: usize) -> Outcome {
    let author = Author { client: Some(Name::parse(client).unwrap()), session: None };
    let append = Do::Append {
        path: path(&format!("/{}", "log".repeat(60))),
        value: Value::text("v"),
        ttl_ms: None,
        ephemeral: false,
    };
    let request = Request { seq: Some(seq), changes: vec![append; appends], ..Request::default() };
    state.write(Time(1), &author, &request)
}

/// What the answers of a client take, about.
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
    // The newest are the ones that are left.
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
    // Few large ones, and then more small ones than are remembered by number.
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
