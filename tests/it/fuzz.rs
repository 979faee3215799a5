//! Random sessions: frames from the specification's vectors in any order, intact, changed and cut,
//! in either codec. Whatever is sent, each connection is answered or closed with a code, the broker
//! does not fail, and other clients do not notice.
//!
//! `ONETREE_FUZZ_SECONDS=60 cargo test --release --test it session` runs for a minute;
//! `ONETREE_SEED` repeats a run.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::irc::random::Random;
use crate::wire::{PATIENCE, Wire, broker};
use crate::world::seed;

/// The number of sessions without ONETREE_FUZZ_SECONDS.
const SESSIONS: u32 = 150;

/// The number of frames in one session.
const FRAMES: u64 = 60;

/// Returns the frames of clients, valid and invalid, as the vectors have them in JSON.
fn vectors() -> Vec<String> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/spec/vectors/v1/client_frames.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let of = |kind: &str| all[kind].as_array().unwrap().clone();
    let texts = of("valid").into_iter().chain(of("invalid"));
    texts.filter_map(|vector| vector["json"].as_str().map(str::to_owned)).collect()
}

/// Returns one frame. Most are valid, so that sessions get somewhere.
fn frame(random: &mut Random, vectors: &[String]) -> String {
    let path = *random.pick(&["/a", "/a/b", "/a/b/c", "/log", "/", "/x/y"]);
    let (sub, rev) = (random.within(1..4), *random.pick(&["0", "1", "5", "9007199254740991"]));
    let depth = *random.pick(&["tree", "children", "entry"]);
    let value = *random.pick(&["1", "null", "{\"a\":[]}"]);
    let id = random.within(0..1 << 20);
    match random.within(0..16) {
        0 => random.pick(vectors).clone(),
        1 => format!(r#"{{"op":"put","id":{id},"path":"{path}","json":{value}}}"#),
        2 => format!(r#"{{"op":"append","id":{id},"path":"{path}","text":"x"}}"#),
        3 => format!(r#"{{"op":"delete","id":{id},"path":"{path}","if":{{"rev":{rev}}}}}"#),
        4 => format!(r#"{{"op":"drop","id":{id},"path":"{path}"}}"#),
        5 => format!(
            r#"{{"op":"sub","id":{id},"sub":{sub},"path":"{path}","depth":"{depth}","signals":true}}"#
        ),
        6 => format!(
            r#"{{"op":"sub","id":{id},"sub":{sub},"path":"{path}","match":["*","b/**"],"every_ms":1}}"#
        ),
        7 => format!(r#"{{"op":"sub","id":{id},"sub":{sub},"path":"{path}","tail":{rev}}}"#),
        8 => format!(r#"{{"op":"unsub","id":{id},"sub":{sub}}}"#),
        9 => format!(r#"{{"op":"resync","id":{id},"sub":{sub}}}"#),
        10 => format!(r#"{{"op":"sync","id":{id}}}"#),
        11 => format!(r#"{{"op":"signal","path":"{path}","json":{value}}}"#),
        12 => format!(r#"{{"op":"list","id":{id},"path":"{path}","depth":"{depth}"}}"#),
        13 => format!(
            r#"{{"op":"txn","id":{id},"if":[{{"tree":"{path}","rev":{rev}}}],"do":[{{"do":"put","path":"{path}","json":1,"ephemeral":true}},{{"do":"trim","path":"/log","to":"000000000000010000"}}]}}"#
        ),
        14 => format!(r#"{{"op":"get","id":{id},"paths":["{path}","/no"]}}"#),
        _ => format!(
            r#"{{"op":"put","id":{id},"seq":{},"path":"{path}","json":{value},"ttl_ms":20}}"#,
            random.within(0..5)
        ),
    }
}

/// Changes some of the frames.
fn changed(random: &mut Random, text: String) -> Message {
    let mut bytes = text.into_bytes();
    match random.within(0..20) {
        0 => bytes.truncate(random.within(0..bytes.len() as u64 + 1) as usize),
        1 if !bytes.is_empty() => {
            let at = random.within(0..bytes.len() as u64) as usize;
            bytes[at] = random.within(0..256) as u8;
        }
        2 => return Message::binary(bytes),
        3 => return Message::Ping(bytes.into_iter().take(100).collect()),
        _ => {}
    }
    match String::from_utf8(bytes) {
        Ok(text) => Message::text(text),
        Err(error) => Message::binary(error.into_bytes()),
    }
}

#[tokio::test]
async fn session() {
    let seconds: Option<u64> =
        std::env::var("ONETREE_FUZZ_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    let mut random = Random::new(seed());
    let vectors = vectors();
    let broker = broker("session_grace_ms = 20\n[[retention]]\npattern = 'log'\nkeep = 3").await;
    let addr = broker.addr();
    let mut bystander = Wire::open(addr).await;
    let begun = Instant::now();
    let (mut sessions, mut answers, mut closed) = (0, 0, 0);
    let goes_on = |sessions: u32| match seconds {
        Some(seconds) => begun.elapsed() < Duration::from_secs(seconds),
        None => sessions < SESSIONS,
    };
    while goes_on(sessions) {
        sessions += 1;
        let mut wire = Wire::connect(addr).await;
        if random.within(0..10) > 0 {
            let client = format!("c{}", random.within(0..3));
            wire.send(json!({"op": "hello", "id": 0, "client": client})).await;
        }
        let (mut to, mut from) = wire.socket.split();
        let said: Vec<Message> = (0..FRAMES)
            .map(|_| {
                let text = frame(&mut random, &vectors);
                changed(&mut random, text)
            })
            .collect();
        let heard = async {
            let mut heard = (0, None);
            while let Some(Ok(message)) = from.next().await {
                match message {
                    Message::Text(text) => {
                        let frame: Value = serde_json::from_str(&text).unwrap();
                        assert_ne!(frame["code"], "internal", "{frame}");
                        heard.0 += 1;
                    }
                    Message::Close(close) => heard.1 = close.map(|close| u16::from(close.code)),
                    _ => {}
                }
            }
            heard
        };
        let talk = async {
            for message in said {
                if to.send(message).await.is_err() {
                    break;
                }
            }
            // Some clients leave without a goodbye; most wait for what they are sent.
            if random.within(0..4) > 0 {
                let _ = to.send(Message::text(r#"{"op":"bye","id":1}"#)).await;
            } else {
                let _ = to.close().await;
            }
        };
        let both = async { tokio::join!(talk, heard).1 };
        let (told, code) = tokio::time::timeout(PATIENCE, both).await.expect("it hangs");
        assert_ne!(code, Some(4500), "a fault of the broker's");
        answers += told;
        closed += u32::from(code.is_some_and(|code| code >= 4000));
        // A random client may drop everything now and then, but not between these two requests.
        let rev = bystander.put("/bystander", json!(sessions)).await;
        let get = json!({"op": "get", "id": 1, "paths": ["/bystander"]});
        let found = bystander.ask(get).await;
        assert_eq!(found["entries"][0]["rev"], rev, "{found}");
    }
    println!("{sessions} sessions, {answers} frames heard, {closed} closed with a code");
    assert!(answers > sessions * 20 && closed > sessions / 50, "{answers} {closed}: too few");
}
