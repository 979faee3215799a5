//! A disk that is full for a while: what was acknowledged stays, reading and following go on,
//! everybody is told, and the state ends by itself. And a store that is gone for good.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use onetree::store::files::{Disk, Storage, Watch, Watched};
use onetree::{Broker, Failed, Hooks};
use serde_json::{Value, json};

use crate::directory::Directory;
use crate::http;
use crate::logs;
use crate::wire::{PATIENCE, Wire, config};

/// A new file is filled with zeros piece by piece, and a slow disk takes long for each.
const SMALL: &str = "log_file_bytes = 65536";

/// The disk's error. In the log it distinguishes this disk from those of other tests.
const FULL: &str = "the disk of this test is full";

/// A disk that takes nothing while it is full, and one on which writing panics.
#[derive(Clone, Default)]
struct Filling {
    full: Arc<AtomicBool>,
    /// Only the log has no room: it is larger than a saved tree.
    log_full: Arc<AtomicBool>,
    faulty: Arc<AtomicBool>,
    /// How many saved trees have failed on it; `None`: they do not fail.
    trees: Option<Arc<AtomicUsize>>,
}

impl Filling {
    fn disk(&self, directory: &Directory) -> Arc<dyn Storage> {
        let disk = Disk::new(directory.0.clone()).unwrap();
        Arc::new(Watched::new(disk, self.clone()))
    }

    fn room(&self, name: &str) -> io::Result<()> {
        assert!(!self.faulty.load(Ordering::Relaxed), "a fault of this test");
        let is_log = name.starts_with("log") || name == "new.tmp";
        let log_full = self.log_full.load(Ordering::Relaxed) && is_log;
        match log_full || self.full.load(Ordering::Relaxed) {
            true => Err(io::Error::new(ErrorKind::StorageFull, FULL)),
            false => Ok(()),
        }
    }
}

impl Watch for Filling {
    fn creates(&self, name: &str) -> io::Result<()> {
        self.room(name)?;
        if let Some(trees) = self.trees.as_ref().filter(|_| name == "tree.tmp") {
            // The first one panics.
            assert!(trees.fetch_add(1, Ordering::Relaxed) > 0, "a fault of this test");
            return Err(io::Error::new(ErrorKind::StorageFull, "no room"));
        }
        Ok(())
    }

    fn writes(&self, name: &str, _bytes: usize) -> io::Result<()> {
        self.room(name)
    }
}

async fn put(wire: &mut Wire, path: &str) -> Value {
    wire.ask(json!({"op": "put", "id": 7, "path": path, "json": 1})).await
}

