//! `ls`, `tree` and `export`.

use std::io::Read;
use std::process::Command;

use serde_json::{Value, json};

use super::import::shown;
use super::{Broker, eventually, program, said, said_ok};

#[test]
fn ls_pages_and_says_how_to_go_on() {
    let broker = Broker::start();
    for path in ["/a", "/a/1", "/a/1/x", "/a/2", "/a/3"] {
        broker.ok(&["put", path, "\"v\""]);
    }
    let output = broker.run(&["ls", "/a", "--limit", "2"], b"");
    let lines: Vec<String> = said(&output).lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with("/a ") && lines[1].starts_with("/a/1 "), "{lines:?}");
    assert!(lines[1].ends_with(" \"v\"") && lines.len() == 2, "{lines:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--after '/a/1'"));
    assert_eq!(broker.ok(&["ls", "/a", "--after", "/a/1"]).lines().count(), 2);

    let page = broker.ok(&["ls", "/a", "--reverse", "--limit", "2", "--json"]);
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["more"], true);
    assert_eq!(page["last"], "/a/2");
    assert_eq!(page["entries"][0]["path"], "/a/3");
    let page = broker.ok(&["ls", "/a", "--reverse", "--before", "/a/2", "--json", "--no-values"]);
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!((&page["more"], page["entries"].as_array().unwrap().len()), (&json!(false), 2));
    assert_eq!(page["entries"][0].as_object().unwrap().len(), 2, "{page}");
    assert_eq!(broker.ok(&["ls", "/a", "--depth", "tree"]).lines().count(), 5);
    assert_eq!(broker.ok(&["ls", "/a", "--depth", "entry"]).lines().count(), 1);
    broker.ok(&["rm", "/a"]);
    assert_eq!(broker.ok(&["ls", "/"]), "/a -\n", "it has no entry of its own, and so no revision");
    for (args, said) in
        [(&["ls", "/b"][..], "nothing is at or under /b\n"), (&["ls", "/a", "--before", "/a"], "")]
    {
        let output = broker.run(args, b"");
        assert_eq!(String::from_utf8_lossy(&output.stderr), said, "{args:?}");
    }
}

/// The hint about the next page can be pasted behind the command as it is.
#[test]
fn how_ls_goes_on_can_be_pasted() {
    let broker = Broker::start();
    for path in ["/a/b c", "/a/it's", "/a/so \"$HOME\" `x` \\", "/a/z"] {
        broker.ok(&["put", path, "1"]);
    }
    let mut hint = String::new();
    for path in ["/a/b c", "/a/it's", "/a/so \"$HOME\" `x` \\", "/a/z"] {
        let command = program(&[]);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("\"$0\" ls /a --limit 1 --no-values --url \"$1\" {hint}"));
        let output = shell.arg(command.get_program()).arg(&broker.url).output().unwrap();
        assert!(said(&output).starts_with(&format!("{path} ")), "{hint}: {output:?}");
        let errors = String::from_utf8(output.stderr).unwrap();
        hint = errors.trim().strip_prefix("there is more: ").unwrap_or_default().to_owned();
        assert_eq!(hint.is_empty(), path == "/a/z", "{errors}");
    }
}

#[test]
fn tree_draws() {
    let broker = Broker::start();
    for path in ["/a/b", "/a/b/c", "/d"] {
        broker.ok(&["put", path, "1"]);
    }
    let drawn = broker.ok(&["tree", "/"]);
    let revs = ["/a/b", "/a/b/c", "/d"].map(|path| broker.rev(path));
    let expected = format!(
        "/\n├── a\n│   └── b  {}\n│       └── c  {}\n└── d  {}\n3 entries\n",
        revs[0], revs[1], revs[2]
    );
    assert_eq!(drawn, expected);
    assert!(broker.ok(&["tree", "/", "--values", "--levels", "1"]).contains("… 2 more below"));
}

#[test]
fn export_is_one_value_form_a_line() {
    let broker = Broker::start();
    broker.ok(&["put", "/b", "{\"x\": [1, 2]}"]);
    broker.ok(&["put", "/a", "line\nbreak"]);
    said_ok(&broker.run(&["put", "/a/x", "--type", "image/png"], b"\x00"));
    let revs = ["/a", "/a/x", "/b"].map(|path| broker.rev(path));
    let expected = format!(
        "{{\"path\":\"/a\",\"rev\":{},\"type\":\"text/plain\",\"text\":\"line\\nbreak\"}}\n\
         {{\"path\":\"/a/x\",\"rev\":{},\"type\":\"image/png\",\"bytes\":\"AA==\"}}\n\
         {{\"path\":\"/b\",\"rev\":{},\"json\":{{\"x\": [1, 2]}}}}\n",
        revs[0], revs[1], revs[2]
    );
    assert_eq!(broker.ok(&["export", "/"]), expected);
    assert_eq!(broker.ok(&["export"]), expected);
    assert_eq!(broker.ok(&["export", "/nothing"]), "");
    // A value of several lines is still one line.
    said_ok(&broker.run(&["put", "/c"], b"{\n\"x\": 1\n}\n"));
    assert_eq!(broker.ok(&["export", "/c"]).lines().count(), 1);
    assert_eq!(broker.ok(&["get", "/c"]), "{\n\"x\": 1\n}");
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let broker = Broker::start();
    let lines = "a line that is long enough to fill a pipe before it ends\n".repeat(20_000);
    said_ok(&broker.run(&["append", "/log", "--lines"], lines.as_bytes()));
    let mut child = broker.command(&["export", "/"]).spawn().unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn who_waits_for_much_sees_how_much_has_come() {
    let broker = Broker::start();
    let many = "x\n".repeat(20_000);
    said_ok(&broker.run(&["append", "/log", "--lines"], many.as_bytes()));
    for args in [&["export", "/"][..], &["tree", "/"], &["watch", "/", "--once"]] {
        // The result may come before the bar is drawn.
        eventually(|| shown(broker.command(args)).contains(" entries, "));
        // A program needs no progress bar.
        let told = shown(broker.command(&[args, &["--json"]].concat()));
        assert!(told.starts_with('{') && !told.contains(" entries, "), "{args:?}");
    }
}
