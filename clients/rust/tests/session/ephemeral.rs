//! What is gone with a session that is over is not reported as if it was there.

use onetree_client::protocol::Epoch;
use onetree_client::protocol::frame::{Append, ClientFrame, Do, Put, Txn};
use onetree_client::{Action, Code, Error, Value};

use crate::bench::Bench;
use crate::broker::path;

/// Each way to write an entry, ephemeral or not.
fn writes(ephemeral: bool) -> Vec<ClientFrame> {
    let (id, seq, ttl_ms) = (0, None, None);
    let (lock, log, value) = (path("/lock"), path("/log"), Value::text("me"));
    let put = Do::Put { path: lock.clone(), value: value.clone(), ttl_ms, ephemeral };
    let append = Do::Append { path: log.clone(), value: value.clone(), ttl_ms, ephemeral };
    let txn = |step| {
        let changes = vec![Do::Delete { path: path("/other") }, step];
        ClientFrame::Txn(Txn { id, seq, conditions: Vec::new(), changes })
    };
    let expect = None;
    let alone = Put { id, seq, path: lock, value: value.clone(), expect, ttl_ms, ephemeral };
    vec![
        ClientFrame::Put(alone),
        ClientFrame::Append(Append { id, seq, path: log, value, ttl_ms, ephemeral }),
        txn(put),
        txn(append),
    ]
}

/// Makes these writes, loses the connection before they are answered, and comes back to a broker at
/// `rev`, where the session is `over` or not. The broker answers all of them with revision 9.
fn answered_behind(over: bool, rev: u64, ephemeral: bool) -> (Bench, Vec<u64>) {
    let mut bench = Bench::up();
    let writes = writes(ephemeral);
    let tickets: Vec<u64> = writes.into_iter().map(|frame| bench.request(frame)).collect();
    assert_eq!(bench.sent().len(), tickets.len());
    bench.lose();
    (bench.over, bench.rev) = (over, rev);
    bench.come_back();
    bench.sent().iter().for_each(|frame| bench.done(frame.id().unwrap()));
    (bench, tickets)
}

#[test]
fn what_happened_in_a_session_that_is_over_is_not_told_as_done_when_it_was_ephemeral() {
    let (mut bench, tickets) = answered_behind(true, 10, true);
    let name = bench.session.name().clone();
    for ticket in tickets {
        assert_eq!(bench.outcome(ticket), Some(Err(Some(Code::OutcomeUnknown))));
    }
    let Some((_, Err(error @ Error::Refused(refusal)))) = bench.replies.first() else { panic!() };
    assert!(refusal.message.contains("in a session that is over"), "{refusal}");
    assert_eq!(error.action(), Action::Stop);
    // The broker has answered: the numbers continue, under the same name.
    let (next, frame) = (bench.append("next"), bench.sent().remove(0));
    assert!(matches!(&frame, ClientFrame::Append(append) if append.seq == Some(5)), "{frame:?}");
    bench.done(frame.id().unwrap());
    assert_eq!(bench.outcome(next), Some(Ok(())));
    assert_eq!(bench.session.name(), &name);
}

#[test]
fn what_is_done_in_the_session_of_now_is_told_as_done() {
    // The write was done in the session of before, which goes on; or it is done in the new session,
    // above the revision at which that began; or its entry outlives sessions.
    for (over, rev, ephemeral) in [(false, 10, true), (true, 8, true), (true, 10, false)] {
        let (bench, tickets) = answered_behind(over, rev, ephemeral);
        for ticket in tickets {
            assert_eq!(bench.outcome(ticket), Some(Ok(())), "{over} {rev} {ephemeral}");
        }
    }
}

#[test]
fn a_session_that_another_history_knows_began_in_that_one() {
    let mut bench = Bench::new();
    bench.rev = 50;
    bench.open();
    bench.lose();
    // The broker was restored from a backup, in which the session owns something.
    (bench.epoch, bench.rev) = (Epoch(2), 3);
    bench.come_back();
    let ticket = bench.request(writes(true).remove(0));
    let id = bench.sent()[0].id().unwrap();
    bench.done(id);
    assert_eq!(bench.outcome(ticket), Some(Ok(())));
}
