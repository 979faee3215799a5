//! What `import` accepts, and where it puts the entries.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

use super::{Broker, PATIENCE, Running, error, export, said, said_ok, text};
use crate::directory::Directory;

/// Returns the value of each entry, with the values of the entries right under it.
fn families(entries: &[Value]) -> Vec<(String, Vec<String>)> {
    let path = |entry: &Value| entry["path"].as_str().unwrap().to_owned();
    let of = |log: &Value| {
        let under = format!("{}/", path(log));
        let below = entries.iter().filter(|entry| path(entry).starts_with(&under));
        (log["text"].as_str().unwrap().to_owned(), below.map(|e| e["json"].to_string()).collect())
    };
    entries.iter().filter(|entry| entry.get("text").is_some()).map(of).collect()
}

#[test]
fn what_hangs_under_an_entry_of_a_log_follows_it() {
    let from = Broker::start();
    // So that the keys of the copy do not equal those of the original by chance.
    for n in 0..3 {
        from.ok(&["put", "/n", &n.to_string()]);
    }
    let append = |value: &str| {
        let said = from.ok(&["append", "/chat/log", value, "--json"]);
        let done: Value = serde_json::from_str(&said).unwrap();
        done["path"].as_str().unwrap().to_owned()
    };
    let paths = ["A", "B", "C", "D"].map(append);
    from.ok(&["put", &format!("{}/ok", paths[1]), "\"yes\""]);
    from.ok(&["put", &format!("{}/no", paths[1]), "\"no\""]);
    from.ok(&["put", &format!("{}/ok", paths[3]), "\"maybe\""]);
    // A log below an entry of a log, and something below an entry of that.
    let said_deep = from.ok(&["append", &format!("{}/answers", paths[2]), "deep", "--json"]);
    let deep: Value = serde_json::from_str(&said_deep).unwrap();
    from.ok(&["put", &format!("{}/ok", deep["path"].as_str().unwrap()), "\"deepest\""]);

    let all = from.ok(&["export", "/chat"]);
    let to = Broker::start();
    said_ok(&to.run(&["import"], all.as_bytes()));
    let (before, after) = (export(&from, "/chat"), export(&to, "/chat"));
    assert_eq!(families(&before), families(&after), "{after:?}");
    assert_eq!(before.len(), after.len());
    let path = |entries: &[Value], text: &str| {
        let entry = entries.iter().find(|entry| entry["text"] == text).unwrap();
        entry["path"].as_str().unwrap().to_owned()
    };
    assert!(path(&after, "deep").starts_with(&format!("{}/answers/", path(&after, "C"))));

    // A single entry, with what is under it.
    let one = from.ok(&["export", &paths[1]]);
    let to = Broker::start();
    said_ok(&to.run(&["import"], one.as_bytes()));
    assert_eq!(families(&export(&to, "/")), families(&before)[1..2]);

    // In another order than that of an export, it is not known which entry something belongs to.
    let line = |path: &str| format!("{{\"path\":\"{path}\",\"json\":1}}\n");
    let (entry, below) = (line(&paths[1]), line(&format!("{}/ok", paths[1])));
    for lines in [line("/z") + &below, below.clone() + &entry, below + &line("/z") + &entry] {
        let (exit, error) = to.error(&["import"], lines.as_bytes());
        let last = lines.lines().count();
        let found = (exit, &error["code"], &error["line"], &error["acknowledged"]);
        assert_eq!(found, (2, &json!("bad-line"), &json!(last), &json!(last - 1)), "{error}");
        assert!(error["message"].as_str().unwrap().contains("an entry of a log"), "{error}");
    }
}

/// Returns the content of an export without revisions, and with log keys replaced by numbers.
fn shape(entries: &[Value]) -> Vec<Value> {
    let mut keys: HashMap<String, Vec<String>> = HashMap::new();
    let mut shape = entries.to_vec();
    for entry in &mut shape {
        let mut path = String::new();
        for segment in entry["path"].as_str().unwrap().split('/').skip(1) {
            let is_key = segment.len() == 18 && segment.bytes().all(|b| b.is_ascii_hexdigit());
            if is_key {
                let keys = keys.entry(path.clone()).or_default();
                if keys.last().is_none_or(|key| key != segment) {
                    keys.push(segment.to_owned());
                }
                path += &format!("/key {}", keys.len());
            } else {
                path += &format!("/{segment}");
            }
        }
        entry["path"] = path.into();
        entry["rev"] = 0.into();
    }
    shape
}

