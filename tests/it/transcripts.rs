//! Plays `spec/transcripts/` to a broker, in JSON and transcoded to MessagePack. The README in that
//! directory says how they are read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use onetree::Running;
use onetree_protocol::Codec;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::wire::{Wire, broker, request};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transcript {
    about: String,
    /// Keys of `broker.toml`.
    #[serde(default)]
    config: Map<String, Value>,
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Step {
    Connect {
        connect: u32,
    },
    Send {
        send: Value,
        /// The message in MessagePack, in hex, if the codec cannot make it.
        msgpack: Option<String>,
        #[serde(default = "first")]
        on: u32,
    },
    Expect {
        expect: Value,
        #[serde(default = "first")]
        on: u32,
    },
    Close {
        close: u16,
        #[serde(default = "first")]
        on: u32,
    },
    Cut {
        cut: u32,
    },
    Shutdown {
        #[serde(rename = "shutdown")]
        _shutdown: bool,
    },
}

fn first() -> u32 {
    1
}

/// Returns every transcript, by the name of its file.
fn transcripts() -> BTreeMap<String, Transcript> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec/transcripts");
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let json = files.filter(|path| path.extension().is_some_and(|ext| ext == "json"));
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let transcript = serde_json::from_str(&text);
        (name.clone(), transcript.unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    json.map(read).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_plays_its_part_of_every_transcript_in_both_codecs() {
    let mut wrong = Vec::new();
    for (name, transcript) in transcripts() {
        for codec in Codec::ALL {
            // Shows which transcript it is if the broker falls silent.
            println!("{name}.json ({codec:?})");
            if let Err(error) = Play::new(&transcript, codec).await.run(&transcript.steps).await {
                wrong.push(format!("{name}.json ({codec:?}), {error}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_transcripts_say_every_frame_and_every_reason() {
    let mut ops = [BTreeSet::new(), BTreeSet::new()];
    let mut reasons = BTreeSet::new();
    for step in transcripts().into_values().flat_map(|transcript| transcript.steps) {
        let (side, frames) = match step {
            Step::Send { send, .. } => (0, vec![send]),
            Step::Expect { expect: Value::Array(frames), .. } => (1, frames),
            Step::Expect { expect, .. } => (1, vec![expect]),
            _ => continue,
        };
        for frame in frames {
            ops[side].extend(frame["op"].as_str().map(str::to_owned));
            reasons.extend(frame["why"].as_str().map(str::to_owned));
        }
    }
    let client =
        "hello auth sub unsub resync sync put append delete drop trim signal txn get list bye";
    let server = "welcome ok error refresh entries fresh delta signal sync done found bye";
    // `outrun` needs a client that does not read for a while.
    let why = "no-cookie cookie epoch view future horizon resync";
    for (said, all) in [(&ops[0], client), (&ops[1], server), (&reasons, why)] {
        let missing: Vec<_> = all.split(' ').filter(|word| !said.contains(*word)).collect();
        assert!(missing.is_empty(), "no transcript has {missing:?}");
    }
}

#[test]
fn the_readme_of_the_transcripts_lists_them_as_they_are() {
    let readme = include_str!("../../spec/transcripts/README.md");
    let listed: Vec<&str> = readme.lines().filter(|line| line.starts_with("| [")).collect();
    let row =
        |(name, t): (String, Transcript)| format!("| [`{name}`]({name}.json) | {} |", t.about);
    assert_eq!(listed, transcripts().into_iter().map(row).collect::<Vec<_>>());
}

/// A transcript that is being played.
struct Play {
    broker: Running,
    codec: Codec,
    wires: BTreeMap<u32, Wire>,
    /// What the broker chose, by the name of its placeholder.
    chosen: BTreeMap<String, Value>,
}

impl Play {
    async fn new(transcript: &Transcript, codec: Codec) -> Play {
        // Numbers, texts and booleans are written alike in TOML and JSON.
        let keys = transcript.config.iter().map(|(key, value)| format!("{key} = {value}\n"));
        let broker = broker(&keys.collect::<String>()).await;
        Play { broker, codec, wires: BTreeMap::new(), chosen: BTreeMap::new() }
    }

    async fn run(mut self, steps: &[Step]) -> Result<(), String> {
        for (n, step) in steps.iter().enumerate() {
            self.step(step).await.map_err(|error| format!("step {}: {error}", n + 1))?;
        }
        // Any other frame from the broker would come before the answer to a `sync`.
        let connections: Vec<u32> = self.wires.keys().copied().collect();
        for on in connections {
            self.send(on, &json!({"op": "sync", "id": u32::MAX}), None).await;
            let frame = self.next(on).await?;
            if frame["id"] != u32::MAX {
                return Err(format!("the end: there is more on connection {on}: {frame}"));
            }
        }
        // Drop the connections without a close: a shutdown would wait for their answers.
        self.wires.clear();
        self.broker.shutdown().await;
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Connect { connect } => {
                let mut request = request(self.broker.addr());
                let protocol = HeaderValue::from_static(self.codec.subprotocol());
                request.headers_mut().insert("sec-websocket-protocol", protocol);
                let wire = Wire::with(request, self.broker.addr()).await;
                self.wires.insert(*connect, wire.map_err(|error| error.to_string())?);
            }
            Step::Send { send, msgpack, on } => self.send(*on, send, msgpack.as_deref()).await,
            Step::Expect { expect: Value::Array(frames), on } => {
                let mut left = frames.clone();
                while !left.is_empty() {
                    let frame = self.next(*on).await?;
                    let fits = left.iter().position(|one| self.fits(one, &frame).is_ok());
                    let Some(at) = fits else {
                        return Err(format!("one of {left:?}, not {frame}"));
                    };
                    left.remove(at);
                }
            }
            Step::Expect { expect, on } => {
                let frame = self.next(*on).await?;
                self.fits(expect, &frame).map_err(|why| format!("{why}\n  in {frame}"))?;
            }
            Step::Close { close, on } => {
                let mut wire = self.wires.remove(on).ok_or("no such connection")?;
                match wire.message().await {
                    Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == *close => {}
                    other => return Err(format!("a close with {close}, not {other:?}")),
                }
            }
            Step::Cut { cut } => drop(self.wires.remove(cut).ok_or("no such connection")?),
            Step::Shutdown { .. } => {
                let broker = self.broker.clone();
                tokio::spawn(async move { broker.shutdown().await });
            }
        }
        Ok(())
    }

    async fn send(&mut self, on: u32, frame: &Value, msgpack: Option<&str>) {
        let text = match frame {
            // A message as it is.
            Value::String(text) => text.clone(),
            frame => self.filled(frame).to_string(),
        };
        let message = match (self.codec, msgpack) {
            (Codec::Json, _) => Message::text(text),
            (Codec::MsgPack, Some(hex)) => Message::binary(unhex(hex)),
            (Codec::MsgPack, None) => {
                let frame = Codec::Json.decode_client(text.as_bytes());
                let frame = frame.unwrap_or_else(|error| panic!("{text}: {error}"));
                Message::Binary(Codec::MsgPack.encode_client(&frame))
            }
        };
        self.wires.get_mut(&on).expect("a connection").say(message).await;
    }

    /// Returns the next frame, in JSON. Heartbeats are left out.
    async fn next(&mut self, on: u32) -> Result<Value, String> {
        let wire = self.wires.get_mut(&on).ok_or("no such connection")?;
        loop {
            let frame = match (self.codec, wire.message().await) {
                (Codec::Json, Some(Ok(Message::Text(text)))) => text.as_bytes().to_vec(),
                (Codec::MsgPack, Some(Ok(Message::Binary(bytes)))) => {
                    let frame = Codec::MsgPack.decode_server(&bytes);
                    let frame = frame.map_err(|error| format!("{bytes:x}: {error}"))?;
                    Codec::Json.encode_server(&frame).to_vec()
                }
                (_, other) => return Err(format!("a frame was expected, not {other:?}")),
            };
            let frame: Value = serde_json::from_slice(&frame).map_err(|error| error.to_string())?;
            if frame["op"] != "sync" || frame["id"].is_u64() {
                return Ok(frame);
            }
        }
    }

    /// Fills a frame's placeholders with what the broker chose.
    fn filled(&self, value: &Value) -> Value {
        match value {
            Value::String(text) if text.starts_with('$') => {
                self.chosen.get(text).unwrap_or_else(|| panic!("{text} is not known yet")).clone()
            }
            Value::Array(items) => items.iter().map(|item| self.filled(item)).collect(),
            Value::Object(fields) => {
                let filled = fields.iter().map(|(key, value)| (key.clone(), self.filled(value)));
                Value::Object(filled.collect())
            }
            other => other.clone(),
        }
    }

    /// Whether a frame is as expected. If it is, the broker's choices are kept.
    fn fits(&mut self, expected: &Value, frame: &Value) -> Result<(), String> {
        let mut chosen = self.chosen.clone();
        fits(expected, frame, &mut chosen)?;
        self.chosen = chosen;
        Ok(())
    }
}

fn fits(
    expected: &Value,
    found: &Value,
    chosen: &mut BTreeMap<String, Value>,
) -> Result<(), String> {
    match (expected, found) {
        (Value::String(any), _) if any == "$any" => Ok(()),
        (Value::String(name), _) if name.starts_with('$') => {
            let known = chosen.entry(name.clone()).or_insert_with(|| found.clone());
            if known == found {
                Ok(())
            } else {
                Err(format!("{name} was {known}, and is {found} now"))
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            ours.iter().zip(theirs).try_for_each(|(ours, theirs)| fits(ours, theirs, chosen))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            if let Some(more) = theirs.keys().find(|key| !ours.contains_key(*key)) {
                return Err(format!("{more:?} is not expected"));
            }
            ours.iter().try_for_each(|(key, ours)| match theirs.get(key) {
                Some(theirs) => {
                    fits(ours, theirs, chosen).map_err(|error| format!("{key}: {error}"))
                }
                None => Err(format!("{key:?} is missing")),
            })
        }
        (ours, theirs) if ours == theirs => Ok(()),
        (ours, theirs) => Err(format!("{ours} was expected, not {theirs}")),
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}
