//! What is about one history is sent in no other.

use onetree_client::protocol::frame::{
    ClientFrame, Condition, Delete, Do, DropTree, Expect, Get, Trim, Txn,
};
use onetree_client::protocol::{Epoch, LogKey};
use onetree_client::{Action, Code};

use crate::bench::Bench;
use crate::broker::{path, rev};
use crate::{appends, numbers};

const ANOTHER: Epoch = Epoch(2);

fn delete(at: Option<u64>) -> ClientFrame {
    let expect = at.map(|at| Expect { rev: rev(at) });
    ClientFrame::Delete(Delete { id: 0, seq: None, path: path("/a"), expect })
}

fn txn(conditions: Vec<Condition>, changes: Vec<Do>) -> ClientFrame {
    ClientFrame::Txn(Txn { id: 0, seq: None, conditions, changes })
}

/// Writes that are about a history, and writes that are not.
fn writes() -> (Vec<ClientFrame>, Vec<ClientFrame>) {
    let entry = |at| Condition::Entry { path: path("/a"), rev: rev(at) };
    let tree = |at| Condition::Tree { path: path("/a"), rev: rev(at) };
    let (at, to) = (path("/log"), LogKey { rev: rev(9), index: u16::MAX });
    let message = path(&format!("/log/{to}/thread"));
    let about = vec![
        delete(Some(7)),
        txn(vec![entry(0), entry(7)], Vec::new()),
        txn(vec![tree(7)], Vec::new()),
        txn(Vec::new(), vec![Do::Trim { path: at.clone(), to }]),
        txn(Vec::new(), vec![Do::Delete { path: message.clone() }]),
        ClientFrame::Drop(DropTree { id: 0, seq: None, path: message, expect: None }),
        ClientFrame::Trim(Trim { id: 0, seq: None, path: at, to }),
    ];
    (about, vec![delete(None), delete(Some(0)), txn(vec![entry(0), tree(0)], Vec::new())])
}

#[test]
fn what_waits_is_not_sent_to_another_history() {
    let mut bench = Bench::up();
    bench.lose();
    let (about, any) = writes();
    let about: Vec<u64> = about.into_iter().map(|frame| bench.request(frame)).collect();
    let any: Vec<u64> = any.into_iter().map(|frame| bench.request(frame)).collect();
    bench.epoch = ANOTHER;
    bench.come_back();
    assert_eq!(bench.sent().len(), any.len());
    for ticket in about {
        assert_eq!(bench.outcome(ticket), Some(Err(Some(Code::Conflict))));
        assert!(bench.released.contains(&ticket));
    }
    assert!(any.into_iter().all(|ticket| bench.outcome(ticket).is_none()));
}

#[test]
fn what_waits_is_sent_to_the_history_that_it_is_about() {
    let mut bench = Bench::up();
    bench.lose();
    let (about, _) = writes();
    let all = about.len();
    about.into_iter().for_each(|frame| _ = bench.request(frame));
    bench.come_back();
    assert_eq!((bench.sent().len(), bench.replies.len()), (all, 0));
}

#[test]
fn a_transaction_is_about_the_history_of_its_snapshot() {
    let mut bench = Bench::up();
    bench.epoch = ANOTHER;
    bench.lose();
    bench.come_back();
    let late = bench.request_of(delete(Some(7)), Some(Epoch(1)));
    let now = bench.request_of(delete(Some(7)), Some(ANOTHER));
    assert_eq!(bench.outcome(late), Some(Err(Some(Code::Conflict))));
    assert_eq!((bench.sent().len(), bench.outcome(now)), (1, None));
}

#[test]
fn what_was_sent_before_another_history_began_is_unknown_and_holds_nobody_up() {
    let mut bench = Bench::up();
    let sent = [bench.request(delete(Some(7))), bench.append("b"), bench.request(delete(None))];
    assert_eq!(bench.sent().len(), 3);
    bench.epoch = ANOTHER;
    bench.lose();
    let next = bench.append("c");
    let read = bench.request(ClientFrame::Get(Get { id: 0, paths: vec![path("/a")] }));
    let name = bench.come_back().client;
    for ticket in sent {
        assert_eq!(bench.outcome(ticket), Some(Err(Some(Code::OutcomeUnknown))));
    }
    // Nor are their numbers given to others: this history may have been made from the other, and
    // know them.
    assert!(bench.sent().is_empty());
    assert_ne!(bench.come_back().client, name);
    let frames = bench.sent();
    let [append, ClientFrame::Get(_)] = &frames[..] else { panic!("{frames:?}") };
    let frames = appends(std::slice::from_ref(append));
    assert_eq!(numbers(&frames), [(1, "c")]);
    bench.done(frames[0].2);
    assert_eq!((bench.outcome(next), bench.outcome(read)), (Some(Ok(())), None));
}

#[test]
fn another_history_while_numbers_are_settled_holds_nobody_up() {
    let mut bench = Bench::up();
    let first = bench.append("a");
    let behind = bench.append("b");
    let about = bench.request(delete(Some(7)));
    let ids: Vec<u32> = bench.sent().iter().filter_map(ClientFrame::id).collect();
    // The first leaves its number to the next write, so the second is a gap, and gets a new number
    // once the third has its answer.
    bench.refuse(ids[0], Code::ValueTooLarge);
    bench.refuse(ids[1], Code::SeqGap);
    bench.epoch = ANOTHER;
    bench.lose();
    bench.come_back();
    bench.come_back();
    assert_eq!(bench.outcome(first), Some(Err(Some(Code::ValueTooLarge))));
    assert_eq!(bench.outcome(about), Some(Err(Some(Code::OutcomeUnknown))));
    let frames = appends(&bench.sent());
    assert_eq!(numbers(&frames), [(1, "b")]);
    bench.done(frames[0].2);
    assert_eq!(bench.outcome(behind), Some(Ok(())));
}

#[test]
fn who_comes_back_under_another_name_says_why() {
    // This is not the outcome of a write.
    let is_away = |bench: &Bench, why: &str| {
        let error = bench.offline.as_deref().unwrap();
        let told =
            format!("the connection was lost: {why}, so this client comes back under another name");
        assert_eq!(
            (error.word(), error.action(), error.to_string()),
            ("lost", Action::Retry, told)
        );
    };
    let mut bench = Bench::up();
    bench.append("a");
    bench.sent();
    bench.epoch = ANOTHER;
    bench.lose();
    bench.come_back();
    is_away(&bench, "the broker has begun another history");
    // The same history, but the broker has forgotten the name.
    bench.come_back();
    bench.append("b");
    let first = appends(&bench.sent());
    bench.done(first[0].2);
    bench.append("c");
    let second = appends(&bench.sent());
    bench.refuse(second[0].2, Code::OutcomeUnknown);
    is_away(&bench, "the broker does not know this client's writes");
    // Another history. There was no write to answer, so it shows at the first write that the broker
    // refuses.
    bench.come_back();
    let third = appends(&bench.sent());
    bench.done(third[0].2);
    bench.epoch = Epoch(3);
    bench.lose();
    bench.come_back();
    bench.append("d");
    let fourth = appends(&bench.sent());
    bench.refuse(fourth[0].2, Code::SeqGap);
    is_away(&bench, "the broker has begun another history");
}
