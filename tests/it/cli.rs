//! The command line as scripts see it: the built program, against a broker that it serves itself.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The longest that anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A broker of one test's own.
struct Broker {
    child: Child,
    url: String,
}

impl Broker {
    fn start() -> Broker {
        Broker::with(&[])
    }

    fn with(settings: &[&str]) -> Broker {
        let mut command = program(&["serve", "--memory", "--listen", "127.0.0.1:0"]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect(&line).to_owned();
        Broker { child, url }
    }

    /// A command that talks to this broker.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = program(args);
        command.env("ONETREE_URL", &self.url);
        command
    }

    /// Runs a command with `input`.
    fn run(&self, args: &[&str], input: &[u8]) -> Output {
        feed(self.command(args), input)
    }

    /// The standard output of a command that must work.
    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        said(&self.run(args, b""))
    }

    /// The exit code and the JSON error of a command that must not work.
    #[track_caller]
    fn error(&self, args: &[&str], input: &[u8]) -> (i32, Value) {
        let output = self.run(&[args, &["--json"]].concat(), input);
        error(&output)
    }

    /// The revision of an entry.
    fn rev(&self, path: &str) -> u64 {
        let entry: Value = serde_json::from_str(&self.ok(&["get", path, "--json"])).unwrap();
        entry["rev"].as_u64().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Gone already, where the test has ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, with nothing of our environment that it reads.
fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onetree"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ONETREE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `command` to its end with `input` as its standard input.
fn feed(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // The command may end before it has read everything.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// What a command that worked has printed.
#[track_caller]
fn said(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {errors}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// How a command failed under `--json`.
#[track_caller]
fn error(output: &Output) -> (i32, Value) {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().last().unwrap_or_default();
    let error: Value = serde_json::from_str(line).expect(&text);
    (output.status.code().unwrap(), error["error"].clone())
}

/// A directory of one test's own, gone at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("onetree-cli-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A command that runs on: its lines as they come.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.spawn().unwrap();
        let stdout: ChildStdout = child.stdout.take().unwrap();
        let (to, lines) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| to.send(line))
        });
        Running { child, lines }
    }

    /// The next line of which `wanted` holds.
    #[track_caller]
    fn line(&self, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        let mut others = Vec::new();
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if wanted(&line) => return line,
                Ok(line) => others.push(line),
                Err(_) => panic!("the line did not come; these did: {others:?}"),
            }
        }
    }

    #[track_caller]
    fn line_with(&self, part: &str) -> String {
        self.line(|line| line.contains(part))
    }

    /// Sends Ctrl-C and waits for the end.
    #[track_caller]
    fn interrupt(&mut self) -> i32 {
        interrupt(&mut self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already, where the test has ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends Ctrl-C to a process and waits for its exit code.
#[track_caller]
fn interrupt(child: &mut Child) -> i32 {
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let end = Instant::now() + PATIENCE;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status.code().expect("it was killed"),
            None if Instant::now() > end => panic!("it does not end"),
            None => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Waits until `condition` holds.
#[track_caller]
fn eventually(condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "it did not come about");
        thread::sleep(Duration::from_millis(10));
    }
}

const COMMANDS: [&str; 13] = [
    "serve",
    "put",
    "get",
    "append",
    "signal",
    "rm",
    "ls",
    "tree",
    "txn",
    "export",
    "watch",
    "bench",
    "completions",
];

#[test]
fn help_has_examples_and_exit_codes() {
    for command in COMMANDS {
        let help = said(&program(&[command, "--help"]).output().unwrap());
        assert!(
            help.contains("Examples:\n") && help.contains(&format!("onetree {command}")),
            "{help}"
        );
        assert!(help.contains("--json") && help.contains("--url <URL>"), "{help}");
        assert_eq!(said(&program(&["help", command]).output().unwrap()), help);
    }
    let help = said(&program(&["--help"]).output().unwrap());
    for part in ["Exit codes:", "  3  a precondition", "ws://127.0.0.1:7400", "ONETREE_URL"] {
        assert!(help.contains(part), "{help}");
    }
    assert!(COMMANDS.iter().all(|command| help.contains(&format!("  {command} "))), "{help}");
}

#[test]
fn completions_of_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = said(&program(&["completions", shell]).output().unwrap());
        assert!(script.contains("onetree") && script.contains("if-absent"), "{shell}");
    }
    assert_eq!(program(&["completions", "cmd"]).output().unwrap().status.code(), Some(2));
}

