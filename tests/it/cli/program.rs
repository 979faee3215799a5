//! Help and usage errors of the program, and the two commands that are more than one request.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Broker, Running, error, eventually, export, interrupt, program, said, text};
use crate::address::address_of_our_own;
use crate::directory::Directory;
use crate::http;

const COMMANDS: [&str; 17] = [
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
    "import",
    "watch",
    "backup",
    "restore",
    "check",
    "bench",
    "completions",
];

/// The commands that connect to no broker.
const ALONE: [&str; 5] = ["serve", "backup", "restore", "check", "completions"];

#[test]
fn help_has_examples_and_exit_codes() {
    for command in COMMANDS {
        let help = said(&program(&[command, "--help"]).output().unwrap());
        assert!(
            help.contains("Examples:\n") && help.contains(&format!("onetree {command}")),
            "{help}"
        );
        assert!(help.contains("--json"), "{help}");
        assert_eq!(help.contains("--url <URL>"), !ALONE.contains(&command), "{help}");
        assert_eq!(said(&program(&["help", command]).output().unwrap()), help);
    }
    let help = said(&program(&["--help"]).output().unwrap());
    for part in
        ["Exit codes:", "  3  a condition", "ws://127.0.0.1:7400", "ONETREE_URL", "Append to a log"]
    {
        assert!(help.contains(part), "{help}");
    }
    assert!(COMMANDS.iter().all(|command| help.contains(&format!("  {command} "))), "{help}");
}

#[test]
fn a_url_is_for_who_talks_to_a_broker_and_stands_before_the_command_or_behind() {
    let broker = Broker::start();
    broker.ok(&["put", "/a", "1"]);
    for args in [["--url", &broker.url, "get", "/a"], ["get", "/a", "--url", &broker.url]] {
        // The environment applies only if nothing is given on the command line.
        let output = program(&args).env("ONETREE_URL", "ws://127.0.0.1:1").output().unwrap();
        assert_eq!(said(&output), "1", "{args:?}");
    }
    let directory = Directory::new("url");
    let data = text(&directory.file("data")).to_owned();
    for args in [&["serve", "--check"][..], &["check", "--data", &data], &["completions", "bash"]] {
        for args in
            [[&["--url", &broker.url], args].concat(), [args, &["--url", &broker.url]].concat()]
        {
            let output = program(&args).output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{args:?}: {told}");
            assert!(told.contains("--url"), "{args:?}: {told}");
        }
    }
    // `--url` does not appear in the usage of a command that was called without it.
    let told = broker.run(&["put"], b"").stderr;
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("Usage: onetree put") && !told.contains("--url"), "{told}");
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
        &["ls", "--limit", "-1"],
    ] {
        let output = program(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let (exit, error) = error(&program(&[args, &["--json"]].concat()).output().unwrap());
        assert_eq!((exit, &error["code"]), (2, &json!("usage")), "{args:?}");
    }
}

#[test]
fn a_number_that_is_too_small_is_told_as_one() {
    let output = program(&["ls", "--limit", "-1"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("0..=4294967295") && !errors.contains("-- -1"), "{errors}");
}

#[test]
fn each_page_that_may_not_connect_is_told_of_once() {
    let mut broker = Broker::start();
    let host = broker.url.strip_prefix("ws://").unwrap().to_owned();
    let many = (0..20).map(|n| format!("http://{n}.example"));
    let twice = ["http://a.example", "http://b.example", "http://a.example"].map(str::to_owned);
    for page in twice.into_iter().chain(many) {
        let mut socket = TcpStream::connect(&host).unwrap();
        let request = format!(
            "GET /v1/sync HTTP/1.1\r\nHost: {host}\r\nOrigin: {page}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 403");
    }
    assert_eq!(interrupt(&mut broker.child), 0);
    let mut log = String::new();
    broker.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("http://a.example") && log.contains("add it to 'origins'"), "{log}");
    assert_eq!(log.matches("http://a.example").count(), 1, "{log}");
    assert!(log.contains("http://b.example") && log.contains("http://5.example"), "{log}");
    assert!(!log.contains("http://6.example"), "what connects may call itself anything: {log}");
}

