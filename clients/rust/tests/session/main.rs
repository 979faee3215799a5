//! The pure session, given frame by frame what a broker sends.

mod bench;
#[path = "../broker/mod.rs"]
mod broker;
mod connection;
mod ephemeral;
mod history;

use std::time::Duration;

use onetree_client::mirror::State;
use onetree_client::protocol::Name;
use onetree_client::protocol::frame::{
    ClientFrame, Delta, Do, Entries, ErrorFrame, Get, Goodbye, Ok as Accepted, Refresh, SendSignal,
    ServerFrame, Sync, Txn,
};
use onetree_client::session::{Reply, SubOptions};
use onetree_client::{
    Act, Action, Change, Code, Codec, Digest, Error, Event, Options, Path, Pattern, Reason,
    RefreshKind, Sent, Value, Verdict, View,
};

use bench::{Bench, SECOND};
use broker::{path, rev};

/// The `seq`, text and id of each append.
fn appends(frames: &[ClientFrame]) -> Vec<(u64, String, u32)> {
    let one = |frame: &ClientFrame| match frame {
        ClientFrame::Append(f) => {
            let text = String::from_utf8(f.value.bytes.to_vec()).unwrap();
            (f.seq.unwrap(), text, f.id)
        }
        other => panic!("{other:?}"),
    };
    frames.iter().map(one).collect()
}

/// Makes an append, and answers it.
fn append_and_done(bench: &mut Bench, text: &str) {
    bench.append(text);
    let sent = appends(&bench.sent());
    bench.done(sent[0].2);
}

fn numbers(frames: &[(u64, String, u32)]) -> Vec<(u64, &str)> {
    frames.iter().map(|(seq, text, _)| (*seq, text.as_str())).collect()
}

#[test]
fn writes_without_an_answer_are_sent_again_in_their_order() {
    let mut bench = Bench::up();
    let tickets: Vec<u64> = ["a", "b", "c"].map(|text| bench.append(text)).into();
    let sent = appends(&bench.sent());
    assert_eq!(numbers(&sent), [(1, "a"), (2, "b"), (3, "c")]);
    // Answers may come in any order.
    bench.done(sent[1].2);
    bench.lose();
    let late = bench.append("d");
    let hello = bench.come_back();
    assert_eq!(hello.client.as_ref(), Some(bench.session.name()));
    assert_eq!(hello.session, Name::parse("s"));
    let sent = appends(&bench.sent());
    assert_eq!(numbers(&sent), [(1, "a"), (3, "c"), (4, "d")]);
    sent.iter().for_each(|(_, _, id)| bench.done(*id));
    for ticket in tickets.into_iter().chain([late]) {
        assert_eq!(bench.outcome(ticket), Some(Ok(())));
    }
    assert_eq!(bench.released.len(), 4);
}

#[test]
fn no_more_is_in_flight_than_the_broker_allows() {
    let mut bench = Bench::up();
    for n in 0..20 {
        bench.append(&n.to_string());
    }
    let sent = appends(&bench.sent());
    assert_eq!(sent.len(), 8);
    bench.done(sent[0].2);
    bench.done(sent[1].2);
    assert_eq!(numbers(&appends(&bench.sent())), [(9, "8"), (10, "9")]);
}

#[test]
fn a_refused_write_does_not_take_those_behind_it_along() {
    // The broker does not count what never reached its tree: the writes after it come back as a
    // gap.
    for first in [true, false] {
        let mut bench = Bench::up();
        let mut floor = 0;
        if !first {
            append_and_done(&mut bench, "before");
            floor = 1;
        }
        let name = bench.session.name().clone();
        let wrong = bench.append("wrong");
        let good = [bench.append("b"), bench.append("c")];
        let sent = appends(&bench.sent());
        bench.refuse(sent[0].2, Code::BadValue);
        // A broker that does not know the client yet cannot know that a number is missing.
        let code = if first { Code::OutcomeUnknown } else { Code::SeqGap };
        bench.refuse(sent[1].2, code);
        let late = bench.append("d");
        assert!(bench.sent().is_empty(), "not before all is answered");
        bench.refuse(sent[2].2, code);
        // A client that the broker has never heard of has no numbers to lose: at worst it takes
        // another name.
        if bench.session.name() != &name {
            bench.come_back();
        }
        let sent = appends(&bench.sent());
        assert_eq!(
            numbers(&sent),
            [(floor + 1, "b"), (floor + 2, "c"), (floor + 3, "d")],
            "first: {first}"
        );
        assert_eq!(bench.session.name(), &name);
        sent.iter().for_each(|(_, _, id)| bench.done(*id));
        assert_eq!(bench.outcome(wrong), Some(Err(Some(Code::BadValue))));
        for ticket in good.into_iter().chain([late]) {
            assert_eq!(bench.outcome(ticket), Some(Ok(())));
        }
    }
}