#[test]
fn usage_errors_are_2_and_json_where_asked() {
    for args in [
        &["put"][..],
        &["put", "no-slash", "1"],
        &["frobnicate"],
        &["put", "/a", "1", "--ttl", "3"],
    ] {
        let output = program(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let (exit, error) = error(&program(&[args, &["--json"]].concat()).output().unwrap());
        assert_eq!((exit, &error["code"]), (2, &json!("usage")), "{args:?}");
    }
}

#[test]
fn an_unreachable_broker_is_5() {
    // Bound and closed again: nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("ws://127.0.0.1:{port}");
    for args in [
        &["get", "/a"][..],
        &["put", "/a", "1"],
        &["append", "/a", "--lines"],
        &["export", "/"],
        &["watch", "/"],
        &["bench", "--duration", "1s"],
    ] {
        let output = program(&[args, &["--url", &url, "--json"]].concat()).output().unwrap();
        let (exit, error) = error(&output);
        assert_eq!((exit, &error["code"]), (5, &json!("unreachable")), "{args:?}");
        assert!(error["next"].as_str().unwrap().contains("onetree serve"), "{error}");
    }
    for url in ["http://x", "127.0.0.1:1", "ws://", ""] {
        let output = program(&["get", "/a", "--url", url]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{url}");
    }
}

#[test]
fn serve_checks_and_prints_its_settings() {
    let printed = said(&program(&["serve", "--print-config"]).output().unwrap());
    assert_eq!(printed, include_str!("../../broker.toml"));
    let directory = Directory::new("serve");
    let file = directory.file("broker.toml");
    fs::write(&file, &printed).unwrap();
    said(&program(&["serve", "--check", "--config", text(&file)]).output().unwrap());
    fs::write(&file, "heartbeat_ms = 1000\nhartbeat_ms = 1000\n").unwrap();
    let (exit, wrong) =
        error(&program(&["serve", "--check", "--config", text(&file), "--json"]).output().unwrap());
    assert_eq!(exit, 2);
    let message = wrong["message"].as_str().unwrap();
    assert!(message.contains("broker.toml:2") && message.contains("heartbeat_ms"), "{message}");
    for (args, said) in [
        (&["--data", "/nowhere"][..], "--memory"),
        (&["--listen", "0.0.0.0:0"], "--allow-anonymous"),
        (&["--check", "--listen", "0.0.0.0:0"], "--allow-anonymous"),
        (&["--set", "frame_bytes=1"], "print-config"),
    ] {
        let output = program(&[&["serve", "--json"], args].concat()).output().unwrap();
        let (exit, error) = error(&output);
        assert_eq!(exit, 2, "{args:?}");
        assert!(error["next"].as_str().unwrap().contains(said), "{error}");
    }
}

#[test]
fn serve_ends_well_when_it_is_interrupted() {
    let mut broker = Broker::start();
    broker.ok(&["put", "/a", "1"]);
    assert_eq!(interrupt(&mut broker.child), 0);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = program(&["serve", "--memory", "--json", "--listen", &address]).output().unwrap();
    let (exit, error) = error(&output);
    assert_eq!(exit, 2);
    assert!(error["message"].as_str().unwrap().contains(&address), "{error}");
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

    // What it looks like, and what it is said to be.
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

#[track_caller]
fn said_ok(output: &Output) {
    said(output);
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

/// The entries of a subtree, from `export`.
fn export(broker: &Broker, path: &str) -> Vec<Value> {
    broker.ok(&["export", path]).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
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
    assert_eq!(said(&broker.run(&["append", "/log", "--lines"], b"")), "");
}

#[test]
fn append_lines_keeps_the_order_of_many() {
    let broker = Broker::start();
    let lines: Vec<String> = (0..20_000).map(|n| format!("line {n}")).collect();
    assert_eq!(said(&broker.run(&["append", "/log", "--lines"], lines.join("\n").as_bytes())), "");
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
    let (exit, _) = broker.error(&["txn", "/no/such/file"], b"");
    assert_eq!(exit, 2);
    assert_eq!(export(&broker, "/").len(), 2);
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
    assert_eq!(broker.ok(&["get", "/c"]), "{\n\"x\": 1\n}\n");
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

/// The state file without its first line.
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

    // Nothing happened; then only what changed is printed.
    assert_eq!(broker.ok(&watch), "");
    broker.ok(&["rm", "/a"]);
    broker.ok(&["put", "/d", "4"]);
    let changes = broker.ok(&watch);
    let mut changes: Vec<&str> = changes.lines().map(|line| &line[..4]).collect();
    changes.sort_unstable();
    assert_eq!(changes, ["+ /d", "- /a"]);
    assert_eq!(mirror(&file), broker.ok(&["export", "/"]));

    // Another view: everything anew, and right.
    let other = ["watch", "/b", "--once", "--state", text(&file)];
    broker.ok(&other);
    assert_eq!(mirror(&file), broker.ok(&["export", "/b"]));
    // Another history.
    let broker = Broker::start();
    broker.ok(&["put", "/b/new", "1"]);
    broker.ok(&other);
    assert_eq!(mirror(&file), broker.ok(&["export", "/b"]));
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

/// Whatever moment it is killed at, the file is one that was whole, and the next watch makes it
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
        // Around the moments at which it saves: right away, and about a second later.
        thread::sleep(Duration::from_millis(round * 300));
        watch.child.kill().unwrap();
        watch.child.wait().unwrap();
    }
    broker.ok(&["watch", "/", "--once", "--state", text(&file)]);
    assert_eq!(mirror(&file), broker.ok(&["export", "/"]));
}

#[test]
fn a_watch_outlives_its_broker() {
    let mut broker = Broker::start();
    let address = broker.url.strip_prefix("ws://").unwrap().to_owned();
    let directory = Directory::new("outlive");
    let file = directory.file("mirror.jsonl");
    broker.ok(&["put", "/a", "1"]);
    let args = ["watch", "/", "--state", text(&file), "--json"];
    let mut watch = Running::start(broker.command(&args));
    watch.line_with("\"op\":\"fresh\"");
    assert_eq!(interrupt(&mut broker.child), 0);
    let mut again = program(&["serve", "--memory", "--listen", &address])
        .stderr(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(again.stdout.take().unwrap()).read_line(&mut line).unwrap();
    broker.child = again;
    // Another history: what was there is gone, and what is new comes.
    broker.ok(&["put", "/b", "1"]);
    watch.line_with("\"path\":\"/b\"");
    assert_eq!(watch.interrupt(), 0);
    assert_eq!(mirror(&file), broker.ok(&["export", "/"]));
}

#[test]
fn bench_counts_what_it_delivers() {
    let broker = Broker::start();
    for with in ["append", "put", "signal"] {
        let args = [
            "bench",
            "--publishers",
            "2",
            "--subscribers",
            "3",
            "--duration",
            "300ms",
            "--rate",
            "500",
            "--with",
            with,
            "--json",
        ];
        let report: Value = serde_json::from_str(&broker.ok(&args)).unwrap();
        assert!(report["writes"].as_u64().unwrap() > 50, "{report}");
        assert_eq!(report["duplicates"], 0, "{report}");
        assert!(report["latency_us"]["p99"].as_u64().unwrap() > 0, "{report}");
        if with == "append" {
            let expected = report["writes"].as_u64().unwrap() * 3;
            assert_eq!((&report["deliveries"], &report["lost"]), (&json!(expected), &json!(0)));
        }
    }
    assert_eq!(export(&broker, "/").len(), 0, "bench cleans up");
    let people = broker.ok(&["bench", "--duration", "200ms"]);
    assert!(people.contains("deliveries/s") && people.contains("p99"), "{people}");
}
