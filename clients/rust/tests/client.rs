//! The client over real sockets, against a broker that follows a script.

mod broker;
#[expect(dead_code, reason = "what other tests need")]
mod peer;

use std::time::Duration;

use onetree_client::protocol::frame::{
    ClientFrame, Fresh, Ok as Accepted, Refresh, ServerFrame, Sync,
};
use onetree_client::{
    Action, Append, Client, Code, Codec, ConnectError, Digest, Error, Event, LogKey, MirrorOptions,
    Options, Path, Reason, Reconnect, RefreshKind, Step, Txn, Value, Verdict, View,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use broker::{KEY, path, rev};
use peer::{Peer, bind, listen};

#[tokio::test]
async fn writes_go_out_in_order_within_the_limit_and_over_a_reconnect() {
    for codec in Codec::ALL {
        let (listener, options) = listen().await;
        let broker = tokio::spawn(async move {
            let mut texts = Vec::new();
            let (mut peer, _) = Peer::accept(&listener, 4).await;
            let mut waiting = Vec::new();
            for _ in 0..4 {
                waiting.push(peer.read().await);
            }
            let more = tokio::time::timeout(Duration::from_millis(50), peer.next()).await;
            assert!(more.is_err(), "more in flight than 4");
            // All four writes happened, but only one of them is answered.
            let mut last = 0;
            for frame in &waiting {
                let ClientFrame::Append(append) = frame else { panic!("{frame:?}") };
                last = append.seq.unwrap();
                texts.push(String::from_utf8(append.value.bytes.to_vec()).unwrap());
            }
            peer.done(waiting[0].id().unwrap(), 2).await;
            drop(peer);
            let (mut peer, hello) = Peer::accept(&listener, 4).await;
            assert!(hello.session.is_some());
            while let Some(frame) = peer.next().await {
                let ClientFrame::Append(append) = frame else {
                    peer.say(ServerFrame::Ok(Accepted { id: frame.id().unwrap() })).await;
                    continue;
                };
                // A write that was done already is only answered again.
                let seq = append.seq.unwrap();
                if seq > last {
                    assert_eq!(seq, last + 1);
                    last = seq;
                    texts.push(String::from_utf8(append.value.bytes.to_vec()).unwrap());
                }
                peer.done(append.id, 2 + seq).await;
            }
            texts
        });
        let client = Client::connect(options.codec(codec)).await.unwrap();
        let pending: Vec<_> = (0..1000)
            .map(|n| client.submit(Append::new(path("/log"), Value::text(&n.to_string()))))
            .collect();
        for pending in pending {
            pending.await.unwrap();
        }
        client.close().await;
        let expected: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        assert_eq!(broker.await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_transaction_has_steps_of_each_kind() {
    let (listener, options) = listen().await;
    let broker = tokio::spawn(async move {
        let (mut peer, _) = Peer::accept(&listener, 1).await;
        let ClientFrame::Txn(txn) = peer.read().await else { panic!("no txn") };
        txn.changes
    });
    let client = Client::connect(options).await.unwrap();
    let (a, value) = (|| path("/a"), || Value::text("x"));
    let to = LogKey { rev: rev(5), index: 0 };
    let txn = Txn::new().put(a(), value()).append(a(), value());
    drop(client.submit(txn.delete(a()).drop_tree(a()).trim(a(), to)));
    let sent = broker.await.unwrap();
    let (ttl_ms, ephemeral) = (None, false);
    let expected = [
        Step::Put { path: a(), value: value(), ttl_ms, ephemeral },
        Step::Append { path: a(), value: value(), ttl_ms, ephemeral },
        Step::Delete { path: a() },
        Step::Drop { path: a() },
        Step::Trim { path: a(), to },
    ];
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn a_full_queue_refuses_or_waits() {
    let (listener, options) = listen().await;
    let broker = tokio::spawn(async move {
        let (mut peer, _) = Peer::accept(&listener, 4).await;
        let frame = peer.read().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        peer.done(frame.id().unwrap(), 2).await;
        let frame = peer.read().await;
        peer.done(frame.id().unwrap(), 3).await;
        peer.next().await
    });
    let client = Client::connect(options.queue_bytes(600)).await.unwrap();
    let append = || Append::new(path("/log"), Value::text("x"));
    let first = client.submit(append());
    assert!(matches!(client.submit(append()).await, Err(Error::QueueFull)));
    assert_eq!(client.write(append()).await.unwrap().rev, rev(3));
    assert_eq!(first.await.unwrap().rev, rev(2));
    drop(client);
    // The last handle is gone, so the client sends `bye`.
    assert!(matches!(broker.await.unwrap(), Some(ClientFrame::Bye(_))));
}

#[tokio::test]
async fn a_mirror_lives_over_a_lost_connection() {
    let (listener, options) = listen().await;
    let (reads, reading) = oneshot::channel();
    let broker = tokio::spawn(async move {
        let (mut peer, _) = Peer::accept(&listener, 4).await;
        let ClientFrame::Sub(sub) = peer.read().await else { panic!("no sub") };
        peer.refresh(sub.sub, 5).await;
        // A delta that comes before anybody reads would be part of the first `Fresh`.
        reading.await.unwrap();
        peer.put("/a", 6).await;
        let ClientFrame::Sync(sync) = peer.read().await else { panic!("no sync") };
        let mut digest = Digest::default();
        digest.insert(KEY.hash(&path("/a"), rev(6)));
        let id = Some(sync.id);
        let digests = vec![(sub.sub, Some(digest))];
        peer.say(ServerFrame::Sync(Sync { id, rev: rev(7), digests })).await;
        drop(peer);
        let (mut peer, hello) = Peer::accept(&listener, 4).await;
        assert_eq!(hello.subs[0].cookie.unwrap().rev, rev(7));
        let (kind, why) = (RefreshKind::Delta, Reason::Cookie);
        let refresh = Refresh { sub: sub.sub, kind, why, from: Some(rev(7)) };
        peer.say(ServerFrame::Refresh(refresh)).await;
        let view = View::tree(Path::root()).fingerprint();
        let fresh = Fresh { sub: sub.sub, rev: rev(8), view, digest: Some(digest) };
        peer.say(ServerFrame::Fresh(fresh)).await;
        peer.put("/b", 9).await;
        assert!(matches!(peer.read().await, ClientFrame::Unsub(_)));
    });
    let client = Client::connect(options).await.unwrap();
    let mirror = client.mirror(View::tree(Path::root()), MirrorOptions::new());
    mirror.fresh().await.unwrap();
    mirror.at(rev(5)).await.unwrap();
    let mut changes = mirror.changes();
    reads.send(()).unwrap();
    let Some(Event::Fresh { .. }) = changes.next().await else { panic!("not fresh") };
    let Some(Event::Delta { since, rev: at, .. }) = changes.next().await else {
        panic!("no delta")
    };
    assert_eq!((since, at), (rev(5), rev(6)));
    assert_eq!(changes.snapshot().cookie().unwrap().rev, rev(6));
    assert!(mirror.get(&path("/a")).is_some());
    assert_eq!(mirror.verify().await.unwrap(), Verdict::Same { rev: rev(7) });
    // Not with `Mirror::at`, which may send a `sync`: this broker does not expect one.
    let mut said = Vec::new();
    while changes.snapshot().rev() < rev(9) {
        let event = changes.next().await.unwrap();
        said.push(format!("{event:?}").split([' ', '{']).next().unwrap().to_owned());
    }
    assert_eq!(said, ["Synced", "Offline", "Online", "Refreshing", "Fresh", "Delta"]);
    assert_eq!(mirror.snapshot().len(), 2);
    drop(mirror);
    broker.await.unwrap();
}

#[tokio::test]
async fn a_mirror_that_is_not_fresh_yet_is_brought_to_a_write_outside_of_its_view() {
    let (listener, options) = listen().await;
    let broker = tokio::spawn(async move {
        let (mut peer, _) = Peer::accept(&listener, 4).await;
        let ClientFrame::Sub(sub) = peer.read().await else { panic!("no sub") };
        let early = tokio::time::timeout(Duration::from_millis(20), peer.next()).await;
        assert!(early.is_err(), "a `sync` that moves nothing: {early:?}");
        peer.refresh(sub.sub, 5).await;
        let ClientFrame::Sync(sync) = peer.read().await else { panic!("no sync") };
        let digests = vec![(sub.sub, Some(Digest::default()))];
        peer.say(ServerFrame::Sync(Sync { id: Some(sync.id), rev: rev(7), digests })).await;
        peer.next().await
    });
    let client = Client::connect(options).await.unwrap();
    let mirror = client.mirror(View::tree(Path::root()), MirrorOptions::new());
    let patience = Duration::from_secs(10);
    tokio::time::timeout(patience, mirror.at(rev(6))).await.unwrap().unwrap();
    assert_eq!(mirror.rev(), rev(7));
    drop(mirror);
    assert!(matches!(broker.await.unwrap(), Some(ClientFrame::Unsub(_))));
}

#[tokio::test]
async fn a_reader_that_does_not_read_costs_nobody_anything() {
    const MANY: u64 = 2000;
    let (listener, options) = listen().await;
    let broker = tokio::spawn(async move {
        let (mut peer, _) = Peer::accept(&listener, 4).await;
        let ClientFrame::Sub(sub) = peer.read().await else { panic!("no sub") };
        peer.refresh(sub.sub, 5).await;
        for n in 0..MANY {
            peer.put(&format!("/{}", n % 10), 6 + n).await;
        }
        // A write goes through while nobody reads.
        loop {
            let frame = peer.read().await;
            match frame {
                ClientFrame::Sync(sync) => {
                    let (id, digests) = (Some(sync.id), Vec::new());
                    peer.say(ServerFrame::Sync(Sync { id, rev: rev(6 + MANY), digests })).await;
                }
                frame => return peer.done(frame.id().unwrap(), 7 + MANY).await,
            }
        }
    });
    let client = Client::connect(options).await.unwrap();
    let mirror = client.mirror(View::tree(Path::root()), MirrorOptions::new());
    let mut changes = mirror.changes();
    let last = rev(5 + MANY);
    mirror.at(last).await.unwrap();
    client.put(path("/x"), Value::text("x")).await.unwrap();
    broker.await.unwrap();
    let (mut count, mut at, mut known) = (0, rev(5), std::collections::BTreeMap::new());
    while let Some(event) = changes.try_next() {
        count += 1;
        if let Event::Delta { since, rev, changes } = event {
            assert_eq!(since, at);
            at = rev;
            known.extend(changes.iter().map(|change| (change.path.clone(), change.rev)));
        }
        if at == last {
            break;
        }
    }
    assert_eq!(at, last);
    assert!(count <= 260, "{count} events");
    let mirrored: Vec<_> = mirror.snapshot().iter().map(|(p, e)| (p.clone(), e.rev)).collect();
    assert_eq!(known.into_iter().collect::<Vec<_>>(), mirrored);
}

/// Returns the error of a client whose broker answers the request to upgrade with `response`.
async fn answered(response: &'static str) -> ConnectError {
    let (listener, options) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 2048];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(response.as_bytes()).await.unwrap();
    });
    Client::connect(options).await.unwrap_err()
}

#[tokio::test]
async fn a_first_connection_that_fails_says_why() {
    let error = answered("HTTP/1.1 403 Forbidden\r\ncontent-length: 6\r\n\r\npages\n").await;
    assert!(error.to_string().ends_with("answers 403: pages"), "{error}");
    let error = answered("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    assert!(matches!(error, ConnectError::Http { status: 400, .. }), "{error}");
    let error = answered("HTTP/1.1 503 Full\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(error.retry_in(), Some(Duration::from_secs(3)));
    let error = answered("220 mail.example.org ESMTP\r\n").await;
    assert!(matches!(error, ConnectError::NotABroker { .. }), "{error:?}");
    let error = answered("").await;
    assert!(matches!(error, ConnectError::Lost(_)), "{error:?}");
    // A proxy may answer so while the broker is away.
    let error = answered("HTTP/1.0 503 Service Unavailable\r\n\r\n").await;
    assert_eq!((error.word(), error.action()), ("unreachable", Action::Retry), "{error:?}");
    // A connection that is closed with something unread is reset.
    let (listener, options) = listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        stream.peek(&mut [0]).await.unwrap();
    });
    let error = Client::connect(options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Lost(_)), "{error:?}");

    // Nobody else gets the address as long as this lives, and nothing listens there.
    let (_silent, options) = bind();
    let error = Client::connect(options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    for url in ["wss://localhost", "http://localhost", "localhost", "ws://"] {
        let error = Client::connect(Options::new(url)).await.unwrap_err();
        assert!(matches!(error, ConnectError::Url { .. }), "{url}: {error:?}");
    }
}

#[tokio::test]
async fn a_scheme_is_one_in_capitals_too() {
    let (listener, _) = listen().await;
    let address = listener.local_addr().unwrap();
    let broker = tokio::spawn(async move { Peer::accept(&listener, 1).await });
    drop(Client::connect(Options::new(format!(" WS://{address}/v1/sync"))).await.unwrap());
    drop(broker.await.unwrap());
}

#[tokio::test]
async fn a_patient_client_waits_for_its_broker() {
    let (socket, options) = bind();
    let client = Client::start(options.reconnect(Reconnect::Always)).unwrap();
    let write = client.submit(Append::new(path("/log"), Value::text("x")));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let listener = socket.listen(1).unwrap();
    let (mut peer, _) = Peer::accept(&listener, 4).await;
    let frame = peer.read().await;
    peer.done(frame.id().unwrap(), 2).await;
    assert_eq!(write.await.unwrap().rev, rev(2));
}

#[tokio::test]
async fn a_close_code_that_says_stop_is_obeyed() {
    let (listener, options) = listen().await;
    let broker = tokio::spawn(async move {
        let (mut peer, _) = Peer::accept(&listener, 4).await;
        let code = Code::SessionTaken.close().unwrap().into();
        let frame = CloseFrame { code, reason: "".into() };
        peer.socket.close(Some(frame)).await.unwrap();
        let again = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(again.is_err(), "the client came back");
    });
    let client = Client::connect(options).await.unwrap();
    let mirror = client.mirror(View::tree(Path::root()), MirrorOptions::new());
    let error = mirror.fresh().await.unwrap_err();
    assert_eq!(error.code(), Some(Code::SessionTaken));
    let error = client.put(path("/a"), Value::text("x")).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::SessionTaken));
    broker.await.unwrap();
}
