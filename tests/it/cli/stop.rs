//! Ctrl-C, also while the broker does not answer, and the end of the terminal.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Broker, Running, eventually, export, interrupt, program, said, text};
use crate::directory::Directory;
use crate::wire::Wire;

/// Longer than any goodbye takes, shorter than a request waits for its answer.
const SOON: Duration = Duration::from_secs(25);

/// Makes a server that accepts connections and sends nothing.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// Sends a signal by its name.
fn signal(pid: u32, name: &str) {
    let kill = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(kill.success());
}

/// Suspends a broker: its clients get no answer.
fn stop(broker: &Broker) {
    signal(broker.child.id(), "-STOP");
    // One thread gets the signal, and stops the others when it is scheduled.
    #[cfg(target_os = "linux")]
    eventually(|| {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", broker.child.id())).unwrap();
        // A thread that ends meanwhile has nothing to read, and is looked for again.
        let status = |path| std::fs::read_to_string(path).unwrap_or_default();
        tasks.flatten().all(|task| status(task.path().join("status")).contains("State:\tT"))
    });
}

/// Returns the exit code of a command that Ctrl-C ends soon.
#[track_caller]
fn interrupted(running: &mut Running) -> i32 {
    let begun = Instant::now();
    let code = interrupt(&mut running.child);
    assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    code
}

#[test]
fn who_follows_or_holds_ends_when_asked_also_without_the_broker() {
    let broker = Broker::start();
    let mut watch = Running::start(broker.command(&["watch", "/", "--json"]));
    watch.line_with("\"op\":\"fresh\"");
    let mut holder = Running::start(broker.command(&["put", "/here", "1", "--ephemeral"]));
    holder.line_with("/here");
    stop(&broker);
    assert_eq!(interrupted(&mut watch), 0);
    assert_eq!(interrupted(&mut holder), 0);
}

#[test]
fn a_bench_ends_when_asked_also_without_the_broker() {
    let args = ["bench", "--duration", "1m", "--warm-up", "100ms", "--json"];
    let stopped = |rate: &str| {
        let broker = Broker::start();
        let bench = Running::start(broker.command(&[&args[..], &["--rate", rate]].concat()));
        eventually(|| !export(&broker, "/bench").is_empty());
        stop(&broker);
        (broker, bench)
    };
    // At full speed some write always waits for its answer; at two writes per second hardly ever.
    // What was written cannot be undone without the broker.
    for rate in ["0", "2"] {
        let (_broker, mut bench) = stopped(rate);
        assert_eq!(interrupted(&mut bench), 5, "{rate}");
    }
    // A user who asks again does not want to wait for the results.
    let (_broker, mut bench) = stopped("0");
    signal(bench.child.id(), "-INT");
    // Any sooner it would count as the same request.
    thread::sleep(Duration::from_secs(2));
    let begun = Instant::now();
    assert_eq!(interrupt(&mut bench.child), 5);
    assert!(begun.elapsed() < Duration::from_secs(9), "it took {:?}", begun.elapsed());
}

