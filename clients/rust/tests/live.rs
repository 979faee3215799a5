//! Mirrors from the application's side, over real sockets, against a broker that follows a script.

mod broker;
mod peer;

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use onetree_client::protocol::frame::{self, ClientFrame, Delta, ServerFrame};
use onetree_client::{
    Abort, Act, Change, Client, Event, LogKey, Mirror, MirrorOptions, Options, Path, Status, Value,
    Verdict, View,
};

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use broker::{path, rev};
use peer::{Peer, listen};

/// A client, and a mirror of the root.
async fn mirror(options: Options, how: MirrorOptions) -> (Client, Mirror) {
    let client = Client::connect(options).await.unwrap();
    let mirror = client.mirror(View::tree(Path::root()), how);
    (client, mirror)
}

/// Returns what comes soon; otherwise the test fails.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), what).await.expect("it comes")
}

#[tokio::test]
async fn the_changes_of_a_mirror_end_when_it_is_dropped() {
    let (listener, options) = listen().await;
    let broker = tokio::spawn(async move { Peer::with_mirror(&listener).await });
    let (_client, mirror) = mirror(options, MirrorOptions::new()).await;
    let mut changes = mirror.changes();
    soon(mirror.fresh()).await.unwrap();
    drop(mirror);
    let mut last = None;
    while let Some(event) = soon(changes.next()).await {
        last = Some(event);
    }
    assert!(matches!(last, Some(Event::Ended { error: None })), "{last:?}");
    assert_eq!(changes.snapshot().rev(), rev(5));
    drop(broker.await.unwrap());
}

#[tokio::test]
async fn the_changes_of_a_mirror_are_a_stream_until_it_ends() {
    let (listener, options) = listen().await;
    let (tell, told) = oneshot::channel();
    let broker = tokio::spawn(async move {
        let mut peer = Peer::with_mirror(&listener).await;
        told.await.unwrap();
        peer.put("/a", 6).await;
        peer
    });
    let (_client, mirror) = mirror(options, MirrorOptions::new()).await;
    let mut tell = Some(tell);
    let revs = mirror.changes().filter_map(|event| async move {
        match event {
            Event::Fresh { rev, .. } | Event::Delta { rev, .. } => Some(rev),
            _ => None,
        }
    });
    let mut revs = pin!(revs);
    assert_eq!(soon(revs.next()).await, Some(rev(5)));
    // A reader that waits is woken, even if it waited once before and gave up.
    let short = Duration::from_millis(10);
    assert!(tokio::time::timeout(short, revs.next()).await.is_err());
    let waiting = async {
        tokio::time::sleep(short).await;
        tell.take().unwrap().send(()).unwrap();
    };
    assert_eq!(soon(async { tokio::join!(revs.next(), waiting) }).await.0, Some(rev(6)));
    drop(mirror);
    assert_eq!(soon(revs.next()).await, None);
    drop(broker.await.unwrap());
}

#[tokio::test]
async fn a_reader_that_begins_while_there_is_no_connection_is_told_so() {
    let (listener, options) = listen().await;
    // The listener is dropped with the broker, so that the client cannot come back.
    let broker = tokio::spawn(async move { (Peer::with_mirror(&listener).await, listener) });
    let (client, mirror) = mirror(options, MirrorOptions::new()).await;
    soon(mirror.fresh()).await.unwrap();
    drop(broker.await.unwrap());
    soon(client.until(|status| matches!(status, Status::Offline { .. }))).await.unwrap();
    let mut changes = mirror.changes();
    let told = [changes.try_next().unwrap(), changes.try_next().unwrap()];
    assert!(matches!(told, [Event::Fresh { .. }, Event::Offline { .. }]), "{told:?}");
}

/// Returns the gaps in the first event that a reader who begins now gets.
fn gaps_so_far(mirror: &Mirror) -> Vec<Path> {
    let first = mirror.changes().try_next().expect("it is whole");
    assert!(matches!(first, Event::Fresh { .. }), "{first:?}");
    first.gaps().into_iter().cloned().collect()
}

#[tokio::test]
async fn who_begins_to_read_late_is_told_which_logs_have_lost_what_he_never_had() {
    let (listener, options) = listen().await;
    let (tell, told) = oneshot::channel();
    let broker = tokio::spawn(async move {
        let mut peer = Peer::with_mirror(&listener).await;
        let to = LogKey { rev: rev(6), index: 0 };
        peer.put(&format!("/log/{to}"), 6).await;
        told.await.unwrap();
        peer.change("/log", 7, Act::Trim { to, gap: false }).await;
        peer
    });
    let (_client, mirror) = mirror(options, MirrorOptions::new()).await;
    soon(mirror.at(rev(6))).await.unwrap();
    assert!(gaps_so_far(&mirror).is_empty());
    tell.send(()).unwrap();
    soon(mirror.at(rev(7))).await.unwrap();
    // Each reader begins where the mirror began.
    assert_eq!([gaps_so_far(&mirror), gaps_so_far(&mirror)], [[path("/log")], [path("/log")]]);
    drop(broker.await.unwrap());
}

