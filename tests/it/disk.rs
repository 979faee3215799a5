//! The broker on a disk: what is acknowledged is there at the next start; what is kept, and for how
//! long.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use onetree::config::Durability;
use onetree::store::MemoryStore;
use onetree::store::files::{Disk, Watch, Watched};
use onetree::{Broker, Config, Hooks, Running};
use serde_json::{Value, json};

use crate::directory::Directory;
use crate::wire::{PATIENCE, Wire, broker, broker_on, config};
use crate::{http, logs};

async fn start(config: Config, directory: &FilePath) -> Running {
    let disk = Arc::new(Disk::new(directory.to_owned()).unwrap());
    Broker::start_from(config, disk, Hooks::default()).await.unwrap()
}

/// Opens a connection. Returns it with the epoch that it was told.
async fn open(broker: &Running) -> (Wire, Value) {
    let (wire, welcome) = Wire::hello(broker.addr(), json!({})).await;
    (wire, welcome["epoch"].clone())
}

async fn append(wire: &mut Wire, text: &str) -> Value {
    wire.ask(json!({"op": "append", "id": 5, "path": "/log", "text": text})).await
}

/// Returns the content of the log.
async fn log(wire: &mut Wire) -> Vec<String> {
    let found = wire.ask(json!({"op": "list", "id": 6, "path": "/log"})).await;
    let texts = found["entries"].as_array().unwrap().iter();
    texts.map(|entry| entry["text"].as_str().unwrap().to_owned()).collect()
}

/// The first broker is never told to stop: the second finds what a `kill -9` would leave.
#[tokio::test]
async fn a_start_behind_one_without_a_goodbye_finds_everything() {
    let directory = Directory::new("durable");
    let first = start(config(""), &directory.0).await;
    let (mut wire, epoch) = open(&first).await;
    for n in 0..20 {
        assert_eq!(append(&mut wire, &n.to_string()).await["durable"], true);
    }
    let (fresh, _) = wire.sub(1, "/log").await;
    let second = start(config(""), &directory.0).await;
    let (mut wire, again) = open(&second).await;
    assert_eq!(again, epoch);
    let expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(log(&mut wire).await, expected);
    // An old cookie is valid, and revisions continue.
    let rev = append(&mut wire, "20").await["rev"].as_u64().unwrap();
    assert_eq!(rev, fresh["rev"].as_u64().unwrap() + 1);
    let cookie = json!({"epoch": epoch, "rev": fresh["rev"], "view": fresh["view"]});
    let sub = json!({"op": "sub", "id": 7, "sub": 1, "path": "/log", "cookie": cookie});
    let (_, entries) = wire.refresh(sub).await;
    assert_eq!(entries.len(), 1, "{entries:?}");
}

/// The mistake of slapd: its clients know the revision of a delete, but its disk does not.
#[tokio::test]
async fn a_kill_right_after_a_delete_takes_no_revision_back() {
    let directory = Directory::new("deleted");
    let first = start(config(""), &directory.0).await;
    let (mut wire, epoch) = open(&first).await;
    for path in ["/a", "/b"] {
        wire.put(path, json!(1)).await;
    }
    let (fresh, _) = wire.sub(1, "/").await;
    let delete = json!({"op": "delete", "id": 3, "path": "/a"});
    let deleted = wire.ask(delete).await["rev"].as_u64().unwrap();
    // Nobody tells it to stop.
    let second = start(config(""), &directory.0).await;
    let (mut wire, again) = open(&second).await;
    assert_eq!(again, epoch);
    // A mirror from before the delete is told of it; a mirror that knew it is still at its
    // revision.
    let cookie = |rev: &Value| json!({"epoch": epoch, "rev": rev, "view": fresh["view"]});
    let sub = |number: u32, rev: &Value| json!({"op": "sub", "id": 7, "sub": number, "path": "/", "cookie": cookie(rev)});
    let (now, told) = wire.refresh(sub(1, &fresh["rev"])).await;
    assert_eq!((now["rev"].as_u64(), told.len()), (Some(deleted), 1), "{told:?}");
    assert_eq!((&told[0]["path"], &told[0]["delete"]), (&json!("/a"), &json!(true)));
    let (now, told) = wire.refresh(sub(2, &json!(deleted))).await;
    assert_eq!((now["rev"].as_u64(), told.len()), (Some(deleted), 0), "{told:?}");
    assert_eq!(wire.put("/a", json!(2)).await, deleted + 1);
}

