//! Sessions that are taken over, stores that fail, shutdown.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use onetree::store::MemoryStore;
use onetree::{Broker, Hooks, Running};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use crate::address::address_of_our_own;
use crate::logs;
use crate::wire::{
    Bystander, PATIENCE, Wire, broker, broker_at, broker_on, config, kept_unread, socket,
};

fn put(id: u32, path: &str, value: impl Into<Value>) -> Value {
    json!({"op": "put", "id": id, "path": path, "json": value.into()})
}

/// Sends writes, and waits until the owner of the tree has all of them.
async fn begin(wire: &mut Wire, writes: impl IntoIterator<Item = Value>) {
    for write in writes {
        wire.send(write).await;
    }
    // Requests are read in order, and this one is answered at once.
    wire.send(json!({"op": "get", "id": 4_000_000, "paths": []})).await;
    assert_eq!(wire.next().await["op"], "found", "the store is too quick for this test");
}

#[tokio::test]
async fn what_comes_right_before_a_close_takes_effect() {
    let broker = broker("").await;
    let (mut other, _) = Wire::hello(broker.addr(), json!({})).await;
    let sub = json!({"op": "sub", "id": 1, "sub": 1, "path": "/a", "signals": true});
    other.refresh(sub).await;
    let (mut wire, _) = Wire::hello(broker.addr(), json!({})).await;
    let signal = json!({"op": "signal", "path": "/a/y", "json": 2});
    let frames = [put(5, "/a/x", 1), signal].map(|frame| Message::text(frame.to_string()));
    wire.say_at_once(frames.into_iter().chain([Message::Close(None)])).await;
    let mut came = [other.next().await, other.next().await].map(|frame| frame["op"].to_string());
    came.sort();
    assert_eq!(came, ["\"delta\"", "\"signal\""]);
    broker.shutdown().await;
}

fn stop(broker: &Running) -> JoinHandle<()> {
    let broker = broker.clone();
    tokio::spawn(async move { broker.shutdown().await })
}

