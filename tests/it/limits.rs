//! Every configured limit, crossed.

use std::time::{Duration, Instant};

use onetree::store::MemoryStore;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::logs;
use crate::wire::{Bystander, PATIENCE, Wire, broker, broker_on};

fn put(id: u32, path: &str, value: Value) -> Value {
    json!({"op": "put", "id": id, "path": path, "json": value})
}

/// The code of the error that a request gets.
async fn refused(wire: &mut Wire, frame: Value) -> String {
    let reply = wire.ask(frame).await;
    assert_eq!(reply["op"], "error", "{reply}");
    reply["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn frame_bytes() {
    let broker = broker("value_bytes = 1000\nframe_bytes = 20000").await;
    let mut bystander = Bystander::new(broker.addr()).await;
    let mut wire = Wire::open(broker.addr()).await;
    // Of exactly the limit, it is read.
    let frame = r#"{"op":"get","id":1,"paths":["/a"]}"#;
    wire.say(Message::text(format!("{frame:<20000}"))).await;
    assert_eq!(wire.reply(&json!(1)).await["op"], "found");
    wire.say(Message::text(format!("{frame:<20001}"))).await;
    assert_eq!(wire.closed().await.0, 4413);
    logs::only(wire.local, &["frame-too-large"]).await;
    bystander.check().await;
}

#[tokio::test]
async fn nothing_that_is_sent_exceeds_frame_bytes() {
    let broker = broker("value_bytes = 10000\nframe_bytes = 32000").await;
    let mut wire = Wire::open(broker.addr()).await;
    let (mut live, mut late) = (Wire::open(broker.addr()).await, Wire::open(broker.addr()).await);
    live.sub(1, "/").await;
    let bytes = "AAAA".repeat(3333);
    let steps: Vec<Value> =
        (0..2).map(|n| json!({"do": "put", "path": format!("/b/{n}"), "bytes": bytes})).collect();
    for round in 0..3 {
        let txn = json!({"op": "txn", "id": round, "do": steps});
        assert_eq!(wire.ask(txn).await["op"], "done");
    }
    // As many as three of them are one commit of the broker's own.
    for n in 2..5 {
        let put = json!({"op": "put", "id": 5, "path": format!("/b/{n}"), "bytes": bytes});
        assert_eq!(wire.ask(put).await["op"], "done");
    }
    let sized = async |wire: &mut Wire, end: &str| loop {
        let Some(Ok(Message::Text(text))) = wire.message().await else { panic!("closed") };
        assert!(text.len() <= 32000, "{} bytes", text.len());
        let frame: Value = serde_json::from_str(&text).unwrap();
        if frame["op"] == end {
            break frame;
        }
    };
    late.send(json!({"op": "sub", "id": 1, "sub": 1, "path": "/b"})).await;
    sized(&mut late, "fresh").await;
    for _ in 0..6 {
        sized(&mut live, "delta").await;
    }
    wire.send(json!({"op": "list", "id": 9, "path": "/b"})).await;
    let found = sized(&mut wire, "found").await;
    assert_eq!(found["more"], true);
    let paths: Vec<String> = (0..5).map(|n| format!("/b/{n}")).collect();
    let code = refused(&mut wire, json!({"op": "get", "id": 10, "paths": paths})).await;
    assert_eq!(code, "frame-too-large");
    // Text that JSON makes six times as long.
    let control = "\u{1}".repeat(9000);
    let put = json!({"op": "put", "id": 11, "path": "/c", "type": "text/plain", "text": control});
    let put = put.to_string();
    assert!(put.len() > 32000, "it cannot even be said in JSON");
}

#[tokio::test]
async fn value_bytes() {
    let broker = broker("value_bytes = 100").await;
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
}

#[tokio::test]
async fn tree_entries_and_tree_bytes() {
    let broker = broker("tree_entries = 2").await;
    let mut wire = Wire::open(broker.addr()).await;
    wire.put("/a", json!(1)).await;
    wire.put("/b", json!(1)).await;
    assert_eq!(refused(&mut wire, put(1, "/c", json!(1))).await, "tree-full");
    wire.put("/b", json!(2)).await;
    let broker = crate::wire::broker("tree_bytes = 100").await;
    let mut wire = Wire::open(broker.addr()).await;
    wire.put("/a", json!("x".repeat(50))).await;
    assert_eq!(refused(&mut wire, put(1, "/b", json!("x".repeat(50)))).await, "tree-full");
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
            wire.send(json!({"op": "hello", "id": 1})).await;
            if let Some(Ok(Message::Text(_))) = wire.message().await {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
    // Sockets that say nothing: the last is told so before it can cost anything.
    let mut silent = Vec::new();
    let refused = loop {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let mut answer = [0; 32];
        let read = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut answer));
        if let Ok(read) = read.await {
            break answer[..read.unwrap()].to_vec();
        }
        silent.push(stream);
        assert!(silent.len() < 200, "nobody is refused");
    };
    assert!(refused.starts_with(b"HTTP/1.1 503"));
}

