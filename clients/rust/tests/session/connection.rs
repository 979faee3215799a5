//! The life of a connection: how it begins, what delays it, how it ends.

use onetree_client::mirror::State;
use onetree_client::protocol::frame::{
    Auth, ClientFrame, ErrorFrame, Goodbye, Ok as Accepted, ServerFrame,
};
use onetree_client::session::{SubOptions, Time};
use onetree_client::{Code, ConnectError, Error, Event, Options, Path, Reconnect, Sent, View};

use crate::appends;
use crate::bench::{Bench, SECOND};

#[test]
fn a_silent_connection_is_given_up() {
    let mut bench = Bench::up();
    bench.wait(34 * SECOND);
    assert_eq!(bench.disconnects, 0);
    bench.session.handle_heard(bench.now);
    bench.wait(34 * SECOND);
    assert_eq!(bench.disconnects, 0);
    bench.wait(SECOND);
    assert_eq!(bench.disconnects, 1);
    bench.come_back();
}

#[test]
fn the_broker_says_when_to_come_back_and_when_not_to() {
    let mut bench = Bench::up();
    let bye = |code, retry_ms| Goodbye { code, retry_ms, message: String::new() };
    bench.say(ServerFrame::Bye(bye(Code::ShuttingDown, Some(3000))));
    bench.lose();
    assert_eq!(bench.session.next_timeout(), Some(bench.now + 3 * SECOND));
    bench.come_back();
    bench.say(ServerFrame::Bye(bye(Code::SessionTaken, None)));
    bench.lose();
    let error = bench.ended.flatten().unwrap();
    assert_eq!(error.code(), Some(Code::SessionTaken));
}

#[test]
fn a_late_hello_of_its_own_does_not_end_a_client_but_another_user_of_its_session_does() {
    let refused = |code| ConnectError::Refused(ErrorFrame::new(None, code, "no").into());
    // How many losses of its session a client outlives that came back after these ends of
    // connections without `welcome`.
    let outlives = |given: &[ConnectError], over| {
        let mut bench = Bench::up();
        bench.lose();
        for error in given {
            bench.wait_to_connect();
            assert!(bench.greet().session.is_some());
            bench.session.handle_closed(bench.now, error.clone());
        }
        bench.over = over;
        for times in 0.. {
            bench.come_back();
            bench.session.handle_closed(bench.now, refused(Code::SessionTaken));
            bench.effects();
            if let Some(ended) = &bench.ended {
                assert_eq!(ended.as_ref().and_then(ConnectError::code), Some(Code::SessionTaken));
                return times;
            }
            let why = bench.offline.as_ref().unwrap();
            assert!(matches!(**why, ConnectError::Lost(_)), "{why}");
        }
        unreachable!()
    };
    assert_eq!(outlives(&[], false), 0);
    let lost = || ConnectError::Lost("test".to_owned());
    let silent = || ConnectError::Silent(SECOND);
    for error in [lost(), silent(), ConnectError::Protocol("test".to_owned())] {
        assert_eq!(outlives(std::slice::from_ref(&error), false), 1, "{error}");
    }
    assert_eq!(outlives(&[lost(), silent(), lost()], false), 3);
    // These were answered, and the last one is about a session that is over.
    let answered = [Code::ShuttingDown, Code::TooManyConnections].map(refused);
    assert_eq!(outlives(&answered, false), 0);
    assert_eq!(outlives(&[lost()], true), 0);
}

#[test]
fn the_first_connection_fails_fast() {
    let mut bench = Bench::new();
    bench.lose();
    assert!(matches!(bench.ended, Some(Some(ConnectError::Lost(_)))));
}

#[test]
fn who_asks_behind_the_end_is_told_why_it_came() {
    let mut bench = Bench::new();
    bench.lose();
    bench.append("late");
    let late = &bench.replies[0].1;
    assert!(
        matches!(late, Err(Error::Closed { why: Some(_), sent: Some(Sent::Never) })),
        "{late:?}"
    );
    bench.session.mirror(1, State::new(View::tree(Path::root()), None), SubOptions::default());
    bench.effects();
    let told = &bench.events[0].1;
    let Event::Ended { error: Some(Error::Closed { why, sent: None }) } = told else {
        panic!("{told:?}")
    };
    assert!(why.is_some());
}

