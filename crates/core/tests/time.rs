//! Time comes from outside, and may jump. What has an age grows older by the time that is said to
//! have passed; the grace of a session only by the time that has really passed.

use onetree_core::{Author, Request, Retention, Settings, State, Time};
use onetree_protocol::frame::Do;
use onetree_protocol::{DigestKey, Epoch, Name, Path, Pattern, Value};

const YEARS: u64 = 10 * 365 * 24 * 3_600_000;

/// Everything that has an age is too old after 100 ms.
fn settings() -> Settings {
    let mut settings = Settings {
        epoch: Epoch(1),
        digest_key: DigestKey(7),
        bounds: Default::default(),
        retention: vec![Retention {
            pattern: Pattern::parse("log").unwrap(),
            keep: None,
            max_age_ms: Some(100),
            max_bytes: None,
        }],
    };
    let bounds = &mut settings.bounds;
    (bounds.tombstone_ms, bounds.dedup_ms, bounds.grace_ms) = (100, 100, 100);
    settings
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn put(at: &str, ttl_ms: Option<u64>, ephemeral: bool) -> Do {
    Do::Put { path: path(at), value: Value::text("here"), ttl_ms, ephemeral }
}

fn write(state: &mut State, now: Time, author: &Author, seq: Option<u64>, change: Do) {
    let request = Request { changes: vec![change], seq, ..Request::default() };
    state.write(now, author, &request).answer.unwrap();
}

fn housekeep(state: &mut State, now: Time) {
    while state.housekeep(now).is_some() {}
}

#[test]
fn after_a_clock_that_was_ahead_what_goes_on_from_the_newest_commit_grows_old() {
    let mut state = State::new(settings());
    let anyone = Author::default();
    let ahead = Time(1_000).plus(YEARS);
    write(&mut state, Time(1_000), &anyone, None, put("/before", None, false));
    write(&mut state, ahead, &anyone, None, put("/x", None, false));
    assert_eq!(state.time(), ahead);
    // Time continues from there, although the system's clock is right again.
    let then = state.time().plus(10);
    let client = Author { client: Some(name("client")), ..Author::default() };
    let (log, value) = (path("/log"), Value::text("entry"));
    let append = Do::Append { path: log.clone(), value, ttl_ms: None, ephemeral: false };
    write(&mut state, then, &client, Some(1), append);
    write(&mut state, then, &anyone, None, put("/short", Some(100), false));
    write(&mut state, then, &anyone, None, Do::Delete { path: path("/before") });
    let deleted = state.rev();
    housekeep(&mut state, then.plus(50));
    assert_eq!((state.rev(), state.snapshot().entries(&path("/")).count()), (deleted, 3));
    housekeep(&mut state, then.plus(200));
    let left =
        state.snapshot().entries(&path("/")).map(|(path, ..)| path.clone()).collect::<Vec<_>>();
    assert_eq!(left, [path("/x")]);
    assert!(state.snapshot().horizon() >= deleted, "the tombstone is still there");
    assert_eq!(state.checkpoint().clients_len(), 0, "the client is still remembered");
}

#[test]
fn a_time_that_never_was_is_no_part_of_a_grace() {
    let mut state = State::new(settings());
    for session in ["leaves", "over"] {
        let opened = state.open_session(Time(1_000), None, name(session)).unwrap().name;
        let author = Author { session: Some(opened), ..Author::default() };
        write(&mut state, Time(1_000), &author, None, put(&format!("/{session}"), None, true));
    }
    state.detach_session(Time(1_000), &name("leaves"));
    state.end_session(Time(1_000), &name("over"));
    let now = Time(1_040).plus(YEARS);
    state.prolong_graces(YEARS);
    assert_eq!(state.due(), Some(Time(1_000).plus(YEARS)), "one is over at once");
    housekeep(&mut state, now);
    assert!(state.snapshot().get(&path("/over")).is_none());
    assert!(state.snapshot().get(&path("/leaves")).is_some());
    assert_eq!(state.due(), Some(Time(1_100).plus(YEARS)));
    assert!(state.open_session(now, Some(&name("leaves")), name("new")).unwrap().resumed);
    // The session ends when that much time has passed.
    state.detach_session(now, &name("leaves"));
    state.prolong_graces(5);
    housekeep(&mut state, now.plus(104));
    assert!(state.snapshot().get(&path("/leaves")).is_some());
    housekeep(&mut state, now.plus(105));
    assert!(state.snapshot().get(&path("/leaves")).is_none());
    assert_eq!(state.sessions(), 0);
}

#[test]
fn who_is_back_after_a_jump_makes_no_room_for_others() {
    let mut settings = settings();
    settings.bounds.sessions = 1;
    let mut state = State::new(settings);
    state.open_session(Time(0), None, name("old")).unwrap();
    state.detach_session(Time(0), &name("old"));
    state.prolong_graces(YEARS);
    let now = Time(YEARS);
    assert!(state.open_session(now, Some(&name("old")), name("new")).unwrap().resumed);
    assert!(
        state.open_session(now, None, name("other")).is_err(),
        "it has taken the place of one that is there"
    );
    state.detach_session(now, &name("old"));
    assert!(state.open_session(now, None, name("other")).is_ok());
}
