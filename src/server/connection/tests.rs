//! A connection without a client that speaks.

use std::pin::pin;

use onetree_core::{Request, Settings, State, Time};
use onetree_protocol::frame::{Do, Mode, Sub};
use onetree_protocol::{DigestKey, Epoch, Path, Pattern, Value, View};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::broker::Shared;
use crate::config::Config;
use crate::fanout::Fanout;
use crate::server::{ENVELOPE, sessions};

/// A connection to a server that has a queue for one event.
struct Arrived {
    connection: Connection,
    client: TcpStream,
    server: Arc<Server>,
    queue: mpsc::Receiver<Event>,
}

async fn arrive(tree: &[Request]) -> Arrived {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let client = TcpStream::connect(addr).await.unwrap();
    let (socket, peer) = listener.accept().await.unwrap();
    // At the end of its hold the feed takes a step out of turn: later than any test waits.
    let config = Config { hold_ms: 60_000, ..Config::default() };
    let (bounds, retention) = (config.bounds(), config.retention_rules());
    let settings = Settings { epoch: Epoch(1), digest_key: DigestKey(1), bounds, retention };
    let mut state = State::new(settings);
    for request in tree {
        state.write(Time(0), &Author::default(), request).answer.unwrap();
    }
    let fanout = Fanout::new(config.frame_bytes as usize, ENVELOPE);
    let shared = Shared::new(state.snapshot(), fanout, Arc::default());
    let (events, queue) = mpsc::channel(1);
    let server = Arc::new(Server::new(config, Arc::new(shared), events, addr));
    let (read, agent, codec) = (Bytes::new(), None, Codec::Json);
    let arrival = Arrival { socket, read, peer, agent, codec, place: None, socket_place: None };
    let connection = Connection::new(server.clone(), arrival);
    connection.enter();
    Arrived { connection, client, server, queue }
}

/// Asks all connections who they are, and waits until they have told.
async fn ask_all(server: &Server) {
    assert!(sessions::sessions(server, sessions::Page::parse(None).unwrap()).await.is_some());
}

#[tokio::test]
async fn who_waits_for_the_owner_keeps_its_place_whatever_it_is_told() {
    let Arrived { mut connection, client: _client, server, mut queue } = arrive(&[]).await;
    // The queue is full: its goodbye waits.
    server.events.try_send(Event::Tick).unwrap();
    connection.session = Name::parse("s");
    connection.leaving = Some(1);
    assert!(connection.end_session().is_ok());
    let _life = tokio::spawn(async move { connection.live().await });
    ask_all(&server).await;
    // Another comes behind it, and there is room for one of them.
    let mut other = pin!(server.events.reserve());
    assert!((&mut other).now_or_never().is_none());
    ask_all(&server).await;
    assert!(matches!(queue.recv().await, Some(Event::Tick)));
    assert!((&mut other).now_or_never().is_none(), "who came behind it is before it");
    assert!(matches!(queue.recv().await, Some(Event::End { .. })));
}

/// A connection whose subscription sees none of 50,000 entries, and has to look at each.
async fn walker() -> Arrived {
    let put = |n| {
        let path = Path::parse(&format!("/t/{n}")).unwrap();
        Do::Put { path, value: Value::json("0"), ttl_ms: None, ephemeral: false }
    };
    let puts = |from| (from..from + 1_000).map(put).collect();
    let tree = (0..50).map(|part| Request { changes: puts(part * 1_000), ..Request::default() });
    let mut arrived = arrive(&tree.collect::<Vec<_>>()).await;
    let patterns = vec![Pattern::parse("*/none").unwrap()];
    let view = View { patterns, ..View::tree(Path::root()) };
    let (cookie, mode) = (None, Mode::Stay);
    let (signals, every_ms, copy) = (false, 0, false);
    let sub = Sub { id: 1, sub: 1, view, cookie, mode, signals, every_ms, copy };
    arrived.connection.subscribe(&sub);
    arrived
}

/// Takes all turns there are.
async fn take_turns(server: &Server) -> OwnedSemaphorePermit {
    let all = tokio::runtime::Handle::current().metrics().num_workers();
    server.turns.clone().acquire_many_owned(all as u32).await.unwrap()
}

/// A frame that a client sends: a text message with a mask that changes nothing.
fn masked(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 126, "a longer text has another header");
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

fn count(said: &[u8], word: &str) -> usize {
    String::from_utf8_lossy(said).matches(word).count()
}

