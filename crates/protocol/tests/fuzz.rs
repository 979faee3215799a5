//! Decoding is safe for any input. What can be decoded is encoded and decoded again with the same
//! result; what is refused has a code.
//!
//! The inputs are the vectors of `spec/vectors`, changed at random. Each target runs 20,000 of
//! them. `ONETREE_FUZZ_SECONDS=60 cargo test --release --test fuzz -- --nocapture` runs each target
//! for a minute. A failure prints the input and the seed; `ONETREE_SEED=<seed>` runs the same
//! inputs again.

use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use onetree_protocol::frame::{Do, SendSignal, Sync};
use onetree_protocol::{
    Act, Change, ClientFrame, Codec, DecodeError, MediaType, Path, Pattern, ServerFrame, Value,
    json,
};

mod mutate;
#[path = "spec_files/mod.rs"]
mod spec;
mod vector_files;

use mutate::Mutator;

#[test]
fn decode_client_json() {
    fuzz(corpus(&["client_frames", "server_frames", "values"], "json"), |bytes| {
        client(Codec::Json, bytes)
    });
}

#[test]
fn decode_client_msgpack() {
    fuzz(corpus(&["client_frames", "server_frames"], "msgpack"), |bytes| {
        client(Codec::MsgPack, bytes)
    });
}

#[test]
fn decode_server_json() {
    fuzz(corpus(&["server_frames", "client_frames", "values"], "json"), |bytes| {
        server(Codec::Json, bytes)
    });
}

#[test]
fn decode_server_msgpack() {
    fuzz(corpus(&["server_frames", "client_frames"], "msgpack"), |bytes| {
        server(Codec::MsgPack, bytes)
    });
}

#[test]
fn parse_path() {
    fuzz(corpus(&["paths"], "text"), |bytes| {
        let text = &*String::from_utf8_lossy(bytes);
        let rest = text.strip_prefix('/');
        let right = text == "/" || rest.is_some_and(|rest| segments_are_right(rest, text.len()));
        let path = match Path::parse(text) {
            Ok(path) => path,
            Err(error) => {
                assert!(!right, "refused: {error}");
                return word(&error.to_string());
            }
        };
        assert!(right, "read");
        assert_eq!(path.as_str(), text);
        let parent = path.parent().zip(path.name()).map(|(parent, name)| parent.child(name));
        assert!(parent.is_none_or(|child| child.as_ref() == Ok(&path)));
        assert_eq!(path.prefixes().count(), path.depth() + 1);
        assert!(path.prefixes().all(|up| Path::parse(up).is_ok_and(|up| up.contains(&path))));
        assert!(path.parent().is_none_or(|parent| parent < path));
        format!("depth {}", path.depth())
    });
}

#[test]
fn parse_pattern() {
    fuzz(corpus(&["patterns"], "text"), |bytes| {
        let text = &*String::from_utf8_lossy(bytes);
        match Pattern::parse(text) {
            Ok(pattern) => {
                assert!(segments_are_right(text, text.len()), "read");
                assert_eq!(pattern.as_str(), text);
                // A pattern matches its own text, also with each `**` taken out.
                assert!(pattern.matches(text.split('/')));
                assert!(pattern.matches(text.split('/').filter(|segment| *segment != "**")));
                format!("segments {}", text.split('/').count())
            }
            Err(error) => {
                assert!(!segments_are_right(text, text.len()), "refused: {error}");
                word(&error.to_string())
            }
        }
    });
}

#[test]
fn parse_cookie() {
    fuzz(corpus(&["cookies"], "json"), |bytes| {
        match json::parse_cookie(&String::from_utf8_lossy(bytes)) {
            Ok(cookie) => {
                assert_eq!(json::parse_cookie(&json::cookie(&cookie)), Ok(cookie));
                "cookie".to_owned()
            }
            Err(error) => word(&error.0),
        }
    });
}

#[test]
fn parse_change_line() {
    let mut lines = corpus(&["values"], "json");
    for frame in corpus(&["server_frames"], "json") {
        if let Ok(ServerFrame::Entries(entries)) = Codec::Json.decode_server(&frame) {
            lines.extend(entries.changes.iter().map(|c| json::change_line(c).into_bytes()));
        }
    }
    fuzz(lines, |bytes| match json::parse_change_line(&String::from_utf8_lossy(bytes)) {
        Ok(change) => {
            let json = |value: &Value| json::check(&value.bytes).is_ok();
            let wrong = matches!(&change.act, Act::Put(Some(value))
                if value.media == MediaType::Json && !json(value));
            if !wrong {
                let line = json::change_line(&change);
                assert!(!line.contains(['\n', '\r']), "{line}");
                assert_eq!(json::parse_change_line(&line), Ok(change.clone()));
            }
            kind(&change.act)
        }
        Err(error) => word(&error.0),
    });
}

/// Runs `target` on inputs made from `corpus`. `target` returns a few words about what it saw. An
/// input that shows something new is added to the corpus.
fn fuzz(corpus: Vec<Vec<u8>>, target: impl Fn(&[u8]) -> String) {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let seed = number("ONETREE_SEED").unwrap_or_else(|| RandomState::new().hash_one("seed"));
    let budget = number("ONETREE_FUZZ_SECONDS").map(Duration::from_secs);
    println!("to run this again: ONETREE_SEED={seed}");
    let mut mutator = Mutator::new(seed, corpus);
    let started = Instant::now();
    let mut runs = 0u64;
    // The inputs of the corpus come first, unchanged.
    loop {
        let input = mutator.input();
        match catch_unwind(AssertUnwindSafe(|| target(&input))) {
            Ok(saw) => mutator.learn(saw, input),
            Err(_) => panic!("run {runs}: {}\nONETREE_SEED={seed}", input.escape_ascii()),
        }
        runs += 1;
        let over = match budget {
            None => runs >= 20_000,
            Some(budget) => runs.is_multiple_of(64) && started.elapsed() >= budget,
        };
        if over {
            break;
        }
    }
    println!("{runs} runs, {} inputs in the corpus", mutator.kept());
}

