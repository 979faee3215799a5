//! What is not as it should be gets its code, is logged once, and disturbs nobody else.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use onetree::store::MemoryStore;
use onetree::{Broker, Config, Hooks};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::logs;
use crate::wire::{Bystander, PATIENCE, Wire, broker, broker_on, config, request};

/// What is said on a fresh socket, or over HTTP, and what comes back until the end.
async fn http(addr: std::net::SocketAddr, said: &[u8]) -> (std::net::SocketAddr, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let local = stream.local_addr().unwrap();
    stream.write_all(said).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    (local, String::from_utf8_lossy(&answer).into_owned())
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn a_frame_that_is_wrong_gets_its_code_and_the_connection_goes_on() {
    let broker = broker("").await;
    let mut bystander = Bystander::new(broker.addr()).await;
    let mut wire = Wire::open(broker.addr()).await;
    let deep = "/x".repeat(33);
    let sub = |fields: Value| {
        let mut frame = json!({"op": "sub", "id": 1, "sub": 1, "path": "/a"});
        frame.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        frame.to_string()
    };
    for (frame, code) in [
        ("what".to_owned(), "bad-frame"),
        (r#"{"op":"put""#.to_owned(), "bad-frame"),
        ("[]".to_owned(), "bad-frame"),
        (r#"{"op":"get","id":1,"id":1,"paths":[]}"#.to_owned(), "bad-frame"),
        (r#"{"op":"put","id":1,"path":"/a","json":{"a":1,"a":2}}"#.to_owned(), "bad"),
        (r#"{"op":"put","id":1,"path":"/a","json":"\ud800"}"#.to_owned(), "bad"),
        (r#"{"op":"put","id":1,"path":"/a","json":NaN}"#.to_owned(), "bad"),
        (r#"{"op":"put","id":-1,"path":"/a","json":1}"#.to_owned(), "bad"),
        (r#"{"op":"what","id":1}"#.to_owned(), "unknown-op"),
        (format!(r#"{{"op":"put","id":1,"path":"{deep}","json":1}}"#), "bad-path"),
        (r#"{"op":"put","id":1,"path":"a","json":1}"#.to_owned(), "bad-path"),
        (sub(json!({"match": ["/"]})), "bad-pattern"),
        (sub(json!({"depth": "deep"})), "bad-field"),
        (r#"{"op":"unsub","id":1,"sub":5}"#.to_owned(), "no-such-sub"),
        (r#"{"op":"resync","id":1,"sub":5}"#.to_owned(), "no-such-sub"),
        (r#"{"op":"put","id":1,"path":"/a/0000000000000f0000","json":1}"#.to_owned(), "log-key"),
    ] {
        wire.say(Message::text(frame.clone())).await;
        let error = wire.next().await;
        assert_eq!(error["op"], "error", "{frame}: {error}");
        let said = error["code"].as_str().unwrap();
        assert!(said.starts_with(code), "{frame}: {error}");
        assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()), "{error}");
    }
    wire.say(Message::binary(vec![1])).await;
    assert_eq!(wire.next().await["code"], "bad-frame", "a binary message on the JSON subprotocol");
    wire.put("/still/here", json!(1)).await;
    bystander.check().await;
    // Not dropped: its port would soon be another test's.
    wire.say(Message::Close(None)).await;
    assert_eq!(logs::of(wire.local).await.len(), 1, "frames are not logged, the end is");
}

#[tokio::test]
async fn the_same_number_twice_is_refused() {
    let broker = broker("").await;
    let mut wire = Wire::open(broker.addr()).await;
    wire.sub(1, "/a").await;
    let error = wire.ask(json!({"op": "sub", "id": 2, "sub": 1, "path": "/b"})).await;
    assert_eq!((&error["code"], &error["sub"]), (&json!("sub-in-use"), &json!(1)));
}

#[tokio::test]
async fn a_cookie_from_the_future_or_another_history_gets_everything() {
    let broker = broker("").await;
    let mut writer = Wire::open(broker.addr()).await;
    let rev = writer.put("/a/b", json!(1)).await;
    let (mut wire, welcome) = Wire::hello(broker.addr(), json!({})).await;
    let (fresh, _) = wire.sub(1, "/a").await;
    let epoch = welcome["epoch"].as_str().unwrap();
    let other = "0".repeat(32);
    for (sub, epoch, rev, view, kind, why) in [
        (2, epoch, rev, fresh["view"].as_str().unwrap(), "delta", "cookie"),
        (3, epoch, rev + 1, fresh["view"].as_str().unwrap(), "full", "future"),
        (4, &other, rev, fresh["view"].as_str().unwrap(), "full", "epoch"),
        (5, epoch, rev, "0000000000000000", "full", "view"),
    ] {
        let cookie = json!({"epoch": epoch, "rev": rev, "view": view});
        wire.send(json!({"op": "sub", "id": sub, "sub": sub, "path": "/a", "cookie": cookie}))
            .await;
        let refresh = wire.until("refresh").await;
        assert_eq!((&refresh["kind"], &refresh["why"]), (&json!(kind), &json!(why)), "{refresh}");
        if kind == "full" {
            assert_eq!(wire.until("entries").await["changes"][0]["path"], "/a/b");
        }
        assert_eq!(wire.until("fresh").await["rev"], rev.min(writer_rev(&mut writer).await));
    }
}

async fn writer_rev(writer: &mut Wire) -> u64 {
    writer.ask(json!({"op": "get", "id": 9, "paths": ["/"]})).await["rev"].as_u64().unwrap()
}

#[tokio::test]
async fn what_breaks_a_connection_closes_it_with_a_code_and_is_logged_once() {
    let broker = broker("hello_timeout_ms = 150").await;
    let addr = broker.addr();
    let mut bystander = Bystander::new(addr).await;

    // Sixteen bad frames in a row.
    let mut wire = Wire::open(addr).await;
    for _ in 0..16 {
        wire.say(Message::text("?")).await;
    }
    assert_eq!(wire.closed().await.0, 4400);
    logs::once(&logs::of(wire.local).await, "bad-frame");

    // A good one between them, and it goes on.
    let mut wire = Wire::open(addr).await;
    for _ in 0..2 {
        for _ in 0..15 {
            wire.say(Message::text("?")).await;
        }
        wire.put("/x", json!(1)).await;
    }

    // Not hello first, and hello twice.
    let mut wire = Wire::connect(addr).await;
    wire.send(json!({"op": "get", "id": 3, "paths": []})).await;
    let error = wire.next().await;
    assert_eq!((&error["id"], &error["code"]), (&json!(3), &json!("hello-expected")));
    assert_eq!(wire.closed().await.0, 4401);
    logs::once(&logs::of(wire.local).await, "hello-expected");
    let mut wire = Wire::open(addr).await;
    wire.send(json!({"op": "hello", "id": 4})).await;
    assert_eq!(wire.next().await["code"], "hello-expected");
    assert_eq!(wire.closed().await.0, 4401);

    // Text that is not UTF-8.
    let mut wire = Wire::open(addr).await;
    let text = Frame::message(vec![b'"', 0xff, b'"'], OpCode::Data(Data::Text), true);
    wire.say(Message::Frame(text)).await;
    assert_eq!(wire.closed().await.0, 1007);
    logs::once(&logs::of(wire.local).await, "ws-1007");

    // A continuation of nothing.
    let mut wire = Wire::open(addr).await;
    let frame = Frame::message(vec![b'1'], OpCode::Data(Data::Continue), true);
    wire.say(Message::Frame(frame)).await;
    assert_eq!(wire.closed().await.0, 1002);
    logs::once(&logs::of(wire.local).await, "ws-1002");

    // Connected, upgraded, and silent.
    let mut wire = Wire::connect(addr).await;
    let began = Instant::now();
    assert_eq!(wire.closed().await.0, 4408);
    assert!(began.elapsed() >= Duration::from_millis(140), "{:?}", began.elapsed());
    logs::once(&logs::of(wire.local).await, "hello-timeout");

    // Connected, and silent.
    let (local, answer) = http(addr, b"").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    logs::once(&logs::of(local).await, "hello-timeout");

    // Garbage instead of HTTP.
    let (local, answer) = http(addr, b"\x16\x03\x01\x02\x00\x01\x00garbage\r\n\r\n").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    logs::once(&logs::of(local).await, "http-400");

    bystander.check().await;
}

#[tokio::test]
async fn the_agent_stands_in_the_log() {
    let broker = broker("").await;
    let agent = json!({"agent": "it/1.0\n forged=line"});
    let (mut wire, _) = Wire::hello(broker.addr(), agent).await;
    wire.send(json!({"op": "bye", "id": 1})).await;
    assert_eq!(wire.closed().await.0, 1000);
    let lines = logs::of(wire.local).await;
    logs::once(&lines, "bye");
    assert_eq!(lines[0]["agent"], "it/1.0 forged=line");
}

#[tokio::test]
async fn an_upgrade_that_is_wrong_is_refused_with_a_reason() {
    let broker = broker("origins = [\"https://app.example\"]").await;
    let addr = broker.addr();
    let attempt = async |name: &'static str, value: Option<&str>| {
        let mut request = request(addr);
        match value {
            Some(value) => drop(request.headers_mut().insert(name, value.parse().unwrap())),
            None => drop(request.headers_mut().remove(name)),
        }
        match Wire::with(request, addr).await {
            Ok(_) => (101, String::new()),
            Err(Error::Http(answer)) => {
                let body = answer.body().clone().unwrap_or_default();
                (answer.status().as_u16(), String::from_utf8(body).unwrap())
            }
            Err(other) => panic!("{other}"),
        }
    };
    let own = format!("http://{addr}");
    let port = addr.port();
    for origin in [own.as_str(), "https://app.example"] {
        assert_eq!(attempt("origin", Some(origin)).await.0, 101, "{origin}");
    }
    for origin in ["https://evil.example", "null", &format!("http://127.0.0.1:{}", port ^ 1)] {
        let (status, body) = attempt("origin", Some(origin)).await;
        assert_eq!(status, 403, "{origin}");
        assert!(body.contains("origins"), "{body}");
    }
    for protocol in [None, Some("onetree.v2.json"), Some("")] {
        let (status, body) = attempt("sec-websocket-protocol", protocol).await;
        assert_eq!(status, 400, "{protocol:?}");
        assert!(body.contains("onetree.v1.json") && body.contains("onetree.v1.msgpack"), "{body}");
    }
    let several = attempt("sec-websocket-protocol", Some("mqtt, onetree.v1.json")).await;
    assert_eq!(several.0, 101);
    let (local, answer) = http(addr, &get("/v1/sync")).await;
    assert!(answer.starts_with("HTTP/1.1 426"), "{answer}");
    logs::once(&logs::of(local).await, "http-426");
}

#[tokio::test]
async fn plain_http_tells_what_this_is_and_whether_it_works() {
    let store = MemoryStore::new();
    let broker = broker_on("", store.clone()).await;
    let addr = broker.addr();
    let status = async |path: &str| http(addr, &get(path)).await.1;
    let about = status("/").await;
    assert!(about.starts_with("HTTP/1.1 200") && about.contains("/v1/sync"), "{about}");
    assert!(status("/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(status("/what").await.starts_with("HTTP/1.1 404"));
    let post =
        http(addr, b"POST /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.1;
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
    // The store hangs: nothing is written, so nothing is green.
    store.delay(Duration::from_secs(4));
    let mut wire = Wire::open(addr).await;
    wire.send(json!({"op": "put", "id": 1, "path": "/a", "json": 1})).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let red = status("/healthz").await;
    assert!(red.starts_with("HTTP/1.1 503") && red.contains("does not answer"), "{red}");
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

#[tokio::test]
async fn a_write_that_is_not_stored_did_not_happen() {
    let store = MemoryStore::new();
    store.keep_commits();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = seen.clone();
    let hooks = Hooks {
        on_commit: Some(Arc::new(move |commit, tree| {
            assert_eq!(commit.rev, tree.rev());
            keep.lock().unwrap().push(commit.rev.get());
        })),
    };
    let broker = Broker::start_with(config(""), store.clone(), hooks).await.unwrap();
    let (mut wire, _) = Wire::hello(broker.addr(), json!({"client": "c"})).await;
    let mut bystander = Bystander::new(broker.addr()).await;
    wire.sub(1, "/a").await;
    let first = wire.put("/a/1", json!(1)).await;
    assert_eq!(wire.until("delta").await["rev"], first);
    store.fail_next(1);
    let put = json!({"op": "put", "id": 5, "seq": 1, "path": "/a/2", "json": 2});
    let error = wire.ask(put.clone()).await;
    assert_eq!((&error["op"], &error["code"]), (&json!("error"), &json!("unavailable")));
    let found = wire.ask(json!({"op": "get", "id": 6, "paths": ["/a/1", "/a/2"]})).await;
    assert_eq!(found["entries"].as_array().unwrap().len(), 1, "{found}");
    // Its number is not used up: the same again is fine, and is the next thing that is seen.
    let done = wire.ask(json!({"op": "put", "id": 7, "seq": 1, "path": "/a/2", "json": 2})).await;
    assert_eq!(done["op"], "done", "{done}");
    assert!(!done["durable"].as_bool().unwrap_or_default(), "memory is not durable");
    let delta = wire.until("delta").await;
    assert_eq!(delta["rev"], done["rev"]);
    assert_eq!(delta["changes"][0]["path"], "/a/2");
    bystander.check().await;
    let stored: Vec<u64> = store.commits().iter().map(|commit| commit.rev.get()).collect();
    assert_eq!(*seen.lock().unwrap(), stored, "what was seen is what was stored");
    assert!(stored.windows(2).all(|pair| pair[0] < pair[1]), "{stored:?}");
}

#[tokio::test]
async fn a_session_is_taken_over_and_keeps_what_it_owns() {
    let broker = broker("session_grace_ms = 60000").await;
    let addr = broker.addr();
    let (mut old, welcome) = Wire::hello(addr, json!({})).await;
    let session = welcome["session"].clone();
    let put = json!({"op": "put", "id": 1, "path": "/who/me", "json": 1, "ephemeral": true});
    assert_eq!(old.ask(put).await["op"], "done");
    let (mut new, welcome) = Wire::hello(addr, json!({"session": session})).await;
    assert_eq!((&welcome["session"], &welcome["resumed"]), (&session, &json!(true)));
    assert_eq!(old.closed().await.0, 4410);
    logs::once(&logs::of(old.local).await, "session-taken");
    // The end of the old connection is not the end of the session.
    drop(old);
    let get = json!({"op": "get", "id": 2, "paths": ["/who/me"]});
    assert_eq!(new.ask(get.clone()).await["entries"].as_array().unwrap().len(), 1);
    // Goodbye is.
    let mut watch = Wire::open(addr).await;
    watch.sub(1, "/who").await;
    new.send(json!({"op": "bye", "id": 3})).await;
    assert_eq!(new.reply(&json!(3)).await["op"], "ok");
    assert_eq!(new.closed().await.0, 1000);
    assert_eq!(watch.until("delta").await["changes"][0]["delete"], true);
    let (_, welcome) = Wire::hello(addr, json!({"session": session})).await;
    assert!(welcome["session"] != session && welcome["resumed"].as_bool() != Some(true));
}

#[tokio::test]
async fn a_shutdown_finishes_what_was_begun_and_says_when_to_come_back() {
    let store = MemoryStore::new();
    let broker = broker_on("shutdown_spread_ms = 3000", store.clone()).await;
    let addr = broker.addr();
    let mut writer = Wire::open(addr).await;
    let mut idle: Vec<Wire> = Vec::new();
    for _ in 0..8 {
        idle.push(Wire::open(addr).await);
    }
    store.delay(Duration::from_millis(150));
    for id in 1..=20 {
        writer.send(json!({"op": "append", "id": id, "path": "/log", "json": id})).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stop = tokio::spawn({
        let broker = broker.clone();
        async move { broker.shutdown().await }
    });
    for id in 1..=20 {
        assert_eq!(writer.reply(&json!(id)).await["op"], "done", "write {id}");
    }
    let mut waits = Vec::new();
    for wire in idle.iter_mut().chain([&mut writer]) {
        let bye = wire.until("bye").await;
        assert_eq!(bye["code"], "shutting-down");
        let wait = bye["retry_ms"].as_u64().unwrap();
        assert!(wait <= 3000, "{bye}");
        let (code, reason) = wire.closed().await;
        assert_eq!((code, reason), (4503, format!("retry_ms={wait}")));
        waits.push(wait);
    }
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 1, "all at once: {waits:?}");
    drop((idle, writer));
    tokio::time::timeout(PATIENCE, stop).await.unwrap().unwrap();
    assert_eq!(broker.wait().await, Ok(()));
    assert!(TcpStream::connect(addr).await.is_err(), "it still listens");
}

#[tokio::test]
async fn without_the_owner_nothing_is_green() {
    let hooks = Hooks { on_commit: Some(Arc::new(|_, _| panic!("on purpose"))) };
    let broker = Broker::start_with(config(""), MemoryStore::new(), hooks).await.unwrap();
    let mut wire = Wire::open(broker.addr()).await;
    wire.send(json!({"op": "put", "id": 1, "path": "/a", "json": 1})).await;
    let end = tokio::time::timeout(PATIENCE, broker.wait()).await.unwrap();
    assert!(end.is_err());
    assert_ne!(wire.closed().await.0, 1000);
}

#[tokio::test]
async fn a_reader_that_stalls_costs_a_bounded_amount_and_is_not_closed() {
    let broker = broker("outbox_bytes = 65536").await;
    let addr = broker.addr();
    let mut slow = Wire::open(addr).await;
    slow.sub(1, "/").await;
    let mut quick = Wire::open(addr).await;
    quick.sub(1, "/").await;
    let mut writer = Wire::open(addr).await;
    // Far more than all buffers between the broker and a client that does not read.
    let text = "x".repeat(16 * 1024);
    let mut last = 0;
    for round in 0..1500u64 {
        last = writer.put(&format!("/k/{}", round % 10), json!([round, text])).await;
        while quick.until("delta").await["rev"] != last {}
    }
    // It reads again, and its mirror becomes right: in far fewer deltas than there were commits.
    let mut mirror = std::collections::BTreeMap::new();
    let (mut deltas, mut folded) = (0, false);
    loop {
        let delta = slow.until("delta").await;
        deltas += 1;
        folded |= delta["since"].is_u64();
        for change in delta["changes"].as_array().unwrap() {
            mirror.insert(change["path"].to_string(), change["json"][0].as_u64().unwrap());
        }
        if delta["rev"] == last && delta["part"].as_bool() != Some(true) {
            break;
        }
    }
    assert!(folded && deltas < 1500, "{deltas} deltas");
    let expected: Vec<u64> = (1490..1500).collect();
    assert_eq!(mirror.into_values().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_client_that_never_reads_its_replies_blocks_only_itself() {
    let broker = broker("").await;
    let addr = broker.addr();
    let mut bystander = Bystander::new(addr).await;
    let mut deaf = Wire::open(addr).await;
    let text = "x".repeat(512 * 1024);
    deaf.put("/big", json!(text)).await;
    let sent = async {
        for id in 0..100_000 {
            deaf.send(json!({"op": "get", "id": id, "paths": ["/big"]})).await;
        }
    };
    // What it asks is not read any more, long before its answers fill the memory (51 GB).
    assert!(tokio::time::timeout(Duration::from_millis(700), sent).await.is_err());
    bystander.check().await;
}
