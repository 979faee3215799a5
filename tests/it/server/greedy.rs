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

use crate::wire::{Wire, broker};

/// A broker with a thread of its own, and no other: whoever keeps that has the broker for himself.
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

/// One client asks and asks, and reads as fast as it can. Gives how many of `asked` had been answered when a
/// write of another one was.
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
    let before = answered_before_a_write(&broker, 400, list).await;
    assert!(before < 200, "{before} of 400 lists came before somebody else's write");
    let paths: Vec<_> = (0..15).map(|n| format!("/wide/{:05}", n * 60)).collect();
    let get = json!({"op": "get", "paths": paths});
    let before = answered_before_a_write(&broker, 2_000, get).await;
    assert!(before < 1_000, "{before} of 2000 gets came before somebody else's write");
}

#[tokio::test]
async fn what_one_client_makes_costly_to_look_up_comes_to_all_from_the_tree() {
    let broker = broker("").await;
    let mut costly = Wire::open(broker.addr()).await;
    let patterns: Vec<_> = (0..32).map(|n| format!("**/{n}/{}", ["*/a"; 15].join("/"))).collect();
    costly.refresh(json!({"op": "sub", "id": 1, "sub": 1, "path": "/a", "match": patterns})).await;
    let mut other = Wire::open(broker.addr()).await;
    other.sub(1, "/").await;
    let mut writer = Wire::open(broker.addr()).await;
    let deep = format!("/a{}", "/a".repeat(28));
    let paths: BTreeSet<String> = (0..1_000).map(|n| format!("{deep}/{n}")).collect();
    let puts: Vec<_> =
        paths.iter().map(|path| json!({"do": "put", "path": path, "json": 1})).collect();
    let done = writer.ask(json!({"op": "txn", "id": 1, "do": puts})).await;
    let last = writer.put("/after", json!(1)).await;
    let (mut seen, mut folded) = (BTreeSet::new(), false);
    loop {
        let delta = other.until("delta").await;
        folded |= delta["since"].is_u64();
        let changes = delta["changes"].as_array().unwrap();
        seen.extend(changes.iter().map(|change| change["path"].as_str().unwrap().to_owned()));
        if delta["rev"] == last && delta["part"] != true {
            break;
        }
    }
    assert!(folded && done["rev"].as_u64().unwrap() < last);
    assert!(seen.remove("/after") && seen == paths, "{} of {}", seen.len(), paths.len());
}
