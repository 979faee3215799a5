//! The output of `serve` while nobody reads it, on a terminal that is stopped (Ctrl-S) or a pipe
//! whose reader hangs.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use super::import::terminal;
use super::{Broker, PATIENCE, eventually, export, interrupt, program, said_ok};
use crate::address::address_of_our_own;
use crate::directory::Directory;
use crate::wire::Wire;

/// Longer than such an end takes, and shorter than anybody would wait for one.
const SOON: Duration = Duration::from_secs(8);

/// The keys that stop a terminal, and that continue it.
const CTRL_S: &[u8] = b"\x13";
const CTRL_Q: &[u8] = b"\x11";

/// Returns the first bytes of the answer to a GET on its own connection.
fn status(addr: SocketAddr, path: &str, more: &str) -> String {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let host = addr.to_string();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).expect("it does not answer");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Asserts that the broker serves normally, and ends when it is asked to.
async fn serves_and_ends(broker: &mut Broker, wires: &mut [Wire]) {
    for wire in wires {
        wire.put("/a", json!(2)).await;
    }
    assert_eq!(status(broker.addr(), "/healthz", ""), "HTTP/1.1 200");
    let asked = Instant::now();
    assert_eq!(interrupt(&mut broker.child), 0);
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nobody() {
    let mut command = program(&["serve", "--memory", "--listen", "127.0.0.1:0"]);
    command.env("ONETREE_LOG", "info");
    let mut broker = Broker::of(command);
    let mut wires = vec![Wire::open(broker.addr()).await];
    // More than a pipe holds.
    let agent = format!("user-agent: {}\r\n", "a".repeat(80));
    for _ in 0..600 {
        assert_eq!(status(broker.addr(), "/nothing", &agent), "HTTP/1.1 404");
    }
    serves_and_ends(&mut broker, &mut wires).await;
}

/// A missing mount or a misspelt name looks the same as a new directory, with which every broker
/// begins.
#[test]
fn a_start_says_whether_there_was_a_tree() {
    let directory = Directory::new("was-there");
    let data = directory.file("data");
    let said = |level: Option<&str>| {
        let mut command =
            program(&["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
        command.envs(level.map(|level| ("ONETREE_LOG", level)));
        let mut broker = Broker::of(command);
        broker.ok(&["put", "/a", "1"]);
        assert_eq!(interrupt(&mut broker.child), 0);
        let mut said = String::new();
        broker.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    };
    let words = format!("there was no tree in {}: a new one begins\n", data.display());
    let first = said(None);
    assert!(first.starts_with(&words) && !first.contains("WARN"), "{first}");
    let second = said(None);
    assert!(!second.contains("tree"), "{second}");
    let third = said(Some("info"));
    let read = third.lines().find(|line| line.contains("the tree was read")).expect(&third);
    assert!(
        read.contains("rev=2") && read.contains("entries=1") && read.contains("epoch="),
        "{read}"
    );
    fs::remove_dir_all(&data).unwrap();
    let fourth = said(Some("info"));
    assert!(fourth.contains(&words) && !fourth.contains("the tree was read"), "{fourth}");
}

/// A new rule applies to everything that is stored, and what it trims cannot be recovered.
#[test]
fn what_retention_takes_is_told() {
    let directory = Directory::new("retention-told");
    let (data, config) = (directory.file("data"), directory.file("broker.toml"));
    let said = |level: &str, keep: u32| {
        let rule = format!("[[retention]]\npattern = \"log/*\"\nkeep = {keep}\n");
        fs::write(&config, rule).unwrap();
        let mut command = program(&["serve", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(&data).arg("--config").arg(&config).env("ONETREE_LOG", level);
        let mut broker = Broker::of(command);
        let left = || export(&broker, "/log").len();
        if left() == 0 {
            for log in ["/log/a", "/log/b"] {
                said_ok(&broker.run(&["append", log, "--lines"], &b"line\n".repeat(400)));
            }
        }
        eventually(|| left() <= 2 * keep as usize);
        // By then the broker knows that nothing more is due.
        broker.ok(&["put", "/other", "1"]);
        assert_eq!(interrupt(&mut broker.child), 0);
        let mut said = String::new();
        broker.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let told = said.lines().filter(|line| line.contains("retention:"));
        told.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(said("info", 400), Vec::<String>::new());
    // Nothing is reported for less than a hundred entries.
    assert_eq!(said("warn", 350), Vec::<String>::new());
    let told = said("warn", 200);
    assert!(told.len() == 2 && told.iter().all(|line| line.contains("WARN")), "{told:#?}");
    assert!(told[0].contains("log/*") && told[1].contains("entries=300"), "{told:#?}");
    let told = said("info", 20);
    for log in ["log=/log/a ", "log=/log/b "] {
        let line = told.iter().find(|line| line.contains("INFO") && line.contains(log));
        let line = line.unwrap_or_else(|| panic!("{log}: {told:#?}"));
        assert!(line.contains("entries=180"), "{line}");
        assert!(line.contains("by=\"keep\"") && line.contains("log/*"), "{line}");
    }
    assert_eq!(said("info", 20), Vec::<String>::new());
}

/// With default settings: on a terminal that is stopped, a single line is enough to block a writer.
#[tokio::test]
async fn a_terminal_that_is_held_stops_nobody() {
    let (mut ours, theirs) = terminal();
    let mut command = program(&["serve", "--memory", "--listen", "127.0.0.1:0"]);
    command.stderr(theirs);
    let mut broker = Broker::of(command);
    let mut wires = Vec::new();
    for _ in 0..8 {
        wires.push(Wire::open(broker.addr()).await);
    }
    ours.write_all(CTRL_S).unwrap();
    let upgrade = "origin: http://evil.example\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nconnection: upgrade\r\n";
    assert_eq!(status(broker.addr(), "/v1/sync", upgrade), "HTTP/1.1 403");
    serves_and_ends(&mut broker, &mut wires).await;
    drop(ours);
}

/// Everything is printed when the terminal continues, in order.
#[test]
fn a_terminal_that_goes_on_has_all_of_it() {
    let (mut ours, theirs) = terminal();
    let mut command = program(&["serve", "--listen", "127.0.0.1:0"]);
    command.stderr(theirs).env("ONETREE_LOG", "info");
    let mut broker = Broker::of(command);
    ours.write_all(CTRL_S).unwrap();
    for n in 0..3 {
        let agent = format!("user-agent: agent-{n}\r\n");
        assert_eq!(status(broker.addr(), "/nothing", &agent), "HTTP/1.1 404");
    }
    ours.write_all(CTRL_Q).unwrap();
    assert_eq!(interrupt(&mut broker.child), 0);
    let mut said = Vec::new();
    // This ends with an error, because the other side is closed.
    let _ = ours.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    let places = ["in memory only", "agent-0", "agent-1", "agent-2", "shutting down"]
        .map(|words| said.find(words).unwrap_or_else(|| panic!("{words}: {said}")));
    assert!(places.is_sorted(), "{said}");
}

/// The terminal is stopped before the broker has printed anything: whoever chose the address knows
/// where it listens.
#[test]
fn a_terminal_that_is_held_from_the_start_is_no_way_to_live_for_ever() {
    let (mut ours, theirs) = terminal();
    ours.write_all(CTRL_S).unwrap();
    let (_ours, addr) = address_of_our_own();
    let mut command = program(&["serve", "--listen", &addr.to_string()]);
    let child = command.stdout(theirs.try_clone().unwrap()).stderr(theirs).spawn().unwrap();
    let mut broker = Broker { child, url: format!("ws://{addr}") };
    eventually(|| TcpStream::connect(addr).is_ok());
    assert_eq!(status(addr, "/healthz", ""), "HTTP/1.1 200");
    let asked = Instant::now();
    assert_eq!(interrupt(&mut broker.child), 0);
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    drop(ours);
}