#[tokio::test]
async fn a_mirror_of_mode_once_was_fresh_and_is_no_more() {
    let (listener, options) = listen().await;
    let broker = tokio::spawn(async move { Peer::with_mirror(&listener).await });
    let (_client, mirror) = mirror(options, MirrorOptions::new().once()).await;
    let mut changes = mirror.changes();
    while soon(changes.next()).await.is_some() {}
    soon(mirror.fresh()).await.unwrap();
    assert!(!mirror.is_fresh());
    let error = mirror.resync().await.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.word()), ("the mirror is closed", "closed"));
    drop(broker.await.unwrap());
}

#[tokio::test]
async fn a_mirror_that_has_ended_with_its_client_has_nothing_to_compare_with() {
    let (listener, options) = listen().await;
    let broker = tokio::spawn(async move { Peer::with_mirror(&listener).await });
    let (client, mirror) = mirror(options, MirrorOptions::new()).await;
    soon(mirror.fresh()).await.unwrap();
    drop(broker.await.unwrap());
    soon(client.clone().close()).await;
    assert_eq!(soon(mirror.verify()).await.unwrap(), Verdict::Unknown);
    let (late, never) = (mirror.at(rev(9)).await, client.put(path("/a"), Value::text("x")).await);
    assert_eq!(late.unwrap_err().to_string(), "the mirror is closed");
    assert_eq!(never.unwrap_err().to_string(), "the client is closed; it was never sent");
}

#[tokio::test]
async fn a_retry_that_the_application_goes_on_behind_ends_the_run_all_the_same() {
    let (listener, options) = listen().await;
    let (tell, told) = oneshot::channel();
    let broker = tokio::spawn(async move {
        let mut peer = Peer::with_mirror(&listener).await;
        told.await.unwrap();
        peer.put("/a", 6).await;
        let ClientFrame::Txn(txn) = peer.read().await else { panic!("no txn") };
        peer.done(txn.id, 7).await;
        peer
    });
    let (_client, mirror) = mirror(options, MirrorOptions::new()).await;
    let mut tell = Some(tell);
    let transaction = mirror.transact(|tx| {
        let there = tx.get(&path("/a"))?.is_some();
        if !there {
            tell.take().unwrap().send(()).unwrap();
            let retried: Result<(), Abort> = tx.retry();
            assert!(matches!(retried, Err(Abort::Retry)));
            // Nothing can be read any more.
            assert!(matches!(tx.get(&path("/a")), Err(Abort::Retry)));
        }
        tx.put(path("/b"), Value::text("x"));
        Ok(there)
    });
    let done = soon(transaction).await.unwrap();
    assert_eq!((done.result, done.runs), (true, 2));
    drop(broker.await.unwrap());
}

/// The broker has answered a put of `/a`, and has not sent it to the mirror.
async fn untold(listener: &TcpListener) -> Peer {
    let mut peer = Peer::with_mirror(listener).await;
    let ClientFrame::Put(put) = peer.read().await else { panic!("no put") };
    peer.done(put.id, 6).await;
    peer
}

/// The broker sends it only when the mirror asks, followed by a put of `/b`.
async fn late_delta(listener: TcpListener) -> Peer {
    let mut peer = untold(&listener).await;
    let ClientFrame::Sync(sync) = peer.read().await else { panic!("no sync") };
    peer.put("/a", 6).await;
    peer.put("/b", 7).await;
    let digests = Vec::new();
    peer.say(ServerFrame::Sync(frame::Sync { id: Some(sync.id), rev: rev(7), digests })).await;
    peer
}

#[tokio::test]
async fn a_transaction_that_commits_nothing_has_seen_what_its_client_was_told_is_done() {
    for fails in [true, false] {
        let (listener, options) = listen().await;
        let broker = tokio::spawn(late_delta(listener));
        let (client, mirror) = mirror(options, MirrorOptions::new()).await;
        soon(mirror.fresh()).await.unwrap();
        soon(client.put(path("/a"), Value::text("x"))).await.unwrap();
        let transaction = mirror.transact(|tx| match tx.get(&path("/a"))? {
            None if fails => Err("it is not there")?,
            there => Ok(there.is_some()),
        });
        let done = soon(transaction).await.unwrap();
        assert_eq!((done.result, done.runs), (true, 2), "fails: {fails}");
        // Once the run has seen the write, its result counts.
        let known = soon(mirror.transact(|tx| Ok(tx.get(&path("/c"))?.is_some()))).await.unwrap();
        assert_eq!((known.result, known.runs), (false, 1));
        drop(broker.await.unwrap());
    }
}