#[test]
fn an_end_does_first_what_was_asked_before() {
    let mut bench = Bench::up();
    let ticket = bench.append("a");
    bench.session.close(bench.now, true);
    let refused = bench.append("b");
    let sent = appends(&bench.sent());
    bench.done(sent[0].2);
    let sent = bench.sent();
    let [ClientFrame::Bye(bye)] = &sent[..] else { panic!("{sent:?}") };
    bench.say(ServerFrame::Ok(Accepted { id: bye.id }));
    assert!(matches!(bench.ended, Some(None)));
    assert_eq!(bench.outcome(ticket), Some(Ok(())));
    assert_eq!(bench.outcome(refused), Some(Err(None)));
}

#[test]
fn a_bye_is_waited_for_on_a_link_that_was_idle() {
    let mut bench = Bench::up();
    bench.wait(20 * SECOND);
    bench.session.close(bench.now, true);
    assert!(matches!(&bench.sent()[..], [ClientFrame::Bye(_)]));
    bench.wait(4 * SECOND);
    assert!(bench.ended.is_none());
    bench.wait(SECOND);
    assert!(matches!(bench.ended, Some(None)));
}

#[test]
fn a_token_from_a_function_that_is_refused_is_asked_for_once_more_at_once() {
    let refuse = |bench: &mut Bench| {
        let refused = ServerFrame::Error(ErrorFrame::new(None, Code::Unauthorized, "no"));
        bench.session.handle_open(bench.now);
        assert!(matches!(&bench.sent()[..], [ClientFrame::Hello(_)]));
        bench.say(refused);
    };
    let asked = || Options::new("ws://here").token_from(|| async { Ok("t".to_owned()) });
    let mut bench = Bench::with(asked().reconnect(Reconnect::Always));
    for _ in 0..3 {
        let before = bench.connects;
        refuse(&mut bench);
        bench.wait(Time::ZERO);
        assert_eq!(bench.connects, before + 1, "not at once");
        bench.session.set_token("another".to_owned());
        assert_eq!(bench.open().token.as_deref(), Some("another"));
        bench.wait(10 * SECOND);
        bench.lose();
        bench.wait(60 * SECOND);
    }
    refuse(&mut bench);
    bench.wait(Time::ZERO);
    refuse(&mut bench);
    let ended = bench.ended.clone().flatten().and_then(|error| error.code());
    assert_eq!(ended, Some(Code::Unauthorized));

    // The first connection of a client that does not reconnect is still being made.
    let mut bench = Bench::with(asked().reconnect(Reconnect::Never));
    refuse(&mut bench);
    bench.wait(Time::ZERO);
    bench.open();

    // The same text again would be refused again.
    let mut bench = Bench::with(Options::new("ws://here").token("t").reconnect(Reconnect::Always));
    refuse(&mut bench);
    assert!(bench.ended.is_some());
}

#[test]
fn a_welcome_alone_does_not_make_a_token_good() {
    let asked = Options::new("ws://here").token_from(|| async { Ok("t".to_owned()) });
    let mut bench = Bench::with(asked);
    for _ in 0..2 {
        assert!(bench.ended.is_none());
        bench.open();
        let (code, message) = (Code::Unauthorized, String::new());
        bench.say(ServerFrame::Bye(Goodbye { code, retry_ms: None, message }));
        bench.lose();
        bench.wait(Time::ZERO);
    }
    let ended = bench.ended.flatten().and_then(|error| error.code());
    assert_eq!(ended, Some(Code::Unauthorized));
    assert_eq!(bench.connects, 2);
}

#[test]
fn a_connection_was_good_also_where_another_name_follows() {
    for (online, good) in [(10 * SECOND, true), (9 * SECOND, false)] {
        let asked = Options::new("ws://here").token_from(|| async { Ok("t".to_owned()) });
        let mut bench = Bench::with(asked.reconnect(Reconnect::Always));
        let refuse = |bench: &mut Bench| {
            bench.session.handle_open(bench.now);
            bench.sent();
            bench.say(ServerFrame::Error(ErrorFrame::new(None, Code::Unauthorized, "no")));
            bench.wait(Time::ZERO);
        };
        refuse(&mut bench);
        bench.open();
        bench.wait(online);
        bench.append("a");
        let sent = appends(&bench.sent());
        bench.refuse(sent[0].2, Code::OutcomeUnknown);
        bench.wait(Time::ZERO);
        refuse(&mut bench);
        assert_eq!(bench.ended.is_none(), good, "{online:?}");
    }
}