#[tokio::test]
async fn sessions() {
    let broker = broker("sessions = 1\nsession_grace_ms = 60000").await;
    let _first = Wire::open(broker.addr()).await;
    let (mut second, error) = Wire::hello(broker.addr(), json!({})).await;
    assert_eq!((&error["op"], &error["code"]), (&json!("error"), &json!("too-many-sessions")));
    assert_eq!(second.closed().await.0, 4430);
}

#[tokio::test]
async fn requests_in_flight() {
    let store = MemoryStore::new();
    let broker = broker_on("requests_in_flight = 3", store.clone()).await;
    let mut wire = Wire::open(broker.addr()).await;
    store.delay(Duration::from_millis(200));
    for id in 1..=5 {
        wire.send(put(id, "/a", json!(id))).await;
    }
    let mut replies = Vec::new();
    for _ in 0..5 {
        let reply = wire.next().await;
        replies.push((reply["id"].as_u64().unwrap(), reply["op"] == "done"));
        assert!(reply["op"] == "done" || reply["code"] == "too-many-in-flight", "{reply}");
    }
    assert_eq!(replies, [(4, false), (5, false), (1, true), (2, true), (3, true)]);
    wire.put("/b", json!(1)).await;
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
    let conditions: Vec<Value> =
        (0..3).map(|n| json!({"path": format!("/x{n}"), "rev": 0})).collect();
    let txn = json!({"op": "txn", "id": 1, "if": conditions, "do": []});
    assert_eq!(refused(&mut wire, txn).await, "too-many-changes");
}

#[tokio::test]
async fn paths_of_a_get() {
    let broker = broker("").await;
    let mut wire = Wire::open(broker.addr()).await;
    let get = |count: usize| json!({"op": "get", "id": 1, "paths": vec!["/a"; count]});
    assert_eq!(wire.ask(get(1024)).await["op"], "found");
    assert_eq!(refused(&mut wire, get(1025)).await, "bad-field");
}

/// A connection that does not read while `rounds` are written has its outbox overflow, and gets
/// the rest folded.
async fn overflows(toml: &str, rounds: u32, size: usize) -> bool {
    let broker = broker(toml).await;
    let mut slow = Wire::open(broker.addr()).await;
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
    let slow = "outbox_frames = 1\noutbox_bytes = 100000000";
    assert!(overflows(slow, 600, 32 * 1024).await);
    let roomy = "outbox_frames = 1000000\noutbox_bytes = 100000000";
    assert!(!overflows(roomy, 600, 32 * 1024).await);
}

