//! What the system does to a broker: it gives few file descriptors, or suspends it for a while.

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

/// Returns a command that runs the program from a shell which sets `limits` first.
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

/// Starts a broker under such limits.
fn limited(limits: &str, data: &Path, settings: &[&str]) -> Broker {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", text(data)];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    Broker::of(under(limits, &[&serve[..], &settings].concat()))
}

/// Ends a broker, and returns everything that it has logged.
fn log(mut broker: Broker) -> String {
    assert_eq!(interrupt(&mut broker.child), 0);
    let mut log = String::new();
    broker.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    // Leave out lines about a slow disk: other programs use the machine too.
    log.lines().filter(|line| !line.contains("the disk has")).collect::<Vec<_>>().join("\n")
}

/// Opens sockets that send nothing.
async fn idle(addr: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        sockets.push(TcpStream::connect(addr).await.unwrap());
    }
    sockets
}

/// The soft limit is the default for shells and services; the hard limit is what they may raise it
/// to.
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

/// Connections take no descriptors that the files need.
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

/// All files are open at once when they are read. Failures of the disk leave that many, or an older
/// broker did.
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

/// `ulimit -f`, `LimitFSIZE`: when a file gets too long, the system sends a signal that kills a
/// process which does not handle it.
#[tokio::test]
async fn a_limit_of_file_sizes_is_a_write_that_fails() {
    let directory = Directory::new("sizes");
    // 32 KiB or 64, depending on the shell.
    let broker = limited("ulimit -f 64", &directory.file("data"), &["log_file_bytes=4096"]);
    let mut wire = Wire::open(broker.addr()).await;
    wire.put("/a", json!(1)).await;
    let large = json!({"op": "put", "id": 2, "path": "/b", "json": "x".repeat(200_000)});
    let refused = wire.ask(large).await;
    assert_eq!(refused["op"], "error", "{refused}");
    // Small writes still work.
    wire.put("/c", json!(1)).await;
    let log = log(broker);
    assert!(log.contains("the disk fails") && log.contains("File too large"), "{log}");
    // The same holds for what a command prints.
    let command = format!("ulimit -f 0 && \"$@\" > {}; echo $?", text(&directory.file("printed")));
    let mut printing = Command::new("sh");
    let printed = program(&["serve", "--print-config"]);
    printing.arg("-c").arg(command).arg("sh").arg(printed.get_program()).args(printed.get_args());
    assert_eq!(said(&printing.output().unwrap()).trim(), "6");
    // Files that are smaller than usual still work.
    let broker = limited("ulimit -f 4096", &directory.file("small"), &[]);
    Wire::open(broker.addr()).await.put("/a", json!(1)).await;
}

/// A log that says that the tree could not be saved must also say when it was saved again.
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
    // A log file is removed only when a saved tree has made it superfluous.
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

/// The broker was suspended, not its clients: what they have sent meanwhile counts.
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
