//! Mirrors from the application's side, over real sockets, against a broker that follows a script.

mod broker;
#[expect(dead_code, reason = "what other tests need")]
mod peer;

use std::future::Future;
use std::time::Duration;

use onetree_client::protocol::frame::{Delta, ServerFrame};
use onetree_client::{
    Act, Change, Client, Error, Event, Mirror, MirrorOptions, Options, Path, Status, Value, View,
};

use broker::{path, rev};
use peer::{Peer, listen};

/// A client, and a mirror of the root.
async fn mirror(options: Options, how: MirrorOptions) -> (Client, Mirror) {
    let client = Client::connect(options).await.unwrap();
    let mirror = client.mirror(View::tree(Path::root()), how);
    (client, mirror)
}

/// What comes soon, or the test has failed.
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
async fn a_reader_that_begins_while_there_is_no_connection_is_told_so() {
    let (listener, options) = listen().await;
    // With the listener: nobody can come back.
    let broker = tokio::spawn(async move { (Peer::with_mirror(&listener).await, listener) });
    let (client, mirror) = mirror(options, MirrorOptions::new()).await;
    soon(mirror.fresh()).await.unwrap();
    drop(broker.await.unwrap());
    let mut status = client.status();
    soon(status.wait_for(|status| matches!(status, Status::Offline { .. }))).await.unwrap();
    let mut changes = mirror.changes();
    let told = [changes.try_next().unwrap(), changes.try_next().unwrap()];
    assert!(matches!(told, [Event::Fresh { .. }, Event::Offline { .. }]), "{told:?}");
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
    assert!(matches!(mirror.resync().await, Err(Error::Closed { .. })));
    drop(broker.await.unwrap());
}

#[tokio::test]
async fn a_frame_is_as_large_as_the_broker_likes() {
    let (listener, options) = listen().await;
    let broker = tokio::spawn(async move {
        let mut peer = Peer::with_mirror(&listener).await;
        // More than the WebSocket library takes unless told.
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