#[test]
fn a_connection_lost_while_numbers_are_sorted_out_holds_nothing_up() {
    let mut bench = Bench::up();
    append_and_done(&mut bench, "first");
    for text in ["a", "b", "c"] {
        bench.append(text);
    }
    let sent = appends(&bench.sent());
    bench.refuse(sent[0].2, Code::BadValue);
    bench.refuse(sent[1].2, Code::SeqGap);
    // `b` waits for the answer to `c`, which is lost with the connection.
    bench.lose();
    bench.come_back();
    let sent = appends(&bench.sent());
    assert_eq!(numbers(&sent), [(4, "c")]);
    bench.refuse(sent[0].2, Code::SeqGap);
    assert_eq!(numbers(&appends(&bench.sent())), [(2, "b"), (3, "c")]);
}

#[test]
fn a_refusal_uses_its_number_up_where_the_code_says_so() {
    let of_numbers = [Code::OutcomeUnknown, Code::SeqGap];
    for code in Code::ALL.iter().copied().filter(|code| !of_numbers.contains(code)) {
        let mut bench = Bench::up();
        append_and_done(&mut bench, "first");
        let (refused, behind) = (bench.append("a"), bench.append("b"));
        let sent = appends(&bench.sent());
        bench.refuse(sent[0].2, code);
        if code.uses_seq() {
            bench.done(sent[1].2);
        } else {
            bench.refuse(sent[1].2, Code::SeqGap);
            let again = appends(&bench.sent());
            assert_eq!(numbers(&again), [(2, "b")], "{code:?}");
            bench.done(again[0].2);
        }
        bench.append("c");
        let next = if code.uses_seq() { 4 } else { 3 };
        assert_eq!(numbers(&appends(&bench.sent())), [(next, "c")], "{code:?}");
        assert_eq!(bench.outcome(refused), Some(Err(Some(code))));
        assert_eq!(bench.outcome(behind), Some(Ok(())));
    }
}

#[test]
fn who_sends_first_writes_again_says_since_when_they_may_have_happened() {
    let mut bench = Bench::up();
    let first = bench.append("a");
    assert_eq!(bench.sent().len(), 1);
    bench.lose();
    bench.append("b");
    // The broker was at 1 when the first write was sent, whatever it is at now.
    assert_eq!(bench.come_back().since, Some(rev(1)));
    let sent = appends(&bench.sent());
    bench.say(ServerFrame::Sync(Sync { id: None, rev: rev(5), digests: Vec::new() }));
    bench.lose();
    assert_eq!(bench.come_back().since, Some(rev(1)));
    let sent_again = appends(&bench.sent());
    assert_eq!(numbers(&sent), numbers(&sent_again));
    bench.done(sent_again[0].2);
    bench.lose();
    // By a number above 1 the broker itself sees that it has forgotten the client.
    assert_eq!(bench.come_back().since, None);
    assert_eq!(bench.outcome(first), Some(Ok(())));
}