#[test]
fn an_unreachable_broker_is_5() {
    // Nothing listens there.
    let (_ours, address) = address_of_our_own();
    let url = format!("ws://{address}");
    for args in [
        &["get", "/a"][..],
        &["put", "/a", "1"],
        &["append", "/a", "--lines"],
        &["export", "/"],
        &["import"],
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

/// Such as the address of the console, which a broker prints.
#[test]
fn a_page_is_no_broker() {
    let broker = Broker::start();
    let url = format!("{}/console/", broker.url);
    let output = program(&["get", "/a", "--json", "--url", &url]).output().unwrap();
    let (exit, error) = error(&output);
    assert_eq!((exit, &error["code"]), (5, &json!("not-a-broker")), "{error}");
    assert!(!error["message"].as_str().unwrap().contains("doctype"), "{error}");
    assert!(error["next"].as_str().unwrap().contains("ws://HOST:PORT"), "{error}");
}

#[test]
fn serve_checks_and_prints_its_settings() {
    let printed = said(&program(&["serve", "--print-config"]).output().unwrap());
    assert_eq!(printed, include_str!("../../../broker.toml"));
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
        (&["--listen", "0.0.0.0:0"][..], "--allow-anonymous"),
        (&["--data", "/dev/null/x"], "--data"),
        (&["--check", "--listen", "0.0.0.0:0"], "--allow-anonymous"),
        (&["--set", "frame_bytes=1"], "print-config"),
    ] {
        let output = program(&[&["serve", "--json"], args].concat()).output().unwrap();
        let (exit, error) = error(&output);
        assert_eq!(exit, 2, "{args:?}");
        assert!(error["next"].as_str().unwrap().contains(said), "{error}");
    }
}

#[tokio::test]
async fn serve_says_where_its_console_is() {
    // The unspecified address cannot be opened; the loopback address is printed instead.
    for (listen, json) in [("127.0.0.1:0", false), ("0.0.0.0:0", false), ("127.0.0.1:0", true)] {
        let mut command = program(&["serve", "--memory", "--allow-anonymous", "--listen", listen]);
        if json {
            command.arg("--json");
        }
        let broker = Running::start(command);
        let line = broker.line_with("/console/");
        let url = if json {
            let said: Value = serde_json::from_str(&line).unwrap();
            said["console"].as_str().unwrap().to_owned()
        } else {
            line.strip_prefix("console at ").expect(&line).to_owned()
        };
        let host = url.strip_prefix("http://").unwrap().strip_suffix("/console/").expect(&url);
        let addr: std::net::SocketAddr = host.parse().unwrap();
        assert!(addr.ip().is_loopback(), "{url}");
        let page = http::get(addr, "/console/", host, "").await;
        assert_eq!(page.status, 200, "{url}");
        assert!(page.body.contains("main.js"), "{}", page.body);
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
            "1s",
            "--warm-up",
            "100ms",
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
        if cfg!(target_os = "linux") {
            let cpus = |who: &str| report[who].as_f64().unwrap();
            assert!(cpus("broker_cpus") > 0.0 && cpus("bench_cpus") > 0.0, "{report}");
        }
        if with == "append" {
            let expected = report["writes"].as_u64().unwrap() * 3;
            assert_eq!((&report["deliveries"], &report["lost"]), (&json!(expected), &json!(0)));
        }
    }
    assert_eq!(export(&broker, "/").len(), 0, "bench cleans up");
    let nobody = broker.ok(&["bench", "--subscribers", "0", "--duration", "200ms"]);
    assert!(nobody.contains("us a write") && !nobody.contains("latency"), "{nobody}");
    let people = broker.ok(&["bench", "--duration", "200ms"]);
    assert!(people.contains("deliveries/s") && people.contains("p99"), "{people}");
}

/// Asking for a rate that cannot be reached is reported, and does not prolong the run.
#[test]
fn a_bench_keeps_its_duration_and_says_that_its_rate_was_missed() {
    let broker = Broker::start();
    let bench = |rate: &str, more: &[&str]| {
        let args = ["bench", "--in-flight", "1", "--warm-up", "500ms", "--rate", rate];
        broker.ok(&[&args[..], &["--duration", "1s"], more].concat())
    };
    let begun = Instant::now();
    let report: Value = serde_json::from_str(&bench("1000000", &["--json"])).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
    let told = (&report["wanted_writes_per_s"], &report["rate_missed"]);
    assert_eq!(told, (&json!(1_000_000), &json!(true)), "{report}");
    // Writes that were due in the warm-up are not made up for later.
    assert!(report["writes"].as_u64().unwrap() > 0, "{report}");
    let p50 = report["latency_us"]["p50"].as_u64().unwrap();
    assert!((1..3_000_000).contains(&p50), "{report}");
    let people = bench("1000000", &[]);
    assert!(people.contains("of 1,000,000 wanted"), "{people}");
    assert!(people.contains("the rate was missed"), "{people}");

    // A rate that is slow enough for any machine.
    let slow = ["bench", "--warm-up", "500ms", "--rate", "2", "--duration", "3s", "--json"];
    let report: Value = serde_json::from_str(&broker.ok(&slow)).unwrap();
    let told = (&report["wanted_writes_per_s"], &report["rate_missed"]);
    assert_eq!(told, (&json!(2), &json!(false)), "{report}");
    assert!((4..=6).contains(&report["writes"].as_u64().unwrap()), "{report}");
    let report: Value = serde_json::from_str(&bench("0", &["--json"])).unwrap();
    let told = (&report["wanted_writes_per_s"], &report["rate_missed"]);
    assert_eq!(told, (&Value::Null, &json!(false)), "{report}");
}

#[test]
fn a_bench_says_that_its_broker_is_away_and_was() {
    for json in [false, true] {
        let directory = Directory::new("bench");
        let data = directory.file("data");
        let (_ours, address) = address_of_our_own();
        let serve = ["serve", "--listen", &address.to_string(), "--data", text(&data)];
        let mut broker = Broker::of(program(&serve));
        let args = ["bench", "--duration", "1m", "--warm-up", "10ms", "--rate", "50", "--json"];
        let mut bench =
            Running::start(broker.command(if json { &args } else { &args[..args.len() - 1] }));
        let told = bench.aside();
        let told_of = |what: &str| {
            // Long before a request's time for its answer is over.
            let soon = Duration::from_secs(10);
            while !told.recv_timeout(soon).expect("nothing was said").contains(what) {}
        };
        eventually(|| !export(&broker, "/bench").is_empty());
        broker.child.kill().unwrap();
        broker.child.wait().unwrap();
        told_of("offline");
        let broker = Broker::of(program(&serve));
        told_of("online");
        assert_eq!(bench.interrupt(), 0);
        bench.line_with(if json {
            "\"connection_lost\":1"
        } else {
            "the connection was lost once"
        });
        assert_eq!(export(&broker, "/bench").len(), 0);
    }
}

#[test]
fn serve_checks_how_much_it_is_to_log() {
    let mut command = program(&["serve", "--check", "--json"]);
    let (exit, error) = error(&command.env("ONETREE_LOG", "loud").output().unwrap());
    assert_eq!((exit, &error["code"]), (2, &json!("config")), "{error}");
    let mut command = program(&["serve", "--check"]);
    said(&command.env("ONETREE_LOG", "info").output().unwrap());
}

#[test]
fn serve_says_what_to_do_about_a_configuration_that_is_not_there() {
    let mut command = program(&["serve", "--check", "--config", "/there/is/none.toml"]);
    let said = command.output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr);
    assert!(said.contains("cannot read /there/is/none.toml"), "{said}");
    assert!(said.contains("next: give a file that can be read"), "{said}");
}
