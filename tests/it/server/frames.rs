//! Everything that the broker sends fits into a frame.

use onetree_protocol::{Code, Codec, ServerFrame};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::wire::{Wire, broker, request};

#[tokio::test]
async fn nothing_that_is_sent_exceeds_frame_bytes() {
    let broker = broker("value_bytes = 10000\nframe_bytes = 32000").await;
    let mut wire = Wire::open(broker.addr()).await;
    let (mut live, mut late) = (Wire::open(broker.addr()).await, Wire::open(broker.addr()).await);
    live.sub(1, "/").await;
    let bytes = "AAAA".repeat(3333);
    let steps: Vec<Value> =
        (0..2).map(|n| json!({"do": "put", "path": format!("/b/{n}"), "bytes": bytes})).collect();
    for round in 0..3 {
        let txn = json!({"op": "txn", "id": round, "do": steps});
        assert_eq!(wire.ask(txn).await["op"], "done");
    }
    // Three of these fit into one commit of the broker's own.
    for n in 2..5 {
        let put = json!({"op": "put", "id": 5, "path": format!("/b/{n}"), "bytes": bytes});
        assert_eq!(wire.ask(put).await["op"], "done");
    }
    let sized = async |wire: &mut Wire, end: &str| loop {
        let Some(Ok(Message::Text(text))) = wire.message().await else { panic!("closed") };
        assert!(text.len() <= 32000, "{} bytes", text.len());
        let frame: Value = serde_json::from_str(&text).unwrap();
        if frame["op"] == end {
            break frame;
        }
    };
    late.send(json!({"op": "sub", "id": 1, "sub": 1, "path": "/b"})).await;
    sized(&mut late, "fresh").await;
    for _ in 0..6 {
        sized(&mut live, "delta").await;
    }
    wire.send(json!({"op": "list", "id": 9, "path": "/b"})).await;
    let found = sized(&mut wire, "found").await;
    assert_eq!(found["more"], true);
    let paths: Vec<String> = (0..5).map(|n| format!("/b/{n}")).collect();
    let refused = wire.ask(json!({"op": "get", "id": 10, "paths": paths})).await;
    assert_eq!(refused["code"], "frame-too-large");
}

/// A transaction of appends is refused if its reply, with all of their paths, would not fit in the
/// codec in which it is longer, because an answer may be asked for again in the other codec.
#[tokio::test]
async fn appends_whose_paths_do_not_fit_into_the_reply_are_refused() {
    // Both answers are remembered.
    let broker = broker("dedup_client_bytes = 16777216").await;
    let txn = |seq: u32, appends: usize, log: &str| {
        let step = json!({"do": "append", "path": log, "json": 0});
        json!({"op": "txn", "id": 1, "seq": seq, "do": vec![step; appends]})
    };
    let mut request = request(broker.addr());
    let protocol = HeaderValue::from_static("onetree.v1.msgpack");
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    let mut wire = Wire::with(request, broker.addr()).await.unwrap();
    let mut answer = async |frame: Value| {
        let frame = Codec::decode_client_text(&frame.to_string()).unwrap();
        wire.say(Message::binary(Codec::MsgPack.encode_client(&frame))).await;
        let Some(Ok(Message::Binary(bytes))) = wire.message().await else { panic!("closed") };
        assert!(bytes.len() <= 2_097_152, "{} bytes", bytes.len());
        Codec::MsgPack.decode_server(&bytes).unwrap()
    };
    answer(json!({"op": "hello", "id": 0, "client": "one"})).await;
    let plain = format!("/L/{}", "a".repeat(195));
    // Each quote takes two bytes in JSON.
    let quotes = format!("/L/{}", "\"".repeat(195));
    for (seq, appends, log, fits) in [
        (1, 10_000, &plain, false),
        (1, 9_400, &plain, true),
        (2, 5_100, &quotes, false),
        (2, 5_000, &quotes, true),
    ] {
        match answer(txn(seq, appends, log)).await {
            ServerFrame::Done(done) => assert!(fits && done.paths.len() == appends),
            ServerFrame::Error(error) => assert!(!fits && error.code == Code::TooManyChanges),
            other => panic!("{other:?}"),
        }
    }
    let (mut again, _) = Wire::hello(broker.addr(), json!({"client": "one"})).await;
    for (seq, appends) in [(1, 9_400), (2, 5_000)] {
        again.send(txn(seq, 0, &plain)).await;
        let Some(Ok(Message::Text(text))) = again.message().await else { panic!("closed") };
        assert!(text.len() <= 2_097_152, "{} bytes", text.len());
        let done: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(done["paths"].as_array().map(Vec::len), Some(appends), "{}", done["code"]);
    }
}
