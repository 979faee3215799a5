//! Subscriptions with `every_ms`: they cost no walk while nothing changes, and get what changes.

use std::time::Duration;

use serde_json::json;

use crate::wire::{PATIENCE, Wire, broker};

/// Longer than many of the intervals, in which nothing changes.
const LATER: Duration = Duration::from_millis(20);

#[tokio::test]
async fn who_is_told_at_intervals_is_told_when_something_changes_after_a_rest() {
    let broker = broker("").await;
    let mut writer = Wire::open(broker.addr()).await;
    // One that has no other subscription, one beside which another is idle, and one that never sees
    // anything.
    let mut readers = Vec::new();
    for other in [None, Some(json!({"path": "/live"})), Some(json!({"path": "/no", "every_ms": 1}))]
    {
        let mut reader = Wire::open(broker.addr()).await;
        let mut subs = vec![json!({"path": "/paced", "every_ms": 1})];
        subs.extend(other);
        for (number, mut sub) in (1..).zip(subs) {
            sub["op"] = json!("sub");
            (sub["id"], sub["sub"]) = (json!(number), json!(number));
            reader.send(sub).await;
            reader.until("fresh").await;
        }
        readers.push(reader);
    }
    let mut at = 0;
    for round in 0..20 {
        tokio::time::sleep(LATER).await;
        // Another path changes: they look, and see nothing.
        writer.put("/else", json!(round)).await;
        tokio::time::sleep(LATER).await;
        let rev = writer.put("/paced", json!(round)).await;
        for reader in &mut readers {
            let mut delta = reader.until("delta").await;
            while delta["sub"] != 1 {
                delta = reader.until("delta").await;
            }
            assert_eq!((&delta["since"], &delta["rev"]), (&json!(at), &json!(rev)));
            assert_eq!(delta["changes"], json!([{"path": "/paced", "rev": rev, "json": round}]));
        }
        at = rev;
        writer.put("/live", json!(round)).await;
    }
}

/// Signals do not wait for an interval; and what changes does, also where another subscription of
/// the connection is told of the same commit at once.
#[tokio::test]
async fn who_is_told_at_intervals_gets_signals_at_once_and_no_delta() {
    let broker = broker("").await;
    let mut reader = Wire::open(broker.addr()).await;
    let paced = json!({"path": "/paced", "every_ms": 60_000, "signals": true});
    for (number, mut sub) in (1..).zip([paced, json!({"path": "/live"})]) {
        sub["op"] = json!("sub");
        (sub["id"], sub["sub"]) = (json!(number), json!(number));
        reader.refresh(sub).await;
    }
    let mut writer = Wire::open(broker.addr()).await;
    let signal = json!({"op": "signal", "id": 1, "path": "/paced/x", "json": 1});
    assert_eq!(writer.ask(signal).await["op"], "ok");
    assert_eq!(reader.next().await, json!({"op": "signal", "path": "/paced/x", "json": 1}));
    let put = |path: &str| json!({"do": "put", "path": path, "json": 1});
    writer.ask(json!({"op": "txn", "id": 2, "do": [put("/paced/x"), put("/live/x")]})).await;
    let delta = reader.next().await;
    assert_eq!(delta["changes"].as_array().map(Vec::len), Some(1), "{delta}");
    assert_eq!(delta["changes"][0]["path"], "/live/x");
    // A signal where nobody has asked for signals.
    writer.ask(json!({"op": "signal", "id": 3, "path": "/live/x", "json": 1})).await;
    let rev = writer.put("/live/y", json!(2)).await;
    assert_eq!(reader.next().await["rev"], rev);
}

/// Who is told at two intervals is told at the shorter one.
#[tokio::test]
async fn the_shorter_interval_does_not_wait_for_the_longer_one() {
    let broker = broker("").await;
    let mut reader = Wire::open(broker.addr()).await;
    for (sub, every_ms) in [(1, 60_000), (2, 20), (3, 60_000)] {
        let path = format!("/{sub}");
        let frame = json!({"op": "sub", "id": sub, "sub": sub, "path": path, "every_ms": every_ms});
        reader.refresh(frame).await;
    }
    let mut writer = Wire::open(broker.addr()).await;
    let rev = writer.put("/2", json!(1)).await;
    let delta =
        tokio::time::timeout(PATIENCE, reader.until("delta")).await.expect("it is told late");
    assert_eq!((&delta["sub"], &delta["rev"]), (&json!(2), &json!(rev)));
}
