//! Subscriptions with `every_ms`: they cost no walk while nothing changes, and get what changes.

use std::time::Duration;

use serde_json::json;

use crate::wire::{Wire, broker};

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
