//! What the system does to a broker: it gives few descriptors, and stops it for a while.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use onetree::Hooks;
use onetree::store::files::Disk;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::operations::names;
use super::{Broker, error, interrupt, program, said, text};
use crate::directory::Directory;
use crate::http;
use crate::wire::{PATIENCE, Wire, config};

/// The program, whose shell says `limits` before it becomes it.
fn under(limits: &str, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let program = program(args);
    command.arg("-c").arg(format!("{limits} && exec \"$@\"")).arg("sh");
    command.arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        assert!(value.is_none());
        command.env_remove(name);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A broker under such limits.
fn limited(limits: &str, data: &Path, settings: &[&str]) -> Broker {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", text(data)];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    Broker::of(under(limits, &[&serve[..], &settings].concat()))
}

/// What it has logged, all in all.
fn log(mut broker: Broker) -> String {
    assert_eq!(interrupt(&mut broker.child), 0);
    let mut log = String::new();
    broker.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    // The disk of a machine that others use too may be slow.
    log.lines().filter(|line| !line.contains("the disk has")).collect::<Vec<_>>().join("\n")
}

/// Sockets that say nothing.
async fn idle(addr: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        sockets.push(TcpStream::connect(addr).await.unwrap());
    }
    sockets
}

/// The soft limit is what shells and services get without asking; the hard one is what they may
/// have.
#[tokio::test]
async fn a_soft_limit_of_descriptors_is_raised() {
    let directory = Directory::new("soft");
    let broker = limited("ulimit -S -n 100", &directory.0, &["connections=150"]);
    let mut wires = Vec::new();
    for n in 0..150 {
        let open = timeout(PATIENCE, Wire::open(broker.addr())).await;
        let mut wire = open.expect("the broker accepts no more");
        wire.put(&format!("/{n}"), json!(n)).await;
        wires.push(wire);
    }
    drop(wires);
    let log = log(broker);
    assert_eq!(log.matches("WARN").count(), 0, "{log}");
}

/// Whoever connects takes no descriptor that the files need.
#[tokio::test]
async fn those_who_connect_leave_descriptors_to_the_files() {
    let directory = Directory::new("hard");
    let small = ["log_file_bytes=4096", "save_after_bytes=32768"];
    let broker = limited("ulimit -n 160", &directory.0, &small);
    let mut wire = Wire::open(broker.addr()).await;
    let mut sockets = idle(broker.addr(), 300).await;
    // The last one is told that there is no room.
    let mut answer = [0; 12];
    let read = sockets.last_mut().unwrap().read_exact(&mut answer);
    timeout(PATIENCE, read).await.expect("nobody tells the last one anything").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 503");
    for n in 0..100 {
        wire.put(&format!("/{n}"), json!("x".repeat(1_000))).await;
    }
    drop(sockets);
    let log = log(broker);
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert!(log.contains("descriptors") && log.contains("ulimit -n"), "{log}");
}

#[tokio::test]
async fn sockets_that_cannot_be_accepted_are_told_of_once() {
    let directory = Directory::new("accept");
    let broker = limited("ulimit -n 40", &directory.0, &["connections=1"]);
    for _ in 0..2 {
        let sockets = idle(broker.addr(), 45).await;
        sleep(Duration::from_millis(500)).await;
        drop(sockets);
        let host = broker.addr().to_string();
        assert_eq!(http::get(broker.addr(), "/healthz", &host, "").await.status, 200);
    }
    let log = log(broker);
    assert_eq!(log.matches("cannot accept").count(), 1, "{log}");
}

/// All of them are open at once when they are read. Failures of the disk leave that many, or a
/// broker of before.
#[tokio::test]
async fn a_directory_of_many_files_is_read_under_a_low_soft_limit() {
    let directory = Directory::new("files");
    let data = directory.file("data");
    let large = "log_file_bytes = 4096\nsave_after_bytes = 1073741824";
    for n in 0..80 {
        let disk = Arc::new(Disk::new(data.clone()).unwrap());
        let started = onetree::Broker::start_from(config(large), disk, Hooks::default());
        let broker = started.await.unwrap();
        Wire::open(broker.addr()).await.put(&format!("/{n}"), json!(n)).await;
        broker.shutdown().await;
    }
    let (backup, again) = (directory.file("backup"), directory.file("again"));
    let commands = [
        &["check", "--data", text(&data)][..],
        &["backup", "--data", text(&data), text(&backup)],
        &["restore", "--data", text(&again), "--salvage", text(&data)],
    ];
    for command in commands {
        said(&under("ulimit -S -n 50", command).output().unwrap());
    }
    let mut broker = limited("ulimit -S -n 50", &data, &["save_after_bytes=1073741824"]);
    assert_eq!(interrupt(&mut broker.child), 0);
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", text(&data)];
    for command in [commands[0], &serve] {
        let output = under("ulimit -n 50", &[command, &["--json"]].concat()).output().unwrap();
        let (exit, error) = error(&output);
        assert_eq!((exit, &error["code"]), (6, &json!("io")), "{error}");
        assert!(error["next"].as_str().unwrap().contains("ulimit -n"), "{error}");
    }
}

