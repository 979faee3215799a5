//! Tests that exceed every configured limit: each key of `broker.toml` has a test of its name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use onetree::store::MemoryStore;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use crate::logs;
use crate::wire::{Bystander, PATIENCE, Wire, broker, broker_on, kept_unread, socket};

fn put(id: u32, path: &str, value: Value) -> Value {
    json!({"op": "put", "id": id, "path": path, "json": value})
}

/// Returns the code of the error that a request gets.
pub(crate) async fn refused(wire: &mut Wire, frame: Value) -> String {
    let reply = wire.ask(frame).await;
    assert_eq!(reply["op"], "error", "{reply}");
    reply["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn frame_bytes() {
    let broker = broker("value_bytes = 1000\nframe_bytes = 20000").await;
    let mut bystander = Bystander::new(broker.addr()).await;
    let mut wire = Wire::open(broker.addr()).await;
    // A frame of exactly the limit is read.
    let frame = r#"{"op":"get","id":1,"paths":["/a"]}"#;
    wire.say(Message::text(format!("{frame:<20000}"))).await;
    assert_eq!(wire.reply(&json!(1)).await["op"], "found");
    wire.say(Message::text(format!("{frame:<20001}"))).await;
    assert_eq!(wire.closed().await.0, 4413);
    logs::only(wire.local, &["frame-too-large"]).await;
    bystander.check().await;
}

#[tokio::test]
async fn value_bytes() {
    let broker = broker("value_bytes = 100").await;
    let mut bystander = Bystander::new(broker.addr()).await;
    let mut wire = Wire::open(broker.addr()).await;
    wire.put("/a", json!("x".repeat(98))).await;
    let text = "x".repeat(99);
    assert_eq!(refused(&mut wire, put(1, "/a", json!(text))).await, "value-too-large");
    let append = json!({"op": "append", "id": 1, "path": "/a", "json": text});
    assert_eq!(refused(&mut wire, append).await, "value-too-large");
    let txn = json!({"op": "txn", "id": 1, "do": [{"do": "put", "path": "/b", "json": text}]});
    assert_eq!(refused(&mut wire, txn).await, "value-too-large");
    let signal = json!({"op": "signal", "id": 1, "path": "/a", "json": text});
    assert_eq!(refused(&mut wire, signal).await, "value-too-large");
    logs::only(wire.local, &["value-too-large"]).await;
    bystander.check().await;
}

#[tokio::test]
async fn tree_entries() {
    let broker = broker("tree_entries = 2").await;
    let mut wire = Wire::open(broker.addr()).await;
    wire.put("/a", json!(1)).await;
    wire.put("/b", json!(1)).await;
    assert_eq!(refused(&mut wire, put(1, "/c", json!(1))).await, "tree-full");
    let append = json!({"op": "append", "id": 1, "path": "/log", "json": 1});
    assert_eq!(refused(&mut wire, append).await, "tree-full");
    logs::only(wire.local, &["tree-full"]).await;
    // Existing entries can still change, and be removed.
    wire.put("/b", json!(2)).await;
    wire.ask(json!({"op": "delete", "id": 1, "path": "/a"})).await;
    wire.put("/c", json!(1)).await;
}

#[tokio::test]
async fn tree_bytes() {
    let broker = broker("tree_bytes = 100").await;
    let mut wire = Wire::open(broker.addr()).await;
    wire.put("/a", json!("x".repeat(50))).await;
    assert_eq!(refused(&mut wire, put(1, "/b", json!("x".repeat(50)))).await, "tree-full");
    assert_eq!(refused(&mut wire, put(1, "/a", json!("x".repeat(99)))).await, "tree-full");
    wire.put("/a", json!("")).await;
    wire.put("/b", json!("x".repeat(50))).await;
}

#[tokio::test]
async fn subscriptions_per_connection() {
    let broker = broker("subscriptions_per_connection = 2").await;
    let mut bystander = Bystander::new(broker.addr()).await;
    let sub = |n: u32| json!({"op": "sub", "id": n, "sub": n, "path": "/a"});
    let (mut wire, welcome) =
        Wire::hello(broker.addr(), json!({"subs": [sub(1), sub(2), sub(3)]})).await;
    assert_eq!(welcome["limits"]["subscriptions"], 2);
    let error = wire.reply(&json!(3)).await;
    assert_eq!((&error["code"], &error["sub"]), (&json!("too-many-subscriptions"), &json!(3)));
    assert_eq!(wire.ask(json!({"op": "unsub", "id": 4, "sub": 1})).await["op"], "ok");
    wire.sub(5, "/a").await;
    let rev = wire.put("/a/b", json!(1)).await;
    assert_eq!(wire.until("delta").await["rev"], rev);
    logs::only(wire.local, &["too-many-subscriptions"]).await;
    bystander.check().await;
}

#[tokio::test]
async fn subscription_bytes() {
    // Base paths and patterns, of all subscriptions together.
    let broker = broker("subscription_bytes = 20").await;
    let mut wire = Wire::open(broker.addr()).await;
    let sub = |n: u32, path: &str, patterns: &[&str]| json!({"op": "sub", "id": n, "sub": n, "path": path, "match": patterns});
    assert_eq!(wire.ask(sub(1, "/ab", &["cdef", "ghi"])).await["op"], "ok");
    let eleven = sub(2, "/ab", &["cdefghij"]);
    let error = wire.ask(eleven.clone()).await;
    assert_eq!((&error["code"], &error["sub"]), (&json!("too-many-subscriptions"), &json!(2)));
    assert_eq!(wire.ask(sub(4, "/234567890", &[])).await["op"], "ok", "exactly so many");
    assert_eq!(wire.ask(json!({"op": "unsub", "id": 5, "sub": 1})).await["op"], "ok");
    assert_eq!(refused(&mut wire, eleven).await, "too-many-subscriptions");
    // A subscription that has ended frees its bytes as well.
    let once = json!({"op": "sub", "id": 6, "sub": 6, "path": "/234567890", "mode": "once"});
    wire.refresh(once).await;
    assert_eq!(wire.ask(sub(7, "/ab", &["cdefghi"])).await["op"], "ok");
}

#[tokio::test]
async fn pattern_segments() {
    let broker = broker("pattern_segments = 6").await;
    let mut bystander = Bystander::new(broker.addr()).await;
    let mut wire = Wire::open(broker.addr()).await;
    let sub = |n: u32, patterns: &[&str]| json!({"op": "sub", "id": n, "sub": n, "path": "/a", "match": patterns});
    assert_eq!(wire.ask(sub(1, &["*/log/**", "x"])).await["op"], "ok");
    let three = sub(2, &["x/y/z"]);
    let error = wire.ask(three.clone()).await;
    assert_eq!((&error["code"], &error["sub"]), (&json!("too-many-subscriptions"), &json!(2)));
    assert_eq!(wire.ask(sub(3, &["x/y"])).await["op"], "ok", "exactly so many");
    assert_eq!(wire.ask(sub(4, &[])).await["op"], "ok", "none has none");
    assert_eq!(wire.ask(json!({"op": "unsub", "id": 5, "sub": 1})).await["op"], "ok");
    assert_eq!(wire.ask(three).await["op"], "ok");
    logs::only(wire.local, &["too-many-subscriptions"]).await;
    bystander.check().await;
}

#[tokio::test]
async fn connections() {
    let broker = broker("connections = 2").await;
    let addr = broker.addr();
    let first = Wire::open(addr).await;
    let mut second = Wire::open(addr).await;
    let mut third = Wire::connect(addr).await;
    let (code, reason) = third.closed().await;
    assert_eq!(code, 4429);
    assert!(reason.starts_with("retry_ms="), "{reason}");
    logs::only(third.local, &["too-many-connections"]).await;
    second.put("/a", json!(1)).await;
    drop(first);
    let again = async {
        loop {
            let mut wire = Wire::connect(addr).await;
            // It may be closed before it has sent this.
            let hello = json!({"op": "hello", "id": 1}).to_string();
            let _ = wire.socket.send(Message::text(hello)).await;
            if let Some(Ok(Message::Text(_))) = wire.message().await {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
    // Sockets that send nothing: the last is refused before it can cost anything. Look at each
    // until one of them has an answer.
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(socket(addr).await.unwrap());
    }
    let (stream, peer) = silent.last_mut().unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.expect("nobody is refused").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 503"));
    logs::only(*peer, &["http-503"]).await;
    second.put("/a", json!(2)).await;
}

#[tokio::test]
async fn sessions() {
    let broker = broker("sessions = 1\nsession_grace_ms = 60000").await;
    let mut first = Wire::open(broker.addr()).await;
    let (mut second, error) = Wire::hello(broker.addr(), json!({})).await;
    assert_eq!((&error["op"], &error["code"]), (&json!("error"), &json!("too-many-sessions")));
    assert_eq!(second.closed().await.0, 4430);
    logs::only(second.local, &["too-many-sessions"]).await;
    first.send(json!({"op": "bye", "id": 1})).await;
    assert_eq!(first.closed().await.0, 1000);
    Wire::open(broker.addr()).await;
}

#[tokio::test]
async fn requests_in_flight() {
    let store = MemoryStore::new();
    let broker = broker_on("requests_in_flight = 3", store.clone()).await;
    let mut wire = Wire::open(broker.addr()).await;
    store.delay(Duration::from_millis(300));
    wire.at_once((1..=5).map(|id| put(id, "/a", json!(id)))).await;
    let mut replies = Vec::new();
    for _ in 0..5 {
        let reply = wire.next().await;
        replies.push((reply["id"].as_u64().unwrap(), reply["op"] == "done"));
        assert!(reply["op"] == "done" || reply["code"] == "too-many-in-flight", "{reply}");
    }
    assert_eq!(replies, [(4, false), (5, false), (1, true), (2, true), (3, true)]);
    logs::only(wire.local, &["too-many-in-flight"]).await;
    store.delay(Duration::ZERO);
    wire.put("/b", json!(1)).await;
    // `sync` is answered with what is sent next.
    wire.at_once((1..=5).map(|id| json!({"op": "sync", "id": id}))).await;
    let mut answered = 0;
    for _ in 0..5 {
        let reply = wire.next().await;
        assert!(reply["op"] == "sync" || reply["code"] == "too-many-in-flight", "{reply}");
        answered += u32::from(reply["op"] == "sync");
    }
    assert_eq!(answered, 3);
    // All kinds together: of five requests, two are refused.
    store.delay(Duration::from_millis(300));
    let mixed = (1..=5).map(|id| match id % 2 {
        0 => json!({"op": "sync", "id": id}),
        _ => put(id, "/a", json!(id)),
    });
    wire.at_once(mixed).await;
    let mut refused = 0;
    for _ in 0..5 {
        refused += u32::from(wire.next().await["code"] == "too-many-in-flight");
    }
    assert_eq!(refused, 2);
}

#[tokio::test]
async fn commit_conditions() {
    let broker = broker("commit_conditions = 2").await;
    let mut wire = Wire::open(broker.addr()).await;
    let txn = |count: usize| {
        let conditions: Vec<Value> =
            (0..count).map(|n| json!({"path": format!("/x{n}"), "rev": 0})).collect();
        json!({"op": "txn", "id": 1, "if": conditions, "do": []})
    };
    assert_eq!(wire.ask(txn(2)).await["op"], "done");
    assert_eq!(refused(&mut wire, txn(3)).await, "too-many-changes");
    logs::only(wire.local, &["too-many-changes"]).await;
}

#[tokio::test]
async fn commit_changes() {
    let broker = broker("commit_changes = 2").await;
    let mut wire = Wire::open(broker.addr()).await;
    let txn = |count: usize| {
        let steps: Vec<Value> =
            (0..count).map(|n| json!({"do": "put", "path": format!("/{n}"), "json": n})).collect();
        json!({"op": "txn", "id": 1, "do": steps})
    };
    assert_eq!(wire.ask(txn(2)).await["op"], "done");
    assert_eq!(refused(&mut wire, txn(3)).await, "too-many-changes");
    logs::only(wire.local, &["too-many-changes"]).await;

    // What a session owns is deleted in one commit when the session ends.
    let own = |n: u32| {
        let path = format!("/own/{n}");
        json!({"op": "put", "id": 1, "path": path, "json": n, "ephemeral": true})
    };
    assert_eq!(wire.ask(own(1)).await["op"], "done");
    assert_eq!(wire.ask(own(2)).await["op"], "done");
    assert_eq!(refused(&mut wire, own(3)).await, "too-many-changes");
    assert_eq!(wire.ask(own(1)).await["op"], "done", "it is its own already");
    let delete = json!({"op": "delete", "id": 1, "path": "/own/1"});
    assert_eq!(wire.ask(delete).await["op"], "done");
    assert_eq!(wire.ask(own(3)).await["op"], "done");
    let mut other = Wire::open(broker.addr()).await;
    assert_eq!(other.ask(own(4)).await["op"], "done", "each has so many");
}

#[tokio::test]
async fn paths_of_a_get() {
    let broker = broker("").await;
    let mut wire = Wire::open(broker.addr()).await;
    let get = |count: usize| json!({"op": "get", "id": 1, "paths": vec!["/a"; count]});
    assert_eq!(wire.ask(get(1024)).await["op"], "found");
    assert_eq!(refused(&mut wire, get(1025)).await, "bad-field");
}

/// Makes the outbox of a connection overflow that does not read while `rounds` writes are made.
/// Returns whether it overflowed and got the rest folded.
async fn overflows(toml: &str, rounds: u32, size: usize) -> bool {
    let broker = broker(toml).await;
    let mut slow = Wire::narrow(broker.addr()).await;
    slow.sub(1, "/").await;
    let mut writer = Wire::open(broker.addr()).await;
    let text = "x".repeat(size);
    let mut last = 0;
    for round in 0..rounds {
        last = writer.put("/k", json!([round, text])).await;
    }
    let mut folded = false;
    loop {
        let delta = slow.until("delta").await;
        folded |= delta["since"].is_u64();
        if delta["rev"] == last {
            assert_eq!(delta["changes"].as_array().unwrap().last().unwrap()["json"][0], rounds - 1);
            return folded;
        }
    }
}

#[tokio::test]
async fn outbox_bytes() {
    // One delta is larger than the outbox: it is folded at once, and nothing is lost.
    assert!(overflows("outbox_bytes = 1000", 1, 2000).await);
    assert!(!overflows("outbox_bytes = 10000", 1, 2000).await);
}

#[tokio::test]
async fn outbox_frames() {
    let slow = &format!("outbox_frames = 1\noutbox_bytes = {}", u32::MAX);
    let roomy = format!("outbox_frames = 1000000\noutbox_bytes = {}", u32::MAX);
    let size = kept_unread() / 128;
    assert!(overflows(slow, 300, size).await);
    assert!(!overflows(&roomy, 300, size).await);
}

/// Begins refreshes whose clients do not read on, while everything changes. Returns for each
/// whether it shows the tree as it was at first.
async fn held(toml: &str, refreshes: usize) -> Vec<bool> {
    let broker = broker(toml).await;
    let mut writer = Wire::open(broker.addr()).await;
    // All entries together are more than the system holds for a client that does not read.
    let text = "x".repeat(kept_unread() / 128);
    let mut first = 0;
    for n in 0..200 {
        first = writer.put(&format!("/e/{n:03}"), json!([0, text])).await;
    }
    let mut readers = Vec::new();
    for _ in 0..refreshes {
        let mut wire = Wire::narrow(broker.addr()).await;
        let once = json!({"op": "sub", "id": 1, "sub": 1, "path": "/e", "mode": "once"});
        wire.send(once).await;
        wire.until("refresh").await;
        let entries = wire.until("entries").await["changes"].as_array().unwrap().clone();
        readers.push((wire, entries));
    }
    for n in 0..200 {
        writer.put(&format!("/e/{n:03}"), json!([1, text])).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut held = Vec::new();
    for (mut wire, mut entries) in readers {
        let fresh = loop {
            let frame = wire.any().await;
            match frame["op"].as_str().unwrap() {
                "entries" => entries.extend(frame["changes"].as_array().unwrap().clone()),
                "fresh" => break frame,
                _ => {}
            }
        };
        let mut mirror = BTreeMap::new();
        for entry in &entries {
            mirror.insert(entry["path"].to_string(), entry["json"][0].as_u64().unwrap());
        }
        // Each change was a commit of its own.
        let rev = fresh["rev"].as_u64().unwrap();
        let expected: Vec<u64> = (1..=200).map(|n| u64::from(first + n <= rev)).collect();
        assert_eq!(mirror.into_values().collect::<Vec<_>>(), expected, "its tree at {rev}");
        held.push(rev == first);
    }
    held
}

#[tokio::test]
async fn held_snapshots() {
    let held =
        async |count: u32| held(&format!("held_snapshots = {count}\nhold_ms = 60000"), 2).await;
    assert_eq!(held(0).await, [false, false]);
    assert_eq!(held(1).await, [true, false]);
    assert_eq!(held(2).await, [true, true]);
}

#[tokio::test]
async fn hold_ms() {
    assert_eq!(held("hold_ms = 60000", 1).await, [true]);
    assert_eq!(held("hold_ms = 50", 1).await, [false]);
}

/// Each round of its refresh takes longer than a commit that changes everything again.
#[tokio::test]
async fn who_may_hold_nothing_becomes_fresh_beside_a_writer() {
    let broker = broker("held_snapshots = 0").await;
    let (mut reader, mut writer) =
        (Wire::open(broker.addr()).await, Wire::open(broker.addr()).await);
    let deep = "/x".repeat(30);
    let puts = (0..20).map(|n| json!({"do": "put", "path": format!("{deep}/{n}"), "json": 1}));
    let txn = json!({"op": "txn", "id": 1, "do": puts.collect::<Vec<_>>()});
    writer.ask(txn.clone()).await;
    // To match one of these paths takes a turn.
    let patterns = (0..32).map(|n| format!("**/{}y{n}", "x/".repeat(30)));
    let patterns: Vec<String> = patterns.collect();
    let sub = json!({"op": "sub", "id": 1, "sub": 1, "path": "/", "match": patterns});
    let writes = async {
        loop {
            writer.ask(txn.clone()).await;
        }
    };
    tokio::select! {
        (_, entries) = reader.refresh(sub) => assert_eq!(entries, Vec::<Value>::new()),
        () = writes => {}
    }
}

#[tokio::test]
async fn digest_scan_entries() {
    let broker = broker("digest_scan_entries = 3\nheartbeat_ms = 50").await;
    let mut wire = Wire::open(broker.addr()).await;
    wire.put("/a/0", json!(0)).await;
    let some = json!({"op": "sub", "id": 1, "sub": 1, "path": "/a", "match": ["*"]});
    assert!(wire.refresh(some).await.0["digest"].is_string());
    wire.sub(2, "/a").await;
    for n in 1..8 {
        wire.put(&format!("/a/{n}"), json!(n)).await;
    }
    // The first of them are from before the last put.
    loop {
        let digests = wire.until("sync").await["digests"].clone();
        if digests["2"].as_str().unwrap().starts_with("8:") {
            assert_eq!(digests["1"], Value::Null, "{digests}");
            break;
        }
    }
    // A client that asks gets the digest all the same; and without being asked, it comes every so
    // many heartbeats.
    let large = |sync: &Value| sync["digests"]["1"].as_str().map(str::to_owned);
    wire.send(json!({"op": "sync", "id": 9, "all": true})).await;
    let asked = loop {
        let sync = wire.until("sync").await;
        if sync["id"] == 9 {
            break large(&sync).unwrap();
        }
    };
    assert!(asked.starts_with("8:"), "{asked}");
    loop {
        if let Some(counted) = large(&wire.until("sync").await) {
            assert_eq!(counted, asked);
            break;
        }
    }
}

/// A client that connects and sends nothing is disconnected.
#[tokio::test]
async fn hello_timeout_ms() {
    let broker = broker("hello_timeout_ms = 500").await;
    let addr = broker.addr();
    let mut bystander = Bystander::new(addr).await;
    // Long before the default of 10 s.
    let within = Duration::from_millis(490)..Duration::from_secs(8);
    let began = Instant::now();
    // Upgraded, and silent.
    let upgraded = async {
        let mut wire = Wire::connect(addr).await;
        assert_eq!(wire.closed().await.0, 4408);
        assert!(within.contains(&began.elapsed()), "{:?}", began.elapsed());
        logs::only(wire.local, &["hello-timeout"]).await;
    };
    // Upgraded, and sending something other than hello.
    let babbling = async {
        let mut wire = Wire::connect(addr).await;
        wire.say(Message::text("?")).await;
        assert_eq!(wire.next().await["code"], "bad-frame");
        wire.say(Message::Ping(Vec::new().into())).await;
        assert_eq!(wire.closed().await.0, 4408);
        assert!(within.contains(&began.elapsed()), "{:?}", began.elapsed());
        logs::only(wire.local, &["bad-frame", "hello-timeout"]).await;
    };
    // Nothing at all, and the beginning of a request.
    let silent = async |said: &[u8]| {
        let (mut stream, peer) = socket(addr).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer));
        read.await.expect("it is left open").unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(within.contains(&began.elapsed()), "{:?}", began.elapsed());
        logs::only(peer, &["hello-timeout"]).await;
    };
    tokio::join!(upgraded, babbling, silent(b""), silent(b"GET /v1/sync HTTP/1.1\r\nhost: x\r\n"));
    bystander.check().await;
}

#[tokio::test]
async fn ping_interval_ms() {
    let broker = broker("ping_interval_ms = 500").await;
    let addr = broker.addr();
    // The WebSocket library of this client answers pings.
    let mut alive = Wire::open(addr).await;
    let alive = tokio::spawn(async move {
        let quiet = tokio::time::timeout(Duration::from_millis(2000), alive.any()).await;
        assert!(quiet.is_err());
        alive.put("/a", json!(1)).await;
    });
    // This one reads nothing, so it answers nothing.
    let mut dead = Wire::open(addr).await;
    let began = Instant::now();
    logs::only(dead.local, &["silent"]).await;
    assert!(began.elapsed() >= Duration::from_millis(990), "{:?}", began.elapsed());
    assert_eq!(dead.closed().await.0, 4409);
    alive.await.unwrap();
}

#[tokio::test]
async fn heartbeat_ms() {
    let broker = broker("heartbeat_ms = 60").await;
    let (mut wire, welcome) = Wire::hello(broker.addr(), json!({})).await;
    assert_eq!(welcome["heartbeat_ms"], 60);
    assert_eq!(wire.any().await["op"], "sync", "without any subscription");
    wire.sub(1, "/a").await;
    let mut writer = Wire::open(broker.addr()).await;
    // Nothing of its own changes, but its cookie advances all the same.
    let rev = writer.put("/b", json!(1)).await;
    loop {
        let sync = wire.until("sync").await;
        if sync["rev"] == rev {
            let nothing = format!("0:{}", "0".repeat(32));
            assert_eq!(sync["digests"]["1"], nothing);
            break;
        }
    }
    let asked = wire.ask(json!({"op": "sync", "id": 5})).await;
    assert_eq!((&asked["op"], &asked["rev"]), (&json!("sync"), &json!(rev)));
}

#[tokio::test]
async fn session_grace_ms() {
    let broker = broker("session_grace_ms = 2000").await;
    let addr = broker.addr();
    let (mut wire, welcome) = Wire::hello(addr, json!({})).await;
    let session = welcome["session"].clone();
    let put = json!({"op": "put", "id": 1, "path": "/me", "json": 1, "ephemeral": true});
    assert_eq!(wire.ask(put).await["op"], "done");
    let mut watch = Wire::open(addr).await;
    watch.sub(1, "/me").await;
    drop(wire);
    let (wire, welcome) = Wire::hello(addr, json!({"session": session})).await;
    assert_eq!(welcome["resumed"], true, "within its grace");
    let began = Instant::now();
    drop(wire);
    assert_eq!(watch.until("delta").await["changes"][0]["delete"], true);
    assert!(began.elapsed() >= Duration::from_millis(1990), "{:?}", began.elapsed());
    let (_, welcome) = Wire::hello(addr, json!({"session": session})).await;
    assert!(welcome["resumed"].as_bool() != Some(true), "after its grace");
}

/// Deletes entries, and comes back with an old cookie until the broker has forgotten the deletes.
async fn horizon_moves(toml: &str, deletes: u32) {
    let broker = broker(toml).await;
    let (mut wire, welcome) = Wire::hello(broker.addr(), json!({})).await;
    for n in 0..deletes {
        wire.put(&format!("/a/{n}"), json!(n)).await;
    }
    let (fresh, _) = wire.sub(1, "/a").await;
    for n in 0..deletes {
        wire.ask(json!({"op": "delete", "id": 1, "path": format!("/a/{n}")})).await;
    }
    let cookie = json!({"epoch": welcome["epoch"], "rev": fresh["rev"], "view": fresh["view"]});
    let deadline = Instant::now() + PATIENCE;
    for sub in 2.. {
        let frame = json!({"op": "sub", "id": 2, "sub": sub, "path": "/a", "cookie": cookie});
        wire.send(frame).await;
        let refresh = wire.until("refresh").await;
        wire.until("fresh").await;
        wire.ask(json!({"op": "unsub", "id": 3, "sub": sub})).await;
        if refresh["why"] == "horizon" {
            assert_eq!(refresh["kind"], "full");
            return;
        }
        assert!(Instant::now() < deadline, "{toml}: the horizon never moves");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn tombstones() {
    horizon_moves("tombstones = 8", 30).await;
}

#[tokio::test]
async fn tombstone_bytes() {
    // There are few, but with the fixed cost of each they are too large together.
    horizon_moves("tombstone_bytes = 2000", 10).await;
}

#[tokio::test]
async fn tombstone_ms() {
    horizon_moves("tombstone_ms = 100", 1).await;
}

#[tokio::test]
async fn shutdown_spread_ms() {
    for (spread, least_distinct) in [(0, 1), (100_000, 2)] {
        let broker = broker(&format!("shutdown_spread_ms = {spread}")).await;
        let mut wires = Vec::new();
        for _ in 0..5 {
            wires.push(Wire::open(broker.addr()).await);
        }
        let stop = async {
            let mut waits = BTreeSet::new();
            for wire in &mut wires {
                let wait = wire.until("bye").await["retry_ms"].as_u64().unwrap();
                assert!(wait <= spread, "{wait}");
                waits.insert(wait);
                assert_eq!(wire.closed().await, (4503, format!("retry_ms={wait}")));
                wire.socket.get_mut().shutdown().await.unwrap();
            }
            assert!(waits.len() >= least_distinct, "{waits:?}");
        };
        tokio::join!(stop, broker.shutdown());
    }
}

#[tokio::test]
async fn shutdown_timeout_ms() {
    let store = MemoryStore::new();
    let broker = broker_on("shutdown_timeout_ms = 200", store.clone()).await;
    let mut wire = Wire::open(broker.addr()).await;
    store.delay(Duration::from_secs(60));
    wire.send(put(1, "/a", json!(1))).await;
    // This is answered at once, and after the write was begun.
    wire.ask(json!({"op": "get", "id": 2, "paths": []})).await;
    let began = Instant::now();
    broker.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(wire.closed().await.0, 1006);
    logs::only(wire.local, &["cut"]).await;
}
