//! The vectors of `spec/vectors`, each encoded and decoded.

use blake2::Digest as _;
use blake2::digest::consts::U8;
use onetree_protocol::frame::{SendSignal, Sub};
use onetree_protocol::json;
use onetree_protocol::{
    ClientFrame, Code, Codec, Cookie, DecodeError, Digest, DigestKey, Epoch, Fingerprint, LogKey,
    MediaType, Path, Pattern, Revision, Value, View,
};
use serde_json::Value as Json;

#[path = "spec_files/mod.rs"]
mod spec;
mod vector_files;

use spec::list;
use vector_files::{also, bytes, unhex};

const FILES: [&str; 9] = [
    "paths",
    "patterns",
    "log_keys",
    "cookies",
    "digests",
    "fingerprints",
    "values",
    "client_frames",
    "server_frames",
];

/// The fields that hold a vector in a codec.
const FIELDS: [(Codec, &str); 2] = [(Codec::Json, "json"), (Codec::MsgPack, "msgpack")];

/// Returns the text `field` of an object.
fn str<'a>(object: &'a Json, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_else(|| panic!("no text {field} in {object}"))
}

fn file(name: &str) -> Json {
    spec::json(&format!("vectors/v1/{name}.json"))
}

#[test]
fn every_file_has_at_least_as_many_invalid_vectors_as_valid_ones() {
    for name in FILES {
        let file = file(name);
        let (valid, invalid) = (list(&file, "valid").len(), list(&file, "invalid").len());
        assert!(valid > 0 && invalid >= valid, "{name}: {valid} valid, {invalid} invalid");
        assert_eq!(file["version"], 1, "{name}");
    }
}

#[test]
fn every_invalid_vector_says_why_and_has_a_code() {
    for name in FILES {
        for vector in list(&file(name), "invalid") {
            assert!(!str(vector, "why").is_empty(), "{name}: {vector}");
            expected(vector);
        }
    }
}

#[test]
fn no_file_of_vectors_is_left_out() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors/v1");
    let entries = std::fs::read_dir(folder).expect("the folder of vectors");
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().expect("UTF-8");
    let mut there: Vec<String> = entries.map(|entry| name(entry.expect("an entry"))).collect();
    let mut known = FILES.map(|name| format!("{name}.json"));
    there.sort();
    known.sort();
    assert_eq!(there, known);
}

