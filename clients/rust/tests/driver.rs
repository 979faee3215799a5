//! Tests of the client with its environment: the runtime, the functions of the application, the
//! clock.

mod broker;
#[expect(dead_code, reason = "what other tests need")]
mod peer;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use onetree_client::protocol::frame::{ClientFrame, Found, ServerFrame};
use onetree_client::{
    Action, Client, Code, ConnectError, Error, Event, MirrorOptions, Options, Path, Reconnect,
    Sent, Status, Value, View,
};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::time::Instant;

use broker::{path, rev};
use peer::{Peer, listen};

/// Long enough for whatever comes. What has not come by then is missing.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait for an answer that does not come. Long enough for one that does.
const ANSWER: Duration = Duration::from_secs(2);

fn everything() -> View {
    View::tree(Path::root())
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it never comes")
}

#[tokio::test]
async fn room_in_the_queue_is_waited_for_no_longer_than_an_answer() {
    let (listener, options) = listen().await;
    let broker = tokio::spawn(async move {
        let (mut peer, _) = Peer::accept(&listener, 4).await;
        // The broker never answers.
        while peer.next().await.is_some() {}
    });
    let options = options.queue_bytes(1).request_timeout(ANSWER);
    let client = Client::connect(options).await.unwrap();
    // What was sent keeps its room in the queue until it is answered.
    let sent = soon(client.put(path("/a"), Value::text("x"))).await;
    assert!(matches!(sent, Err(Error::Timeout { sent: Sent::Write, .. })), "{sent:?}");
    let unsent = soon(client.put(path("/a"), Value::text("x"))).await;
    assert!(matches!(unsent, Err(Error::Timeout { sent: Sent::Never, .. })), "{unsent:?}");
    let unsent = soon(client.get(path("/a"))).await;
    assert!(matches!(unsent, Err(Error::Timeout { sent: Sent::Never, .. })), "{unsent:?}");
    broker.abort();
}

#[tokio::test]
async fn a_write_that_is_answered_as_if_it_was_a_read_is_not_to_be_asked_again() {
    let (listener, options) = listen().await;
    let broker = tokio::spawn(async move {
        let (mut peer, _) = Peer::accept(&listener, 4).await;
        let ClientFrame::Put(put) = peer.read().await else { panic!("no put") };
        let found = Found { id: put.id, rev: rev(2), entries: Vec::new(), more: false };
        peer.say(ServerFrame::Found(found)).await;
        peer
    });
    let client = Client::connect(options).await.unwrap();
    let error = soon(client.put(path("/a"), Value::text("x"))).await.unwrap_err();
    assert_eq!(error.action(), Action::Stop, "{error:?}");
    drop(broker.await.unwrap());
}

