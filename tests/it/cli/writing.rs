//! `put`, `append`, `signal`, `rm` and `txn`.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{Broker, PATIENCE, Running, error, eventually, export, program, said, said_ok};
use crate::address::address_of_our_own;

#[test]
fn a_json_text_with_a_line_end_is_json() {
    let broker = Broker::start();
    said_ok(&broker.run(&["put", "/a", "-"], b" {\"k\": 1}\r\n"));
    let line: Value = serde_json::from_str(&broker.ok(&["get", "/a", "--json"])).unwrap();
    assert_eq!(line["json"], json!({"k": 1}), "{line}");
    assert_eq!(broker.ok(&["get", "/a", "--raw"]), "{\"k\": 1}");
}

#[test]
fn put_and_get() {
    let broker = Broker::start();
    let said = broker.ok(&["put", "/config/theme", "{\"dark\": true}"]);
    let rev = broker.rev("/config/theme");
    assert_eq!(said, format!("/config/theme {rev}\n"));
    assert_eq!(broker.ok(&["get", "/config/theme"]), "{\"dark\": true}");
    assert_eq!(
        broker.ok(&["get", "/config/theme", "--json"]),
        format!("{{\"path\":\"/config/theme\",\"rev\":{rev},\"json\":{{\"dark\": true}}}}\n")
    );

    // The type is guessed from the value, or given.
    for (args, input, field, value) in [
        (&["put", "/v", "hello"][..], &b""[..], "text", json!("hello")),
        (&["put", "/v", "-12.5"], b"", "json", json!(-12.5)),
        (&["put", "/v", "[1,"], b"", "text", json!("[1,")),
        (&["put", "/v", "12", "--type", "text/plain"], b"", "text", json!("12")),
        (&["put", "/v", "-"], b"\"x\"", "json", json!("x")),
        (&["put", "/v"], b"a\n", "text", json!("a\n")),
        (&["put", "/v"], b"\xff\x00", "bytes", json!("/wA=")),
        (&["put", "/v", "--type", "image/png"], b"png", "bytes", json!("cG5n")),
        (&["put", "/v"], b"", "text", json!("")),
    ] {
        said_ok(&broker.run(args, input));
        let entry: Value = serde_json::from_str(&broker.ok(&["get", "/v", "--json"])).unwrap();
        assert_eq!(entry[field], value, "{args:?}: {entry}");
    }
    said_ok(&broker.run(&["put", "/v"], b"\xff\r\n\x00"));
    assert_eq!(broker.run(&["get", "/v"], b"").stdout, b"\xff\r\n\x00");

    let (exit, error) = broker.error(&["get", "/nothing"], b"");
    assert_eq!(
        (exit, &error["code"], &error["path"]),
        (4, &json!("not-found"), &json!("/nothing"))
    );
    let (exit, error) = broker.error(&["put", "/v", "{", "--type", "application/json"], b"");
    assert_eq!((exit, &error["code"]), (2, &json!("bad-value")));
}

#[test]
fn put_on_conditions() {
    let broker = Broker::start();
    broker.ok(&["put", "/a", "1", "--if-absent"]);
    let rev = broker.rev("/a");
    for args in [&["--if-absent"][..], &["--if-rev", "0"], &["--if-rev", "9007199254740991"]] {
        let (exit, error) = broker.error(&[&["put", "/a", "2"], args].concat(), b"");
        assert_eq!(exit, 3, "{error}");
        assert_eq!(
            (&error["code"], &error["path"], &error["rev"]),
            (&json!("conflict"), &json!("/a"), &json!(rev))
        );
    }
    broker.ok(&["put", "/a", "2", "--if-rev", &rev.to_string()]);
    assert_eq!(broker.ok(&["get", "/a"]), "2");
    let rev = broker.rev("/a");
    let there = format!("/a is there already, at revision {rev}");
    let other = format!("/a is at revision {rev}, not 1");
    let none = "there is no entry at /none";
    // In the protocol, a condition on revision 0 means that nothing is there.
    let absent = br#"{"if":[{"path":"/a","rev":0}],"do":[{"do":"delete","path":"/a"}]}"#;
    let not_there = br#"{"if":[{"path":"/none","rev":3}],"do":[{"do":"delete","path":"/a"}]}"#;
    for (args, input, words) in [
        (&["put", "/a", "3", "--if-absent"][..], &b""[..], there.as_str()),
        (&["put", "/a", "3", "--if-rev", "0"], b"", there.as_str()),
        (&["put", "/a", "3", "--ephemeral", "--if-absent"], b"", there.as_str()),
        (&["txn", "-"], absent, there.as_str()),
        (&["put", "/none", "3", "--if-rev", "3"], b"", none),
        (&["rm", "/none", "--if-rev", "3"], b"", none),
        (&["txn", "-"], not_there, none),
        (&["put", "/a", "3", "--if-rev", "1"], b"", other.as_str()),
    ] {
        let (exit, error) = broker.error(args, input);
        let message = error["message"].as_str().unwrap();
        assert!(exit == 3 && message.starts_with(words), "{args:?}: {error}");
    }
}

