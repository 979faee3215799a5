//! Clients that do not read.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::wire::{Bystander, Wire, broker};

/// After so long something that does not go on is taken to be blocked.
const BLOCKED: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_reader_that_stalls_costs_a_bounded_amount_and_is_not_closed() {
    let broker = broker("outbox_bytes = 65536").await;
    let addr = broker.addr();
    let mut slow = Wire::narrow(addr).await;
    slow.sub(1, "/").await;
    let mut quick = Wire::open(addr).await;
    quick.sub(1, "/").await;
    let mut writer = Wire::open(addr).await;
    // Far more than all buffers between the broker and a client that does not read.
    let text = "x".repeat(16 * 1024);
    let mut last = 0;
    for round in 0..500u64 {
        last = writer.put(&format!("/k/{}", round % 10), json!([round, text])).await;
        while quick.until("delta").await["rev"] != last {}
    }
    // It reads again, and its mirror becomes right: in far fewer deltas than there were commits.
    let mut mirror = BTreeMap::new();
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
    assert!(folded && deltas < 400, "{deltas} deltas");
    let expected: Vec<u64> = (490..500).collect();
    assert_eq!(mirror.into_values().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_client_that_never_reads_its_replies_blocks_only_itself() {
    let broker = broker("").await;
    let addr = broker.addr();
    let mut bystander = Bystander::new(addr).await;
    let mut deaf = Wire::narrow(addr).await;
    deaf.put("/big", json!("x".repeat(16 * 1024))).await;
    // What it asks is not read any more, long before its answers fill the memory. The requests are
    // large, so that what the system keeps of them is few.
    let get = json!({"op": "get", "id": 1, "paths": ["/big"]}).to_string();
    let get = format!("{get:<60000}");
    let mut sent = 0;
    while let Ok(()) = tokio::time::timeout(BLOCKED, deaf.say(Message::text(get.clone()))).await {
        sent += 1;
        assert!(sent < 2000, "whatever it asks is read, and nothing of the answers");
    }
    bystander.check().await;
}
