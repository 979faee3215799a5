//! `watch`, and the state file from which it continues.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Broker, PATIENCE, Running, error, interrupt, program, said_ok, text};
use crate::address::address_of_our_own;
use crate::directory::Directory;

#[test]
fn watch_prints_changes_as_they_come() {
    let broker = Broker::start();
    broker.ok(&["put", "/a", "1"]);
    let mut watch = Running::start(broker.command(&["watch", "/"]));
    let rev = broker.rev("/a");
    watch.line(|line| line == format!("+ /a {rev} 1"));
    broker.ok(&["put", "/a/b", "two\nlines"]);
    let rev = broker.rev("/a/b");
    watch.line(|line| line == format!("+ /a/b {rev} two\\nlines"));
    broker.ok(&["rm", "/a/b"]);
    watch.line(|line| line.starts_with("- /a/b "));
    broker.ok(&["rm", "/a", "--tree"]);
    watch.line(|line| line.starts_with("- /a "));
    assert_eq!(watch.interrupt(), 0);

    let lines = broker.ok(&["put", "/x/y", "1"]);
    let rev: u64 = lines.trim().rsplit_once(' ').unwrap().1.parse().unwrap();
    let once = broker.ok(&["watch", "/x", "--once", "--json"]);
    let mut once = once.lines();
    let put = format!("{{\"op\":\"put\",\"path\":\"/x/y\",\"rev\":{rev},\"json\":1}}");
    assert_eq!(once.next(), Some(put.as_str()));
    let fresh: Value = serde_json::from_str(once.next().unwrap()).unwrap();
    assert_eq!(fresh["op"], "fresh");
    assert_eq!(fresh["rev"], rev);
}