#[test]
fn what_is_put_for_a_time_goes() {
    let broker = Broker::start();
    broker.ok(&["put", "/ttl", "1", "--ttl", "50ms"]);
    let mut holder = Running::start(broker.command(&["put", "/here", "1", "--ephemeral"]));
    holder.line_with("/here");
    assert_eq!(broker.ok(&["get", "/here"]), "1");
    assert_eq!(holder.interrupt(), 0);
    for path in ["/ttl", "/here"] {
        eventually(|| broker.run(&["get", path], b"").status.code() == Some(4));
    }
}

/// JSON with a typing error becomes text. That is a warning and no error, because a text may begin
/// like this.
#[test]
fn what_looks_like_json_and_is_none_is_told() {
    let broker = Broker::start();
    for (args, input) in [
        (&["put", "/v", "{\"a\":1,"][..], &b""[..]),
        (&["put", "/v", "{\"a\":1,\"a\":2}"], b""),
        (&["put", "/v"], b" \n[1, 2"),
        (&["append", "/log", "[1, 2"], b""),
        (&["signal", "/v", "{a: 1}"], b""),
    ] {
        let output = broker.run(args, input);
        said_ok(&output);
        let told = String::from_utf8_lossy(&output.stderr);
        let begin = "warning: VALUE is taken as text/plain, as it is no JSON: ";
        assert!(told.starts_with(begin) && told.lines().count() == 1, "{args:?}: {told}");
        let output = broker.run(&[args, &["--json"]].concat(), input);
        let told: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(told["warning"]["code"], "no-json", "{told}");

        let (exit, error) = broker.error(&[args, &["--type", "application/json"]].concat(), input);
        assert_eq!((exit, &error["code"]), (2, &json!("bad-value")));
        let output = broker.run(&[args, &["--type", "text/plain"]].concat(), input);
        said_ok(&output);
        assert!(output.stderr.is_empty(), "{args:?}");
    }
    // Bytes that are not text are reported as what they are; a value that begins differently gives
    // no warning.
    let output = broker.run(&["put", "/v"], b"[\xff");
    assert!(String::from_utf8_lossy(&output.stderr).contains("taken as application/octet-stream"));
    for value in ["hello", "tru", "\"a", "12 apples", ""] {
        let output = broker.run(&["put", "/v", value], b"");
        said_ok(&output);
        assert!(output.stderr.is_empty(), "{value}");
    }
}

/// An entry with a time to live ends then, even if a command holds it. The command ends too,
/// because there is nothing left to hold.
#[test]
fn who_holds_an_entry_for_a_time_ends_when_it_is_gone() {
    let broker = Broker::start();
    let mut command = broker.command(&["put", "/here", "1", "--ephemeral", "--ttl", "300ms"]);
    let output = command.output().unwrap();
    assert!(said(&output).starts_with("/here "));
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(told, "it stays until Ctrl-C, at most 300ms\nit is gone after 300ms\n");
    assert_eq!(broker.run(&["get", "/here"], b"").status.code(), Some(4));
    // A program sees only that the command ends.
    let output = command.arg("--json").output().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&said(&output)).unwrap()["path"], "/here");
    assert!(output.stderr.is_empty());
    // Before that, Ctrl-C ends it as usual.
    let args = ["put", "/here", "1", "--ephemeral", "--ttl", "1h"];
    let mut holder = Running::start(broker.command(&args));
    holder.line_with("/here");
    assert_eq!(holder.interrupt(), 0);
    assert_eq!(broker.run(&["get", "/here"], b"").status.code(), Some(4));
}