#[test]
fn refused_neighbours_however_many_take_no_good_write_along() {
    for code in [Code::ReadOnly, Code::TooManyChanges] {
        let mut bench = Bench::up();
        bench.in_flight = 64;
        bench.lose();
        bench.come_back();
        let texts: Vec<String> = (0..40).map(|n| format!("{}{n}", ["bad", "c"][n % 2])).collect();
        let tickets: Vec<u64> = texts.iter().map(|text| bench.append(text)).collect();
        let mut last = 0;
        for _ in 0..100 {
            let sent = appends(&bench.sent());
            if sent.is_empty() {
                break;
            }
            // As the broker does: what is refused leaves its number to the next write.
            for (seq, text, id) in sent {
                if seq != last + 1 {
                    bench.refuse(id, Code::SeqGap);
                } else if text.starts_with("bad") {
                    bench.refuse(id, code);
                } else {
                    last = seq;
                    bench.done(id);
                }
            }
        }
        for (text, ticket) in texts.iter().zip(tickets) {
            let expected = if text.starts_with("bad") { Err(Some(code)) } else { Ok(()) };
            assert_eq!(bench.outcome(ticket), Some(expected), "{text}");
        }
    }
}

#[test]
fn an_unknown_outcome_is_told_and_the_client_goes_on_as_another() {
    let mut bench = Bench::up();
    let ticket = bench.append("a");
    assert_eq!(bench.sent().len(), 1);
    bench.lose();
    let name = bench.session.name().clone();
    bench.come_back();
    let sent = appends(&bench.sent());
    // The write was sent before, and may have happened.
    bench.refuse(sent[0].2, Code::OutcomeUnknown);
    assert_eq!(bench.outcome(ticket), Some(Err(Some(Code::OutcomeUnknown))));
    let next = bench.append("b");
    let hello = bench.come_back();
    assert_ne!(hello.client, Some(name));
    let sent = appends(&bench.sent());
    assert_eq!(numbers(&sent), [(1, "b")]);
    bench.done(sent[0].2);
    assert_eq!(bench.outcome(next), Some(Ok(())));
}

#[test]
fn a_client_that_was_forgotten_while_idle_loses_nothing() {
    let mut bench = Bench::up();
    append_and_done(&mut bench, "a");
    let ticket = bench.append("b");
    let sent = appends(&bench.sent());
    // The write was sent for the first time, so it cannot have happened.
    bench.refuse(sent[0].2, Code::OutcomeUnknown);
    assert_eq!(bench.outcome(ticket), None);
    bench.come_back();
    let sent = appends(&bench.sent());
    assert_eq!(numbers(&sent), [(1, "b")]);
    bench.done(sent[0].2);
    assert_eq!(bench.outcome(ticket), Some(Ok(())));
}

#[test]
fn what_is_too_large_is_refused_here() {
    let mut bench = Bench::up();
    let large = bench.append(&"x".repeat(1001));
    let fits = bench.append(&"x".repeat(1000));
    assert_eq!(appends(&bench.sent()).len(), 1);
    assert_eq!(bench.outcome(large), Some(Err(Some(Code::ValueTooLarge))));
    assert_eq!(bench.outcome(fits), None);
}