/// Removing an entry of a log leaves what is under it.
#[test]
fn what_hung_under_an_entry_that_was_removed_is_taken() {
    let from = Broker::start();
    let append = |log: &str, value: &str| {
        let said = from.ok(&["append", log, value, "--json"]);
        let done: Value = serde_json::from_str(&said).unwrap();
        done["path"].as_str().unwrap().to_owned()
    };
    let paths = ["A", "B", "C", "D"].map(|value| append("/chat/log", value));
    for path in &paths {
        from.ok(&["put", &format!("{path}/ok"), "1"]);
        let deep: Vec<String> =
            ["x", "y"].iter().map(|value| append(&format!("{path}/answers"), value)).collect();
        from.ok(&["put", &format!("{}/ok", deep[0]), "2"]);
        from.ok(&["put", &format!("{}/so/so", deep[0]), "3"]);
        from.ok(&["rm", &deep[0]]);
    }
    from.ok(&["rm", &paths[1]]);
    from.ok(&["rm", &paths[3]]);
    // Also under an entry that never existed.
    from.ok(&["put", "/log/000fffffffffff0000/ok", "4"]);
    let all = from.ok(&["export", "/"]);
    let to = Broker::start();
    let said = said(&to.run(&["import"], all.as_bytes()));
    assert_eq!(said, format!("{} entries\n", all.lines().count()));
    let (before, after) = (export(&from, "/"), export(&to, "/"));
    assert_eq!(shape(&before), shape(&after));
    // Both brokers also continue in the same way.
    for broker in [&from, &to] {
        broker.ok(&["append", "/chat/log", "E"]);
        broker.ok(&["append", "/log", "F"]);
    }
    assert_eq!(export(&to, "/").len(), after.len() + 2);
}

#[test]
fn keys_that_are_none_are_refused() {
    let broker = Broker::start();
    for (line, part) in [
        (r#"{"path":"/a","json":1,"ttl_ms":5000}"#, "'ttl_ms'"),
        (r#"{"path":"/a","text":"x","typ":"text/html"}"#, "did you mean 'type'"),
        (r#"{"path":"/a","rev":3,"json":1,"delete":true}"#, "'delete'"),
    ] {
        let (exit, error) = broker.error(&["import"], line.as_bytes());
        assert_eq!((exit, &error["code"]), (2, &json!("bad-line")), "{line}: {error}");
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
    }
    assert_eq!(export(&broker, "/").len(), 0);
}

/// Opens a terminal. Returns its user's side, and the program's side.
pub(super) fn terminal() -> (File, OwnedFd) {
    let typed = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&typed).unwrap();
    unlockpt(&typed).unwrap();
    let name = ptsname(&typed, Vec::new()).unwrap();
    let seen = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    (File::from(typed), seen)
}

/// Returns what a command that works shows on a terminal.
#[track_caller]
pub(super) fn shown(mut command: Command) -> String {
    let (mut typed, screen) = terminal();
    command.stdout(screen.try_clone().unwrap()).stderr(screen);
    let mut child = command.spawn().unwrap();
    // Only the child has the screen open now, so reading fails when it has ended.
    drop(command);
    let mut shown = Vec::new();
    let _ = typed.read_to_end(&mut shown);
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(child.wait().unwrap().success(), "{shown}");
    shown
}

#[test]
fn who_types_lines_is_told_that_they_are_waited_for() {
    let broker = Broker::start();
    let (mut typed, seen) = terminal();
    let mut command = broker.command(&["import"]);
    command.stdin(seen);
    let mut import = Running::start(command);
    let told = import.aside().recv_timeout(PATIENCE).expect("it waits in silence");
    assert!(told.contains("JSON Lines") && told.contains("standard input"), "{told}");
    typed.write_all(b"{\"path\":\"/a\",\"json\":1}\n\x04").unwrap();
    import.line_with("1 entry");
    // A user who pipes lines needs no hint.
    let piped = broker.run(&["import"], b"{\"path\":\"/b\",\"json\":1}\n");
    assert_eq!(String::from_utf8_lossy(&piped.stderr), "");
}

#[test]
fn a_mark_at_the_beginning_and_blank_lines_are_passed_over() {
    let broker = Broker::start();
    let text = "\u{feff}{\"path\":\"/a\",\"json\":1}\r\n\n  \n{\"path\":\"/b\",\"json\":2}\n\n";
    assert_eq!(said(&broker.run(&["import"], text.as_bytes())), "2 entries\n");
    assert_eq!(export(&broker, "/").len(), 2);
    // Blank lines count as lines.
    let text = "\n\n{\"path\":\"/m\",\"json\":1}\n\n{\"path\":\"/log/00000000000fff0000/x/y\",\"json\":2}\n";
    let (_, error) = broker.error(&["import"], text.as_bytes());
    assert_eq!((&error["line"], &error["acknowledged"]), (&json!(5), &json!(1)), "{error}");
    let full = Broker::with(&["tree_entries=1"]);
    let text = "{\"path\":\"/c\",\"json\":1}\n\n{\"path\":\"/d\",\"json\":1}\n";
    let (_, error) = full.error(&["import"], text.as_bytes());
    assert_eq!((&error["code"], &error["line"]), (&json!("tree-full"), &json!(3)), "{error}");
}

#[test]
fn the_file_of_a_watch_is_taken_when_it_is_whole() {
    let directory = Directory::new("state-import");
    let file = directory.file("state.jsonl");
    let from = Broker::start();
    for path in ["/a", "/b"] {
        from.ok(&["put", path, "1"]);
    }
    from.ok(&["watch", "/", "--state", text(&file), "--once"]);
    let to = Broker::start();
    assert_eq!(to.ok(&["import", text(&file)]), "2 entries\n");
    assert_eq!(export(&to, "/").len(), 2);
    let whole = fs::read_to_string(&file).unwrap();
    let cut: Vec<&str> = whole.lines().take(2).collect();
    let output = to.run(&["import", "--json"], format!("{}\n", cut.join("\n")).as_bytes());
    let (exit, error) = error(&output);
    assert_eq!((exit, &error["code"]), (2, &json!("bad-line")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("1 of 2 entries"), "{error}");
}