#[test]
fn watch_sees_what_its_options_say() {
    let broker = Broker::start();
    for path in ["/chat/rust/topic", "/chat/go/topic", "/chat/rust/x/y"] {
        broker.ok(&["put", path, "1"]);
    }
    said_ok(&broker.run(&["append", "/chat/rust/log", "--lines"], b"1\n2\n3\n"));
    let paths = |args: &[&str]| -> Vec<String> {
        let output = broker.ok(&[&["watch", "/chat", "--once"], args].concat());
        output.lines().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(paths(&["--match", "*/topic"]), ["/chat/go/topic", "/chat/rust/topic"]);
    assert_eq!(
        paths(&["--match", "go/**", "--match", "rust/x/*"]),
        ["/chat/go/topic", "/chat/rust/x/y"]
    );
    assert_eq!(paths(&["--match", "rust/log/*", "--tail", "2"]).len(), 2);
    assert!(paths(&["--depth", "children"]).is_empty());
    let line = broker.ok(&["watch", "/chat/go", "--once", "--no-values"]);
    assert_eq!(line.trim().split(' ').count(), 3, "{line}");
    let (exit, error) = broker.error(&["watch", "/", "--match", "/x"], b"");
    assert_eq!((exit, &error["code"]), (2, &json!("usage")));
}

#[test]
fn watch_can_be_told_less_often() {
    let broker = Broker::start();
    broker.ok(&["put", "/n", "0"]);
    let watch = Running::start(broker.command(&["watch", "/", "--every", "1s"]));
    watch.line(|line| line.ends_with(" 0"));
    for n in 1..=12 {
        broker.ok(&["put", "/n", &n.to_string()]);
    }
    let mut lines = 0;
    watch.line(|line| {
        lines += 1;
        line.ends_with(" 12")
    });
    assert!(lines < 12, "each is told");
    for wrong in ["1000", "0s", "soon"] {
        let (exit, error) = broker.error(&["watch", "/", "--every", wrong], b"");
        assert_eq!((exit, &error["code"]), (2, &json!("usage")), "{wrong}: {error}");
    }
}

/// Returns the state file without its first line.
fn mirror(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    text.split_once('\n').unwrap().1.to_owned()
}

#[test]
fn watch_with_a_state_file_resumes() {
    let broker = Broker::start();
    let directory = Directory::new("state");
    let file = directory.file("mirror.jsonl");
    let watch = ["watch", "/", "--once", "--state", text(&file)];
    broker.ok(&["put", "/a", "1"]);
    broker.ok(&["put", "/b", "{\"x\": \"y\"}"]);
    said_ok(&broker.run(&["put", "/b/c"], b"\xff"));
    said_ok(&broker.run(&["append", "/log", "--lines"], b"1\r\n\xfe\n"));
    assert_eq!(broker.ok(&watch).lines().count(), 5);
    assert_eq!(mirror(&file), broker.ok(&["export", "/"]));
    let cookie: Value =
        serde_json::from_str(fs::read_to_string(&file).unwrap().lines().next().unwrap()).unwrap();
    for field in ["epoch", "rev", "view"] {
        assert!(!cookie[field].is_null(), "{cookie}");
    }

    // If nothing happened, nothing is printed; otherwise only what has changed.
    assert_eq!(broker.ok(&watch), "");
    broker.ok(&["rm", "/a"]);
    broker.ok(&["put", "/d", "4"]);
    let changes = broker.ok(&watch);
    let mut changes: Vec<&str> = changes.lines().map(|line| &line[..4]).collect();
    changes.sort_unstable();
    assert_eq!(changes, ["+ /d", "- /a"]);
    assert_eq!(mirror(&file), broker.ok(&["export", "/"]));

    // A copy that was found to be wrong is corrected in the file too, although the revision is the
    // same.
    let right = fs::read_to_string(&file).unwrap();
    let wrong = right.replace("\"path\":\"/b\",\"rev\":2", "\"path\":\"/b\",\"rev\":1");
    assert_ne!(wrong, right);
    fs::write(&file, wrong).unwrap();
    broker.ok(&watch);
    assert_eq!(fs::read_to_string(&file).unwrap(), right);

    // Another view: nothing is reported as deleted, and the file is not changed.
    let kept = fs::read(&file).unwrap();
    for other in [&["watch", "/b"][..], &["watch", "/", "--no-values"]] {
        let other = [other, &["--once", "--state", text(&file)]].concat();
        let (exit, error) = broker.error(&other, b"");
        assert_eq!((exit, &error["code"]), (2, &json!("state-view")), "{error}");
        assert_eq!(fs::read(&file).unwrap(), kept);
    }
    // Another history: everything is sent again, and the file is right.
    let broker = Broker::start();
    broker.ok(&["put", "/b/new", "1"]);
    broker.ok(&["watch", "/", "--once", "--state", text(&file)]);
    assert_eq!(mirror(&file), broker.ok(&["export", "/"]));
}

#[test]
fn a_state_file_that_is_broken_is_named_and_left() {
    let broker = Broker::start();
    let directory = Directory::new("broken");
    let file = directory.file("mirror.jsonl");
    for path in ["/a", "/b", "/c"] {
        broker.ok(&["put", path, "1"]);
    }
    let watch = ["watch", "/", "--once", "--state", text(&file)];
    broker.ok(&watch);
    let whole = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    for (content, line) in [
        ("this is not mine\n".to_owned(), 1),
        (lines[..3].concat(), 3),
        (whole[..whole.len() - 3].to_owned(), 4),
        (whole.replace("/b", "b"), 3),
        ([lines[0], lines[2], lines[1], lines[3]].concat(), 3),
    ] {
        fs::write(&file, &content).unwrap();
        let (exit, error) = broker.error(&watch, b"");
        assert_eq!((exit, &error["code"]), (2, &json!("state-broken")), "{error}");
        assert_eq!(error["line"], line, "{error}");
        assert!(error["message"].as_str().unwrap().contains(text(&file)), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
    }
    fs::write(&file, "").unwrap();
    assert_eq!(broker.ok(&watch).lines().count(), 3);
    let (exit, _) = broker.error(&["watch", "/", "--once", "--state", text(&directory.0)], b"");
    assert_eq!(exit, 2);
}

#[test]
fn a_state_file_belongs_to_one_watch() {
    let broker = Broker::start();
    let directory = Directory::new("lock");
    let file = directory.file("mirror.jsonl");
    let args = ["watch", "/", "--state", text(&file), "--json"];
    let mut first = Running::start(broker.command(&args));
    first.line_with("\"op\":\"fresh\"");
    let (exit, error) = broker.error(&args[..4], b"");
    assert_eq!((exit, &error["code"]), (2, &json!("state-in-use")), "{error}");
    assert_eq!(first.interrupt(), 0);
    assert_eq!(mirror(&file), "");
    broker.ok(&["watch", "/", "--once", "--state", text(&file)]);
}

/// Whenever the watch is killed, the file holds a complete state, and the next watch makes it
/// right.
#[test]
fn a_watch_that_is_killed_leaves_a_whole_state_file() {
    let broker = Broker::start();
    let directory = Directory::new("kill");
    let file = directory.file("mirror.jsonl");
    let args = ["watch", "/", "--state", text(&file)];
    let lines: String = (0..2000).map(|n| format!("{n}\n")).collect();
    for round in 0..5 {
        let mut watch = Running::start(broker.command(&args));
        said_ok(&broker.run(&["append", "/log", "--lines"], lines.as_bytes()));
        broker.ok(&["put", "/round", &round.to_string()]);
        watch.line_with("+ /round");
        // Around the moments at which it saves: immediately, and about a second later.
        thread::sleep(Duration::from_millis(round * 300));
        watch.child.kill().unwrap();
        watch.child.wait().unwrap();
    }
    broker.ok(&["watch", "/", "--once", "--state", text(&file)]);
    assert_eq!(mirror(&file), broker.ok(&["export", "/"]));
}

#[test]
fn a_watch_outlives_its_broker() {
    let (_ours, address) = address_of_our_own();
    let mut broker = Broker::at(address);
    let directory = Directory::new("outlive");
    let file = directory.file("mirror.jsonl");
    broker.ok(&["put", "/a", "1"]);
    let args = ["watch", "/", "--state", text(&file), "--json"];
    let mut watch = Running::start(broker.command(&args));
    watch.line_with("\"op\":\"fresh\"");
    assert_eq!(interrupt(&mut broker.child), 0);
    broker = Broker::at(address);
    // Another history: the old entries are gone, and new ones come.
    broker.ok(&["put", "/b", "1"]);
    watch.line_with("\"path\":\"/b\"");
    assert_eq!(watch.interrupt(), 0);
    assert_eq!(mirror(&file), broker.ok(&["export", "/"]));
}

/// As when a system starts both, in any order.
#[test]
fn a_watch_waits_for_its_broker_where_it_is_told_to() {
    let (_ours, address) = address_of_our_own();
    let url = format!("ws://{address}");
    let watch = |args: &[&str]| program(&[&["watch", "/", "--url", &url], args].concat());
    let (exit, told) = error(&watch(&["--json"]).output().unwrap());
    assert_eq!((exit, &told["code"]), (5, &json!("unreachable")), "{told}");
    let mut waiting = Running::start(watch(&["--wait", "--json"]));
    waiting.line_with("\"op\":\"offline\"");
    let mut stopped = Running::start(watch(&["--wait"]));
    let told = stopped.aside();
    assert!(told.recv_timeout(PATIENCE).unwrap().starts_with("offline: "));
    assert_eq!(stopped.interrupt(), 0);
    let broker = Broker::at(address);
    broker.ok(&["put", "/a", "1"]);
    waiting.line_with("\"path\":\"/a\"");
    assert_eq!(waiting.interrupt(), 0);
    // An error that a retry cannot solve ends it.
    let output = program(&["watch", "/", "--wait", "--url", "http//x", "--json"]).output().unwrap();
    assert_eq!(error(&output).0, 2);
}

#[test]
fn a_wildcard_within_a_segment_is_refused() {
    let broker = Broker::start();
    for pattern in ["v*/**", "log-*", "a/**b"] {
        let (exit, error) = broker.error(&["watch", "/", "--once", "--match", pattern], b"");
        assert_eq!((exit, &error["code"]), (2, &json!("usage")), "{error}");
        assert!(error["message"].as_str().unwrap().contains("a whole segment"), "{error}");
    }
    broker.ok(&["watch", "/", "--once", "--match", "*/log/**"]);
}