#[test]
fn a_client_ends_with_its_runtime_and_says_so() {
    for polled in [true, false] {
        let one = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (client, mirror) = one.block_on(async {
            let (listener, options) = listen().await;
            let client = Client::start(options).unwrap();
            let mirror = client.mirror(everything(), MirrorOptions::new());
            if polled {
                let (mut peer, hello) = Peer::accept(&listener, 4).await;
                peer.refresh(hello.subs[0].sub, 5).await;
                mirror.fresh().await.unwrap();
            }
            (client, mirror)
        });
        let on_its_way = client.submit(onetree_client::Put::new(path("/a"), Value::text("x")));
        let mut read = pin!(client.get(path("/a")));
        let waker = Waker::noop();
        assert!(read.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        let unheard = client.mirror(everything(), MirrorOptions::new());
        drop(one);
        let two = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        two.block_on(async {
            assert!(matches!(client.status(), Status::Ended { error: Some(_) }));
            assert!(!mirror.is_fresh());
            let is_told = |error: &Error| {
                matches!(error, Error::Closed { why: Some(_), .. })
                    && error.to_string().contains("the runtime that the client ran on has ended")
            };
            // Nobody knows what became of these requests.
            let of = [soon(on_its_way).await.map(|_| ()), soon(read).await.map(|_| ())];
            for (answer, was) in of.into_iter().zip([Sent::Write, Sent::Read]) {
                let error = answer.unwrap_err();
                assert!(is_told(&error), "{error}");
                assert!(
                    matches!(error, Error::Closed { sent, .. } if sent == Some(was)),
                    "{was:?}"
                );
            }
            assert!(is_told(&soon(client.put(path("/a"), Value::text("x"))).await.unwrap_err()));
            for mirror in [mirror, unheard, client.mirror(everything(), MirrorOptions::new())] {
                assert!(is_told(&soon(mirror.fresh()).await.unwrap_err()), "polled: {polled}");
                let mut changes = mirror.changes();
                let mut last = None;
                while let Some(event) = soon(changes.next()).await {
                    last = Some(event);
                }
                assert!(matches!(last, Some(Event::Ended { error: Some(_) })), "{last:?}");
            }
        });
    }
}

/// Runs a future on this thread alone, without a tokio runtime.
fn alone<T>(what: impl Future<Output = T>) -> T {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut what = pin!(what);
    loop {
        let polled = what.as_mut().poll(&mut Context::from_waker(&waker));
        if let Poll::Ready(value) = polled {
            return value;
        }
        thread::park_timeout(PATIENCE);
    }
}

#[test]
fn a_client_can_be_used_from_any_thread_also_when_its_runtime_is_gone() {
    let mut builder = runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().unwrap();
    let (client, broker) = runtime.block_on(async {
        let (listener, options) = listen().await;
        let broker = tokio::spawn(async move {
            let (mut peer, _) = Peer::accept(&listener, 4).await;
            let ClientFrame::Put(put) = peer.read().await else { panic!("no put") };
            peer.done(put.id, 2).await;
            let ClientFrame::Sub(sub) = peer.read().await else { panic!("no sub") };
            peer.refresh(sub.sub, 5).await;
            // The broker answers nothing any more.
            while peer.next().await.is_some() {}
        });
        let options = options.queue_bytes(1).request_timeout(ANSWER);
        (Client::connect(options).await.unwrap(), broker)
    });
    let file = std::env::temp_dir().join(format!("onetree-driver-{}", std::process::id()));
    let put = || client.put(path("/a"), Value::text("x"));
    assert_eq!(alone(put()).unwrap().rev, rev(2));
    let mirror = client.mirror(everything(), MirrorOptions::new().keep(&file).unwrap());
    alone(mirror.fresh()).unwrap();
    alone(mirror.close()).unwrap();
    let sent = alone(put());
    assert!(matches!(sent, Err(Error::Timeout { sent: Sent::Write, .. })), "{sent:?}");
    // There is no room, and nobody who would make any.
    let unsent = alone(put());
    assert!(matches!(unsent, Err(Error::Timeout { sent: Sent::Never, .. })), "{unsent:?}");
    let mut waiting = pin!(put());
    let waker = Waker::noop();
    assert!(waiting.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    drop(broker);
    runtime.shutdown_timeout(PATIENCE);
    for last in [alone(waiting), alone(put())] {
        assert!(matches!(last, Err(Error::Closed { sent: Some(Sent::Never), .. })), "{last:?}");
    }
    assert!(matches!(
        alone(client.submit(onetree_client::Delete::new(path("/a")))),
        Err(Error::Closed { .. })
    ));
    for suffix in ["", ".lock"] {
        // What is left is among the temporary files.
        let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
    }
}

#[tokio::test]
async fn a_token_function_that_panics_has_given_no_token() {
    let (listener, options) = listen().await;
    let asked = std::sync::atomic::AtomicU32::new(0);
    let options = options.reconnect(Reconnect::Always).token_from(move || {
        let first = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        async move {
            assert!(!first, "on purpose");
            Ok("t".to_owned())
        }
    });
    let client = Client::start(options).unwrap();
    let offline = client.until(|status| matches!(status, Status::Offline { .. }));
    let Status::Offline { error: why, .. } = soon(offline).await.unwrap() else { panic!() };
    assert!(matches!(&*why, ConnectError::Token(_)), "{why:?}");
    let (_peer, hello) = soon(Peer::accept(&listener, 4)).await;
    assert_eq!(hello.token.as_deref(), Some("t"));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_to_connect_takes_no_longer_than_it_may() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    // The function takes most of the time, and nothing answers on the port.
    let options = Options::new(url).connect_timeout(Duration::from_secs(10)).token_from(|| async {
        tokio::time::sleep(Duration::from_secs(9)).await;
        Ok("t".to_owned())
    });
    let began = Instant::now();
    let error = Client::connect(options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(11), "{took:?}");
}

/// Each state is reported as it comes. A reader that did not follow gets the present state.
#[tokio::test]
async fn how_a_client_stands_is_told_and_holds_nothing_up() {
    let (listener, options) = listen().await;
    let client = Client::start(options).unwrap();
    let mut statuses = client.statuses();
    assert!(matches!(soon(statuses.next()).await, Some(Status::Connecting)));
    let (peer, _) = soon(Peer::accept(&listener, 4)).await;
    assert!(matches!(soon(statuses.next()).await, Some(Status::Online(_))));
    // Holding a state here must not hold up the client.
    let held = client.status();
    drop(peer);
    assert!(matches!(soon(statuses.next()).await, Some(Status::Offline { .. })));
    let (peer, _) = soon(Peer::accept(&listener, 4)).await;
    soon(client.until(|status| matches!(status, Status::Online(_)))).await.unwrap();
    assert!(matches!(held, Status::Online(_)));
    drop(peer);
    soon(client.clone().close()).await;
    while let Some(status) = soon(statuses.next()).await {
        if matches!(status, Status::Ended { error: None }) {
            break;
        }
    }
    assert!(soon(statuses.next()).await.is_none());
    let never = soon(client.until(|status| matches!(status, Status::Online(_)))).await;
    assert!(matches!(never, Err(Error::Closed { why: None, sent: None })), "{never:?}");
    assert!(matches!(soon(client.statuses().next()).await, Some(Status::Ended { error: None })));
}

#[tokio::test]
async fn a_label_that_cannot_be_is_refused() {
    let long = "x".repeat(32);
    for label in ["", "a b", "ä", &long] {
        let error = Client::start(Options::new("ws://here").label(label)).unwrap_err();
        assert_eq!(error.code(), Some(Code::BadField), "{label}");
    }
    let (listener, options) = listen().await;
    let label = "x".repeat(31);
    let _client = Client::start(options.label(label.clone())).unwrap();
    let (_peer, hello) = Peer::accept(&listener, 4).await;
    assert!(hello.client.unwrap().as_str().starts_with(&format!("{label}-")));
}

/// The time goes on by this much while the program does something else and reads no socket.
async fn busy(time: Duration) {
    // Until what was sent has arrived.
    thread::sleep(Duration::from_millis(20));
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_goodbye_is_waited_for_as_long_as_is_said() {
    let (listener, options) = listen().await;
    let client = Client::start(options).unwrap();
    let (mut peer, _) = Peer::accept(&listener, 4).await;
    soon(client.until(|status| matches!(status, Status::Online(_)))).await.unwrap();
    let close = tokio::spawn(client.close());
    assert!(matches!(peer.read().await, ClientFrame::Bye(_)));
    // It is not answered. Nothing else happens, so the clock goes to what is waited for next.
    let began = Instant::now();
    tokio::time::pause();
    close.await.unwrap();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[tokio::test]
async fn a_client_that_leaves_ends_when_its_last_request_is_refused_without_being_sent() {
    let (listener, options) = listen().await;
    let client = Client::start(options).unwrap();
    let (_peer, _) = Peer::accept(&listener, 4).await;
    soon(client.until(|status| matches!(status, Status::Online(_)))).await.unwrap();
    let large = Value::text(&"x".repeat(1 << 17));
    let large = client.submit(onetree_client::Put::new(path("/a"), large));
    soon(client.leave()).await;
    assert_eq!(large.await.unwrap_err().code(), Some(Code::ValueTooLarge));
}

#[tokio::test]
async fn what_was_answered_while_the_program_was_busy_is_not_late() {
    let (listener, options) = listen().await;
    let client = Client::start(options).unwrap();
    let put = || client.submit(onetree_client::Put::new(path("/a"), Value::text("x")));
    let puts = [put(), put(), put()];
    let (mut peer, _) = Peer::accept(&listener, 4).await;
    // All of the answers leave at once.
    peer.socket.get_ref().set_nodelay(true).unwrap();
    let mut ids = Vec::new();
    for _ in &puts {
        let ClientFrame::Put(put) = peer.read().await else { panic!("no put") };
        ids.push(put.id);
    }
    for id in ids {
        peer.done(id, 2).await;
    }
    busy(Duration::from_secs(31)).await;
    for put in puts {
        assert_eq!(soon(put).await.unwrap().rev, rev(2));
    }
}

#[tokio::test]
async fn a_program_that_was_busy_does_not_lose_a_connection_that_is_alive() {
    let (listener, options) = listen().await;
    let options = options.request_timeout(Duration::from_secs(60));
    let client = Client::start(options).unwrap();
    let (mut peer, _) = Peer::accept(&listener, 4).await;
    soon(client.until(|status| matches!(status, Status::Online(_)))).await.unwrap();
    peer.done(77, 2).await;
    // The client's task is woken for this, before anybody looks at its socket.
    let put = client.submit(onetree_client::Put::new(path("/a"), Value::text("x")));
    busy(Duration::from_secs(36)).await;
    let Some(ClientFrame::Put(frame)) = soon(peer.next()).await else { panic!("no put") };
    peer.done(frame.id, 3).await;
    assert_eq!(soon(put).await.unwrap().rev, rev(3));
}