async fn over(stop: JoinHandle<()>) {
    tokio::time::timeout(PATIENCE, stop).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_write_that_is_not_stored_did_not_happen() {
    let store = MemoryStore::new();
    store.keep_commits();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = seen.clone();
    let hooks = Hooks {
        on_commit: Some(Arc::new(move |commit, tree| {
            assert_eq!(commit.rev, tree.rev());
            keep.lock().unwrap().push(commit.rev.get());
        })),
        ..Hooks::default()
    };
    let broker = Broker::start_with(config(""), store.clone(), hooks).await.unwrap();
    let (mut wire, _) = Wire::hello(broker.addr(), json!({"client": "c"})).await;
    let mut bystander = Bystander::new(broker.addr()).await;
    wire.sub(1, "/a").await;
    let first = wire.put("/a/1", json!(1)).await;
    assert_eq!(wire.until("delta").await["rev"], first);
    store.fail_next(1);
    let put = json!({"op": "put", "id": 5, "seq": 1, "path": "/a/2", "json": 2});
    let error = wire.ask(put.clone()).await;
    assert_eq!((&error["op"], &error["code"]), (&json!("error"), &json!("unavailable")));
    let found = wire.ask(json!({"op": "get", "id": 6, "paths": ["/a/1", "/a/2"]})).await;
    assert_eq!(found["entries"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["rev"], first, "{found}");
    let (fresh, entries) = Wire::open(broker.addr()).await.sub(1, "/a").await;
    assert_eq!((&fresh["rev"], entries.len()), (&json!(first), 1), "{entries:?}");
    // Its number is not used up: the same write again is fine, and is what is seen next.
    let done = wire.ask(json!({"op": "put", "id": 7, "seq": 1, "path": "/a/2", "json": 2})).await;
    assert_eq!(done["op"], "done", "{done}");
    assert!(!done["durable"].as_bool().unwrap_or_default(), "memory is not durable");
    let delta = wire.until("delta").await;
    assert_eq!(delta["rev"], done["rev"]);
    assert_eq!(delta["changes"][0]["path"], "/a/2");
    bystander.check().await;
    let stored: Vec<u64> = store.commits().iter().map(|commit| commit.rev.get()).collect();
    assert_eq!(*seen.lock().unwrap(), stored, "what was seen is what was stored");
    assert!(stored.windows(2).all(|pair| pair[0] < pair[1]), "{stored:?}");
}

/// What depends on a write that is undone is undone with it: refusals, and deletes of nothing.
#[tokio::test]
async fn a_batch_that_is_not_stored_is_unavailable_as_a_whole() {
    let store = MemoryStore::new();
    let broker = broker_on("", store.clone()).await;
    let mut wire = Wire::open(broker.addr()).await;
    let mut mirror = Wire::open(broker.addr()).await;
    let before = wire.put("/a/1", json!(1)).await;
    mirror.sub(1, "/a").await;
    // The first write keeps the store busy, so that the others are one batch.
    store.delay(Duration::from_secs(1));
    let writes = [
        put(1, "/a/busy", 1),
        json!({"op": "put", "id": 2, "path": "/a/2", "json": 2, "if": {"rev": 0}}),
        json!({"op": "put", "id": 3, "path": "/a/2", "json": 3, "if": {"rev": 0}}),
        json!({"op": "drop", "id": 4, "path": "/a"}),
        json!({"op": "delete", "id": 5, "path": "/a/1"}),
    ];
    begin(&mut wire, writes).await;
    assert_eq!(wire.reply(&json!(1)).await["op"], "done");
    store.fail_next(1);
    for id in 2..=5 {
        let error = wire.reply(&json!(id)).await;
        assert_eq!(error["code"], "unavailable", "{error}");
    }
    store.delay(Duration::ZERO);
    let last = wire.put("/a/3", json!(3)).await;
    let busy = mirror.until("delta").await;
    assert!(busy["rev"].as_u64().unwrap() > before && busy["changes"][0]["path"] == "/a/busy");
    let delta = mirror.until("delta").await;
    assert_eq!((&delta["rev"], &delta["changes"][0]["path"]), (&json!(last), &json!("/a/3")));
    let (_, entries) = Wire::open(broker.addr()).await.sub(1, "/a").await;
    let paths: Vec<&str> = entries.iter().map(|entry| entry["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/a/1", "/a/3", "/a/busy"]);
}

#[tokio::test]
async fn what_the_broker_itself_could_not_store_it_tries_again() {
    let store = MemoryStore::new();
    let broker = broker_on("session_grace_ms = 50", store.clone()).await;
    let addr = broker.addr();
    let mut watch = Wire::open(addr).await;
    watch.sub(1, "/a").await;
    let mut wire = Wire::open(addr).await;
    let ttl = json!({"op": "put", "id": 1, "path": "/a/1", "json": 1, "ttl_ms": 50});
    let own = json!({"op": "put", "id": 2, "path": "/a/2", "json": 1, "ephemeral": true});
    for write in [ttl, own] {
        assert_eq!(wire.ask(write).await["op"], "done");
    }
    store.fail_next(3);
    drop(wire);
    let mut gone = Vec::new();
    while gone.len() < 2 {
        let delta = watch.until("delta").await;
        let changes = delta["changes"].as_array().unwrap();
        let deleted = changes.iter().filter(|change| change["delete"] == true);
        gone.extend(deleted.map(|change| change["path"].as_str().unwrap().to_owned()));
    }
    gone.sort_unstable();
    assert_eq!(gone, ["/a/1", "/a/2"], "each once");
}

#[tokio::test]
async fn a_session_is_taken_over_and_keeps_what_it_owns() {
    let broker = broker("session_grace_ms = 100").await;
    let addr = broker.addr();
    let (mut old, welcome) = Wire::hello(addr, json!({})).await;
    let session = welcome["session"].clone();
    let put = json!({"op": "put", "id": 1, "path": "/who/me", "json": 1, "ephemeral": true});
    assert_eq!(old.ask(put).await["op"], "done");
    let (mut new, welcome) = Wire::hello(addr, json!({"session": session})).await;
    assert_eq!((&welcome["session"], &welcome["resumed"]), (&session, &json!(true)));
    assert_eq!(old.closed().await.0, 4410);
    logs::only(old.local, &["session-taken"]).await;
    // The end of the old connection neither ends the session nor begins its grace period.
    drop(old);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let get = json!({"op": "get", "id": 2, "paths": ["/who/me"]});
    assert_eq!(new.ask(get.clone()).await["entries"].as_array().unwrap().len(), 1);
    // Goodbye ends it.
    let mut watch = Wire::open(addr).await;
    watch.sub(1, "/who").await;
    new.send(json!({"op": "bye", "id": 3})).await;
    assert_eq!(new.reply(&json!(3)).await["op"], "ok");
    assert_eq!(new.closed().await.0, 1000);
    assert_eq!(watch.until("delta").await["changes"][0]["delete"], true);
    let (_, welcome) = Wire::hello(addr, json!({"session": session})).await;
    assert!(welcome["session"] != session && welcome["resumed"].as_bool() != Some(true));
}

#[tokio::test]
async fn a_session_that_changes_hands_often_has_one_connection() {
    let broker = broker("session_grace_ms = 60000").await;
    let addr = broker.addr();
    let (mut last, welcome) = Wire::hello(addr, json!({})).await;
    let session = welcome["session"].clone();
    let put = json!({"op": "put", "id": 1, "path": "/me", "json": 1, "ephemeral": true});
    assert_eq!(last.ask(put).await["op"], "done");
    for _ in 0..10 {
        let (next, welcome) = Wire::hello(addr, json!({"session": session})).await;
        assert_eq!((&welcome["session"], &welcome["resumed"]), (&session, &json!(true)));
        assert_eq!(std::mem::replace(&mut last, next).closed().await.0, 4410);
    }
    let found = last.ask(json!({"op": "get", "id": 2, "paths": ["/me"]})).await;
    assert_eq!(found["entries"].as_array().unwrap().len(), 1, "{found}");
}

#[tokio::test]
async fn a_shutdown_finishes_what_was_begun_and_says_when_to_come_back() {
    let store = MemoryStore::new();
    store.keep_commits();
    let (_ours, addr) = address_of_our_own();
    let broker = broker_at(addr, "shutdown_spread_ms = 3000", store.clone()).await;
    let mut writer = Wire::open(addr).await;
    let mut idle: Vec<Wire> = Vec::new();
    for _ in 0..8 {
        idle.push(Wire::open(addr).await);
    }
    let mut mirror = Wire::open(addr).await;
    mirror.sub(1, "/log").await;
    store.delay(Duration::from_secs(1));
    let append = |id: u32| json!({"op": "append", "id": id, "path": "/log", "json": id});
    begin(&mut writer, (1..=20).map(append)).await;
    let stop = stop(&broker);
    for id in 1..=20 {
        assert_eq!(writer.reply(&json!(id)).await["op"], "done", "write {id}");
    }
    let stored: usize = store.commits().iter().map(|commit| commit.changes().len()).sum();
    assert_eq!(stored, 20, "what was acknowledged is stored");
    let mut waits = Vec::new();
    for wire in idle.iter_mut().chain([&mut writer, &mut mirror]) {
        let bye = wire.until("bye").await;
        assert_eq!(bye["code"], "shutting-down");
        let wait = bye["retry_ms"].as_u64().unwrap();
        assert!(wait <= 3000, "{bye}");
        let (code, reason) = wire.closed().await;
        assert_eq!((code, reason), (4503, format!("retry_ms={wait}")));
        logs::only(wire.local, &["shutting-down"]).await;
        waits.push(wait);
    }
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 1, "all at once: {waits:?}");
    drop((idle, writer, mirror));
    over(stop).await;
    assert_eq!(broker.wait().await, Ok(()));
    assert!(TcpStream::connect(addr).await.is_err(), "it still listens");
}

#[tokio::test]
async fn a_shutdown_takes_no_new_connections_while_it_finishes() {
    let store = MemoryStore::new();
    let (_ours, addr) = address_of_our_own();
    let broker = broker_at(addr, "", store.clone()).await;
    let mut writer = Wire::open(addr).await;
    store.delay(Duration::from_secs(2));
    begin(&mut writer, [put(1, "/a", 1)]).await;
    let stop = stop(&broker);
    let began = Instant::now();
    while TcpStream::connect(addr).await.is_ok() {
        assert!(began.elapsed() < Duration::from_millis(1800), "it still listens");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A request on an open connection is not begun any more, and not acknowledged.
    writer.send(put(2, "/b", 1)).await;
    assert_eq!(writer.reply(&json!(1)).await["op"], "done");
    assert_eq!(writer.next().await["op"], "bye");
    assert_eq!(writer.closed().await.0, 4503);
    drop(writer);
    over(stop).await;
}

/// Clients that have not said hello, or do not read any more, are told as well, and do not delay
/// the shutdown.
#[tokio::test]
async fn a_shutdown_does_not_wait_for_those_who_say_or_read_nothing() {
    let broker = broker("hello_timeout_ms = 60000\nshutdown_timeout_ms = 60000").await;
    let addr = broker.addr();
    let mut upgraded = Wire::connect(addr).await;
    let (mut silent, _) = socket(addr).await.unwrap();
    let (mut begun, _) = socket(addr).await.unwrap();
    begun.write_all(b"GET /v1/sync HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let (mut kept, _) = socket(addr).await.unwrap();
    kept.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(kept.read(&mut [0; 1024]).await.unwrap() > 0);
    // It has more to read than the system holds for it, and does not read.
    let mut deaf = Wire::narrow(addr).await;
    deaf.sub(1, "/").await;
    let mut writer = Wire::open(addr).await;
    for n in 0..400 {
        writer.put(&format!("/{n}"), json!("x".repeat(kept_unread() / 256))).await;
    }
    let began = Instant::now();
    let stop = stop(&broker);
    assert_eq!(upgraded.until("bye").await["code"], "shutting-down");
    assert_eq!(upgraded.closed().await.0, 4503);
    assert_eq!(writer.closed().await.0, 4503);
    drop((upgraded, writer));
    for stream in [&mut silent, &mut begun, &mut kept] {
        let rest = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        assert!(rest.is_ok(), "a socket without a conversation is left open");
    }
    over(stop).await;
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    logs::only(deaf.local, &["shutting-down"]).await;
}

#[tokio::test]
async fn without_the_owner_nothing_is_green() {
    let hooks =
        Hooks { on_commit: Some(Arc::new(|_, _| panic!("on purpose"))), ..Hooks::default() };
    let broker = Broker::start_with(config(""), MemoryStore::new(), hooks).await.unwrap();
    let mut wire = Wire::open(broker.addr()).await;
    wire.send(put(1, "/a", 1)).await;
    let end = tokio::time::timeout(PATIENCE, broker.wait()).await.unwrap();
    assert!(end.is_err());
    assert_ne!(wire.closed().await.0, 1000);
}

/// Sessions in their grace period that own nothing make room for others.
#[tokio::test]
async fn sessions_that_own_nothing_make_room() {
    let broker = broker("sessions = 3\nsession_grace_ms = 60000").await;
    let addr = broker.addr();
    // A session that owns something stays, although its client left first.
    let (mut owner, welcome) = Wire::hello(addr, json!({})).await;
    let own = json!({"op": "put", "id": 1, "path": "/own", "json": 1, "ephemeral": true});
    assert_eq!(owner.ask(own).await["op"], "done");
    owner.socket.close(None).await.unwrap();
    owner.closed().await;
    for _ in 0..10 {
        let (mut wire, welcome) = Wire::hello(addr, json!({})).await;
        assert_eq!(welcome["op"], "welcome", "{welcome}");
        wire.socket.close(None).await.unwrap();
        wire.closed().await;
    }
    let again = json!({"session": welcome["session"]});
    let (_owner, welcome) = Wire::hello(addr, again).await;
    assert_eq!(welcome["resumed"], true, "{welcome}");
    // Attached sessions stay.
    let (_two, welcome) = Wire::hello(addr, json!({})).await;
    assert_eq!(welcome["op"], "welcome", "{welcome}");
    let (_three, welcome) = Wire::hello(addr, json!({})).await;
    assert_eq!(welcome["op"], "welcome", "{welcome}");
    let (_four, refused) = Wire::hello(addr, json!({})).await;
    assert_eq!(refused["code"], "too-many-sessions", "{refused}");
}

/// A client that waits for this answer may take over what the session had, for example a lock.
#[tokio::test]
async fn a_goodbye_is_answered_when_what_the_session_owned_is_gone() {
    let store = MemoryStore::new();
    let broker = broker_on("", store.clone()).await;
    let own = json!({"op": "put", "id": 1, "path": "/lock", "json": 1, "ephemeral": true, "if": {"rev": 0}});
    let mut next = Wire::open(broker.addr()).await;
    store.delay(Duration::from_millis(50));
    for _ in 0..3 {
        let mut owner = std::mem::replace(&mut next, Wire::open(broker.addr()).await);
        assert_eq!(owner.ask(own.clone()).await["op"], "done");
        assert_eq!(owner.ask(json!({"op": "bye", "id": 2})).await["op"], "ok");
        let get = json!({"op": "get", "id": 3, "paths": ["/lock"]});
        let found = next.ask(get).await;
        assert!(found["entries"].as_array().is_none_or(Vec::is_empty), "{found}");
    }
}

#[tokio::test]
async fn a_goodbye_comes_behind_what_the_owner_had_no_room_for() {
    let store = MemoryStore::new();
    let broker = broker_on("", store.clone()).await;
    let addr = broker.addr();
    let mut crowd = Vec::new();
    for _ in 0..300 {
        crowd.push(Wire::open(addr).await);
    }
    let (mut leaver, mut gone) = (Wire::open(addr).await, Wire::open(addr).await);
    let own = json!({"op": "put", "id": 1, "path": "/lock", "json": 1, "ephemeral": true});
    assert_eq!(gone.ask(own).await["op"], "done");
    // One batch is being stored, the next is full, and so is the queue behind it.
    store.delay(Duration::from_secs(2));
    let put = |path: &str| json!({"op": "put", "id": 1, "path": path, "json": 1});
    let puts: Vec<_> =
        (0..1_100).map(|n| json!({"do": "put", "path": format!("/many/{n}"), "json": 1})).collect();
    crowd[0].send(put("/first")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    crowd[1].send(json!({"op": "txn", "id": 1, "do": puts})).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    for wire in &mut crowd[2..] {
        wire.send(put("/crowd")).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let bye = json!({"op": "bye", "id": 2});
    leaver.at_once([put("/last"), bye.clone()]).await;
    gone.at_once([put("/also"), bye]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(gone);
    store.delay(Duration::ZERO);
    assert_eq!(leaver.next().await["op"], "done");
    assert_eq!(leaver.next().await["op"], "ok");
    assert_eq!(leaver.closed().await.0, 1000);
    // A client that said goodbye before it disconnected is gone at once, not after its grace period
    // or never.
    let mut other = Wire::open(addr).await;
    let get = json!({"op": "get", "id": 3, "paths": ["/lock"]});
    let mut tries = 0;
    while other.ask(get.clone()).await["entries"].as_array().is_some_and(|found| !found.is_empty())
    {
        tries += 1;
        assert!(tries < 200, "the lock of who has left is there still");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_goodbye_does_not_wait_for_a_store_that_fails() {
    let store = MemoryStore::new();
    let broker = broker_on("", store.clone()).await;
    let mut wires = [Wire::open(broker.addr()).await, Wire::open(broker.addr()).await];
    for (wire, path) in wires.iter_mut().zip(["/a", "/b"]) {
        let own = json!({"op": "put", "id": 1, "path": path, "json": 1, "ephemeral": true});
        assert_eq!(wire.ask(own).await["op"], "done");
    }
    store.fail_next(u32::MAX);
    // The first goodbye causes the first commit that fails; the second comes when that is known.
    for wire in &mut wires {
        assert_eq!(wire.ask(json!({"op": "bye", "id": 2})).await["op"], "ok");
        assert_eq!(wire.closed().await.0, 1000);
    }
    let mut other = Wire::open(broker.addr()).await;
    other.sub(1, "/").await;
    store.fail_next(0);
    let mut gone = 0;
    while gone < 2 {
        let delta = other.until("delta").await;
        let changes = delta["changes"].as_array().unwrap();
        gone += changes.iter().filter(|change| change["delete"] == true).count();
    }
}

/// What was made on top of a batch that is not stored has not happened either, and what is made
/// then goes on from what is stored.
#[tokio::test]
async fn what_was_made_on_top_of_a_batch_that_is_not_stored_is_undone_with_it() {
    let store = MemoryStore::new();
    let broker = broker_on("", store.clone()).await;
    let mut wire = Wire::open(broker.addr()).await;
    wire.put("/a/1", json!(1)).await;
    store.delay(Duration::from_secs(1));
    store.fail_next(1);
    // While the first is being stored the second is made.
    begin(&mut wire, [put(1, "/a/2", 2)]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    begin(&mut wire, [put(2, "/a/3", 3)]).await;
    for id in 1..=2 {
        let error = wire.reply(&json!(id)).await;
        assert_eq!(error["code"], "unavailable", "{error}");
    }
    store.delay(Duration::ZERO);
    wire.put("/a/4", json!(4)).await;
    let (_, entries) = Wire::open(broker.addr()).await.sub(1, "/a").await;
    let paths: Vec<&str> = entries.iter().map(|entry| entry["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/a/1", "/a/4"]);
}
