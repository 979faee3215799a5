//! Frames and messages that are wrong.

use onetree_protocol::{Codec, ServerFrame};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::logs;
use crate::wire::{Bystander, Wire, broker, request};

#[tokio::test]
async fn a_frame_that_is_wrong_gets_its_code_and_the_connection_goes_on() {
    let broker = broker("").await;
    let mut bystander = Bystander::new(broker.addr()).await;
    let mut wire = Wire::open(broker.addr()).await;
    let deep = "/x".repeat(33);
    let sub = |fields: Value| {
        let mut frame = json!({"op": "sub", "id": 1, "sub": 1, "path": "/a"});
        frame.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        frame.to_string()
    };
    let patterns = vec!["*"; 33];
    let mut logged: Vec<String> = Vec::new();
    for (frame, code) in [
        ("what".to_owned(), "bad-frame"),
        (String::new(), "bad-frame"),
        (r#"{"op":"put""#.to_owned(), "bad-frame"),
        ("[]".to_owned(), "bad-frame"),
        (r#"{"id":1}"#.to_owned(), "bad-frame"),
        (r#"{"op":"get","paths":["/"]}"#.to_owned(), "bad-frame"),
        (r#"{"op":"get","id":1,"id":1,"paths":[]}"#.to_owned(), "bad-frame"),
        (r#"{"op":"put","id":1,"path":"/a","json":{"a":1,"a":2}}"#.to_owned(), "bad-frame"),
        (r#"{"op":"put","id":1,"path":"/a","json":"\ud800"}"#.to_owned(), "bad-frame"),
        (r#"{"op":"put","id":1,"path":"/a","json":NaN}"#.to_owned(), "bad-frame"),
        (r#"{"op":"put","id":-1,"path":"/a","json":1}"#.to_owned(), "bad-frame"),
        (format!(r#"{{"op":"put","id":1,"path":"/a","json":{}}}"#, "[".repeat(200)), "bad-frame"),
        (r#"{"op":"what","id":1}"#.to_owned(), "unknown-op"),
        (format!(r#"{{"op":"put","id":1,"path":"{deep}","json":1}}"#), "bad-path"),
        (format!(r#"{{"op":"append","id":1,"path":"{deep}","json":1}}"#), "bad-path"),
        (format!(r#"{{"op":"get","id":1,"paths":["{deep}"]}}"#), "bad-path"),
        (sub(json!({"path": deep})), "bad-path"),
        (r#"{"op":"put","id":1,"path":"a","json":1}"#.to_owned(), "bad-path"),
        (r#"{"op":"put","id":1,"path":"/a/../b","json":1}"#.to_owned(), "bad-path"),
        (sub(json!({"match": ["/"]})), "bad-pattern"),
        (sub(json!({"match": patterns})), "bad-field"),
        (sub(json!({"depth": "deep"})), "bad-field"),
        (r#"{"op":"put","id":1,"path":"/a","type":"text","text":""}"#.to_owned(), "bad-field"),
        (
            r#"{"op":"put","id":1,"path":"/a","type":"application/json","bytes":"ew=="}"#
                .to_owned(),
            "bad-value",
        ),
        (r#"{"op":"unsub","id":1,"sub":5}"#.to_owned(), "no-such-sub"),
        (r#"{"op":"resync","id":1,"sub":5}"#.to_owned(), "no-such-sub"),
        (r#"{"op":"put","id":1,"path":"/a/0000000000000f0000","json":1}"#.to_owned(), "log-key"),
        (r#"{"op":"put","id":1,"seq":1,"path":"/a","json":1}"#.to_owned(), "seq-gap"),
        (r#"{"op":"auth","id":1,"token":"x"}"#.to_owned(), "unsupported"),
    ] {
        wire.say(Message::text(frame.clone())).await;
        let error = wire.next().await;
        assert_eq!(error["op"], "error", "{frame}: {error}");
        assert_eq!(error["code"], code, "{frame}: {error}");
        assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()), "{error}");
        if logged.iter().all(|other| other != code) {
            logged.push(code.to_owned());
        }
    }
    wire.say(Message::binary(vec![1])).await;
    assert_eq!(wire.next().await["code"], "bad-frame", "a binary message on the JSON subprotocol");
    // A path of the largest depth, and a condition that does not hold: neither is a mistake.
    wire.put(&"/x".repeat(32), json!(1)).await;
    let put = json!({"op": "put", "id": 2, "path": "/a", "json": 1, "if": {"rev": 5}});
    assert_eq!(wire.ask(put).await["code"], "conflict");
    bystander.check().await;
    // The log has each kind once, and the end.
    wire.say(Message::Close(None)).await;
    logged.push("closed".to_owned());
    let logged: Vec<&str> = logged.iter().map(String::as_str).collect();
    logs::only(wire.local, &logged).await;
}

#[tokio::test]
async fn a_wrong_frame_of_messagepack_gets_its_code_and_the_connection_goes_on() {
    let broker = broker("").await;
    let mut bystander = Bystander::new(broker.addr()).await;
    let mut request = request(broker.addr());
    let protocol = "onetree.v1.msgpack".parse().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    let mut wire = Wire::with(request, broker.addr()).await.unwrap();
    let answer = async |wire: &mut Wire, message: Message| {
        wire.say(message).await;
        match wire.message().await {
            Some(Ok(Message::Binary(bytes))) => Codec::MsgPack.decode_server(&bytes).unwrap(),
            other => panic!("a frame was expected, not {other:?}"),
        }
    };
    // [1, 0]: hello.
    let welcome = answer(&mut wire, Message::binary(vec![0x92, 1, 0])).await;
    assert!(matches!(welcome, ServerFrame::Welcome(_)), "{welcome:?}");
    // [7, 1, nil, "/a", "text/plain", …
    let head = [&[0x96, 7, 1, 0xc0, 0xa2, b'/', b'a', 0xaa][..], b"text/plain"].concat();
    let head = [&head[..], &[0xc6], &400_000_u32.to_be_bytes()].concat();
    for (frame, code) in [
        (Message::binary(vec![]), "bad-frame"),
        (Message::binary(vec![0xc1]), "bad-frame"),
        (Message::binary(vec![0x80]), "bad-frame"),
        (Message::text(r#"{"op":"get","id":1,"paths":[]}"#), "bad-frame"),
        // An array that claims to be larger than all memory.
        (Message::binary(vec![0xdd, 0xff, 0xff, 0xff, 0xff]), "bad-frame"),
        (Message::binary(vec![0x93, 14, 1, 0xdd, 0xff, 0xff, 0xff, 0xff]), "bad-frame"),
        // [14, 1, ["/\xff"]]: a path that is not UTF-8.
        (Message::binary(vec![0x93, 14, 1, 0x91, 0xa2, b'/', 0xff]), "bad-frame"),
        // [14, 1, ["a"]]
        (Message::binary(vec![0x93, 14, 1, 0x91, 0xa1, b'a']), "bad-path"),
        (Message::binary(vec![0x92, 99, 1]), "unknown-op"),
        // [7, 1, nil, "/a", nil, "\xff"]: JSON that is not UTF-8.
        (
            Message::binary(vec![0x96, 7, 1, 0xc0, 0xa2, b'/', b'a', 0xc0, 0xc4, 1, 0xff]),
            "bad-value",
        ),
        // A list that is longer than any broker allows; nothing of its 65,536 items is read.
        (
            Message::binary(
                [&[0x95, 13, 1, 0xc0, 0xc0, 0xdd, 0, 1, 0, 0][..], &[0; 65_536]].concat(),
            ),
            "too-many-changes",
        ),
        // Text that JSON would make six times as long: too long for clients that get it in JSON.
        (Message::binary([&head[..], &[1; 400_000]].concat()), "value-too-large"),
    ] {
        let said: String = format!("{frame:?}").chars().take(80).collect();
        match answer(&mut wire, frame).await {
            ServerFrame::Error(error) => assert_eq!(error.code.as_str(), code, "{said}: {error:?}"),
            other => panic!("{said}: {other:?}"),
        }
    }
    let found = answer(&mut wire, Message::binary(vec![0x93, 14, 1, 0x90])).await;
    assert!(matches!(found, ServerFrame::Found(_)), "{found:?}");
    bystander.check().await;
    logs::only(
        wire.local,
        &[
            "bad-frame",
            "bad-path",
            "unknown-op",
            "bad-value",
            "too-many-changes",
            "value-too-large",
        ],
    )
    .await;
}

#[tokio::test]
async fn the_same_number_twice_is_refused() {
    let broker = broker("").await;
    let mut wire = Wire::open(broker.addr()).await;
    wire.sub(1, "/a").await;
    let error = wire.ask(json!({"op": "sub", "id": 2, "sub": 1, "path": "/b"})).await;
    assert_eq!((&error["code"], &error["sub"]), (&json!("sub-in-use"), &json!(1)));
    logs::only(wire.local, &["sub-in-use"]).await;
    // The first subscription is still there.
    let rev = wire.put("/a/b", json!(1)).await;
    assert_eq!(wire.until("delta").await["rev"], rev);
}

#[tokio::test]
async fn a_cookie_from_the_future_or_another_history_gets_everything() {
    let broker = broker("").await;
    let mut bystander = Bystander::new(broker.addr()).await;
    let mut writer = Wire::open(broker.addr()).await;
    let rev = writer.put("/a/b", json!(1)).await;
    let (mut wire, welcome) = Wire::hello(broker.addr(), json!({})).await;
    let (fresh, _) = wire.sub(1, "/a").await;
    let epoch = welcome["epoch"].as_str().unwrap();
    let other = "0".repeat(32);
    for (sub, epoch, cookie, view, kind, why) in [
        (2, epoch, rev, fresh["view"].as_str().unwrap(), "delta", "cookie"),
        (3, epoch, rev + 1, fresh["view"].as_str().unwrap(), "full", "future"),
        (4, epoch, (1 << 53) - 1, fresh["view"].as_str().unwrap(), "full", "future"),
        (5, &other, rev, fresh["view"].as_str().unwrap(), "full", "epoch"),
        (6, epoch, rev, "0000000000000000", "full", "view"),
    ] {
        let cookie = json!({"epoch": epoch, "rev": cookie, "view": view});
        wire.send(json!({"op": "sub", "id": sub, "sub": sub, "path": "/a", "cookie": cookie}))
            .await;
        let refresh = wire.until("refresh").await;
        assert_eq!((&refresh["kind"], &refresh["why"]), (&json!(kind), &json!(why)), "{refresh}");
        if kind == "full" {
            assert_eq!(wire.until("entries").await["changes"][0]["path"], "/a/b");
        }
        assert_eq!(wire.until("fresh").await["rev"], rev);
    }
    logs::only(wire.local, &["future"]).await;
    bystander.check().await;
}

#[tokio::test]
async fn what_breaks_a_connection_closes_it_with_a_code_and_is_logged() {
    let broker = broker("").await;
    let addr = broker.addr();
    let mut bystander = Bystander::new(addr).await;

    // Sixteen bad frames in a row.
    let mut wire = Wire::open(addr).await;
    for _ in 0..16 {
        wire.say(Message::text("?")).await;
    }
    assert_eq!(wire.closed().await.0, 4400);
    logs::only(wire.local, &["bad-frame", "bad-frame"]).await;

    // With a valid frame between them, the connection goes on.
    let mut wire = Wire::open(addr).await;
    for _ in 0..2 {
        for _ in 0..15 {
            wire.say(Message::text("?")).await;
        }
        wire.put("/x", json!(1)).await;
    }

    // Before hello only hello is known, so words that would be unknown later count as bad frames
    // too.
    let mut wire = Wire::connect(addr).await;
    for _ in 0..16 {
        wire.send(json!({"op": "what", "id": 1})).await;
    }
    assert_eq!(wire.closed().await.0, 4400);
    logs::only(wire.local, &["unknown-op", "bad-frame"]).await;

    // A hello with more subscriptions than any client may have: none of them is looked at.
    let mut wire = Wire::connect(addr).await;
    wire.send(json!({"op": "hello", "id": 2, "subs": vec![0; 65_536]})).await;
    let error = wire.next().await;
    assert_eq!((&error["id"], &error["code"]), (&json!(2), &json!("too-many-subscriptions")));
    assert_eq!(wire.closed().await.0, 4400);
    logs::only(wire.local, &["too-many-subscriptions", "bad-frame"]).await;

    // A request before hello, and a second hello.
    let mut wire = Wire::connect(addr).await;
    wire.send(json!({"op": "get", "id": 3, "paths": []})).await;
    let error = wire.next().await;
    assert_eq!((&error["id"], &error["code"]), (&json!(3), &json!("hello-expected")));
    assert_eq!(wire.closed().await.0, 4401);
    logs::only(wire.local, &["hello-expected"]).await;
    let mut wire = Wire::open(addr).await;
    wire.send(json!({"op": "hello", "id": 4})).await;
    assert_eq!(wire.next().await["code"], "hello-expected");
    assert_eq!(wire.closed().await.0, 4401);
    logs::only(wire.local, &["hello-expected"]).await;

    // The client leaves without a close.
    let mut wire = Wire::open(addr).await;
    wire.socket.get_mut().shutdown().await.unwrap();
    logs::only(wire.local, &["lost"]).await;

    bystander.check().await;
}

#[tokio::test]
async fn what_is_not_websocket_is_closed_with_websockets_own_code() {
    let broker = broker("").await;
    let addr = broker.addr();
    let mut bystander = Bystander::new(addr).await;

    // Text that is not UTF-8.
    let mut wire = Wire::open(addr).await;
    let text = Frame::message(vec![b'"', 0xff, b'"'], OpCode::Data(Data::Text), true);
    wire.say(Message::Frame(text)).await;
    assert_eq!(wire.closed().await.0, 1007);
    logs::only(wire.local, &["ws-1007"]).await;

    // The header, the mask, and the masked payload.
    let long = [&[0x89, 0xfe, 0, 126, 0, 0, 0, 0][..], &[0; 126]].concat();
    for (bytes, what) in [
        (&[0x80, 0x81, 0, 0, 0, 0, b'1'][..], "a continuation of nothing"),
        (&[0x81, 0x01, b'x'], "without a mask"),
        (&[0xf1, 0x81, 0, 0, 0, 0, b'1'], "bits that mean nothing"),
        (&[0x83, 0x81, 0, 0, 0, 0, b'1'], "an opcode that means nothing"),
        (&[0x09, 0x80, 0, 0, 0, 0], "a ping in parts"),
        (&long, "a ping that is too long"),
    ] {
        let mut wire = Wire::open(addr).await;
        wire.socket.get_mut().write_all(bytes).await.unwrap();
        assert_eq!(wire.closed().await.0, 1002, "{what}");
        logs::only(wire.local, &["ws-1002"]).await;
    }
    bystander.check().await;
}

#[tokio::test]
async fn the_agent_and_the_label_stand_in_the_log() {
    let broker = broker("").await;
    let bits = "5f".repeat(16);
    let named = [format!("kitchen-door-{bits}"), bits.clone(), format!("door_{bits}")];
    for (client, label) in named.iter().zip(["kitchen-door", "-", "-"]) {
        let hello = json!({"agent": "it/1.0\n forged=line", "client": client});
        let (mut wire, _) = Wire::hello(broker.addr(), hello).await;
        wire.send(json!({"op": "unsub", "id": 1, "sub": 5})).await;
        wire.send(json!({"op": "bye", "id": 2})).await;
        assert_eq!(wire.closed().await.0, 1000);
        for line in logs::only(wire.local, &["no-such-sub", "bye"]).await {
            assert_eq!(line["agent"], "it/1.0 forged=line");
            assert_eq!(line.get("label").map(String::as_str), Some(label), "{line:?}");
            assert!(line.values().all(|value| !value.contains(&bits)), "{line:?}");
        }
    }
}

/// Each subscription of a `hello` gets its own reply, so their number is limited.
#[tokio::test]
async fn a_hello_with_too_many_subscriptions_gets_one_error() {
    let broker = broker("").await;
    let subs = |count: u32| {
        let sub = |n: u32| json!({"id": n, "sub": n, "path": "/a"});
        json!({"subs": (1..=count).map(sub).collect::<Vec<_>>()})
    };
    let (_fits, welcome) = Wire::hello(broker.addr(), subs(1024)).await;
    assert_eq!(welcome["op"], "welcome");
    let (mut wire, error) = Wire::hello(broker.addr(), subs(1025)).await;
    assert_eq!(
        (&error["op"], &error["id"], &error["code"]),
        (&json!("error"), &json!(0), &json!("too-many-subscriptions"))
    );
    assert!(matches!(wire.message().await, Some(Ok(Message::Close(Some(_))))), "and nothing else");
    let stats = crate::http::told(broker.addr(), "/v1/stats").await;
    assert_eq!((&stats["sessions"], &stats["subscriptions"]), (&json!(1), &json!(1024)));
}