#[test]
fn what_is_no_json_is_refused_here_before_it_breaks_or_forges_a_frame() {
    let mut bench = Bench::speaking(Codec::Json, Options::new("ws://here"));
    bench.open();
    let value = |text| Value::json(text);
    for text in ["{oops", r#"1,"ttl_ms":60000"#, "1},{", "", "1 2", "NaN", r#"{"a":1,"a":2}"#] {
        let put = Do::Put { path: path("/a"), value: value(text), ttl_ms: None, ephemeral: false };
        let txn = Txn { changes: vec![put], ..Txn::default() };
        let signal = SendSignal { id: Some(0), path: path("/a"), value: value(text) };
        for frame in [ClientFrame::Txn(txn), ClientFrame::Signal(signal)] {
            let wrong = bench.request(frame);
            let good = bench.append("x");
            let sent = appends(&bench.sent());
            assert_eq!(sent.len(), 1, "{text}");
            bench.done(sent[0].2);
            assert_eq!(bench.outcome(wrong), Some(Err(Some(Code::BadValue))), "{text}");
            let reply = bench.replies.iter().find(|(ticket, _)| *ticket == wrong);
            let Some((_, Err(Error::Refused(refusal)))) = reply else { panic!("{reply:?}") };
            assert_eq!(refusal.path, Some(path("/a")));
            assert_eq!(bench.outcome(good), Some(Ok(())), "{text}");
        }
    }
    let signal = SendSignal { id: Some(0), path: path("/a"), value: value(" {\"a\": [1]}\n") };
    bench.request(ClientFrame::Signal(signal));
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn a_frame_that_the_broker_cannot_read_is_found_and_takes_no_other_along() {
    let mut bench = Bench::up();
    let unread = || ServerFrame::Error(ErrorFrame::new(None, Code::BadFrame, "no"));
    let tickets = ["a", "bad", "c", "bad"].map(|text| bench.append(text));
    let sent = appends(&bench.sent());
    // The broker cannot say which of the four it is.
    bench.say(unread());
    bench.done(sent[0].2);
    let late = bench.append("d");
    assert!(bench.sent().is_empty(), "not before it is found");
    bench.refuse(sent[2].2, Code::SeqGap);
    assert_eq!(bench.outcome(tickets[1]), None);
    bench.say(unread());
    let sent = appends(&bench.sent());
    assert_eq!(numbers(&sent), [(2, "c"), (3, "d")]);
    sent.iter().for_each(|(_, _, id)| bench.done(*id));
    let bad = Some(Err(Some(Code::BadFrame)));
    let expected = [Some(Ok(())), bad, Some(Ok(())), bad];
    assert_eq!(tickets.map(|ticket| bench.outcome(ticket)), expected);
    assert_eq!((bench.outcome(late), bench.disconnects), (Some(Ok(())), 0));

    // If the broker does not answer the others either, the client drops the connection and comes
    // back.
    bench.append("e");
    bench.append("f");
    assert_eq!(bench.sent().len(), 2);
    bench.say(unread());
    bench.now += 20 * SECOND;
    bench.session.handle_heard(bench.now);
    bench.wait(10 * SECOND);
    assert_eq!(bench.disconnects, 1);
    bench.come_back();
    assert_eq!(bench.sent().len(), 2);
}

#[test]
fn a_write_that_was_sent_keeps_its_number_after_its_timeout() {
    let mut bench = Bench::up();
    let sent = bench.append("a");
    assert_eq!(bench.sent().len(), 1);
    bench.lose();
    let unsent = bench.append("b");
    bench.wait(30 * SECOND);
    let (_, error) = bench.replies.iter().find(|(ticket, _)| *ticket == sent).unwrap();
    assert!(matches!(error, Err(Error::Timeout { sent: Sent::Write, .. })));
    let (_, error) = bench.replies.iter().find(|(ticket, _)| *ticket == unsent).unwrap();
    assert!(matches!(error, Err(Error::Timeout { sent: Sent::Never, .. })));
    assert_eq!(bench.released, [unsent]);
    bench.open();
    let again = appends(&bench.sent());
    assert_eq!(numbers(&again), [(1, "a")]);
    bench.done(again[0].2);
    assert_eq!(bench.released, [unsent, sent]);
    assert_eq!(bench.replies.len(), 2);
}

#[test]
fn a_read_that_was_sent_may_be_asked_again() {
    let get = || ClientFrame::Get(Get { id: 0, paths: vec![path("/a")] });
    let mut bench = Bench::up();
    let late = bench.request(get());
    bench.sent();
    bench.session.handle_heard(bench.now + 29 * SECOND);
    bench.wait(30 * SECOND);
    let (ticket, error) = bench.replies.pop().unwrap();
    let error = error.unwrap_err();
    assert_eq!((ticket, error.action()), (late, Action::Retry));
    assert_eq!(error.to_string(), "no answer within 30s");

    bench.request(get());
    let write = bench.append("a");
    bench.sent();
    let (code, message) = (Code::Unauthorized, String::new());
    bench.say(ServerFrame::Bye(Goodbye { code, retry_ms: None, message }));
    bench.lose();
    let actions = bench.replies.iter().map(|(_, r)| r.as_ref().unwrap_err().action());
    assert_eq!(actions.collect::<Vec<_>>(), [Action::Reauth, Action::Stop]);
    assert_eq!(bench.replies.last().map(|(ticket, _)| *ticket), Some(write));
}

#[test]
fn a_reconnect_brings_the_cookies_along() {
    let mut bench = Bench::up();
    bench.mirror(5);
    // Nothing in the view changed, and yet the mirror moves on.
    let delta = Delta { rev: rev(6), since: None, sub: None, part: false, changes: Vec::new() };
    bench.say(ServerFrame::Delta(delta));
    bench.lose();
    assert!(bench.last_event().starts_with("Offline"), "{}", bench.last_event());
    let hello = bench.come_back();
    let cookie = hello.subs[0].cookie.unwrap();
    assert_eq!((hello.subs.len(), hello.subs[0].sub, cookie.rev), (1, 1, rev(6)));
    assert_eq!(hello.seen, Some(rev(6)));
    assert!(matches!(bench.events.last(), Some((1, Event::Online { resumed: true }))));
    let refresh =
        Refresh { sub: 1, kind: RefreshKind::Delta, why: Reason::Cookie, from: Some(rev(6)) };
    bench.say(ServerFrame::Refresh(refresh));
    bench.fresh(8, Digest::default());
    assert!(bench.last_event().starts_with("Fresh"), "{}", bench.last_event());
}

#[test]
fn a_wrong_mirror_is_started_again_and_then_waits_longer_each_time() {
    let mut bench = Bench::up();
    bench.mirror(5);
    // Finds it wrong after so many seconds, and returns how many it waits then.
    let mut wrong = |after: u32| {
        bench.now += after * SECOND;
        let digests = vec![(1, Some(Digest { count: 0, sum: 1 }))];
        bench.say(ServerFrame::Sync(Sync { id: None, rev: rev(5), digests }));
        let wait = match &bench.events[bench.events.len() - 1].1 {
            Event::Circling { retry_in } => *retry_in,
            event => {
                assert!(matches!(event, Event::Corrupt { .. }), "{event:?}");
                Duration::ZERO
            }
        };
        assert!(wait.is_zero() || bench.sent().is_empty());
        bench.session.handle_heard(bench.now + wait);
        bench.wait(wait);
        let sent = bench.sent();
        let [ClientFrame::Resync(resync)] = &sent[..] else { panic!("{sent:?}") };
        bench.say(ServerFrame::Ok(Accepted { id: resync.id }));
        bench.refresh(5);
        wait.as_secs()
    };
    let waits = [0, 0, 0, 10, 20, 40, 80, 160, 300, 300, 300];
    assert_eq!(waits.map(|_| wrong(1)), waits);
    // After a minute without a restart it begins anew.
    for _ in 0..2 {
        assert_eq!([61, 1, 1, 1].map(&mut wrong), [0, 0, 0, 10]);
    }
}

#[test]
fn a_subscription_that_is_told_to_wait_for_weeks_is_tried_again_after_a_day() {
    let mut bench = Bench::up();
    bench.mirror(5);
    let error = ErrorFrame::new(None, Code::Unavailable, "full");
    let error = ErrorFrame { sub: Some(1), retry_ms: Some(u32::MAX), ..error };
    bench.say(ServerFrame::Error(error));
    assert_eq!(bench.last_event(), "Circling { retry_in: 86400s }");
}

#[test]
fn a_refresh_with_a_wrong_digest_is_not_shown() {
    let mut bench = Bench::up();
    bench.mirror(5);
    bench.lose();
    bench.come_back();
    let (kind, why) = (RefreshKind::Delta, Reason::Cookie);
    bench.say(ServerFrame::Refresh(Refresh { sub: 1, kind, why, from: Some(rev(5)) }));
    bench.fresh(6, Digest { count: 1, sum: 1 });
    assert!(bench.last_event().starts_with("Corrupt"), "{}", bench.last_event());
    assert!(matches!(&bench.sent()[..], [ClientFrame::Resync(_)]));
    // The connection is lost in between: the mirror still begins from nothing.
    bench.lose();
    assert_eq!(bench.come_back().subs[0].cookie, None);
}

#[test]
fn a_gap_between_deltas_is_a_resync() {
    let mut bench = Bench::up();
    bench.mirror(5);
    let delta =
        Delta { rev: rev(9), since: Some(rev(7)), sub: None, part: false, changes: Vec::new() };
    bench.say(ServerFrame::Delta(delta));
    assert!(bench.last_event().starts_with("Broken"), "{}", bench.last_event());
    assert!(matches!(&bench.sent()[..], [ClientFrame::Resync(_)]));
    // What was sent before the resync is not for the mirror.
    let late = Delta { rev: rev(10), since: None, sub: None, part: false, changes: Vec::new() };
    bench.say(ServerFrame::Delta(late));
    bench.refresh(11);
    assert!(bench.last_event().starts_with("Fresh"), "{}", bench.last_event());
}

#[test]
fn a_mirror_that_starts_again_is_not_given_what_was_asked_before() {
    for before_welcome in [true, false] {
        let mut bench = Bench::up();
        bench.mirror(5);
        bench.lose();
        bench.wait_to_connect();
        let hello = bench.greet();
        assert!(hello.subs[0].cookie.is_some());
        if before_welcome {
            bench.session.resync(1);
            bench.welcome(&hello);
        } else {
            bench.welcome(&hello);
            bench.session.resync(1);
        }
        let sent = bench.sent();
        let [ClientFrame::Resync(resync)] = &sent[..] else { panic!("{sent:?}") };
        // The answer to the `sub` in `hello`, with its cookie.
        let from = Some(rev(5));
        let (kind, why) = (RefreshKind::Delta, Reason::Cookie);
        bench.say(ServerFrame::Ok(Accepted { id: hello.subs[0].id }));
        bench.say(ServerFrame::Refresh(Refresh { sub: 1, kind, why, from }));
        bench.fresh(6, Digest::default());
        assert!(bench.last_event().starts_with("Online"), "{}", bench.last_event());
        assert!(bench.sent().is_empty());
        bench.say(ServerFrame::Ok(Accepted { id: resync.id }));
        bench.refresh(6);
        assert!(bench.last_event().starts_with("Fresh"), "{}", bench.last_event());
    }
}

#[test]
fn parts_of_a_delta_are_shown_together() {
    let mut bench = Bench::up();
    bench.mirror(5);
    let change =
        |at: &str, n| Change { path: path(at), rev: rev(n), act: Act::Put(Some(Value::text("x"))) };
    let delta = |part, change| Delta {
        rev: rev(7),
        since: Some(rev(5)),
        sub: None,
        part,
        changes: vec![change],
    };
    let before = bench.events.len();
    bench.say(ServerFrame::Delta(delta(true, change("/a", 6))));
    assert_eq!(bench.events.len(), before);
    bench.say(ServerFrame::Entries(Entries { sub: 9, changes: vec![change("/c", 7)] }));
    bench.say(ServerFrame::Delta(delta(false, change("/b", 7))));
    let Some((1, Event::Delta { changes, .. })) = bench.events.last() else {
        panic!("{}", bench.last_event())
    };
    assert_eq!(changes.len(), 2);
    // A part that was left when the connection was lost is forgotten.
    bench.say(ServerFrame::Delta(Delta { rev: rev(8), ..delta(true, change("/a", 8)) }));
    bench.lose();
    bench.come_back();
    bench.refresh(8);
    let next = Delta { rev: rev(9), since: None, ..delta(false, change("/d", 9)) };
    bench.say(ServerFrame::Delta(next));
    let Some((1, Event::Delta { changes, .. })) = bench.events.last() else {
        panic!("{}", bench.last_event())
    };
    assert_eq!(changes.len(), 1);
}

#[test]
fn a_sync_moves_only_the_mirrors_that_it_names() {
    let mut bench = Bench::up();
    bench.mirror(5);
    bench.say(ServerFrame::Sync(Sync { id: None, rev: rev(9), digests: Vec::new() }));
    bench.lose();
    assert_eq!(bench.come_back().subs[0].cookie.unwrap().rev, rev(5));
    bench.refresh(5);
    let digests = vec![(1, None)];
    bench.say(ServerFrame::Sync(Sync { id: None, rev: rev(9), digests }));
    bench.lose();
    assert_eq!(bench.come_back().subs[0].cookie.unwrap().rev, rev(9));
}

#[test]
fn who_compares_a_mirror_waits_no_longer_than_for_an_answer() {
    let mut bench = Bench::up();
    bench.mirror(5);
    let verify = |bench: &mut Bench| {
        bench.tickets += 1;
        bench.session.verify(bench.now, bench.tickets, 1);
        let sent = bench.sent();
        assert!(matches!(&sent[..], [ClientFrame::Sync(_)]), "{sent:?}");
        (bench.tickets, sent[0].id())
    };
    let (early, _) = verify(&mut bench);
    bench.wait(20 * SECOND);
    let (late, id) = verify(&mut bench);
    // The broker is alive, and answers only the second.
    bench.session.handle_heard(bench.now);
    bench.wait(10 * SECOND);
    let (_, error) = bench.replies.last().unwrap();
    assert!(matches!(error, Err(Error::Timeout { .. })), "{error:?}");
    assert_eq!(error.as_ref().unwrap_err().action(), Action::Retry);
    let digests = vec![(1, Some(Digest::default()))];
    bench.say(ServerFrame::Sync(Sync { id, rev: rev(5), digests }));
    let (ticket, verdict) = bench.replies.last().unwrap();
    assert_eq!(
        (*ticket, verdict.as_ref().ok()),
        (late, Some(&Reply::Verdict(Verdict::Same { rev: rev(5) })))
    );
    assert_eq!(bench.released, [early, late]);
}

#[test]
fn a_paced_mirror_takes_only_its_own_deltas() {
    let mut bench = Bench::up();
    let state = State::new(View::tree(Path::root()), None);
    bench.session.mirror(1, state, SubOptions { every_ms: 100, ..SubOptions::default() });
    bench.sent();
    bench.refresh(5);
    let delta = |sub| Delta {
        rev: rev(6),
        since: Some(rev(5)),
        sub,
        part: false,
        changes: vec![Change { path: path("/a"), rev: rev(6), act: Act::Delete }],
    };
    bench.say(ServerFrame::Delta(delta(None)));
    assert!(bench.last_event().starts_with("Fresh"), "{}", bench.last_event());
    bench.say(ServerFrame::Delta(delta(Some(1))));
    assert!(bench.last_event().starts_with("Delta"), "{}", bench.last_event());
}

#[test]
fn a_subscription_that_is_refused_for_good_ends_its_mirror() {
    let mut bench = Bench::up();
    let state = State::new(View::tree(Path::root()), None);
    bench.session.mirror(1, state, SubOptions::default());
    let sent = bench.sent();
    bench.refuse(sent[0].id().unwrap(), Code::BadPattern);
    let Some((1, Event::Ended { error: Some(error) })) = bench.events.last() else {
        panic!("{}", bench.last_event())
    };
    assert_eq!(error.code(), Some(Code::BadPattern));
}

#[test]
fn a_star_within_a_segment_of_a_pattern_is_refused_here() {
    let mut bench = Bench::up();
    // The protocol allows such patterns.
    let patterns = ["**", "a/user-*"].map(|text| Pattern::parse(text).unwrap()).to_vec();
    let view = View { patterns, ..View::tree(path("/a/user-*")) };
    bench.session.mirror(1, State::new(view, None), SubOptions::default());
    assert!(bench.sent().is_empty());
    let [(1, Event::Ended { error: Some(error) })] = &bench.events[..] else {
        panic!("{:?}", bench.events)
    };
    let told = "bad-pattern: not a pattern: '*' stands for a whole segment, and '**' for any number of \
                them, not for a part of one ('user-*')";
    assert_eq!((error.word(), error.to_string().as_str()), ("bad-pattern", told));
}

#[test]
fn a_mirror_that_the_broker_cannot_serve_is_not_fresh_until_it_is_again() {
    let mut bench = Bench::up();
    bench.mirror(5);
    assert!(bench.fresh);
    let error = ErrorFrame::new(None, Code::ResyncRequired, "no");
    bench.say(ServerFrame::Error(ErrorFrame { sub: Some(1), ..error }));
    assert!(!bench.fresh);
    assert!(matches!(&bench.sent()[..], [ClientFrame::Resync(_)]));
    bench.refresh(6);
    assert!(bench.fresh);
}