#[test]
fn append_gives_the_path_that_was_assigned() {
    let broker = Broker::start();
    let said = broker.ok(&["append", "/log", "hello", "--json"]);
    let done: Value = serde_json::from_str(&said).unwrap();
    let path = done["path"].as_str().unwrap();
    assert!(path.starts_with("/log/") && path.len() == "/log/".len() + 18, "{path}");
    assert_eq!(broker.ok(&["get", path]), "hello");
    assert_eq!(broker.rev(path), done["rev"].as_u64().unwrap());
    let (exit, error) = broker.error(&["put", "/log/00000000000fff0000", "1"], b"");
    assert_eq!((exit, &error["code"]), (1, &json!("log-key")));
}

#[test]
fn append_lines_takes_every_byte_of_every_line() {
    let broker = Broker::start();
    let output = broker.run(&["append", "/log", "--lines", "--json"], b"42\nb\r\n\n\xff\nlast");
    let acknowledged: Vec<Value> =
        said(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let entries = export(&broker, "/log");
    let values: Vec<&Value> = entries
        .iter()
        .map(|entry| entry.get("text").or(entry.get("bytes")).unwrap_or(&Value::Null))
        .collect();
    assert_eq!(values, ["42", "b\r", "", "/w==", "last"]);
    assert_eq!(entries[3]["type"], "application/octet-stream");
    for (entry, done) in entries.iter().zip(&acknowledged) {
        assert_eq!(done, &json!({ "path": entry["path"], "rev": entry["rev"] }));
    }
    assert_eq!(acknowledged.len(), 5);
    assert_eq!(said(&broker.run(&["append", "/log", "--lines"], b"")), "0 entries\n");
    assert_eq!(said(&broker.run(&["append", "/log", "--lines"], b"x")), "1 entry\n");
}

/// All lines are read in the same way: a log in which some lines are numbers would help nobody.
#[test]
fn append_lines_says_what_lines_are() {
    let broker = Broker::start();
    let lines = b"{\"x\":1}\r\n[1]\n";
    said_ok(&broker.run(&["append", "/text", "--lines"], lines));
    let values: Vec<Value> = export(&broker, "/text").iter().map(|e| e["text"].clone()).collect();
    assert_eq!(values, ["{\"x\":1}\r", "[1]"]);
    let typed = ["append", "/json", "--lines", "--type", "application/json"];
    said_ok(&broker.run(&typed, lines));
    let values: Vec<Value> = export(&broker, "/json").iter().map(|e| e["json"].clone()).collect();
    assert_eq!(values, [json!({"x": 1}), json!([1])]);
    let help = said(&program(&["append", "--help"]).output().unwrap());
    // However wide it is.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["text, whatever it looks like", "\\r", "--lines --type application/json"] {
        assert!(help.contains(part), "{part}: {help}");
    }
}

#[test]
fn append_lines_keeps_the_order_of_many() {
    let broker = Broker::start();
    let lines: Vec<String> = (0..20_000).map(|n| format!("line {n}")).collect();
    let output = broker.run(&["append", "/log", "--lines"], lines.join("\n").as_bytes());
    assert_eq!(said(&output), "20000 entries\n");
    let entries = export(&broker, "/log");
    assert_eq!(entries.len(), lines.len());
    assert!(entries.iter().zip(&lines).all(|(entry, line)| entry["text"] == *line));
}

