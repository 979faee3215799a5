//! Clients that ask for more than their share.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use serde_json::json;
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::wire::{Wire, broker};

/// A broker with only one thread: a client that keeps the thread busy has the broker to itself.
struct Alone {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Alone {
    fn start() -> Alone {
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let broker = broker("").await;
                tell.send(broker.addr()).unwrap();
                let _ = stopped.await;
            });
        });
        Alone { addr: told.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().map(thread::JoinHandle::join);
    }
}

/// How often to try. A broker that gives turns may also fail sometimes, because others had the
/// processor, or because it had answered much before anybody read; but not each time.
const ATTEMPTS: usize = 8;

/// Asserts that another client's write is answered before half of `asked` requests are.
async fn has_turns(broker: &Alone, asked: u32, frame: serde_json::Value) {
    let mut before = Vec::new();
    while before.last().is_none_or(|before| *before >= asked as usize / 2) {
        assert!(before.len() < ATTEMPTS, "{before:?} of {asked} came before somebody else's write");
        before.push(answered_before_a_write(broker, asked, frame.clone()).await);
    }
}

/// One client sends requests without pause, and reads as fast as it can. Returns how many of
/// `asked` had been answered when another client's write was.
async fn answered_before_a_write(broker: &Alone, asked: u32, frame: serde_json::Value) -> usize {
    let mut other = Wire::open(broker.addr).await;
    let mut greedy = Wire::open(broker.addr).await;
    for id in 0..asked {
        let mut frame = frame.clone();
        frame["id"] = (1_000 + id).into();
        greedy.send(frame).await;
    }
    let answered = Arc::new(AtomicUsize::new(0));
    let count = answered.clone();
    let (begun, beginning) = oneshot::channel();
    let reading = tokio::spawn(async move {
        greedy.until("found").await;
        begun.send(()).unwrap();
        for _ in 1..asked {
            count.fetch_add(1, Ordering::Relaxed);
            greedy.until("found").await;
        }
    });
    beginning.await.unwrap();
    other.put("/other", json!(1)).await;
    let before = answered.load(Ordering::Relaxed);
    reading.await.unwrap();
    before
}

#[tokio::test]
async fn who_asks_without_a_pause_has_turns_as_everybody_has() {
    let broker = Alone::start();
    let mut writer = Wire::open(broker.addr).await;
    let puts: Vec<_> = (0..1_000)
        .map(|n| json!({"do": "put", "path": format!("/wide/{n:05}"), "json": n}))
        .collect();
    writer.ask(json!({"op": "txn", "id": 1, "do": puts})).await;
    // The write waits for a turn of two milliseconds, and for as long as the test takes to look.
    let list = json!({"op": "list", "path": "/wide", "depth": "children", "values": false});
    has_turns(&broker, 400, list).await;
    let paths: Vec<_> = (0..15).map(|n| format!("/wide/{:05}", n * 60)).collect();
    let get = json!({"op": "get", "paths": paths});
    has_turns(&broker, 2_000, get).await;
}

/// Returns how many writes are answered, one after the other, while many clients walk a whole tree
/// for entries that do not exist.
async fn writes_beside_walks(broker: &Alone, writer: &mut Wire) -> usize {
    let mut walks = Vec::new();
    for _ in 0..20 {
        walks.push(Wire::open(broker.addr).await);
    }
    for walk in &mut walks {
        walk.send(json!({"op": "sub", "id": 1, "sub": 1, "path": "/", "match": ["**/no"]})).await;
    }
    let walk = |mut walk: Wire| tokio::spawn(async move { walk.until("fresh").await });
    let walks: Vec<_> = walks.into_iter().map(walk).collect();
    let mut writes = 0;
    while !walks.iter().any(JoinHandle::is_finished) {
        writer.put("/other", json!(writes)).await;
        writes += 1;
    }
    for walk in walks {
        walk.await.unwrap();
    }
    writes
}

#[tokio::test]
async fn who_writes_does_not_queue_behind_all_who_look_through_the_tree() {
    let broker = Alone::start();
    let mut writer = Wire::open(broker.addr).await;
    for some in 0..10 {
        let puts: Vec<_> = (0..2_500)
            .map(|n| json!({"do": "put", "path": format!("/wide/{some}/{n}"), "json": n}))
            .collect();
        writer.ask(json!({"op": "txn", "id": 1 + some, "do": puts})).await;
    }
    // If a write waited for all of them, there would be about ten.
    let mut writes = Vec::new();
    while writes.last().is_none_or(|writes| *writes < 30) {
        assert!(writes.len() < ATTEMPTS, "{writes:?} writes were answered beside the walks");
        writes.push(writes_beside_walks(&broker, &mut writer).await);
    }
}

#[tokio::test]
async fn what_patterns_make_costly_to_look_up_comes_to_those_who_have_some_from_the_tree() {
    let broker = broker("").await;
    // Nearly every segment of these is compared with every one of the paths below.
    let pattern = |n: u32| {
        let segments = (0..15).map(|bit| if n >> bit & 1 == 0 { "**/a" } else { "**/*" });
        format!("{}/z", segments.collect::<Vec<_>>().join("/"))
    };
    let patterns: Vec<_> = (0..31).map(|n| pattern(n * 1_021)).chain(["**/7".to_owned()]).collect();
    let mut some = Wire::open(broker.addr()).await;
    some.refresh(json!({"op": "sub", "id": 1, "sub": 1, "path": "/a", "match": patterns})).await;
    some.sub(2, "/after").await;
    let mut none = Wire::open(broker.addr()).await;
    none.sub(1, "/").await;
    let mut writer = Wire::open(broker.addr()).await;
    let top = format!("/a{}", "/a".repeat(27));
    let paths: BTreeSet<String> =
        (0..400).map(|n| format!("{top}/{}/{}", n / 10, n % 10)).collect();
    let puts: Vec<_> =
        paths.iter().map(|path| json!({"do": "put", "path": path, "json": 1})).collect();
    writer.ask(json!({"op": "txn", "id": 1, "do": puts})).await;
    let last = writer.put("/after", json!(1)).await;
    for (wire, is_folded, ends) in [(&mut some, true, "/7"), (&mut none, false, "")] {
        let (mut seen, mut folded) = (BTreeSet::new(), false);
        loop {
            let delta = wire.until("delta").await;
            folded |= delta["since"].is_u64();
            let changes = delta["changes"].as_array().into_iter().flatten();
            seen.extend(changes.map(|change| change["path"].as_str().unwrap().to_owned()));
            if delta["rev"] == last && delta["part"] != true && seen.contains("/after") {
                break;
            }
        }
        assert!(seen.remove("/after") && folded == is_folded, "{ends}: folded {folded}");
        let expected: BTreeSet<_> =
            paths.iter().filter(|path| path.ends_with(ends)).cloned().collect();
        assert!(seen == expected, "{} of {}", seen.len(), expected.len());
    }
}
