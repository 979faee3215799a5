//! `spec/transcripts`: the broker's part of each transcript is played to the pure session, in both
//! codecs.
//!
//! The session is made to send what the transcript's client sends. The frames must be equal, except
//! for the numbers that the session chooses. After each frame every mirror is compared with a naive
//! one. If a transcript's client sends what our clients never send (wrong frames, a second
//! `hello`…), the playing of that connection ends. How much is played is counted, so that it cannot
//! shrink unnoticed.
//!
//! # Layout
//!
//! - `main.rs`: a transcript, step by step; `player`: one of its connections
//! - `mirror`: what a mirror must be; `known`: what it was, for cookies that come back
//! - `names`: the values of placeholders; `naive`: what a change removes

mod known;
mod mirror;
#[path = "../naive/mod.rs"]
mod naive;
mod names;
mod player;

use std::collections::BTreeMap;

use onetree_client::protocol::frame::ErrorFrame;
use onetree_client::{Code, Codec, ConnectError};
use serde_json::Value as Json;

use known::Known;
use names::Names;
use player::{Player, refusal};

#[test]
fn the_brokers_part_of_every_transcript_is_played_in_both_codecs() {
    let (mut played, mut all) = (BTreeMap::new(), 0);
    for (name, transcript) in transcripts() {
        for codec in Codec::ALL {
            let play = Play::new(codec).run(&name, &transcript);
            played.insert(format!("{name} ({codec:?})"), play);
            all += steps(&transcript).map(|step| frames(step).len()).sum::<usize>();
        }
    }
    let total: usize = played.values().sum();
    let long = played.values().filter(|count| **count > 5).count();
    println!("{played:#?}");
    println!("{total} of {all} frames; more than 5 in {long} of {} playings", played.len());
    assert!(played.len() >= 2 * 28, "{} playings", played.len());
    assert!(total > 800 && total * 100 >= all * 85, "{total} of {all} frames");
    assert!(long > 40, "more than 5 frames in {long} playings");
}

fn steps(transcript: &Json) -> impl Iterator<Item = &Json> {
    transcript["steps"].as_array().unwrap().iter()
}

/// Returns the frames of a step. If any order is allowed, the order in the transcript is one of
/// them.
fn frames(step: &Json) -> &[Json] {
    match step.get("send").or_else(|| step.get("expect")) {
        Some(Json::Array(frames)) if step.get("expect").is_some() => frames,
        Some(frame) => std::slice::from_ref(frame),
        None => &[],
    }
}

/// Every transcript, by the name of its file.
fn transcripts() -> BTreeMap<String, Json> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/transcripts");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "json"));
    let read = |file: std::path::PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap();
        (file.file_name().unwrap().display().to_string(), serde_json::from_str(&text).unwrap())
    };
    files.map(read).collect()
}

/// One transcript, and what its connections share.
struct Play {
    codec: Codec,
    names: Names,
    known: Known,
    /// The connections whose playing has not ended.
    players: BTreeMap<u64, Player>,
}

impl Play {
    fn new(codec: Codec) -> Play {
        let (names, known) = (Names::default(), Known::default());
        Play { codec, names, known, players: BTreeMap::new() }
    }

    /// Returns how many frames were played.
    fn run(mut self, name: &str, transcript: &Json) -> usize {
        let mut played = 0;
        for (number, step) in steps(transcript).enumerate() {
            let _at = At(format!("{name} ({:?}), step {}: {step}", self.codec, number + 1));
            played += self.step(step);
        }
        for (on, player) in &self.players {
            let _at = At(format!("{name} ({:?}), the end of connection {on}", self.codec));
            assert!(player.asked.is_empty(), "no answer came to {:?}", player.asked);
        }
        played
    }

    fn step(&mut self, step: &Json) -> usize {
        if let Some(connect) = step["connect"].as_u64() {
            self.players.insert(connect, Player::new(self.codec));
            return 0;
        }
        let on = step["cut"].as_u64().or(step["on"].as_u64()).unwrap_or(1);
        let Some(player) = self.players.get_mut(&on) else { return 0 };
        if let Some(fields) = step.get("send") {
            let fields = self.names.fill(fields, "");
            let frame = if step.get("msgpack").is_none() { player.ours(&fields) } else { None };
            let Some(frame) = frame else {
                self.players.remove(&on);
                return 0;
            };
            player.send(&frame, &self.known);
            return 1;
        }
        for fields in frames(step) {
            player.take(fields, &mut self.names);
            player.mirrors.values().for_each(|mirror| self.known.learn(mirror));
        }
        if step.get("cut").is_some() {
            player.lose(ConnectError::Lost("cut".to_owned()));
        } else if let Some(close) = step["close"].as_u64()
            && let Some(code) = Code::from_close(u16::try_from(close).unwrap())
        {
            player.lose(ConnectError::Refused(refusal(ErrorFrame::new(None, code, "closed"))));
        }
        frames(step).len()
    }
}

/// Says at which place a test failed.
struct At(String);

impl Drop for At {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.0);
        }
    }
}
