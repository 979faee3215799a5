//! Connections at rest: other tasks write to them meanwhile.

use std::sync::Arc;
use std::time::Duration;

use onetree::store::MemoryStore;
use onetree::{Broker, Hooks, Running};
use rustix::net::{RecvFlags, recv};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::wire::{Wire, broker, config, kept_unread};

/// An item that comes this long after the one before comes alone.
const APART: Duration = Duration::from_millis(1);

/// Starts a broker with a reader of everything, and a writer.
async fn read_and_written(toml: &str, narrow: bool) -> (Running, Wire, Wire) {
    let broker = broker(toml).await;
    let addr = broker.addr();
    let mut reader = if narrow { Wire::narrow(addr).await } else { Wire::open(addr).await };
    reader.sub(1, "/").await;
    let writer = Wire::open(addr).await;
    (broker, reader, writer)
}

/// A client that reads nothing for a while gets everything afterwards, complete and in order, even
/// if the socket took only a part of a message that was written in the connection's place.
#[tokio::test]
async fn who_rests_and_does_not_read_has_everything_in_order_afterwards() {
    let roomy = "outbox_bytes = 1073741824\noutbox_frames = 1000000";
    let (_broker, mut slow, mut writer) = read_and_written(roomy, true).await;
    // One by one, so that it rests in between; more than the system holds for it.
    let text = "x".repeat(3_500);
    let rounds = kept_unread() as u64 / 3_200;
    let mut last = 0;
    for round in 0..rounds {
        last = writer.put(&format!("/k/{}", round % 10), json!([round, text])).await;
        tokio::time::sleep(APART).await;
    }
    let first = last + 1 - rounds;
    for (round, rev) in (first..=last).enumerate() {
        let delta = slow.until("delta").await;
        let change = &delta["changes"][0];
        assert_eq!((&delta["rev"], &delta["since"]), (&json!(rev), &Value::Null));
        assert_eq!(change["json"], json!([round, text]));
    }
}

/// The answer to a `sync` comes behind what was written in the connection's place, and covers all
/// of it, and every write that had been answered to anybody.
#[tokio::test]
async fn who_rested_and_asks_is_where_the_answer_says() {
    let (_broker, mut reader, mut writer) = read_and_written("", false).await;
    let (mut last, mut seen) = (0, 0);
    for round in 0..300 {
        tokio::time::sleep(APART).await;
        last = writer.put("/k", json!(round)).await;
        seen = if seen == 0 { last - 1 } else { seen };
        // In two of three rounds it sends nothing, and rests when the next delta comes.
        if round % 3 == 0 {
            reader.send(json!({"op": "sync", "id": round})).await;
            loop {
                let frame = reader.next().await;
                if frame["op"] == "sync" {
                    assert_eq!(frame["rev"], seen, "what it stands for has come");
                    assert_eq!(seen, last, "with all that was answered");
                    break;
                }
                seen += 1;
                assert_eq!((&frame["op"], &frame["rev"]), (&json!("delta"), &json!(seen)));
            }
        }
    }
    while seen < last {
        seen += 1;
        assert_eq!(reader.until("delta").await["rev"], seen);
    }
}

/// A connection that overflows gets what it has not received yet, and nothing again that was
/// written in its place.
#[tokio::test]
async fn who_rested_and_overflows_goes_on_where_it_is() {
    let (_broker, mut reader, mut writer) = read_and_written("outbox_bytes = 65536", false).await;
    let mut last = 0;
    for round in 0..10 {
        tokio::time::sleep(APART).await;
        last = writer.put(&format!("/small/{round}"), json!(round)).await;
        assert_eq!(reader.until("delta").await["rev"], last);
    }
    let rev = writer.put("/large", json!("x".repeat(100_000))).await;
    let delta = reader.until("delta").await;
    assert_eq!((&delta["since"], &delta["rev"]), (&json!(last), &json!(rev)));
    assert_eq!(delta["changes"].as_array().unwrap().len(), 1, "{}", delta["changes"]);
}

/// On one thread, tasks run in the order in which they were woken, and the hook of a commit wakes
/// this test before the commit is handed to anybody. So if the delta has come when the test runs,
/// the reader's own task has not written it.
#[tokio::test]
async fn who_rests_has_a_delta_before_its_task_could_write_it() {
    let committed = Arc::new(Notify::new());
    let tell = committed.clone();
    let on_commit = Arc::new(move |_: &_, _: &_| tell.notify_one());
    let hooks = Hooks { on_commit: Some(on_commit), ..Hooks::default() };
    let broker = Broker::start_with(config(""), MemoryStore::new(), hooks).await.unwrap();
    let mut writer = Wire::open(broker.addr()).await;
    let mut reader = Wire::open(broker.addr()).await;
    reader.sub(1, "/").await;
    // This does not work each time on a slow machine: what does not come alone, or takes long to
    // hand over, comes in the other way.
    for round in 0..100 {
        tokio::time::sleep(APART).await;
        let committed = committed.clone();
        let look = tokio::spawn(async move {
            committed.notified().await;
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            // The runtime would only report what it last heard from the system.
            let has_come = recv(reader.socket.get_ref(), &mut [0; 1][..], flags).is_ok();
            let delta = reader.until("delta").await;
            (reader, has_come, delta["rev"].as_u64())
        });
        let rev = writer.put("/k", json!(round)).await;
        let (again, has_come, told) = look.await.unwrap();
        assert_eq!(told, Some(rev));
        if has_come {
            return;
        }
        reader = again;
    }
    panic!("nobody writes in the place of who rests");
}
