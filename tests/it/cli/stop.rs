//! Ctrl-C while the broker does not answer.

use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::{Broker, Running, interrupt, program};

/// Longer than any goodbye takes, shorter than a request waits for its answer.
const SOON: Duration = Duration::from_secs(20);

/// It accepts, and says nothing.
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

/// Stops a broker: whoever talks to it gets no answer.
fn stop(broker: &Broker) {
    signal(broker.child.id(), "-STOP");
}

/// The exit code of a command that Ctrl-C ends soon.
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
    let broker = Broker::start();
    let args = ["bench", "--duration", "1m", "--warm-up", "100ms", "--json"];
    let mut bench = Running::start(broker.command(&args));
    super::eventually(|| !super::export(&broker, "/bench").is_empty());
    stop(&broker);
    // What it has written could not be taken away.
    assert_eq!(interrupted(&mut bench), 5);

    // Who asks again has no time to wait for what was measured.
    signal(broker.child.id(), "-CONT");
    let mut bench = Running::start(broker.command(&args));
    let before = super::export(&broker, "/bench").len();
    super::eventually(|| super::export(&broker, "/bench").len() > before);
    stop(&broker);
    signal(bench.child.id(), "-INT");
    thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    assert_eq!(interrupt(&mut bench.child), 5);
    assert!(begun.elapsed() < Duration::from_secs(9), "it took {:?}", begun.elapsed());
}

#[test]
fn who_waits_for_a_welcome_ends_when_asked() {
    let (_listener, url) = silent();
    for args in [&["watch", "/"][..], &["bench"]] {
        let mut waits = Running::start(program(&[args, &["--url", &url]].concat()));
        // Until it listens to signals: before that, they kill.
        thread::sleep(Duration::from_millis(500));
        let begun = Instant::now();
        assert_eq!(interrupt(&mut waits.child), 0, "{args:?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    }
}