#[tokio::test]
async fn a_full_disk_is_told_of_and_gets_over() {
    logs::keep();
    let directory = Directory::new("full");
    let filling = Filling::default();
    let full = filling.full.clone();
    let disk = filling.disk(&directory);
    let broker = Broker::start_from(config(SMALL), disk, Hooks::default()).await.unwrap();
    let addr = broker.addr();
    let mut wire = Wire::open(addr).await;
    let mut follower = Wire::open(addr).await;
    follower.sub(1, "/").await;
    assert_eq!(put(&mut wire, "/before").await["op"], "done");
    let kept = follower.until("delta").await["rev"].clone();
    // This entry expires while the disk is full: the broker tries by itself, again and again.
    let short = json!({"op": "put", "id": 8, "path": "/short", "json": 1, "ttl_ms": 2000});
    assert_eq!(wire.ask(short).await["op"], "done");
    follower.until("delta").await;

    full.store(true, Ordering::Relaxed);
    let (mut codes, began) = (Vec::new(), Instant::now());
    while began.elapsed() < Duration::from_millis(2_500) {
        let refused = put(&mut wire, &format!("/during/{}", codes.len())).await;
        codes.push(refused["code"].as_str().unwrap_or("none").to_owned());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(codes.iter().all(|code| code == "read-only"), "{codes:?}");
    let found = wire.ask(json!({"op": "get", "id": 9, "paths": ["/before"]})).await;
    assert_eq!(found["entries"][0]["rev"], kept);
    let (fresh, entries) = wire.sub(1, "/").await;
    assert_eq!((entries.len(), &fresh["op"]), (2, &json!("fresh")), "{entries:?}");
    follower.send(json!({"op": "sync", "id": 10})).await;
    assert_eq!(follower.until("sync").await["rev"], fresh["rev"]);
    let health = http::get(addr, "/healthz", "x", "").await;
    assert!(health.status == 503 && health.body.contains("read-only"), "{}", health.body);
    let stats = http::told(addr, "/v1/stats").await;
    assert_eq!(stats["read_only"], true, "{stats}");
    assert!(logs::with(FULL) <= 2, "{} lines for one full disk", logs::with(FULL));

    full.store(false, Ordering::Relaxed);
    let began = Instant::now();
    while put(&mut wire, "/after").await["op"] != "done" {
        assert!(began.elapsed() < PATIENCE, "it stays read-only");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(http::get(addr, "/healthz", "x", "").await.status, 200);
    // What was due meanwhile happens, and nothing that was refused has happened.
    let mut left = 3;
    while left != 2 {
        assert!(began.elapsed() < PATIENCE, "{left} entries");
        let found = wire.ask(json!({"op": "list", "id": 11, "path": "/", "depth": "tree"})).await;
        left = found["entries"].as_array().map_or(0, Vec::len);
    }
    broker.shutdown().await;
    let disk = Arc::new(Disk::new(directory.0.clone()).unwrap());
    let again = Broker::start_from(config(SMALL), disk, Hooks::default()).await.unwrap();
    let mut wire = Wire::open(again.addr()).await;
    let found = wire.ask(json!({"op": "get", "id": 1, "paths": ["/before", "/after"]})).await;
    assert_eq!(found["entries"].as_array().map(Vec::len), Some(2), "{found}");
}

/// Nothing can be stored any more: continuing would help nobody, but a new start does.
#[tokio::test]
async fn without_the_thread_that_writes_the_broker_stops() {
    for writes in [true, false] {
        let directory = Directory::new("gone");
        let filling = Filling::default();
        let faulty = filling.faulty.clone();
        let keys = match writes {
            true => SMALL,
            // Then it ends while nobody writes.
            false => "log_file_bytes = 65536\ndurability = \"interval\"\nsync_interval_ms = 2000",
        };
        let disk = filling.disk(&directory);
        let broker = Broker::start_from(config(keys), disk, Hooks::default()).await;
        let broker = broker.unwrap();
        let mut wire = Wire::open(broker.addr()).await;
        assert_eq!(put(&mut wire, "/before").await["op"], "done");
        faulty.store(true, Ordering::Relaxed);
        if writes {
            wire.send(json!({"op": "put", "id": 8, "path": "/during", "json": 1})).await;
        }
        let ended = tokio::time::timeout(PATIENCE, broker.wait()).await.expect("it goes on");
        assert!(matches!(ended, Err(Failed::Store(_))), "{ended:?}");
        let disk = Arc::new(Disk::new(directory.0.clone()).unwrap());
        let again = Broker::start_from(config(SMALL), disk, Hooks::default()).await.unwrap();
        let mut wire = Wire::open(again.addr()).await;
        let found = wire.ask(json!({"op": "get", "id": 1, "paths": ["/before"]})).await;
        assert_eq!(found["entries"].as_array().map(Vec::len), Some(1), "{found}");
    }
}

#[tokio::test]
async fn a_tree_that_cannot_be_saved_is_told_of_once() {
    let directory = Directory::new("unsaved");
    let tries = Arc::new(AtomicUsize::new(0));
    let filling = Filling { trees: Some(tries.clone()), ..Filling::default() };
    let disk = filling.disk(&directory);
    let config = config("log_file_bytes = 4096\nsave_after_bytes = 8192");
    let broker = Broker::start_from(config, disk, Hooks::default()).await.unwrap();
    let mut wire = Wire::open(broker.addr()).await;
    let began = Instant::now();
    while tries.load(Ordering::Relaxed) < 3 {
        assert!(began.elapsed() < PATIENCE, "{tries:?}");
        assert_eq!(put(&mut wire, "/a").await["op"], "done");
    }
    broker.shutdown().await;
    assert_eq!(logs::with(directory.file("tree.tmp").to_str().unwrap()), 1);
}

/// A writer that tries again and again does not prevent it.
#[tokio::test]
async fn on_a_disk_that_the_log_has_filled_the_tree_is_saved_in_its_place() {
    let directory = Directory::new("log-full");
    let filling = Filling::default();
    let log_full = filling.log_full.clone();
    let disk = filling.disk(&directory);
    let keys = config("log_file_bytes = 4096");
    let broker = Broker::start_from(keys, disk, Hooks::default()).await.unwrap();
    let mut wire = Wire::open(broker.addr()).await;
    let files = |what: &str| {
        let files = std::fs::read_dir(&directory.0).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(what)).count()
    };
    while files("log-") < 4 {
        assert_eq!(put(&mut wire, "/a").await["op"], "done");
    }
    log_full.store(true, Ordering::Relaxed);
    let began = Instant::now();
    while files("tree-") == 0 {
        assert!(began.elapsed() < PATIENCE, "the tree is not saved");
        put(&mut wire, "/a").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_end_on_a_full_disk_is_told() {
    let directory = Directory::new("ends");
    let filling = Filling::default();
    let full = filling.full.clone();
    let disk = filling.disk(&directory);
    let broker = Broker::start_from(config(SMALL), disk, Hooks::default()).await.unwrap();
    let mut wire = Wire::open(broker.addr()).await;
    assert_eq!(put(&mut wire, "/before").await["op"], "done");
    full.store(true, Ordering::Relaxed);
    broker.shutdown().await;
    assert!(matches!(broker.ended(), Some(Err(Failed::Store(_)))), "{:?}", broker.ended());
}
