//! Tests that exceed the limits for remembered answers: each key of `broker.toml` has a test of its
//! name.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::limits::refused;
use crate::logs;
use crate::wire::{PATIENCE, Wire, broker};

fn numbered(seq: u32) -> Value {
    json!({"op": "put", "id": seq, "seq": seq, "path": "/a", "json": seq})
}

/// Waits until the answers of the client behind `wire` are forgotten: its next write is not known.
async fn forgotten(wire: &mut Wire, next: u32) {
    let deadline = Instant::now() + PATIENCE;
    let mut seq = next;
    loop {
        let reply = wire.ask(numbered(seq)).await;
        if reply["code"] == "outcome-unknown" {
            return;
        }
        assert_eq!(reply["op"], "done", "{reply}");
        assert!(Instant::now() < deadline, "it is never forgotten");
        seq += 1;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
}

#[tokio::test]
async fn dedup_answers() {
    let broker = broker("dedup_answers = 2").await;
    let (mut wire, _) = Wire::hello(broker.addr(), json!({"client": "one"})).await;
    let mut answers = Vec::new();
    for seq in 1..=4 {
        answers.push(wire.ask(numbered(seq)).await);
    }
    let before = wire.ask(json!({"op": "get", "id": 9, "paths": ["/a"]})).await;
    assert_eq!(wire.ask(numbered(3)).await, answers[2], "the first answer again");
    assert_eq!(wire.ask(numbered(4)).await, answers[3], "the first answer again");
    assert_eq!(refused(&mut wire, numbered(2)).await, "outcome-unknown");
    assert_eq!(refused(&mut wire, numbered(1)).await, "outcome-unknown");
    assert_eq!(refused(&mut wire, numbered(9)).await, "seq-gap");
    let after = wire.ask(json!({"op": "get", "id": 9, "paths": ["/a"]})).await;
    assert_eq!(after, before, "none of them took effect again");
    logs::only(wire.local, &["outcome-unknown", "seq-gap"]).await;
}

#[tokio::test]
async fn dedup_client_bytes() {
    let broker = broker("dedup_client_bytes = 1000").await;
    let (mut wire, _) = Wire::hello(broker.addr(), json!({"client": "one"})).await;
    assert_eq!(wire.ask(numbered(1)).await["op"], "done");
    // Its answer has so many paths that it is too large, but it is kept while it is the last.
    let step = json!({"do": "append", "path": "/log", "json": 1});
    let large = json!({"op": "txn", "id": 2, "seq": 2, "do": vec![step; 20]});
    let answer = wire.ask(large.clone()).await;
    assert_eq!(answer["paths"].as_array().unwrap().len(), 20, "{answer}");
    assert_eq!(wire.ask(large.clone()).await, answer, "the first answer again");
    assert_eq!(refused(&mut wire, numbered(1)).await, "outcome-unknown");
    let answer = wire.ask(numbered(3)).await;
    assert_eq!(refused(&mut wire, large).await, "outcome-unknown");
    assert_eq!(wire.ask(numbered(3)).await, answer, "the first answer again");
    logs::only(wire.local, &["outcome-unknown"]).await;
}

#[tokio::test]
async fn dedup_clients() {
    let broker = broker("dedup_clients = 1").await;
    let (mut one, _) = Wire::hello(broker.addr(), json!({"client": "one"})).await;
    assert_eq!(one.ask(numbered(1)).await["op"], "done");
    assert_eq!(one.ask(numbered(2)).await["op"], "done");
    // Another client takes its place.
    let (mut two, _) = Wire::hello(broker.addr(), json!({"client": "two"})).await;
    assert_eq!(two.ask(numbered(1)).await["op"], "done");
    forgotten(&mut one, 3).await;
    assert_eq!(two.ask(numbered(2)).await["op"], "done");
}

#[tokio::test]
async fn dedup_bytes() {
    let broker = broker("dedup_bytes = 2000\ndedup_client_bytes = 2000").await;
    let (mut one, _) = Wire::hello(broker.addr(), json!({"client": "one"})).await;
    assert_eq!(one.ask(numbered(1)).await["op"], "done");
    // The answer of another client, of which only one fits, takes its place.
    let (mut two, _) = Wire::hello(broker.addr(), json!({"client": "two"})).await;
    let step = json!({"do": "append", "path": "/log", "json": 1});
    let large = json!({"op": "txn", "id": 1, "seq": 1, "do": vec![step; 30]});
    let answer = two.ask(large.clone()).await;
    forgotten(&mut one, 2).await;
    assert_eq!(two.ask(large).await, answer, "the first answer again");
}

#[tokio::test]
async fn dedup_ms() {
    let broker = broker("dedup_ms = 200").await;
    let (mut wire, _) = Wire::hello(broker.addr(), json!({"client": "one"})).await;
    assert_eq!(wire.ask(numbered(1)).await["op"], "done");
    tokio::time::sleep(Duration::from_millis(400)).await;
    forgotten(&mut wire, 2).await;
}
