//! What the client gives as JSON (serde), and the words of errors, which are the same in each
//! language.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use onetree_client::protocol::json::parse_change_line;
use onetree_client::{
    Act, Change, Client, Code, Committed, ConnectError, Done, Entry, Error, Event, Found,
    KeepError, Options, Path, Pattern, Reason, RefreshKind, Refusal, Revision, Sent, TransactError,
    Value, Verdict, Write, word,
};
use serde::Serialize;
use serde_json::json;

const LINE: &str = r#"{"path":"/a","rev":7,"json":{"n":1.50}}"#;

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn rev(number: u64) -> Revision {
    Revision::new(number).unwrap()
}

fn lost() -> ConnectError {
    ConnectError::Lost("cut".to_owned())
}

#[track_caller]
fn is_told(given: impl Serialize, told: &str) {
    assert_eq!(serde_json::to_string(&given).unwrap(), told);
}

#[test]
fn what_the_client_gives_is_told_as_json() {
    let line = parse_change_line(LINE).unwrap();
    is_told(
        Found { rev: rev(7), entries: vec![line.clone()], more: true },
        &format!(r#"{{"rev":7,"entries":[{LINE}],"more":true}}"#),
    );
    let done = Done { rev: rev(7), durable: true, paths: vec![path("/log/1")] };
    is_told(&done, r#"{"rev":7,"durable":true,"paths":["/log/1"]}"#);
    is_told(
        Committed { result: 3, done: Some(done), runs: 2 },
        r#"{"result":3,"rev":7,"durable":true,"paths":["/log/1"],"runs":2}"#,
    );
    is_told(Committed { result: 3, done: None, runs: 1 }, r#"{"result":3,"runs":1}"#);
    is_told(
        Entry { rev: rev(7), value: Some(Value::json("[1.50]")) },
        r#"{"rev":7,"json":[1.50]}"#,
    );
    is_told(Entry { rev: rev(7), value: None }, r#"{"rev":7}"#);
    is_told(Verdict::Same { rev: rev(7) }, r#"{"verdict":"same","rev":7}"#);
    is_told(Verdict::Unknown, r#"{"verdict":"unknown"}"#);
}

#[test]
fn events_are_told_as_json() {
    let (kind, why) = (RefreshKind::Full, Reason::NoCookie);
    is_told(
        Event::Refreshing { kind, why },
        r#"{"event":"refreshing","kind":"full","why":"no-cookie"}"#,
    );
    let changes: Arc<[Change]> = vec![parse_change_line(LINE).unwrap()].into();
    let delta = Event::Delta { since: rev(6), rev: rev(7), changes };
    is_told(delta, &format!(r#"{{"event":"delta","since":6,"rev":7,"changes":[{LINE}]}}"#));
    let signal = Event::Signal { path: path("/s"), value: Value::text("x") };
    is_told(signal, r#"{"event":"signal","path":"/s","type":"text/plain","text":"x"}"#);
    is_told(
        Event::Circling { retry_in: Duration::from_millis(250) },
        r#"{"event":"circling","retry_ms":250}"#,
    );
    let offline = Event::Offline { error: Arc::new(lost()), retry_in: None };
    let error = json!({ "code": "lost", "message": lost().to_string() });
    let told = json!({ "event": "offline", "error": error, "retry_ms": null });
    assert_eq!(serde_json::to_value(offline).unwrap(), told);
    is_told(Event::Ended { error: None }, r#"{"event":"ended","error":null}"#);
}

#[test]
fn an_event_says_which_logs_have_gaps() {
    let trim = |log: &str, gap| {
        let to = "000000000000010000";
        let line = json!({ "path": log, "rev": 7, "trim": to, "gap": gap }).to_string();
        parse_change_line(&line).unwrap()
    };
    let put = Change { path: path("/c"), rev: rev(7), act: Act::Put(None) };
    let changes =
        vec![trim("/b", true), trim("/d", false), trim("/a", true), put, trim("/b", true)];
    let fresh = Event::Fresh { rev: rev(7), changes: changes.into() };
    assert_eq!(fresh.gaps(), [&path("/a"), &path("/b")]);
    assert!(Event::Online { resumed: true }.gaps().is_empty());
}

#[test]
fn errors_have_words() {
    let http = |status| {
        let (address, message) = ("there".to_owned(), String::new());
        ConnectError::Http { address, status, message, retry_in: None }
    };
    let ended = |why| Error::Closed { why: Some(Arc::new(why)), sent: None };
    let (why, address) = ("no".to_owned(), "there".to_owned());
    let (after, url) = (Duration::from_secs(1), "there".to_owned());
    let state = std::path::PathBuf::from("state");
    let errors: Vec<(&str, Box<dyn StdError>)> = vec![
        ("timeout", Error::Timeout { after, sent: Sent::Write }.into()),
        ("lost", Error::Lost.into()),
        ("queue-full", Error::QueueFull.into()),
        ("closed", Error::Closed { why: None, sent: None }.into()),
        ("closed", Error::MirrorClosed.into()),
        ("silent", ended(ConnectError::Silent(after)).into()),
        ("ended", ended(lost()).into()),
        ("lost", lost().into()),
        ("unauthorized", http(401).into()),
        ("not-a-broker", http(404).into()),
        ("unreachable", http(503).into()),
        ("unreachable", ConnectError::Token(why.clone()).into()),
        ("not-a-broker", ConnectError::NotABroker { address, why: why.clone() }.into()),
        ("url", ConnectError::Url { url, why: why.clone() }.into()),
        ("protocol", ConnectError::Protocol(why).into()),
        ("queue-full", TransactError::Client(Error::QueueFull).into()),
        ("outside-view", TransactError::OutsideView(path("/a")).into()),
        ("application", TransactError::Failed("mine".into()).into()),
        ("state-in-use", KeepError::InUse { path: state }.into()),
        ("bad-path", Path::parse("a").unwrap_err().into()),
        ("bad-pattern", Pattern::written("user-*").unwrap_err().into()),
    ];
    for (expected, error) in errors {
        assert_eq!(word(&*error), Some(expected), "{error}");
    }
    assert_eq!(word(&*Box::<dyn StdError>::from("mine")), None);
    let refused = Client::start(Options::new("http://there")).unwrap_err();
    assert_eq!(refused.word(), "url");
}

#[test]
fn an_error_is_told_with_what_is_there_instead() {
    let refusal = |code, message: &str, rev| Refusal {
        code,
        message: message.to_owned(),
        path: Some(path("/a")),
        rev,
        retry_in: None,
    };
    let conflict = refusal(Code::Conflict, "/a is at revision 337, not 1", Some(rev(337)));
    let fields =
        r#"{"code":"conflict","message":"/a is at revision 337, not 1","path":"/a","rev":337}"#;
    is_told(Error::Refused(conflict.clone()), fields);
    is_told(ConnectError::Refused(conflict.clone()), fields);
    // The message says nothing twice.
    assert_eq!(conflict.to_string(), "conflict: /a is at revision 337, not 1");
    // A path that is not in the message.
    let large = refusal(Code::ValueTooLarge, "a value has at most 1 byte", None);
    assert_eq!(large.to_string(), "value-too-large: a value has at most 1 byte (/a)");
    is_told(
        Error::Refused(large),
        r#"{"code":"value-too-large","message":"a value has at most 1 byte (/a)","path":"/a"}"#,
    );
    let elsewhere = refusal(Code::Conflict, "no", Some(rev(7)));
    assert_eq!(elsewhere.to_string(), "conflict: no (/a is at revision 7)");
    let lost = lost();
    is_told(&lost, &json!({ "code": "lost", "message": lost.to_string() }).to_string());
}

#[test]
fn a_frame_that_is_no_write_is_refused_as_one() {
    let frame = |text| onetree_client::Codec::decode_client_text(text).unwrap();
    assert!(Write::try_from(frame(r#"{"op":"put","id":0,"path":"/a","json":1}"#)).is_ok());
    let refused = Write::try_from(frame(r#"{"op":"get","id":0,"paths":[]}"#)).unwrap_err();
    assert_eq!(refused.code(), Some(Code::UnknownOp));
}