/// Reads what the client is told, until that has this word so many times.
async fn read_until(
    reads: &mut (impl AsyncRead + Unpin),
    said: &mut Vec<u8>,
    word: &str,
    times: usize,
) {
    while count(said, word) < times {
        let read = timeout(Duration::from_secs(20), reads.read_buf(said)).await;
        assert!(read.unwrap_or_else(|_| panic!("{word} does not come")).unwrap() > 0);
    }
}

#[tokio::test]
async fn who_walks_waits_for_its_turn_whatever_it_is_told() {
    let Arrived { mut connection, mut client, server, queue: _queue } = walker().await;
    let turns = take_turns(&server).await;
    let _life = tokio::spawn(async move { connection.live().await });
    for _ in 0..500 {
        ask_all(&server).await;
    }
    let mut said = Vec::with_capacity(4096);
    client.try_read_buf(&mut said).unwrap();
    assert_eq!(count(&said, "\"fresh\""), 0, "it has walked on without a turn");
    drop(turns);
    read_until(&mut client, &mut said, "\"fresh\"", 1).await;
}

/// A resync is announced at once, and its walk begins when it is its turn.
#[tokio::test]
async fn what_is_made_already_does_not_wait_for_the_turn() {
    let Arrived { mut connection, mut client, server, queue: _queue } = walker().await;
    let _turns = take_turns(&server).await;
    let _life = tokio::spawn(async move { connection.live().await });
    let mut said = Vec::new();
    read_until(&mut client, &mut said, "\"refresh\"", 1).await;
    client.write_all(&masked(r#"{"op":"resync","id":2,"sub":1}"#)).await.unwrap();
    read_until(&mut client, &mut said, "\"refresh\"", 2).await;
    assert_eq!(count(&said, "\"fresh\""), 0, "it has walked on without a turn");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_without_pause_uses_the_turn_that_it_is_given() {
    let Arrived { mut connection, client, server, queue: _queue } = walker().await;
    let turns = take_turns(&server).await;
    let (mut reads, mut writes) = client.into_split();
    let signals = masked(r#"{"op":"signal","path":"/s","json":0}"#).repeat(10_000);
    let floods = tokio::spawn(async move { while writes.write_all(&signals).await.is_ok() {} });
    let life = tokio::spawn(async move { connection.live().await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(turns);
    read_until(&mut reads, &mut Vec::new(), "\"fresh\"", 1).await;
    drop(take_turns(&server).await);
    floods.abort();
    life.abort();
}

/// As when the disk hangs: its owner cannot be told that it is gone.
#[tokio::test]
async fn who_ends_gives_up_its_place_among_those_that_walk() {
    let Arrived { mut connection, client: _client, server, queue: _queue } = walker().await;
    let turns = take_turns(&server).await;
    connection.session = Name::parse("s");
    server.events.try_send(Event::Tick).unwrap();
    let mailbox = connection.mailbox.clone();
    let _life = tokio::spawn(async move {
        let ending = connection.live().await;
        connection.close(ending).await;
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    mailbox.order(Order::SessionTaken);
    while !server.mailboxes.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(turns);
    tokio::time::sleep(Duration::from_millis(10)).await;
    drop(timeout(Duration::from_secs(20), take_turns(&server)).await.unwrap());
}

#[tokio::test]
async fn a_fault_ends_a_connection_as_anything_else_does() {
    let ending = or_internal(async { panic!("on purpose") }).await;
    assert!(matches!(ending, Ending::Refused { code: Code::Internal, .. }), "{ending:?}");
    assert!(matches!(or_internal(async { Ending::Cut }).await, Ending::Cut));
}

#[tokio::test]
async fn while_a_tree_is_saved_one_client_has_little_on_its_way_to_the_disk() {
    let Arrived { mut connection, server, .. } = arrive(&[]).await;
    connection.in_flight.begin(BESIDE_A_SAVE_BYTES - 1, 1);
    server.shared.store.saving.store(true, Ordering::Relaxed);
    assert!(connection.reads());
    connection.in_flight.begin(1, 1);
    assert!(!connection.reads());
    server.shared.store.saving.store(false, Ordering::Relaxed);
    assert!(connection.reads());
    connection.in_flight.begin(server.config.frame_bytes as usize - BESIDE_A_SAVE_BYTES, 1);
    assert!(!connection.reads(), "a frame's bytes are on their way");
}