#[test]
fn who_waits_for_a_welcome_ends_when_asked() {
    let (listener, url) = silent();
    for args in [&["watch", "/"][..], &["bench"]] {
        let mut waits = Running::start(program(&[args, &["--url", &url]].concat()));
        // It listens for signals before it connects; until then, they kill it.
        let _accepted = listener.accept().unwrap();
        let begun = Instant::now();
        assert_eq!(interrupt(&mut waits.child), 0, "{args:?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    }
}

/// Entries are written as lines arrive, and a second import would append all of them again. So the
/// user must know how far the first one got.
#[test]
fn who_writes_lines_sends_what_has_come_and_says_when_asked_to_end_how_many_were_acknowledged() {
    let entry = |n: u32| format!("{{\"path\":\"/a/{n}\",\"json\":1}}\n");
    // A blank line is an entry of a log, and none of an import.
    for (args, name, n) in [
        (&["import"][..], "-INT", 2),
        (&["append", "/a", "--lines"], "-TERM", 3),
        (&["import", "--json"], "-TERM", 2),
    ] {
        let broker = Broker::start();
        let mut command = broker.command(args);
        command.stdin(Stdio::piped());
        let mut writes = Running::start(command);
        let told = writes.aside();
        let mut input = writes.child.stdin.take().unwrap();
        input.write_all((entry(1) + "\n" + &entry(2) + "{\"path\"").as_bytes()).unwrap();
        // The last line has not arrived completely.
        eventually(|| export(&broker, "/").len() == n);
        signal(writes.child.id(), name);
        assert_eq!(writes.child.wait().unwrap().code(), Some(130), "{args:?}");
        let told = told.iter().collect::<Vec<_>>().join("\n");
        assert!(told.contains(&format!("{n} lines were acknowledged")), "{told}");
        if args.contains(&"--json") {
            let error: serde_json::Value = serde_json::from_str(&told).expect(&told);
            let error = &error["error"];
            assert_eq!(
                (&error["code"], &error["acknowledged"]),
                (&"interrupted".into(), &n.into())
            );
        }
    }
}

/// A user who continues after that number misses nothing, and does nothing twice.
#[test]
fn who_writes_many_lines_and_is_asked_to_end_has_written_as_many_as_were_acknowledged() {
    let broker = Broker::start();
    let mut command = broker.command(&["append", "/a", "--lines"]);
    command.stdin(Stdio::piped());
    let mut writes = Running::start(command);
    let mut input = writes.child.stdin.take().unwrap();
    let endless = thread::spawn(move || while input.write_all(b"one\ntwo\nthree\n").is_ok() {});
    eventually(|| export(&broker, "/").len() > 1000);
    let told = writes.aside();
    assert_eq!(interrupted(&mut writes), 130);
    let told = told.iter().collect::<Vec<_>>().join("\n");
    let lines = format!("; {} lines were acknowledged", export(&broker, "/").len());
    assert!(told.contains(&lines), "{told}, not {lines}");
    endless.join().unwrap();
}

/// The command does not report what it cannot know.
#[test]
fn who_writes_lines_to_a_broker_that_does_not_answer_ends_when_asked() {
    let broker = Broker::start();
    let mut command = broker.command(&["append", "/a", "--lines", "--json"]);
    command.stdin(Stdio::piped());
    let mut writes = Running::start(command);
    let told = writes.aside();
    let mut input = writes.child.stdin.take().unwrap();
    input.write_all(b"one\n").unwrap();
    writes.line_with("\"rev\":1");
    stop(&broker);
    // More than the pipe holds: when all of that is written, the first lines have been sent.
    input.write_all(&b"two\n".repeat(100_000)).unwrap();
    assert_eq!(interrupted(&mut writes), 130);
    let told = told.iter().collect::<Vec<_>>().join("\n");
    assert!(told.contains("1 line was acknowledged"), "{told}");
    assert!(told.contains("may have been taken"), "{told}");
}

/// As when its terminal is closed: the broker says goodbye to its clients too.
#[cfg(target_os = "linux")]
#[test]
fn the_end_of_the_terminal_is_an_end_like_others() {
    let mut broker = Broker::with(&["session_grace_ms=600000"]);
    let mut holder = Running::start(broker.command(&["put", "/here", "1", "--ephemeral"]));
    holder.line_with("/here");
    signal(holder.child.id(), "-HUP");
    assert_eq!(holder.child.wait().unwrap().code(), Some(0));
    eventually(|| broker.run(&["get", "/here"], b"").status.code() == Some(4));
    // It does not matter either that nobody reads its last messages.
    drop(broker.child.stderr.take());
    signal(broker.child.id(), "-HUP");
    assert_eq!(broker.child.wait().unwrap().code(), Some(0));
}

/// Sends two signals that are both pending before the process handles one, as when a terminal is
/// closed.
#[cfg(target_os = "linux")]
fn signals(pid: u32, names: [&str; 2]) {
    for name in ["-STOP", names[0], names[1], "-CONT"] {
        signal(pid, name);
    }
}

/// A start after an improper end would begin a new history.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn two_signals_that_come_together_are_one() {
    let directory = Directory::new("together");
    for names in [["-HUP", "-TERM"], ["-TERM", "-INT"]] {
        let interval = ["durability=interval", "sync_interval_ms=600000"];
        let mut broker = Broker::on(&directory.0, &interval);
        broker.ok(&["put", "/a", "1"]);
        let mut wire = Wire::open(broker.addr()).await;
        signals(broker.child.id(), names);
        // No connection is cut.
        assert_eq!(wire.until("bye").await["code"], "shutting-down", "{names:?}");
        drop(wire);
        let status = broker.child.wait().unwrap();
        let mut log = String::new();
        broker.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert_eq!(status.code(), Some(0), "{names:?}: {log}");
        let checked = said(&program(&["check", "--data", text(&directory.0)]).output().unwrap());
        assert!(!checked.contains("loss"), "{names:?}: {checked}");
    }
}

/// The command still waits for its answers.
#[cfg(target_os = "linux")]
#[test]
fn who_writes_lines_and_gets_two_signals_together_waits_for_answers() {
    let broker = Broker::start();
    let mut command = broker.command(&["append", "/a", "--lines"]);
    command.stdin(Stdio::piped());
    let mut writes = Running::start(command);
    let told = writes.aside();
    let mut input = writes.child.stdin.take().unwrap();
    input.write_all(b"one\n").unwrap();
    eventually(|| export(&broker, "/a").len() == 1);
    stop(&broker);
    input.write_all(b"two\n").unwrap();
    // By then it has read that line.
    thread::sleep(Duration::from_secs(2));
    signals(writes.child.id(), ["-HUP", "-INT"]);
    thread::sleep(Duration::from_millis(300));
    signal(broker.child.id(), "-CONT");
    assert_eq!(writes.child.wait().unwrap().code(), Some(130));
    let told = told.iter().collect::<Vec<_>>().join("\n");
    assert!(told.contains("2 lines were acknowledged"), "{told}");
}

/// A user who asks again later has waited long enough. This test is here because a store can be
/// slow, which shows how long the end takes.
#[tokio::test]
async fn a_second_signal_while_a_broker_says_goodbye_ends_it_well() {
    let directory = Directory::new("again");
    let mut broker = Broker::on(&directory.0, &[]);
    // Its goodbye is queued behind data that it does not read.
    let mut deaf = Wire::narrow(broker.addr()).await;
    deaf.put("/a", json!("x".repeat(500_000))).await;
    for _ in 0..20 {
        deaf.send(json!({"op": "get", "id": 1, "paths": ["/a"]})).await;
    }
    signal(broker.child.id(), "-TERM");
    thread::sleep(Duration::from_millis(1_200));
    assert_eq!(interrupt(&mut broker.child), 0);
    let checked = said(&program(&["check", "--data", text(&directory.0)]).output().unwrap());
    assert!(!checked.contains("loss"), "{checked}");
}

#[cfg(target_os = "linux")]
#[test]
fn who_is_to_outlive_the_terminal_does() {
    let broker = Broker::start();
    let command = program(&["watch", "/", "--url", &broker.url]);
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).stdout(Stdio::piped());
    nohup.arg(command.get_program()).args(command.get_args());
    let mut watch = Running::start(nohup);
    broker.ok(&["put", "/a", "1"]);
    watch.line_with("+ /a");
    signal(watch.child.id(), "-HUP");
    broker.ok(&["put", "/b", "1"]);
    watch.line_with("+ /b");
    assert_eq!(interrupted(&mut watch), 0);
}
