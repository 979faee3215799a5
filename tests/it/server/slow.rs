//! Clients that do not read, or send slowly.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::http::get;
use crate::wire::{Bystander, PATIENCE, Wire, broker, kept_unread, narrow, socket};

/// An operation that makes no progress for this long counts as blocked.
const BLOCKED: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_reader_that_stalls_costs_a_bounded_amount_and_is_not_closed() {
    let broker = broker("outbox_bytes = 65536").await;
    let addr = broker.addr();
    let mut slow = Wire::narrow(addr).await;
    slow.sub(1, "/").await;
    let mut quick = Wire::open(addr).await;
    quick.sub(1, "/").await;
    let mut writer = Wire::open(addr).await;
    // All rounds are far more than all buffers between the broker and a client that does not read.
    let text = "x".repeat(kept_unread() / 256);
    let mut last = 0;
    for round in 0..500u64 {
        last = writer.put(&format!("/k/{}", round % 10), json!([round, text])).await;
        while quick.until("delta").await["rev"] != last {}
    }
    // It reads again, and its mirror becomes right, in far fewer deltas than there were commits.
    let mut mirror = BTreeMap::new();
    let (mut deltas, mut folded) = (0, false);
    loop {
        let delta = slow.until("delta").await;
        deltas += 1;
        folded |= delta["since"].is_u64();
        for change in delta["changes"].as_array().unwrap() {
            mirror.insert(change["path"].to_string(), change["json"][0].as_u64().unwrap());
        }
        if delta["rev"] == last && delta["part"].as_bool() != Some(true) {
            break;
        }
    }
    assert!(folded && deltas < 400, "{deltas} deltas");
    let expected: Vec<u64> = (490..500).collect();
    assert_eq!(mirror.into_values().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_client_that_never_reads_its_replies_blocks_only_itself() {
    let broker = broker("").await;
    let addr = broker.addr();
    let mut bystander = Bystander::new(addr).await;
    let mut deaf = Wire::narrow(addr).await;
    deaf.put("/big", json!("x".repeat(kept_unread() / 256))).await;
    // The broker stops reading its requests long before their answers fill the memory. The requests
    // are large, so that the system holds few of them.
    let get = json!({"op": "get", "id": 1, "paths": ["/big"]}).to_string();
    let get = format!("{get:<60000}");
    let mut sent = 0;
    while let Ok(()) = tokio::time::timeout(BLOCKED, deaf.say(Message::text(get.clone()))).await {
        sent += 1;
        assert!(sent < 2000, "whatever it asks is read, and nothing of the answers");
    }
    bystander.check().await;
}

/// A reader that stops is waited for, although it answers no ping meanwhile: silence does not count
/// while the socket takes nothing. It does not matter whether its own pings come.
#[tokio::test]
async fn a_reader_that_stops_for_many_pings_is_still_there_and_gets_the_rest_folded() {
    // The system's buffers are full long before it would count as silent.
    let size = kept_unread() / 8;
    let sizes = format!("value_bytes = {}\nframe_bytes = {}", 2 * size, 4 * size);
    let broker = broker(&format!("ping_interval_ms = 600\noutbox_bytes = 65536\n{sizes}")).await;
    let addr = broker.addr();
    let mut slow = Wire::narrow(addr).await;
    slow.sub(1, "/").await;
    let mut writer = Wire::open(addr).await;
    let text = "x".repeat(size);
    let mut last = 0;
    let began = Instant::now();
    for round in 0.. {
        last = writer.put(&format!("/k/{}", round % 3), json!([round, text])).await;
        if began.elapsed() > Duration::from_millis(2500) {
            break;
        }
    }
    let mut folded = false;
    loop {
        let delta = slow.until("delta").await;
        folded |= delta["since"].is_u64();
        if delta["rev"] == last && delta["part"].as_bool() != Some(true) {
            break;
        }
    }
    assert!(folded, "it was too quick for this test");
    slow.put("/still", json!("there")).await;
}

#[tokio::test]
async fn before_hello_no_more_is_read_than_is_answered() {
    let broker = broker("hello_timeout_ms = 6000").await;
    let mut wire = Wire::narrow_and_silent(broker.addr()).await;
    // RFC 6455, 5.2: pings of 125 bytes, masked, with zeros; each must be answered.
    let ping = [&[0x89, 0x80 | 125][..], &[0; 129]].concat();
    let many = ping.repeat(1000);
    let mut sent = 0;
    // What it does not read fills the buffers between.
    while let Ok(written) =
        tokio::time::timeout(BLOCKED, wire.socket.get_mut().write_all(&many)).await
    {
        let Ok(()) = written else { panic!("it has ended before it read no more") };
        sent += many.len();
        assert!(sent < 16 * kept_unread(), "it reads on");
    }
    // When it reads, the broker goes on, and then waits no longer than it says. Other clients
    // notice nothing of this.
    let mut other = Wire::open(broker.addr()).await;
    let mut answers = Vec::new();
    let read = wire.socket.get_mut().read_to_end(&mut answers);
    tokio::time::timeout(PATIENCE, read).await.expect("it goes on").unwrap_or_default();
    // A close frame with one of our codes, and the reason.
    let told = answers.windows(6).any(|window| window == b"hello ");
    let end = String::from_utf8_lossy(&answers[answers.len().saturating_sub(200)..]).into_owned();
    assert!(told, "{} bytes, and not why it ends: {end:?}", answers.len());
    other.put("/other", json!(1)).await;
}

#[tokio::test]
async fn a_frame_that_comes_slowly_is_waited_for() {
    // Silence of this length is shorter than the frame takes, and far longer than one of its
    // pieces.
    let broker = broker("ping_interval_ms = 800").await;
    let mut wire = Wire::open(broker.addr()).await;
    let text = put("x".repeat(2000)).to_string();
    // RFC 6455, 5.2: a text that is masked with zeros, so that it stays as it is.
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    let frame = [&[0x81, 0x80 | 126], &length[..], &[0; 4], text.as_bytes()].concat();
    for piece in frame.chunks(frame.len() / 20) {
        wire.socket.get_mut().write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(wire.next().await["op"], "done");
}

fn put(text: String) -> Value {
    json!({"op": "put", "id": 1, "path": "/slow", "json": text})
}

/// Sends this request this many times without reading anything.
async fn ask(stream: &mut TcpStream, path: &str, times: usize) {
    let host = stream.peer_addr().unwrap();
    let said = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").repeat(times);
    // Not all of it may be taken: that is what this test is about.
    let _ = tokio::time::timeout(BLOCKED, stream.write_all(said.as_bytes())).await;
}

/// Answers of 28 KB each.
const PAGE: &str = "/console/onetree/blake2s.js";

/// Reads to the end, at most this much at once, with a pause after each read. Returns how many
/// bytes there were.
async fn read_all(stream: &mut TcpStream, piece: usize, rest: Duration) -> usize {
    let mut buffer = vec![0; piece];
    let mut sum = 0;
    loop {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await;
        match read.expect("it is left open") {
            Ok(0) | Err(_) => return sum,
            Ok(read) => sum += read,
        }
        tokio::time::sleep(rest).await;
    }
}

#[tokio::test]
async fn who_asks_over_http_and_does_not_read_is_let_go_and_who_reads_slowly_is_not() {
    // On a busy machine a slow reader takes long to free a third of its buffer, which the system
    // requires before it lets the broker go on.
    let broker = broker("hello_timeout_ms = 2000").await;
    // Far more than all buffers between the broker and a client.
    let pages = kept_unread() / 8_000;
    let least_bytes = pages * 28_000;
    let deaf = async {
        let (mut stream, _) = narrow(broker.addr()).await.unwrap();
        ask(&mut stream, PAGE, pages).await;
        tokio::time::sleep(Duration::from_millis(4000)).await;
        // What the system has taken still comes.
        let sum = read_all(&mut stream, 1 << 20, Duration::ZERO).await;
        assert!(sum < least_bytes, "{sum} bytes");
    };
    let slow = async {
        let (mut stream, _) = socket(broker.addr()).await.unwrap();
        ask(&mut stream, PAGE, pages).await;
        let sum = read_all(&mut stream, kept_unread() / 64, Duration::from_millis(8)).await;
        assert!(sum >= least_bytes, "{sum} bytes");
    };
    tokio::join!(deaf, slow);
}

/// A client that asks for `/v1/sessions` and does not read keeps its answer in memory, so the
/// number of such answers is limited.
#[tokio::test]
async fn answers_about_sessions_that_nobody_reads_are_few() {
    // Long enough that all are stuck at the same time, whichever was first: how much the system
    // takes of each differs.
    let broker = broker("hello_timeout_ms = 6000").await;
    let addr = broker.addr();
    let mut wires = Vec::new();
    let path = "/0123456789".repeat(20);
    for _ in 0..10 {
        let subs: Vec<Value> =
            (0..40).map(|n| json!({"id": n, "sub": n, "path": format!("{path}/{n}")})).collect();
        wires.push(Wire::hello(addr, json!({"subs": subs})).await.0);
    }
    let mut deaf = Vec::new();
    for _ in 0..5 {
        let (mut stream, _) = narrow(addr).await.unwrap();
        ask(&mut stream, "/v1/sessions", kept_unread() / 40_000).await;
        deaf.push(stream);
    }
    let until = async |status: u16| {
        let began = Instant::now();
        loop {
            let answer = get(addr, "/v1/sessions", &addr.to_string(), "").await;
            if answer.status == status {
                return answer;
            }
            assert!(began.elapsed() < 3 * PATIENCE, "it never is {status}: {}", answer.status);
        }
    };
    let refused = until(503).await;
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    assert_eq!(get(addr, "/healthz", "x", "").await.status, 200);
    until(200).await;
}