#[tokio::test]
async fn a_transaction_on_a_mirror_that_gets_no_further_answers_from_what_there_is() {
    let (listener, options) = listen().await;
    let broker = tokio::spawn(async move { untold(&listener).await });
    let (client, mirror) = mirror(options, MirrorOptions::new().once()).await;
    soon(mirror.fresh()).await.unwrap();
    soon(client.put(path("/a"), Value::text("x"))).await.unwrap();
    let seen = soon(mirror.transact(|tx| Ok(tx.get(&path("/a"))?.is_some()))).await.unwrap();
    assert_eq!((seen.result, seen.runs), (false, 1));
    drop(broker.await.unwrap());
}

#[tokio::test]
async fn an_interval_below_a_millisecond_is_one() {
    let (listener, options) = listen().await;
    let broker = tokio::spawn(async move {
        let (mut peer, _) = Peer::accept(&listener, 4).await;
        let ClientFrame::Sub(sub) = peer.read().await else { panic!("no sub") };
        sub.every_ms
    });
    let how = MirrorOptions::new().every(Duration::from_micros(500));
    let (_client, _mirror) = mirror(options, how).await;
    assert_eq!(soon(broker).await.unwrap(), 1);
}

#[tokio::test]
async fn a_frame_is_as_large_as_the_broker_likes() {
    let (listener, options) = listen().await;
    let broker = tokio::spawn(async move {
        let mut peer = Peer::with_mirror(&listener).await;
        // More than the WebSocket library accepts by default.
        let act = Act::Put(Some(Value::octets(&vec![7; 17 << 20])));
        let changes = vec![Change { path: path("/large"), rev: rev(6), act }];
        let delta = Delta { rev: rev(6), since: None, sub: None, part: false, changes };
        peer.say(ServerFrame::Delta(delta)).await;
        peer
    });
    let (_client, mirror) = mirror(options, MirrorOptions::new()).await;
    soon(mirror.at(rev(6))).await.unwrap();
    drop(broker.await.unwrap());
}

/// A broker may send fewer entries than requested, and children of a log that are no entries of it.
#[tokio::test]
async fn an_earlier_page_is_full_or_the_last() {
    let key = |n| path(&format!("/log/{}", LogKey { rev: rev(n), index: 0 }));
    let entry = |path: Path, n| Change { path, rev: rev(n), act: Act::Put(None) };
    let (listener, options) = listen().await;
    let broker = tokio::spawn(async move {
        let mut peer = Peer::with_mirror(&listener).await;
        let pages = [
            // One child that is gone but has something under it, and one that is no log entry.
            (vec![entry(key(4), 0), entry(path("/log/a"), 3)], true),
            (vec![entry(key(3), 3)], true),
            (vec![entry(key(2), 2)], true),
            // The page is full. Whether there are more shows one entry beyond it.
            (vec![entry(path("/log/b"), 1)], true),
            (vec![entry(key(1), 1)], false),
            // Another page, without a limit. A child is left that is no entry.
            (vec![entry(path("/log/b"), 1)], true),
            (vec![entry(key(1), 1)], true),
            (vec![entry(path("/log/0"), 1)], false),
        ];
        let mut asked = Vec::new();
        for (entries, more) in pages {
            let ClientFrame::List(list) = peer.read().await else { panic!("no list") };
            assert_eq!(list.after, Some(path("/log")));
            asked.push((list.before, list.limit));
            peer.say(ServerFrame::Found(frame::Found { id: list.id, rev: rev(5), entries, more }))
                .await;
        }
        asked
    });
    let (_client, mirror) = mirror(options, MirrorOptions::new()).await;
    let mut paths = Vec::new();
    for (limit, before, more) in [(2, None, true), (0, Some(key(2)), false)] {
        let page = soon(mirror.earlier(&path("/log"), limit, before.as_ref())).await.unwrap();
        assert_eq!(page.more, more);
        paths.push(page.entries.into_iter().map(|entry| entry.path).collect::<Vec<_>>());
    }
    assert_eq!(paths, [vec![key(2), key(3)], vec![key(1)]]);
    let asked = broker.await.unwrap();
    let expected = [
        (None, 3),
        (Some(path("/log/a")), 3),
        (Some(key(3)), 2),
        (Some(key(2)), 1),
        (Some(path("/log/b")), 1),
        (Some(key(2)), 0),
        (Some(path("/log/b")), 0),
        (Some(key(1)), 1),
    ];
    assert_eq!(asked, expected);
}