#[test]
fn what_the_broker_has_accepted_is_answered_behind_its_bye() {
    let goodbye =
        || Goodbye { code: Code::ShuttingDown, retry_ms: Some(3000), message: "x".into() };
    let mut bench = Bench::up();
    let ticket = bench.append("a");
    let sent = appends(&bench.sent());
    bench.say(ServerFrame::Bye(goodbye()));
    assert_eq!(bench.disconnects, 0);
    let late = bench.append("b");
    assert!(bench.sent().is_empty(), "nothing is said behind it");
    bench.done(sent[0].2);
    assert_eq!(bench.outcome(ticket), Some(Ok(())));
    // The broker closes the connection: what `bye` said counts.
    bench.lose();
    assert_eq!(bench.session.next_timeout(), Some(bench.now + 3 * SECOND));
    bench.come_back();
    assert_eq!(appends(&bench.sent()).len(), 1);
    assert_eq!(bench.outcome(late), None);

    // A broker that does not close is not waited for for ever.
    bench.say(ServerFrame::Bye(goodbye()));
    bench.wait(4 * SECOND);
    assert_eq!(bench.disconnects, 0);
    bench.say(ServerFrame::Bye(goodbye()));
    bench.wait(SECOND);
    assert_eq!(bench.disconnects, 1);
    assert_eq!(bench.session.next_timeout(), Some(bench.now + 3 * SECOND));
}

#[test]
fn a_token_that_is_refused_does_not_take_the_place_of_the_one_that_is_good() {
    let mut bench = Bench::with(Options::new("ws://here").token("good"));
    assert_eq!(bench.open().token.as_deref(), Some("good"));
    let auth = |bench: &mut Bench, token: &str| {
        bench.request(ClientFrame::Auth(Auth { id: 0, token: token.to_owned() }));
        bench.sent()[0].id().unwrap()
    };
    let id = auth(&mut bench, "bad");
    bench.refuse(id, Code::Unauthorized);
    bench.lose();
    assert_eq!(bench.come_back().token.as_deref(), Some("good"));
    let id = auth(&mut bench, "better");
    bench.say(ServerFrame::Ok(Accepted { id }));
    bench.lose();
    assert_eq!(bench.come_back().token.as_deref(), Some("better"));
}

#[test]
fn a_mirror_that_is_dropped_behind_hello_is_unsubscribed() {
    let mut bench = Bench::new();
    bench.session.mirror(1, State::new(View::tree(Path::root()), None), SubOptions::default());
    let hello = bench.greet();
    assert_eq!(hello.subs.len(), 1);
    bench.session.drop_mirror(1);
    bench.welcome(&hello);
    let sent = bench.sent();
    assert!(matches!(&sent[..], [ClientFrame::Unsub(f)] if f.sub == 1), "{sent:?}");
}

#[test]
fn an_attempt_has_one_deadline() {
    let mut bench = Bench::with(Options::new("ws://here").connect_timeout(10 * SECOND));
    bench.now += 7 * SECOND;
    bench.greet();
    assert_eq!(bench.session.next_timeout(), Some(10 * SECOND));
    let mut bench = Bench::up();
    bench.lose();
    bench.wait_to_connect();
    let began = bench.now;
    bench.now += 7 * SECOND;
    bench.greet();
    assert_eq!(bench.session.next_timeout(), Some(began + 10 * SECOND));
}

#[test]
fn no_wait_is_too_long() {
    let patient = Options::new("ws://here").reconnect(Reconnect::Always);
    let patient = patient.connect_timeout(Time::MAX).request_timeout(Time::MAX);
    let late = |options: &Options| {
        let mut bench = Bench::with(options.clone());
        bench.now = SECOND;
        bench
    };
    let mut bench = late(&patient);
    bench.open();
    bench.append("a");
    bench.session.close(bench.now, true);
    bench.wait(SECOND);
    late(&patient.clone().backoff(Time::MAX, Time::MAX)).lose();

    let mut bench = late(&patient);
    let full = ConnectError::Http {
        address: String::new(),
        status: 503,
        message: String::new(),
        retry_in: Some(Time::from_secs(u64::MAX)),
    };
    bench.session.handle_closed(bench.now, full);
    // A day is the longest wait that the client accepts.
    assert_eq!(bench.session.next_timeout(), Some(bench.now + 86_400 * SECOND));
}