#[tokio::test]
async fn a_session_that_comes_back_after_a_start_finds_what_it_owns() {
    let directory = Directory::new("owned");
    let first = start(config(""), &directory.0).await;
    let (mut wire, welcome) = Wire::hello(first.addr(), json!({})).await;
    for path in ["/mine", "/also"] {
        let put = json!({"op": "put", "id": 1, "path": path, "json": 1, "ephemeral": true});
        assert_eq!(wire.ask(put).await["op"], "done");
    }
    let second = start(config("session_grace_ms = 3000"), &directory.0).await;
    let session = json!({"session": welcome["session"]});
    let (back, welcome) = Wire::hello(second.addr(), session).await;
    assert_eq!(welcome["resumed"], true, "{welcome}");
    let mut other = Wire::open(second.addr()).await;
    let get = json!({"op": "get", "id": 2, "paths": ["/mine", "/also"]});
    assert_eq!(other.ask(get.clone()).await["entries"].as_array().unwrap().len(), 2);
    drop(back);
    // Its grace period begins now.
    loop {
        let found = other.ask(get.clone()).await;
        if found["entries"].as_array().is_none_or(Vec::is_empty) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Many changes to a tree of constant size: the disk takes at most three times that size while the
/// tree is saved and twice at rest, however long the history was.
#[tokio::test]
async fn churn_does_not_make_the_disk_grow() {
    const ENTRIES: usize = 1000;
    const FILE: u64 = 256 * 1024;
    const VALUE: usize = 4096;
    let directory = Directory::new("churn");
    let keys = format!("log_file_bytes = {FILE}\nsave_after_bytes = {FILE}\ntombstones = 100");
    let broker = start(config(&keys), &directory.0).await;
    let client = crate::world::client(&broker.url()).await;
    let size = || -> u64 {
        let files = fs::read_dir(&directory.0).unwrap().filter_map(Result::ok);
        files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
    };
    let mut most = 0;
    let mut waiting = std::collections::VecDeque::new();
    for n in 0..ENTRIES * 8 {
        let path = crate::world::path(&format!("/live/{}", n % ENTRIES));
        let value = onetree_client::Value::text(&format!("{n:0VALUE$}"));
        waiting.push_back(client.enqueue(onetree_client::Put::new(path, value)).await.unwrap());
        if n % 10 == 0 {
            let path = crate::world::path(&format!("/dead/{n}"));
            let short = onetree_client::Value::text("short");
            waiting.push_back(
                client.enqueue(onetree_client::Put::new(path.clone(), short)).await.unwrap(),
            );
            waiting.push_back(client.enqueue(onetree_client::Delete::new(path)).await.unwrap());
        }
        while waiting.len() > 8 {
            waiting.pop_front().unwrap().await.unwrap();
        }
        most = most.max(size());
    }
    for pending in waiting {
        pending.await.unwrap();
    }
    let live = (ENTRIES * VALUE) as u64;
    assert!(most <= 3 * live, "{most} bytes on the disk for {live} that live");
    assert!(most > 2 * live, "{most} bytes at most: no tree was being saved");
    let end = Instant::now() + crate::world::PATIENCE;
    while size() > 2 * live {
        assert!(Instant::now() < end, "{} bytes at rest for {live} that live", size());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(size() > live);
}

/// A tree is saved while the broker runs, not at its end, which waits for no save.
#[tokio::test]
async fn an_idle_broker_that_ends_begins_nothing() {
    let directory = Directory::new("idle");
    let config = || config("log_file_bytes = 4096\nsave_after_bytes = 1048576");
    let first = start(config(), &directory.0).await;
    let (mut wire, _) = open(&first).await;
    append(&mut wire, "1").await;
    first.shutdown().await;
    let mut small = config();
    small.save_after_bytes = 1;
    let files = directory.files("");
    let second = start(small, &directory.0).await;
    second.shutdown().await;
    let begun = directory.files("").into_iter().filter(|name| !files.contains(name));
    assert!(begun.clone().all(|name| name.starts_with("log-")), "{:?}", begun.collect::<Vec<_>>());
}

#[tokio::test]
async fn durability() {
    assert_eq!(Config::default().durability, Durability::Sync);
    let directory = Directory::new("durability");
    let weak = "durability = \"interval\"";
    let first = start(config(weak), &directory.0).await;
    let (mut wire, epoch) = open(&first).await;
    let done = append(&mut wire, "1").await;
    assert_eq!(done["durable"], false, "the acknowledgement says what held");
    first.shutdown().await;
    // This one was ended properly: nothing can be missing.
    let second = start(config(weak), &directory.0).await;
    let (mut wire, again) = open(&second).await;
    assert_eq!(again, epoch);
    append(&mut wire, "2").await;
    // This one was not: its end may be missing, so no mirror may rely on its revisions.
    let third = start(config(""), &directory.0).await;
    let (mut wire, other) = open(&third).await;
    assert_ne!(other, epoch);
    assert_eq!(log(&mut wire).await, ["1", "2"]);
    let rev = append(&mut wire, "3").await["rev"].as_u64().unwrap();
    assert!(rev > 1 << 28, "{rev}");
    assert!(Config::from_str("t", "durability = \"maybe\"").is_err());
}

/// A broker that is started again and again while something else uses its port.
#[tokio::test]
async fn a_start_that_serves_nobody_changes_nothing() {
    let directory = Directory::new("nobody");
    let weak = || config("durability = \"interval\"");
    let first = start(weak(), &directory.0).await;
    let (mut wire, epoch) = open(&first).await;
    append(&mut wire, "1").await;
    first.shutdown().await;
    let content = || -> BTreeMap<_, _> {
        let files = directory.files("").into_iter();
        files.map(|name| (name.clone(), fs::read(directory.file(&name)).unwrap())).collect()
    };
    let before = content();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut there = weak();
    there.listen = taken.local_addr().unwrap();
    let mut everywhere = weak();
    everywhere.listen.set_ip(std::net::Ipv4Addr::UNSPECIFIED.into());
    for config in [&there, &everywhere, &there, &everywhere] {
        let disk = Arc::new(Disk::new(directory.0.clone()).unwrap());
        Broker::start_from(config.clone(), disk, Hooks::default()).await.unwrap_err();
        assert!(content() == before, "{config:?}");
    }
    let (_, again) = open(&start(weak(), &directory.0).await).await;
    assert_eq!(again, epoch);
}

/// The directory is renamed, and another broker starts where it was: each keeps to its own.
#[tokio::test]
async fn a_directory_that_is_moved_takes_its_broker_along() {
    let above = Directory::new("moved");
    let (here, moved) = (above.file("here"), above.file("moved"));
    let keys = || config("log_file_bytes = 4096\nsave_after_bytes = 8192");
    let first = start(keys(), &here).await;
    let (mut to_first, epoch) = open(&first).await;
    append(&mut to_first, "1").await;
    fs::rename(&here, &moved).unwrap();
    let second = start(keys(), &here).await;
    let (mut to_second, other) = open(&second).await;
    assert_ne!(epoch, other);
    let text = "x".repeat(300);
    for _ in 0..200 {
        for wire in [&mut to_first, &mut to_second] {
            assert_eq!(append(wire, &text).await["durable"], true);
        }
    }
    first.shutdown().await;
    second.shutdown().await;
    for (directory, epoch, count) in [(moved, epoch, 201), (here, other, 200)] {
        let (mut wire, again) = open(&start(keys(), &directory).await).await;
        assert_eq!((again, log(&mut wire).await.len()), (epoch, count), "{directory:?}");
    }
}

/// The disk does not fail: it only takes very long.
#[tokio::test]
async fn a_disk_that_hangs_is_told_of() {
    let store = MemoryStore::new();
    let broker = broker_on("", store.clone()).await;
    let (mut wire, _) = open(&broker).await;
    let addr = broker.addr();
    let (host, told) = (addr.to_string(), || logs::with("the disk has not answered"));
    let stats = async || -> Value {
        serde_json::from_str(&http::get(addr, "/v1/stats", &host, "").await.body).unwrap()
    };
    assert_eq!(stats().await["storing_ms"], 0);
    let before = (told(), logs::with("the disk has answered"));
    store.delay(Duration::from_secs(4));
    wire.send(json!({"op": "put", "id": 1, "path": "/a", "json": 1})).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let health = http::get(addr, "/healthz", &host, "").await;
    assert_eq!(health.status, 503);
    assert!(health.body.contains("the disk"), "{}", health.body);
    assert!(stats().await["storing_ms"].as_u64().unwrap() > 900);
    assert_eq!(wire.next().await["op"], "done");
    assert_eq!(stats().await["storing_ms"], 0);
    assert!(told() > before.0 && logs::with("the disk has answered") > before.1);
    store.delay(Duration::ZERO);
    assert_eq!(http::get(addr, "/healthz", &host, "").await.status, 200);
}

/// Counts the syncs of files.
#[derive(Clone, Default)]
struct Syncs(Arc<AtomicU64>);

impl Watch for Syncs {
    fn syncs(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Appends until the disk was synced `wanted` more times, or for a second if that must never
/// happen. It must not be synced more often than once in each interval.
async fn synced(interval_ms: u64, wanted: u64) {
    let directory = Directory::new(&format!("interval-{interval_ms}"));
    let Syncs(syncs) = Syncs::default();
    let disk = Disk::new(directory.0.clone()).unwrap();
    let disk = Watched::new(disk, Syncs(syncs.clone()));
    let config = config(&format!("durability = \"interval\"\nsync_interval_ms = {interval_ms}"));
    let broker = Broker::start_from(config, Arc::new(disk), Hooks::default()).await.unwrap();
    let (mut wire, _) = open(&broker).await;
    let (before, began) = (syncs.load(Ordering::SeqCst), Instant::now());
    let count = || syncs.load(Ordering::SeqCst) - before;
    while began.elapsed() < Duration::from_secs(1) || count() < wanted {
        append(&mut wire, "x").await;
        let (found, ms) = (count(), began.elapsed().as_millis() as u64);
        let most = ms / interval_ms;
        assert!(found <= most, "{found} syncs in {ms} ms, every {interval_ms} ms");
        assert!(began.elapsed() < PATIENCE, "{found} syncs in {ms} ms, every {interval_ms} ms");
    }
}

#[tokio::test]
async fn sync_interval_ms() {
    assert!(Config::from_str("t", "sync_interval_ms = 0").is_err());
    tokio::join!(synced(10, 20), synced(400, 3), synced(60_000, 0));
}

#[tokio::test]
async fn log_file_bytes() {
    for wrong in [4095u64, (4 << 30) + 1, u64::MAX >> 1] {
        assert!(Config::from_str("t", &format!("log_file_bytes = {wrong}")).is_err(), "{wrong}");
    }
    let directory = Directory::new("files");
    let broker = start(config("log_file_bytes = 4096"), &directory.0).await;
    let (mut wire, _) = open(&broker).await;
    for n in 0..50 {
        append(&mut wire, &format!("{n:0200}")).await;
    }
    // A commit that is larger than a file gets a larger one.
    append(&mut wire, &"x".repeat(10_000)).await;
    assert!(directory.files("log-").len() >= 3, "{:?}", directory.files("log-"));
    let again = start(config("log_file_bytes = 4096"), &directory.0).await;
    let (mut wire, _) = open(&again).await;
    assert_eq!(log(&mut wire).await.len(), 51);
}

#[tokio::test]
async fn save_after_bytes() {
    assert!(Config::from_str("t", "save_after_bytes = 0").is_err());
    let directory = Directory::new("save");
    let keys = "log_file_bytes = 4096\nsave_after_bytes = 8192";
    let broker = start(config(keys), &directory.0).await;
    let (mut wire, _) = open(&broker).await;
    for n in 0..400 {
        let value = "v".repeat(200);
        let put = json!({"op": "put", "id": 1, "path": format!("/a/{}", n % 10), "text": value});
        assert_eq!(wire.ask(put).await["op"], "done");
    }
    // 80 KiB went through 10 entries: the files that made them are gone.
    loop {
        let (logs, trees) = (directory.files("log-").len(), directory.files("tree-").len());
        if trees == 1 && logs < 8 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        wire.put("/b", json!(logs)).await;
    }
    let again = start(config(keys), &directory.0).await;
    let (mut wire, _) = open(&again).await;
    let found = wire.ask(json!({"op": "list", "id": 2, "path": "/a"})).await;
    assert_eq!(found["entries"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn retention() {
    let rules = ["keep = 5", "max_bytes = 300", "max_age_ms = 100"];
    let tables = (0..3).map(|n| format!("[[retention]]\npattern = \"{n}/*\"\n{}\n", rules[n]));
    let broker = broker(&tables.collect::<String>()).await;
    let mut wire = Wire::open(broker.addr()).await;
    for n in 0..40 {
        for log in 0..4 {
            let append = json!({"op": "append", "id": n, "path": format!("/{log}/a"), "json": n});
            assert_eq!(wire.ask(append).await["op"], "done");
        }
    }
    let count = async |wire: &mut Wire, path: &str| {
        let list = json!({"op": "list", "id": 99, "path": path});
        wire.ask(list).await["entries"].as_array().map_or(0, Vec::len)
    };
    // A path of 23 bytes and a value of 1 or 2: about a dozen fit into 300 bytes.
    for (path, bounds) in [("/0/a", 5..=10), ("/1/a", 8..=16), ("/2/a", 0..=0)] {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let kept = count(&mut wire, path).await;
            if bounds.contains(&kept) {
                break;
            }
            assert!(Instant::now() < deadline, "{path} keeps {kept}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!(count(&mut wire, "/3/a").await, 40, "a log without a rule");
}
