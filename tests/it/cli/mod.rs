//! The command line as scripts use it: the built program, against a broker that it serves itself.
//!
//! # Layout
//!
//! - `program`: help, usage errors, `serve`, `bench`
//! - `writing`: `put` (and `get`), `append`, `signal`, `rm`, `txn`
//! - `reading`: `ls`, `tree`, `export`
//! - `watch`: `watch`, and its state file
//! - `operations`: `check`, `backup`, `restore`, `import`; `import`: what it accepts
//! - `directories`: what can happen to a broker's directory
//! - `places`: things in the way where a broker makes its files
//! - `stop`: Ctrl-C, also when the broker does not answer, and the end of the terminal
//! - `log`: a broker's output while nobody reads it
//! - `memory`: the memory that a broker takes, on Linux
//! - `system`: a broker that gets few file descriptors, or is suspended for a while

mod directories;
mod import;
mod log;
#[cfg(target_os = "linux")]
mod memory;
mod operations;
mod places;
mod program;
mod reading;
mod stop;
mod system;
mod watch;
mod writing;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
/// The longest that anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A broker of a test's own.
struct Broker {
    child: Child,
    url: String,
}

impl Broker {
    fn start() -> Broker {
        Broker::with(&[])
    }

    /// Starts a broker at this address.
    fn at(addr: SocketAddr) -> Broker {
        Broker::of(program(&["serve", "--memory", "--listen", &addr.to_string()]))
    }

    fn addr(&self) -> SocketAddr {
        self.url.strip_prefix("ws://").unwrap().parse().unwrap()
    }

    fn with(settings: &[&str]) -> Broker {
        Broker::serve(&["--memory"], settings)
    }

    /// Starts a broker with its tree in a directory.
    fn on(data: &Path, settings: &[&str]) -> Broker {
        Broker::serve(&["--data", text(data)], settings)
    }

    fn serve(args: &[&str], settings: &[&str]) -> Broker {
        let mut command = program(&["serve", "--listen", "127.0.0.1:0"]);
        command.args(args);
        for setting in settings {
            command.args(["--set", setting]);
        }
        Broker::of(command)
    }

    /// Starts a broker with this command.
    fn of(mut command: Command) -> Broker {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect(&line).to_owned();
        Broker { child, url }
    }

    /// Returns a command that connects to this broker.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = program(args);
        command.env("ONETREE_URL", &self.url);
        command
    }

    /// Runs a command with `input`.
    fn run(&self, args: &[&str], input: &[u8]) -> Output {
        feed(self.command(args), input)
    }

    /// Returns the standard output of a command that must work.
    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        said(&self.run(args, b""))
    }

    /// Returns the exit code and the JSON error of a command that must fail.
    #[track_caller]
    fn error(&self, args: &[&str], input: &[u8]) -> (i32, Value) {
        let output = self.run(&[args, &["--json"]].concat(), input);
        error(&output)
    }

    /// Returns the revision of an entry.
    fn rev(&self, path: &str) -> u64 {
        let entry: Value = serde_json::from_str(&self.ok(&["get", path, "--json"])).unwrap();
        entry["rev"].as_u64().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // This fails if the test has ended the broker.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the program, without our environment variables that it reads.
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

/// Returns what a command that worked has printed.
#[track_caller]
fn said(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {errors}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn said_ok(output: &Output) {
    said(output);
}

/// Returns how a command failed under `--json`.
#[track_caller]
fn error(output: &Output) -> (i32, Value) {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().last().unwrap_or_default();
    let error: Value = serde_json::from_str(line).expect(&text);
    (output.status.code().unwrap(), error["error"].clone())
}

/// Returns the entries of a subtree, from `export`.
fn export(broker: &Broker, path: &str) -> Vec<Value> {
    broker.ok(&["export", path]).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A command that keeps running, and its lines as they come.
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

    /// Returns the next line for which `wanted` is true.
    #[track_caller]
    fn line(&self, mut wanted: impl FnMut(&str) -> bool) -> String {
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

    /// Returns its lines on standard error, as they come.
    fn aside(&mut self) -> mpsc::Receiver<String> {
        let lines = BufReader::new(self.child.stderr.take().unwrap()).lines();
        let (to, told) = mpsc::channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| to.send(line)));
        told
    }

    /// Sends Ctrl-C and waits for the end.
    #[track_caller]
    fn interrupt(&mut self) -> i32 {
        interrupt(&mut self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // This fails if the test has ended the command.
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