#[test]
fn append_lines_says_which_line_and_what_was_done_before() {
    let broker = Broker::with(&["value_bytes=100"]);
    let input = [&b"one\ntwo\n"[..], &[b'x'; 101], b"\nfour\n"].concat();
    let (exit, error) = broker.error(&["append", "/log", "--lines"], &input);
    assert_eq!((exit, &error["code"]), (2, &json!("value-too-large")), "{error}");
    assert_eq!((&error["line"], &error["acknowledged"]), (&json!(3), &json!(2)), "{error}");
    assert_eq!(export(&broker, "/log").len(), 2);
    let (exit, error) =
        broker.error(&["append", "/log", "--lines", "--type", "application/json"], b"1\n2\n{\n");
    assert_eq!((exit, &error["line"], &error["acknowledged"]), (2, &json!(3), &json!(2)));
}

#[test]
fn append_lines_ends_at_what_the_broker_refuses() {
    let broker = Broker::with(&["tree_entries=3"]);
    let (exit, error) = broker.error(&["append", "/log", "--lines"], b"1\n2\n3\n4\n5\n");
    assert_eq!((exit, &error["code"]), (1, &json!("tree-full")), "{error}");
    assert_eq!((&error["line"], &error["acknowledged"]), (&json!(4), &json!(3)), "{error}");
}