#[test]
fn paths() {
    let file = file("paths");
    for vector in list(&file, "valid") {
        let text = str(vector, "text");
        let path = Path::parse(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        assert_eq!(path.as_str(), text);
        let segments: Vec<_> = path.segments().collect();
        assert_eq!(vector["segments"], serde_json::json!(segments), "{text:?}");
        assert_eq!(path.depth(), segments.len());
        let child = |path: Path, segment: &str| path.child(segment).expect("a path");
        assert_eq!(segments.iter().fold(Path::root(), |path, s| child(path, s)), path);
    }
    for vector in list(&file, "invalid") {
        assert!(Path::parse(str(vector, "text")).is_err(), "{vector}");
        refused_in_a_frame(vector, |text| format!(r#"{{"op":"get","id":1,"paths":[{text}]}}"#));
    }
    let order: Vec<_> = list(&file, "order").iter().map(|path| path.as_str().unwrap()).collect();
    for (at, low) in order.iter().enumerate() {
        for high in &order[at + 1..] {
            assert!(Path::parse(low).unwrap() < Path::parse(high).unwrap(), "{low} {high}");
        }
    }
}

#[test]
fn patterns() {
    let file = file("patterns");
    for vector in list(&file, "valid") {
        let text = str(vector, "text");
        let pattern = Pattern::parse(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        assert_eq!(pattern.as_str(), text);
        for (field, expected) in [("matches", true), ("differs", false)] {
            for below in list(vector, field) {
                let below = below.as_str().expect("a text");
                let segments = below.split('/').filter(|segment| !segment.is_empty());
                assert_eq!(pattern.matches(segments), expected, "{text:?} and {below:?}");
                // The same through a view: the result is the same below any base.
                let base = Path::parse("/the/base").unwrap();
                let path = if below.is_empty() { String::new() } else { format!("/{below}") };
                let Ok(path) = Path::parse(&format!("/the/base{path}")) else { continue };
                let view = View { patterns: vec![pattern.clone()], ..View::tree(base) };
                assert_eq!(view.sees(&path), expected, "{text:?} and {path}");
            }
        }
    }
    for vector in list(&file, "invalid") {
        assert!(Pattern::parse(str(vector, "text")).is_err(), "{vector}");
        refused_in_a_frame(vector, |text| {
            format!(r#"{{"op":"sub","id":1,"sub":1,"path":"/","match":[{text}]}}"#)
        });
    }
}

#[test]
fn log_keys() {
    let file = file("log_keys");
    for vector in list(&file, "valid") {
        let text = str(vector, "text");
        let rev = Revision::new(vector["rev"].as_u64().unwrap()).unwrap();
        let key = LogKey { rev, index: vector["index"].as_u64().unwrap().try_into().unwrap() };
        assert_eq!(LogKey::parse(text), Some(key), "{text}");
        assert_eq!(key.to_string(), text);
        assert_eq!(LogKey::of(&Path::parse(&format!("/log/{text}")).unwrap()), Some(key));
    }
    for vector in list(&file, "invalid") {
        assert_eq!(LogKey::parse(str(vector, "text")), None, "{vector}");
        refused_in_a_frame(vector, |text| {
            format!(r#"{{"op":"trim","id":1,"path":"/log","to":{text}}}"#)
        });
    }
}

#[test]
fn cookies() {
    let file = file("cookies");
    let in_a_frame = |codec, cookie: &[u8]| {
        let frame = match codec {
            Codec::Json => {
                [br#"{"op":"sub","id":1,"sub":2,"path":"/","cookie":"#, cookie, b"}"].concat()
            }
            Codec::MsgPack => {
                let start = [0x99, 3, 1, 2, 0xa1, b'/', 0xc0, 0xc0, 0xc0, 0xc0];
                [&start, cookie].concat()
            }
        };
        match codec.decode_client(&frame) {
            Ok(ClientFrame::Sub(sub)) => Ok(*sub),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    };
    for vector in list(&file, "valid") {
        let cookie = Cookie {
            epoch: Epoch::parse(str(vector, "epoch")).unwrap(),
            rev: Revision::new(vector["rev"].as_u64().unwrap()).unwrap(),
            view: Fingerprint::parse(str(vector, "view")).unwrap(),
        };
        assert_eq!(json::cookie(&cookie), str(vector, "json"));
        assert_eq!(json::parse_cookie(str(vector, "json")), Ok(cookie));
        for (codec, field) in FIELDS {
            let written = bytes(vector, field).unwrap();
            let view = View::tree(Path::root());
            let sub = |cookie| Sub {
                id: 1,
                sub: 2,
                view: view.clone(),
                cookie,
                mode: Default::default(),
                signals: false,
                every_ms: 0,
                copy: false,
            };
            let frame = codec.encode_client(&ClientFrame::Sub(Box::new(sub(Some(cookie)))));
            assert!(frame.windows(written.len()).any(|part| part == written), "{vector}");
            for way in [vec![written], also(vector, field)].concat() {
                assert_eq!(in_a_frame(codec, &way), Ok(sub(Some(cookie))), "{vector}");
            }
        }
    }
    for vector in list(&file, "invalid") {
        for (codec, field) in FIELDS {
            let Some(bytes) = bytes(vector, field) else { continue };
            if codec == Codec::Json {
                let text = std::str::from_utf8(&bytes).unwrap();
                assert!(json::parse_cookie(text).is_err(), "{vector}");
            }
            // `null` and no text at all are not cookies. In a frame they can stand for an absent
            // cookie.
            if bytes != b"null" {
                same_code(vector, in_a_frame(codec, &bytes).map(drop));
            }
        }
    }
}

#[test]
fn digests() {
    let file = file("digests");
    for vector in list(&file, "valid") {
        let key = DigestKey::parse(str(vector, "digest_key")).unwrap();
        let mut digest = Digest::default();
        for entry in list(vector, "entries") {
            let rev = Revision::new(entry["rev"].as_u64().unwrap()).unwrap();
            let hash = key.hash(&Path::parse(str(entry, "path")).unwrap(), rev);
            assert_eq!(format!("{hash:032x}"), str(entry, "hash"), "{entry}");
            digest.insert(hash);
        }
        assert_eq!(digest.to_string(), str(vector, "digest"));
        assert_eq!(Digest::parse(str(vector, "digest")), Some(digest));
    }
    for vector in list(&file, "invalid") {
        assert_eq!(Digest::parse(str(vector, "text")), None, "{vector}");
        let text = serde_json::to_string(&vector["text"]).unwrap();
        let view = "0123456789abcdef";
        let frame = format!(r#"{{"op":"fresh","sub":1,"rev":1,"view":"{view}","digest":{text}}}"#);
        same_code(vector, Codec::Json.decode_server(frame.as_bytes()).map(drop));
    }
}

#[test]
fn fingerprints() {
    let file = file("fingerprints");
    let view = |vector: &Json| {
        let mut frame = vector["view"].clone();
        for (name, value) in [("op", Json::from("sub")), ("id", 1.into()), ("sub", 1.into())] {
            frame[name] = value;
        }
        match Codec::Json.decode_client(frame.to_string().as_bytes()) {
            Ok(ClientFrame::Sub(sub)) => Ok(sub.view),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    };
    for vector in list(&file, "valid") {
        let view = view(vector).unwrap_or_else(|e| panic!("{vector}: {e}"));
        let text = str(vector, "fingerprint");
        assert_eq!(view.fingerprint().to_string(), text, "{vector}");
        assert_eq!(Fingerprint::parse(text), Some(view.fingerprint()));
        let hashed = unhex(str(vector, "hashed"));
        let mut hash = blake2::Blake2s::<U8>::new();
        hash.update(hashed);
        let hash = u64::from_be_bytes(hash.finalize().into());
        assert_eq!(format!("{hash:016x}"), text, "{vector}");
    }
    for vector in list(&file, "invalid") {
        if vector["view"].is_object() {
            same_code(vector, view(vector).map(drop));
            continue;
        }
        assert_eq!(Fingerprint::parse(str(vector, "text")), None, "{vector}");
        let text = serde_json::to_string(&vector["text"]).unwrap();
        let frame = format!(r#"{{"op":"fresh","sub":1,"rev":1,"view":{text}}}"#);
        same_code(vector, Codec::Json.decode_server(frame.as_bytes()).map(drop));
    }
}

#[test]
fn values() {
    let file = file("values");
    for vector in list(&file, "valid") {
        let media = MediaType::parse(str(vector, "type")).unwrap();
        let value = Value { media, bytes: unhex(str(vector, "bytes")).into() };
        for (codec, field) in FIELDS {
            let written = bytes(vector, field).unwrap();
            let path = Path::parse("/v").unwrap();
            let signal = SendSignal { id: Some(1), path, value: value.clone() };
            let frame = codec.encode_client(&ClientFrame::Signal(signal));
            assert_eq!(frame, signal_of(codec, &written), "{vector}");
            for way in [vec![written], also(vector, field)].concat() {
                assert_eq!(read_value(codec, &way), Ok(value.clone()), "{vector}");
            }
        }
    }
    for vector in list(&file, "invalid") {
        for (codec, field) in FIELDS {
            let Some(bytes) = bytes(vector, field) else { continue };
            same_code(vector, read_value(codec, &bytes).map(drop));
        }
    }
}

/// Returns the frame of a client's signal with the value `written`.
fn signal_of(codec: Codec, written: &[u8]) -> Vec<u8> {
    match codec {
        Codec::Json => [br#"{"op":"signal","id":1,"path":"/v","#, &written[1..]].concat(),
        Codec::MsgPack => [&[0x95, 12, 1, 0xa2, b'/', b'v'], written].concat(),
    }
}

/// Reads a value as a broker does: first the frame, then the value in it.
fn read_value(codec: Codec, written: &[u8]) -> Result<Value, DecodeError> {
    let value = match codec.decode_client(&signal_of(codec, written))? {
        ClientFrame::Signal(signal) => signal.value,
        other => panic!("{other:?}"),
    };
    match json::check(&value.bytes) {
        Err(error) if value.media == MediaType::Json => {
            Err(DecodeError { id: Some(1), code: Code::BadValue, message: error.0 })
        }
        _ => Ok(value),
    }
}

#[test]
fn client_frames() {
    frames(&file("client_frames"), Codec::encode_client, Codec::decode_client);
}

#[test]
fn server_frames() {
    frames(&file("server_frames"), Codec::encode_server, Codec::decode_server);
}

#[test]
fn every_frame_is_among_the_vectors() {
    let ops = |name| {
        let file = file(name);
        // Frames have `op` first.
        let op = |vector: &Json| str(vector, "json").split('"').nth(3).map(ToOwned::to_owned);
        list(&file, "valid").iter().map(op).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!((ops("client_frames"), ops("server_frames")), (16, 12));
}

fn frames<F: PartialEq + std::fmt::Debug>(
    file: &Json,
    encode: fn(Codec, &F) -> bytes::Bytes,
    decode: fn(Codec, &[u8]) -> Result<F, DecodeError>,
) {
    for vector in list(file, "valid") {
        let text = str(vector, "json");
        let frame = decode(Codec::Json, text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
        for (codec, field) in FIELDS {
            let written = bytes(vector, field).unwrap();
            assert_eq!(encode(codec, &frame), written, "{field} of {vector}");
            for way in [vec![written], also(vector, field)].concat() {
                let read = decode(codec, &way);
                assert_eq!(read.as_ref(), Ok(&frame), "{} of {vector}", way.escape_ascii());
            }
        }
    }
    for vector in list(file, "invalid") {
        let (codec, bytes) = FIELDS
            .into_iter()
            .find_map(|(codec, field)| bytes(vector, field).map(|bytes| (codec, bytes)))
            .unwrap_or_else(|| panic!("nothing to read in {vector}"));
        let error = decode(codec, &bytes).map(|frame| panic!("{vector} is read: {frame:?}"));
        let error = error.unwrap_err();
        let id = vector["id"].as_u64().map(|id| u32::try_from(id).unwrap());
        assert_eq!((error.code, error.id), (expected(vector), id), "{vector}: {error}");
    }
}

/// Returns the code that an invalid vector names.
fn expected(vector: &Json) -> Code {
    Code::parse(str(vector, "code")).unwrap_or_else(|| panic!("the code of {vector}"))
}

#[test]
fn what_is_said_of_a_wrong_frame_is_not_as_long_as_that() {
    for part in ["\u{7f}", "\\u007f", "x", "\u{200b}"] {
        let long = part.repeat(100_000);
        for frame in [
            format!(r#"{{"op":"{long}","id":1}}"#),
            format!(r#"{{"op":"get","{long}":1,"{long}":2}}"#),
            format!(r#"{{"op":"get","{long}":[1,]}}"#),
            format!(r#"{{"op":"put","id":1,"path":"/a","json":{{"{long}":1,"{long}":2}}}}"#),
            format!(r#"{{"op":"put","id":1,"path":"{long}","json":1}}"#),
            format!(r#"{{"op":"put","id":1,"path":"/a","type":"{long}","text":""}}"#),
            format!(r#"{{"op":"hello","id":1,"client":"{long}"}}"#),
            format!(r#"{{"op":"list","id":1,"path":"/a","depth":"{long}"}}"#),
            format!(r#"{{"op":"sub","id":1,"sub":1,"path":"/a","match":["{long}"]}}"#),
            format!(r#"{{"op":"txn","id":1,"do":[{{"do":"{long}","path":"/a"}}]}}"#),
            format!(r#"{{"op":"trim","id":1,"path":"/a","to":"{long}"}}"#),
        ] {
            let error = Codec::Json.decode_client(frame.as_bytes()).unwrap_err();
            assert!(
                error.message.len() <= 256,
                "{} bytes: {:.300}",
                error.message.len(),
                error.message
            );
            assert!(!error.message.is_empty());
        }
    }
}

fn same_code(vector: &Json, read: Result<(), DecodeError>) {
    match read {
        Ok(()) => panic!("{vector} is read"),
        Err(error) => assert_eq!(error.code, expected(vector), "{vector}: {error}"),
    }
}

/// Checks that the text of an invalid word gets its code when it is in a frame.
fn refused_in_a_frame(vector: &Json, frame: impl Fn(&str) -> String) {
    let text = serde_json::to_string(&vector["text"]).unwrap();
    same_code(vector, Codec::Json.decode_client(frame(&text).as_bytes()).map(drop));
}
