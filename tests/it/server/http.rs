//! Requests other than a valid upgrade; whose pages may connect; health.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use onetree::store::MemoryStore;
use onetree::{Broker, Config};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;

use crate::logs::{self, Peer};
use crate::wire::{Bystander, PATIENCE, Wire, broker, broker_on, config, request, socket};

/// An answer from a socket.
struct Answer {
    text: String,
    peer: Peer,
    /// Kept open until the log has been checked.
    _stream: TcpStream,
}

/// Sends this on a new socket, and reads until the end.
async fn http(addr: SocketAddr, said: &[u8]) -> Answer {
    let (mut stream, peer) = socket(addr).await.unwrap();
    stream.write_all(said).await.unwrap();
    let mut answer = Vec::new();
    // A reset ends it as well.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    Answer { text: String::from_utf8_lossy(&answer).into_owned(), peer, _stream: stream }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn garbage_instead_of_an_upgrade_is_refused_and_logged_once() {
    let broker = broker("").await;
    let addr = broker.addr();
    let mut bystander = Bystander::new(addr).await;
    let large = format!("GET /v1/sync HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(20_000));
    for (said, status, code) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00garbage\r\n\r\n"[..], "400", "http-400"),
        (b"\x00\xff\xfe\r\n\r\n", "400", "http-400"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "400", "http-400"),
        (b"GET /v1/sync HTTP/9.9\r\n\r\n", "400", "http-400"),
        (large.as_bytes(), "431", "http-400"),
    ] {
        let answer = http(addr, said).await;
        let text = &answer.text;
        assert!(text.is_empty() || text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
        logs::only(answer.peer, &[code]).await;
    }
    for (said, status) in [
        (get("/v1/sync"), 426),
        (get("/v1/what"), 404),
        (b"POST /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec(), 405),
        (b"PUT /v1/sync HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec(), 405),
        (b"HEAD /v1/sync HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec(), 405),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\nhost: y\r\nconnection: close\r\n\r\n".to_vec(), 400),
        (b"GET http://y/healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec(), 400),
    ] {
        let answer = http(addr, &said).await;
        assert!(answer.text.starts_with(&format!("HTTP/1.1 {status}")), "{}", answer.text);
        logs::only(answer.peer, &[&format!("http-{status}")]).await;
    }
    bystander.check().await;
}

/// Upgrades with this header set, or left out. Returns the status, and the body of a refusal, which
/// is logged once.
async fn attempt(addr: SocketAddr, name: &'static str, value: Option<&str>) -> (u16, String) {
    let (mut stream, peer) = socket(addr).await.unwrap();
    let mut request = request(addr);
    match value {
        Some(value) => drop(request.headers_mut().insert(name, value.parse().unwrap())),
        None => drop(request.headers_mut().remove(name)),
    }
    match tokio_tungstenite::client_async(request, &mut stream).await {
        Ok((mut socket, _)) => {
            socket.close(None).await.unwrap();
            logs::only(peer, &["closed"]).await;
            (101, String::new())
        }
        Err(Error::Http(answer)) => {
            let status = answer.status().as_u16();
            logs::only(peer, &[&format!("http-{status}")]).await;
            let body = answer.body().clone().unwrap_or_default();
            (status, String::from_utf8(body).unwrap())
        }
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn pages_of_the_origins_that_are_configured_may_connect_and_no_others() {
    let list =
        "origins = [\"https://app.example\", \"http://b.example:8080\", \"tauri://localhost\"]";
    let broker = broker(list).await;
    let addr = broker.addr();
    let own = format!("http://{addr}");
    for origin in
        [own.as_str(), "https://app.example", "http://b.example:8080", "tauri://localhost"]
    {
        assert_eq!(attempt(addr, "origin", Some(origin)).await.0, 101, "{origin}");
    }
    let port = addr.port();
    for origin in [
        "https://evil.example",
        "http://app.example",
        "https://app.example.evil.example",
        "http://b.example",
        "null",
        &format!("http://127.0.0.1:{}", port ^ 1),
        &format!("http://evil.example:{port}"),
    ] {
        let (status, body) = attempt(addr, "origin", Some(origin)).await;
        assert_eq!(status, 403, "{origin}");
        assert!(body.contains("origins"), "{body}");
    }
    assert_eq!(attempt(addr, "origin", None).await.0, 101, "a program says none");
}

#[tokio::test]
async fn a_probe_may_ask_for_the_head_alone() {
    let broker = broker("").await;
    let said = b"HEAD /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = http(broker.addr(), said).await.text;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && body.is_empty(), "{answer}");
    assert!(head.contains("content-length: ") && !head.contains("content-length: 0"), "{head}");
}

/// The store takes 100 ms, and the health check waits for it: so the end of what it sends arrives
/// before its answer is made.
#[tokio::test]
async fn who_ends_its_sending_side_behind_a_request_is_answered() {
    let store = MemoryStore::new();
    let broker = broker_on("", store.clone()).await;
    store.delay(Duration::from_millis(100));
    let mut wire = Wire::open(broker.addr()).await;
    wire.send(json!({"op": "put", "id": 1, "path": "/a", "json": 1})).await;
    let (mut stream, _) = socket(broker.addr()).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
}

#[tokio::test]
async fn an_upgrade_needs_a_version_of_http_that_has_upgrades() {
    let broker = broker("").await;
    let said = "GET /v1/sync HTTP/1.0\r\nhost: x\r\nconnection: upgrade\r\n\
                upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
                sec-websocket-protocol: onetree.v1.json\r\n\r\n";
    let answer = http(broker.addr(), said.as_bytes()).await.text;
    assert!(answer.contains(" 426 ") && answer.contains("needs HTTP/1.1"), "{answer}");
}

#[tokio::test]
async fn of_what_a_program_says_that_it_is_so_much_is_kept_as_a_log_line_bears() {
    let broker = broker("").await;
    let mut request = request(broker.addr());
    request.headers_mut().insert("user-agent", "x".repeat(10_000).parse().unwrap());
    let (stream, _) = socket(broker.addr()).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    socket.send(r#"{"op":"hello","id":1}"#.into()).await.unwrap();
    socket.next().await.unwrap().unwrap();
    let own = broker.addr().to_string();
    let said = format!("GET /v1/sessions HTTP/1.1\r\nhost: {own}\r\nconnection: close\r\n\r\n");
    let told = http(broker.addr(), said.as_bytes()).await.text;
    assert!(told.contains(&"x".repeat(80)) && !told.contains(&"x".repeat(81)), "{told}");
}

#[tokio::test]
async fn an_upgrade_without_a_known_subprotocol_is_refused_with_both_names() {
    let broker = broker("").await;
    let addr = broker.addr();
    for protocol in [None, Some("onetree.v2.json"), Some("")] {
        let (status, body) = attempt(addr, "sec-websocket-protocol", protocol).await;
        assert_eq!(status, 400, "{protocol:?}");
        assert!(body.contains("onetree.v1.json") && body.contains("onetree.v1.msgpack"), "{body}");
    }
    let several = attempt(addr, "sec-websocket-protocol", Some("mqtt, onetree.v1.json")).await;
    assert_eq!(several.0, 101);
}

#[tokio::test]
async fn plain_http_tells_what_this_is_and_whether_it_works() {
    let store = MemoryStore::new();
    let broker = broker_on("", store.clone()).await;
    let addr = broker.addr();
    let about = http(addr, &get("/")).await;
    assert!(about.text.starts_with("HTTP/1.1 200") && about.text.contains("/v1/sync"));
    let green = http(addr, &get("/healthz")).await;
    assert!(green.text.starts_with("HTTP/1.1 200"), "{}", green.text);
    // Nothing was wrong, so there is nothing to log.
    logs::only(about.peer, &[]).await;
    logs::only(green.peer, &[]).await;
    // The store hangs: nothing is written, so the broker is not healthy.
    store.delay(Duration::from_secs(60));
    let mut wire = Wire::open(addr).await;
    wire.send(json!({"op": "put", "id": 1, "path": "/a", "json": 1})).await;
    let began = Instant::now();
    let red = loop {
        let answer = http(addr, &get("/healthz")).await.text;
        if answer.starts_with("HTTP/1.1 503") {
            break answer;
        }
        assert!(began.elapsed() < PATIENCE, "{answer}");
    };
    assert!(red.contains("does not answer"), "{red}");
}

#[tokio::test]
async fn an_open_address_must_be_meant() {
    let mut config = config("");
    config.listen = "0.0.0.0:0".parse().unwrap();
    let error = Broker::start(config.clone(), MemoryStore::new()).await.unwrap_err().to_string();
    assert!(error.contains("allow_anonymous = true") && error.contains("127.0.0.1"), "{error}");
    config.allow_anonymous = true;
    let broker = Broker::start(config, MemoryStore::new()).await.unwrap();
    let addr = broker.addr();
    Wire::open(format!("127.0.0.1:{}", addr.port()).parse().unwrap()).await;
    let listen = format!("127.0.0.1:{}", addr.port()).parse().unwrap();
    let taken = Config { listen, ..Config::default() };
    let error = Broker::start(taken, MemoryStore::new()).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot listen on 127.0.0.1:"), "{error}");
}

/// All clients of a restarted broker connect at once. More connections than one listener has room
/// for are held until they are accepted, and still nobody else can listen there.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn several_listeners_keep_those_who_connect_at_once() {
    let broker = broker("").await;
    let taken = Config { listen: broker.addr(), ..Config::default() };
    let error = Broker::start(taken, MemoryStore::new()).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot listen on 127.0.0.1:"), "{error}");
    // Local address, remote address, state (0A: it listens).
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ours = format!(" 0100007F:{:04X} 00000000:0000 0A ", broker.addr().port());
    assert_eq!(sockets.lines().filter(|line| line.contains(&ours)).count(), 4);
    // Whichever listener a connection comes to, it is served.
    for _ in 0..16 {
        Wire::open(broker.addr()).await;
    }
}

/// A client that begins a request and sends no more keeps nobody waiting for long.
#[tokio::test]
async fn requests_that_are_never_ended_do_not_keep_others_waiting() {
    let broker = broker("").await;
    let addr = broker.addr();
    let mut half = Vec::new();
    for _ in 0..300 {
        let (mut stream, peer) = socket(addr).await.unwrap();
        stream.write_all(b"GET ").await.unwrap();
        half.push((stream, peer));
    }
    let began = Instant::now();
    let green = http(addr, &get("/healthz")).await;
    assert!(green.text.starts_with("HTTP/1.1 200"), "{}", green.text);
    // Otherwise it would be a second.
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
}

/// A connection that sends nothing but bad requests cannot fill the log, and neither can the text
/// that it sends.
#[tokio::test]
async fn of_each_reason_of_a_refusal_one_line_of_the_log_tells_and_what_was_said_is_cut() {
    let broker = broker("").await;
    let own = broker.addr().to_string();
    let (mut stream, peer) = socket(broker.addr()).await.unwrap();
    let long = "h".repeat(10_000);
    let mut ask = async |path: &str, host: &str, more: &str| {
        let said = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{more}\r\n");
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A refusal is one line.
        while !answer.ends_with(b"\n") || answer.ends_with(b"\r\n") {
            let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut answer)).await;
            assert_ne!(read.expect("it does not answer").unwrap(), 0);
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(!answer.contains(&long[..81]), "{answer}");
        answer
    };
    for _ in 0..3 {
        let host = ask("/v1/stats", &long, "").await;
        assert!(host.starts_with("HTTP/1.1 403") && host.contains(&long[..80]), "{host}");
        let page = ask("/v1/stats", &own, &format!("origin: {long}\r\n")).await;
        assert!(page.starts_with("HTTP/1.1 403") && page.contains(&long[..80]), "{page}");
        for query in [&*long, &format!("after={long}"), &format!("limit={long}")] {
            let query = ask(&format!("/v1/sessions?{query}"), &own, "").await;
            assert!(query.starts_with("HTTP/1.1 400") && query.contains(&long[..80]), "{query}");
        }
        let upgrade = format!(
            "origin: {long}\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nconnection: upgrade\r\n"
        );
        let page = ask("/v1/sync", &own, &upgrade).await;
        assert!(page.starts_with("HTTP/1.1 403") && page.contains(&long[..80]), "{page}");
    }
    // A client with a new reason each time is not logged for ever.
    for n in 0..5 {
        ask(&format!("/v1/sessions?other-{n}"), &own, "").await;
    }
    // Refusals for: its host, its page, three queries, its page at the socket, and one more query.
    let (no, wrong) = ("http-403", "http-400");
    let codes = [no, no, wrong, wrong, wrong, no, wrong];
    let lines = logs::only(peer, &codes).await;
    assert!(lines.iter().all(|line| line.values().all(|value| value.len() < 300)), "{lines:#?}");
}

/// So ask some browsers and proxies: several words, of which one counts, in whatever letters.
#[tokio::test]
async fn an_upgrade_may_say_more_than_it_has_to() {
    let broker = broker("").await;
    let mut request = request(broker.addr());
    for (name, value) in [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-protocol", "another, onetree.v1.json"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    assert!(Wire::with(request, broker.addr()).await.is_ok());
}