#[tokio::test]
async fn held_snapshots_and_hold_ms() {
    for toml in ["held_snapshots = 0", "held_snapshots = 1\nhold_ms = 1", "held_snapshots = 1"] {
        let broker = broker(toml).await;
        let mut writer = Wire::open(broker.addr()).await;
        let text = "x".repeat(1000);
        for n in 0..200 {
            writer.put(&format!("/e/{n:03}"), json!([0, text])).await;
        }
        // Two refreshes while everything changes: whole at one revision, each.
        let mut readers = Vec::new();
        for _ in 0..2 {
            let addr = broker.addr();
            readers.push(tokio::spawn(async move {
                let mut wire = Wire::open(addr).await;
                let (fresh, entries) = wire.sub(1, "/e").await;
                let mut mirror = std::collections::BTreeMap::new();
                for entry in &entries {
                    mirror.insert(entry["path"].to_string(), entry["rev"].as_u64().unwrap());
                }
                let top = *mirror.values().max().unwrap();
                assert!(top <= fresh["rev"].as_u64().unwrap());
                assert_eq!(mirror.len(), 200);
                let count = fresh["digest"].as_str().unwrap().split(':').next().unwrap();
                assert_eq!(count, "200");
            }));
        }
        for n in 0..400 {
            writer.put(&format!("/e/{:03}", n % 200), json!([n, text])).await;
        }
        for reader in readers {
            tokio::time::timeout(PATIENCE, reader).await.unwrap().unwrap();
        }
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
}

#[tokio::test]
async fn ping_interval_ms() {
    let broker = broker("ping_interval_ms = 100").await;
    let addr = broker.addr();
    // Its WebSocket library answers pings.
    let mut alive = Wire::open(addr).await;
    let alive = tokio::spawn(async move {
        let quiet = tokio::time::timeout(Duration::from_millis(600), alive.any()).await;
        assert!(quiet.is_err());
        alive.put("/a", json!(1)).await;
    });
    // This one reads nothing, so it answers nothing.
    let mut dead = Wire::open(addr).await;
    let began = Instant::now();
    logs::only(dead.local, &["silent"]).await;
    assert!(began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
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
    // Nothing of its own changes, and its cookie moves all the same.
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
    let broker = broker("session_grace_ms = 150").await;
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
    assert!(began.elapsed() >= Duration::from_millis(140), "{:?}", began.elapsed());
}

#[tokio::test]
async fn tombstones_and_tombstone_ms() {
    for (toml, deletes) in [("tombstones = 8", 30), ("tombstone_ms = 100", 1)] {
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
            if refresh["why"] == "horizon" {
                assert_eq!(refresh["kind"], "full");
                break;
            }
            assert!(Instant::now() < deadline, "{toml}: the horizon never moves");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn dedup_answers_clients_and_ms() {
    let numbered =
        |seq: u32| json!({"op": "put", "id": seq, "seq": seq, "path": "/a", "json": seq});
    let limits = "dedup_answers = 2\ndedup_clients = 1\ndedup_ms = 200";
    let broker = broker(limits).await;
    let addr = broker.addr();
    let (mut wire, _) = Wire::hello(addr, json!({"client": "one"})).await;
    let mut answers = Vec::new();
    for seq in 1..=4 {
        answers.push(wire.ask(numbered(seq)).await);
    }
    assert_eq!(wire.ask(numbered(4)).await, answers[3], "the first answer again");
    assert_eq!(refused(&mut wire, numbered(1)).await, "outcome-unknown");
    assert_eq!(refused(&mut wire, numbered(9)).await, "seq-gap");
    // Another client takes its place.
    let (mut other, _) = Wire::hello(addr, json!({"client": "two"})).await;
    assert_eq!(other.ask(numbered(1)).await["op"], "done");
    let forgotten = async {
        while wire.ask(numbered(5)).await["code"] != "outcome-unknown" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.unwrap();
    // And time takes that.
    let forgotten = async {
        while other.ask(numbered(2)).await["code"] != "outcome-unknown" {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.unwrap();
}

#[tokio::test]
async fn shutdown_timeout_ms() {
    let store = MemoryStore::new();
    let broker = broker_on("shutdown_timeout_ms = 200", store.clone()).await;
    let mut wire = Wire::open(broker.addr()).await;
    store.delay(Duration::from_secs(60));
    wire.send(put(1, "/a", json!(1))).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    broker.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(wire.closed().await.0, 1006);
    logs::only(wire.local, &["cut"]).await;
}

#[tokio::test]
async fn retention() {
    let broker = broker("[[retention]]\npattern = \"chat/*\"\nkeep = 5").await;
    let mut wire = Wire::open(broker.addr()).await;
    for n in 0..40 {
        wire.ask(json!({"op": "append", "id": n, "path": "/chat/a", "json": n})).await;
        wire.ask(json!({"op": "append", "id": n, "path": "/other/a", "json": n})).await;
    }
    let count = async |wire: &mut Wire, path: &str| {
        let list = json!({"op": "list", "id": 99, "path": path});
        wire.ask(list).await["entries"].as_array().unwrap().len()
    };
    assert_eq!(count(&mut wire, "/other/a").await, 40);
    let trimmed = async {
        while count(&mut wire, "/chat/a").await > 10 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, trimmed).await.unwrap();
    assert!(count(&mut wire, "/chat/a").await >= 5);
}