#[test]
fn signals_reach_those_who_are_there() {
    let broker = Broker::start();
    let watch = Running::start(broker.command(&["watch", "/chat", "--signals", "--json"]));
    watch.line_with("\"op\":\"fresh\"");
    assert_eq!(broker.ok(&["signal", "/chat/typing", "{\"from\":\"ada\"}"]), "");
    let line = watch.line_with("\"op\":\"signal\"");
    assert_eq!(line, r#"{"op":"signal","path":"/chat/typing","json":{"from":"ada"}}"#);
    broker.ok(&["signal", "/chat/wake"]);
    watch.line_with("\"json\":null");
}

#[test]
fn rm_removes_an_entry_or_a_subtree() {
    let broker = Broker::start();
    for path in ["/a", "/a/b", "/a/c"] {
        broker.ok(&["put", path, "1"]);
    }
    let (exit, error) = broker.error(&["rm", "/a/b", "--if-rev", "1"], b"");
    assert_eq!((exit, &error["code"]), (3, &json!("conflict")));
    broker.ok(&["rm", "/a"]);
    assert_eq!(export(&broker, "/").len(), 2);
    let done: Value = serde_json::from_str(&broker.ok(&["rm", "/a", "--tree", "--json"])).unwrap();
    assert_eq!(done["path"], "/a");
    assert!(done["rev"].is_u64());
    assert_eq!(export(&broker, "/").len(), 0);
    broker.ok(&["rm", "/nothing"]);
}

/// The relevant revision is that of the newest change in the subtree, which no entry may have.
#[test]
fn who_may_not_remove_a_subtree_is_told_to_look_at_all_of_it() {
    let broker = Broker::start();
    broker.ok(&["put", "/a b", "1"]);
    let seen = broker.rev("/a b").to_string();
    broker.ok(&["put", "/a b/c", "1"]);
    let (exit, error) = broker.error(&["rm", "/a b", "--tree", "--if-rev", &seen], b"");
    assert_eq!((exit, &error["code"]), (3, &json!("conflict")), "{error}");
    let next = error["next"].as_str().unwrap();
    assert!(next.contains("onetree export '/a b'") && !next.contains("get"), "{error}");
    let least = error["rev"].to_string();
    assert!(next.ends_with(&least), "{error}");
    broker.ok(&["rm", "/a b", "--tree", "--if-rev", &least]);

    // In a transaction it is one condition of several.
    broker.ok(&["put", "/t/x", "1"]);
    let text = br#"{"if":[{"tree":"/t","rev":1}],"do":[{"do":"delete","path":"/t/x"}]}"#;
    let (exit, error) = broker.error(&["txn", "-"], text);
    assert_eq!((exit, &error["path"]), (3, &json!("/t")), "{error}");
    assert!(error["next"].as_str().unwrap().contains("onetree export '/t'"), "{error}");
    let text = br#"{"if":[{"path":"/t/x","rev":1}],"do":[{"do":"delete","path":"/t/x"}]}"#;
    let (_, error) = broker.error(&["txn", "-"], text);
    assert!(error["next"].as_str().unwrap().contains("get --json"), "{error}");
}

#[test]
fn txn_is_all_or_nothing() {
    let broker = Broker::start();
    let text = br#"{"if":[{"path":"/a","rev":0}],
        "do":[{"do":"put","path":"/a","json":1},{"do":"append","path":"/log","text":"x"}]}"#;
    let output = broker.run(&["txn", "-", "--json"], text);
    let done: Value = serde_json::from_str(&said(&output)).unwrap();
    assert_eq!(done["rev"], broker.rev("/a"));
    assert_eq!(broker.ok(&["get", done["paths"][0].as_str().unwrap()]), "x");

    let (exit, error) = broker.error(&["txn", "-"], text);
    assert_eq!((exit, &error["code"], &error["path"]), (3, &json!("conflict"), &json!("/a")));
    let (exit, error) = broker.error(&["txn", "-"], b"{\"do\":[{\"do\":\"undo\"}]}");
    assert_eq!((exit, &error["code"]), (2, &json!("bad-frame")), "{error}");
    // A misspelt condition is not ignored.
    let (exit, error) = broker.error(
        &["txn", "-"],
        br#"{"iff":[{"path":"/a","rev":0}],"do":[{"do":"delete","path":"/a"}]}"#,
    );
    assert_eq!((exit, &error["code"]), (2, &json!("bad-frame")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("did you mean 'if'"), "{error}");
    // The error says which step is wrong.
    let text = br#"{"do":[{"do":"delete","path":"/a"},{"do":"undo","path":"/a"}]}"#;
    let (_, error) = broker.error(&["txn", "-"], text);
    assert!(error["message"].as_str().unwrap().contains(": do[1]: do: not one of"), "{error}");
    // A user who passes the text itself is told how to do it.
    for file in ["/no/such/file", "{\"do\":[]}"] {
        let (exit, error) = broker.error(&["txn", file], b"");
        assert_eq!((exit, &error["code"]), (2, &json!("input")), "{error}");
        assert!(error["next"].as_str().unwrap().contains("- for standard input"), "{error}");
    }
    assert_eq!(export(&broker, "/").len(), 2);
}

#[test]
fn a_misspelt_option_is_no_value() {
    let broker = Broker::start();
    broker.ok(&["put", "/jobs/7", "1"]);
    for (args, said) in [
        (&["append", "/logs/app", "--line"][..], "'--lines'"),
        (&["put", "/jobs/7", "--ephmeral"], "'--ephemeral'"),
        (&["put", "/neg", "--version"], "--version"),
        (&["signal", "/x", "--jsn"], "'--json'"),
        (&["put", "/x", "-x"], "-- -x"),
    ] {
        let output = broker.run(args, b"a line\n");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
        assert!(errors.contains("unexpected argument") && errors.contains(said), "{errors}");
    }
    assert_eq!(export(&broker, "/").len(), 1);
    assert_eq!(broker.ok(&["get", "/jobs/7"]), "1");
    // Values that are meant are accepted.
    for (args, value) in
        [(&["put", "/v", "--", "--line"][..], "--line"), (&["put", "/v", "-3e2"], "-3e2")]
    {
        broker.ok(args);
        assert_eq!(broker.ok(&["get", "/v"]), value);
    }
}

/// Such an entry would be gone as soon as the command ends, which is at once.
#[test]
fn txn_takes_nothing_that_dies_with_it_and_no_strange_key() {
    let broker = Broker::start();
    for (change, part) in [
        (r#"{"do":"put","path":"/p","json":1,"ephemeral":true}"#, "put --ephemeral"),
        (r#"{"do":"append","path":"/p","json":1,"ephemeral":true}"#, "put --ephemeral"),
        (r#"{"do":"delete","path":"/p","json":5}"#, "'json'"),
        (r#"{"do":"put","path":"/p","json":5,"to":"00000000000fff0000"}"#, "'to'"),
        (r#"{"do":"trim","path":"/p","to":"00000000000fff0000","ttl_ms":1}"#, "'ttl_ms'"),
        // The error says which step it is, and how to write it here.
        (
            r#"{"do":"put","path":"/p","value":1}"#,
            ": do[0]: unknown key 'value'; a value is in 'json'",
        ),
        (
            r#"{"do":"put","path":"/p","ifRev":1}"#,
            ": do[0]: unknown key 'ifRev'; the keys are do, path, type",
        ),
        (
            r#"{"do":"dropTree","path":"/p"}"#,
            ": do[0]: do: not one of [\"put\", \"append\", \"delete\", \"drop\"",
        ),
    ] {
        let text = format!("{{\"do\":[{change}]}}");
        let (exit, error) = broker.error(&["txn", "-"], text.as_bytes());
        assert_eq!((exit, &error["code"]), (2, &json!("bad-frame")), "{error}");
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
    }
    let text = br#"{"if":[{"path":"/a","rev":0},{"path":"/p","revision":0}],"do":[]}"#;
    let (_, error) = broker.error(&["txn", "-"], text);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(": if[1]: unknown key 'revision'; the keys are"), "{error}");
    let text = br#"{"do":[{"do":"put","path":"/p","json":1,"ephemeral":false}]}"#;
    said_ok(&broker.run(&["txn", "-"], text));
}

#[test]
fn who_holds_an_entry_is_told_when_the_broker_is_away() {
    for json in [false, true] {
        let mut broker = Broker::start();
        let mut command = broker.command(&["put", "/here", "1", "--ephemeral"]);
        if json {
            command.arg("--json");
        }
        let mut holder = Running::start(command);
        holder.line_with("/here");
        let told = holder.aside();
        broker.child.kill().unwrap();
        let wanted = if json { "\"op\":\"offline\"" } else { "offline: " };
        while !told.recv_timeout(PATIENCE).expect("nothing was said").contains(wanted) {}
        assert_eq!(holder.interrupt(), 0);
    }
}

/// The user is told why nothing happens, and the lines arrive when the broker is back.
#[test]
fn who_appends_lines_is_told_when_the_broker_is_away() {
    for json in [false, true] {
        let (_ours, address) = address_of_our_own();
        let mut broker = Broker::at(address);
        let mut command = broker.command(&["append", "/log", "--lines"]);
        if json {
            command.arg("--json");
        }
        command.stdin(Stdio::piped());
        let mut lines = Running::start(command);
        let mut input = lines.child.stdin.take().unwrap();
        input.write_all(b"one\n").unwrap();
        eventually(|| export(&broker, "/log").len() == 1);
        let told = lines.aside();
        broker.child.kill().unwrap();
        broker.child.wait().unwrap();
        let told_of = |what: &str| {
            let wanted = if json { format!("\"op\":\"{what}\"") } else { what.to_owned() };
            while !told.recv_timeout(PATIENCE).expect("nothing was said").contains(&wanted) {}
        };
        told_of("offline");
        input.write_all(b"two\n").unwrap();
        broker = Broker::at(address);
        told_of("online");
        drop(input);
        assert!(lines.child.wait().unwrap().success());
        assert_eq!(export(&broker, "/log").len(), 1);
    }
}

/// Such as `yes |`: it is read no further than the largest value, or transaction.
#[test]
fn an_endless_input_is_read_no_further_than_it_can_be_sent() {
    let broker = Broker::start();
    for (args, code) in [
        (&["put", "/a", "-"][..], "value-too-large"),
        (&["put", "/a", "-", "--ephemeral"], "value-too-large"),
        (&["append", "/a"], "value-too-large"),
        (&["signal", "/a", "-"], "value-too-large"),
        (&["txn", "-"], "frame-too-large"),
    ] {
        let mut command = broker.command(&[args, &["--json"]].concat());
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let piece = b"y\n".repeat(32 * 1024);
        let taken = (0..1024).take_while(|_| stdin.write_all(&piece).is_ok()).count();
        drop(stdin);
        let (exit, error) = error(&child.wait_with_output().unwrap());
        assert_eq!((exit, &error["code"]), (2, &json!(code)), "{args:?}: {error}");
        assert!(taken < 512, "{args:?}: {taken} pieces were read");
    }
    assert_eq!(export(&broker, "/").len(), 0);
    // The largest value that fits is accepted.
    let most = vec![b'x'; 1_048_576];
    said_ok(&broker.run(&["put", "/a", "-"], &most));
    assert_eq!(broker.run(&["get", "/a"], b"").stdout, most);
}