/// `ulimit -f`, `LimitFSIZE`: the system's word for a file that is too long is a signal that kills
/// who has not asked for it.
#[tokio::test]
async fn a_limit_of_file_sizes_is_a_write_that_fails() {
    let directory = Directory::new("sizes");
    // Of 32 KiB or 64, as the shell counts.
    let broker = limited("ulimit -f 64", &directory.file("data"), &["log_file_bytes=4096"]);
    let mut wire = Wire::open(broker.addr()).await;
    wire.put("/a", json!(1)).await;
    let large = json!({"op": "put", "id": 2, "path": "/b", "json": "x".repeat(200_000)});
    let refused = wire.ask(large).await;
    assert_eq!(refused["op"], "error", "{refused}");
    // What is small goes on.
    wire.put("/c", json!(1)).await;
    let log = log(broker);
    assert!(log.contains("the disk fails") && log.contains("File too large"), "{log}");
    // What a command writes is no other.
    let command = format!("ulimit -f 0 && \"$@\" > {}; echo $?", text(&directory.file("printed")));
    let mut printing = Command::new("sh");
    let printed = program(&["serve", "--print-config"]);
    printing.arg("-c").arg(command).arg("sh").arg(printed.get_program()).args(printed.get_args());
    assert_eq!(said(&printing.output().unwrap()).trim(), "6");
    // Files that are smaller than they would be are still files.
    let broker = limited("ulimit -f 4096", &directory.file("small"), &[]);
    Wire::open(broker.addr()).await.put("/a", json!(1)).await;
}

/// Who has read that it could not be saved reads that it could, too.
#[tokio::test]
async fn a_tree_that_is_saved_after_it_could_not_be_is_told_of() {
    let directory = Directory::new("saved-again");
    let small = ["log_file_bytes=4096", "save_after_bytes=8192"];
    let broker = limited("ulimit -f 64", &directory.file("data"), &small);
    let mut wire = Wire::open(broker.addr()).await;
    for n in 0..150 {
        wire.put(&format!("/a/{n}"), json!("x".repeat(1_000))).await;
    }
    assert_eq!(wire.ask(json!({"op": "drop", "id": 2, "path": "/a"})).await["op"], "done");
    // Each log file that is removed was made superfluous by a saved tree.
    let logs = || names(&directory.file("data")).len();
    let most = logs();
    for n in 0.. {
        assert!(n < 1_000, "it is never saved");
        wire.put("/b", json!("x".repeat(1_000))).await;
        if logs() < most / 2 {
            break;
        }
    }
    let log = log(broker);
    assert_eq!(log.matches("the tree cannot be saved").count(), 1, "{log}");
    assert_eq!(log.matches("the tree is saved again").count(), 1, "{log}");
}

/// It was the broker that was away, not its clients: what they have said meanwhile counts.
#[tokio::test]
async fn a_pause_of_the_broker_is_not_the_silence_of_its_clients() {
    let directory = Directory::new("pause");
    let broker = limited("true", &directory.0, &["ping_interval_ms=2000"]);
    let mut wires = Vec::new();
    for _ in 0..8 {
        wires.push(Wire::open(broker.addr()).await);
        sleep(Duration::from_millis(50)).await;
    }
    let signal = |name: &str| {
        let kill = Command::new("kill").args([name, &broker.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    };
    signal("-STOP");
    for (n, wire) in (0..).zip(&mut wires) {
        wire.send(json!({"op": "put", "id": 1, "path": format!("/{n}"), "json": n})).await;
    }
    sleep(Duration::from_millis(5_500)).await;
    signal("-CONT");
    for wire in &mut wires {
        assert_eq!(wire.next().await["op"], "done");
    }
}