fn client(codec: Codec, bytes: &[u8]) -> String {
    let frame = match codec.decode_client(bytes) {
        Ok(frame) => frame,
        Err(error) => return refusal(error),
    };
    let values = match &frame {
        ClientFrame::Put(put) => vec![&put.value],
        ClientFrame::Append(append) => vec![&append.value],
        ClientFrame::Signal(SendSignal { value, .. }) => vec![value],
        ClientFrame::Txn(txn) => txn.changes.iter().filter_map(value_of).collect(),
        _ => Vec::new(),
    };
    let in_json = values.into_iter().all(is_right_in_json);
    for codec in Codec::ALL {
        if codec == Codec::MsgPack || in_json {
            let again = codec.decode_client(&codec.encode_client(&frame));
            assert_eq!(again.as_ref(), Ok(&frame), "{codec:?}");
        }
    }
    name(&frame)
}

fn server(codec: Codec, bytes: &[u8]) -> String {
    let frame = match codec.decode_server(bytes) {
        Ok(frame) => frame,
        Err(error) => return refusal(error),
    };
    let in_json = match &frame {
        ServerFrame::Entries(entries) => changes_are_right(&entries.changes),
        ServerFrame::Delta(delta) => changes_are_right(&delta.changes),
        ServerFrame::Found(found) => changes_are_right(&found.entries),
        ServerFrame::Signal(signal) => is_right_in_json(&signal.value),
        ServerFrame::Sync(sync) => each_sub_is_named_once(sync),
        _ => true,
    };
    for codec in Codec::ALL {
        if codec == Codec::MsgPack || in_json {
            let again = codec.decode_server(&codec.encode_server(&frame));
            assert_eq!(again.as_ref(), Ok(&frame), "{codec:?}");
        }
    }
    name(&frame)
}

fn refusal(error: DecodeError) -> String {
    let code = error.code.as_str();
    let codes = ["bad-frame", "unknown-op", "bad-path", "bad-pattern", "bad-field"];
    // For a list that is longer than allowed.
    let more = ["too-many-changes", "too-many-subscriptions"];
    assert!(codes.contains(&code) || more.contains(&code), "{code}: {error}");
    assert!(!error.message.is_empty());
    format!("{code} {}", word(&error.message))
}

/// Returns whether this value can be in a JSON frame unchanged. A JSON value is copied into the
/// frame as it is, so it must be valid, as brokers check; and white space around it would be lost.
fn is_right_in_json(value: &Value) -> bool {
    let bytes = &*value.bytes;
    value.media != MediaType::Json || json::check(bytes).is_ok() && bytes.trim_ascii() == bytes
}

fn changes_are_right(changes: &[Change]) -> bool {
    changes.iter().all(|change| match &change.act {
        Act::Put(Some(value)) => is_right_in_json(value),
        _ => true,
    })
}

fn each_sub_is_named_once(sync: &Sync) -> bool {
    let mut subs: Vec<_> = sync.digests.iter().map(|(sub, _)| sub).collect();
    subs.sort_unstable();
    subs.windows(2).all(|pair| pair[0] != pair[1])
}

fn value_of(step: &Do) -> Option<&Value> {
    match step {
        Do::Put { value, .. } | Do::Append { value, .. } => Some(value),
        Do::Delete { .. } | Do::Drop { .. } | Do::Trim { .. } => None,
    }
}

/// Checks the rules of segments, in a different way than the code does.
fn segments_are_right(joined: &str, bytes: usize) -> bool {
    let control = |c: char| matches!(c, '\0'..='\x1f' | '\x7f'..='\u{9f}');
    let right =
        |segment: &str| (1..=255).contains(&segment.len()) && !matches!(segment, "." | "..");
    bytes <= 1024
        && !joined.contains(control)
        && joined.split('/').all(right)
        && joined.split('/').count() <= 32
}

/// Returns the inputs of some files of vectors: what they have under `field`, valid and invalid.
fn corpus(files: &[&str], field: &str) -> Vec<Vec<u8>> {
    let mut corpus = Vec::new();
    for file in files {
        let file = spec::json(&format!("vectors/v1/{file}.json"));
        for list in ["valid", "invalid"] {
            for vector in spec::list(&file, list) {
                corpus.extend(vector_files::bytes(vector, field));
                corpus.extend(vector_files::also(vector, field));
            }
        }
    }
    corpus
}

/// Returns the first words of a message, without what comes from the input.
fn word(message: &str) -> String {
    let plain = message.split('"').next().unwrap_or_default();
    plain.chars().filter(|c| c.is_ascii_alphabetic() || *c == ' ').take(60).collect()
}

/// Returns the kind of a frame, and its size as a power of two.
fn name(frame: &impl std::fmt::Debug) -> String {
    let debug = format!("{frame:?}");
    let name: String = debug.chars().take_while(char::is_ascii_alphabetic).collect();
    format!("{name} {} {}", debug.matches("Some").count().min(9), debug.len().ilog2())
}

fn kind(act: &Act) -> String {
    match act {
        Act::Put(Some(value)) => format!("put {}", value.media.is_text()),
        Act::Put(None) => "put".to_owned(),
        Act::Delete => "delete".to_owned(),
        Act::Drop => "drop".to_owned(),
        Act::Trim { gap, .. } => format!("trim {gap}"),
    }
}
