//! A system clock that is set forward and back: what has an age continues to age, and a session's
//! grace period has its configured length.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use onetree::store::MemoryStore;
use onetree::store::files::Disk;
use onetree::{Broker, Hooks, Running};
use serde_json::{Value, json};

use crate::directory::Directory;
use crate::http;
use crate::wire::{PATIENCE, Wire, config};

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;

/// Everything that has an age expires soon.
const SOON: &str = "session_grace_ms = 300\ntombstone_ms = 300\ndedup_ms = 300\n\
    [[retention]]\npattern = \"log\"\nmax_age_ms = 300\n";

/// A system clock that is this many seconds ahead of the real one.
#[derive(Clone, Default)]
struct Ahead(Arc<AtomicI64>);

impl Ahead {
    fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    fn hooks(&self) -> Hooks {
        let ahead = self.0.clone();
        let now = move || {
            let seconds = ahead.load(Ordering::Relaxed);
            let by = Duration::from_secs(seconds.unsigned_abs());
            let real = SystemTime::now();
            if seconds < 0 { real - by } else { real + by }
        };
        Hooks { clock: Some(Arc::new(now)), ..Hooks::default() }
    }

    async fn broker(&self, toml: &str) -> Running {
        Broker::start_with(config(toml), MemoryStore::new(), self.hooks()).await.unwrap()
    }

    async fn broker_on(&self, toml: &str, directory: &Path) -> Running {
        let disk = Arc::new(Disk::new(directory.to_owned()).unwrap());
        Broker::start_from(config(toml), disk, self.hooks()).await.unwrap()
    }
}

async fn there(wire: &mut Wire, path: &str) -> bool {
    let found = wire.ask(json!({"op": "list", "id": 1, "path": path})).await;
    found["entries"].as_array().is_some_and(|entries| !entries.is_empty())
}

/// Asks until the answer satisfies `so`.
async fn until(wire: &mut Wire, ask: Value, so: impl Fn(&Value) -> bool) {
    let asked = async {
        while !so(&wire.ask(ask.clone()).await) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, asked).await.is_ok(), "it stays as it was: {ask}");
}

async fn until_gone(wire: &mut Wire, path: &str) {
    let list = json!({"op": "list", "id": 1, "path": path});
    until(wire, list, |found| found["entries"].as_array().is_none_or(Vec::is_empty)).await;
}

/// Makes some of everything that has an age, and waits until all of it has expired.
async fn grows_old(broker: &Running) {
    let (mut wire, _) = Wire::hello(broker.addr(), json!({"client": "numbers"})).await;
    let append = json!({"op": "append", "id": 2, "seq": 1, "path": "/log", "json": 1});
    assert_eq!(wire.ask(append).await["op"], "done");
    let put = json!({"op": "put", "id": 3, "path": "/short", "json": 1, "ttl_ms": 300});
    assert_eq!(wire.ask(put).await["op"], "done");
    wire.put("/deleted", json!(1)).await;
    let delete = json!({"op": "delete", "id": 4, "path": "/deleted"});
    let deleted = wire.ask(delete).await["rev"].as_u64();
    until_gone(&mut wire, "/log").await;
    until_gone(&mut wire, "/short").await;
    http::until(broker.addr(), "/v1/stats", |stats| stats["horizon"].as_u64() >= deleted).await;
    // While the client is remembered, this skips a number.
    let skips = json!({"op": "put", "id": 5, "seq": 3, "path": "/x", "json": 1});
    until(&mut wire, skips, |answer| answer["code"] == "outcome-unknown").await;
}

#[tokio::test]
async fn a_clock_that_was_ahead_for_a_moment_stops_no_ageing() {
    let directory = Directory::new("ahead");
    let clock = Ahead::default();
    let broker = clock.broker_on(SOON, &directory.0).await;
    clock.set(3650 * DAY);
    Wire::open(broker.addr()).await.put("/stays", json!(1)).await;
    clock.set(0);
    grows_old(&broker).await;
    broker.shutdown().await;
    // The wrong time is in the files.
    let broker = clock.broker_on(SOON, &directory.0).await;
    grows_old(&broker).await;
    assert!(there(&mut Wire::open(broker.addr()).await, "/stays").await);
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_nothing_alive() {
    let clock = Ahead::default();
    let broker = clock.broker(SOON).await;
    let mut owner = Wire::open(broker.addr()).await;
    let lock = json!({"op": "put", "id": 1, "path": "/lock", "json": 1, "ephemeral": true});
    assert_eq!(owner.ask(lock).await["op"], "done");
    let mut other = Wire::open(broker.addr()).await;
    let put = json!({"op": "put", "id": 2, "path": "/short", "json": 1, "ttl_ms": 2000});
    other.ask(put).await;
    drop(owner);
    http::until(broker.addr(), "/v1/stats", |stats| stats["connections"] == 1).await;
    clock.set(-DAY);
    for path in ["/lock", "/short"] {
        until_gone(&mut other, path).await;
    }
    grows_old(&broker).await;
}

#[tokio::test]
async fn a_clock_that_is_set_forward_makes_entries_older_and_ends_no_grace() {
    let clock = Ahead::default();
    let broker = clock.broker("session_grace_ms = 5000").await;
    let mut owner = Wire::open(broker.addr()).await;
    let lock = json!({"op": "put", "id": 1, "path": "/lock", "json": 1, "ephemeral": true});
    assert_eq!(owner.ask(lock).await["op"], "done");
    let mut other = Wire::open(broker.addr()).await;
    for (path, ttl_ms) in [("/short", 10 * MINUTE * 1000), ("/long", DAY * 1000)] {
        let put = json!({"op": "put", "id": 2, "path": path, "json": 1, "ttl_ms": ttl_ms});
        other.ask(put).await;
    }
    drop(owner);
    http::until(broker.addr(), "/v1/stats", |stats| stats["connections"] == 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    clock.set(60 * MINUTE);
    other.put("/a", json!(1)).await;
    until_gone(&mut other, "/short").await;
    assert!(there(&mut other, "/lock").await, "its owner may still come back");
    until_gone(&mut other, "/lock").await;
    assert!(there(&mut other, "/long").await);
}
