//! What is encoded is decoded to the same, in both codecs and across them. What is not a frame is
//! refused with a code, and nothing worse happens.
//!
//! Each property prints its seed when it fails; `ONETREE_SEED=<seed> cargo test --test roundtrip`
//! runs the same cases again.

use std::collections::BTreeSet;

use onetree_protocol::frame::SendSignal;
use onetree_protocol::json;
use onetree_protocol::{
    Act, Change, ClientFrame, Codec, Cookie, DecodeError, MediaType, Path, Revision, ServerFrame,
    Value,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

mod frames;

use frames::{change, client_frame, cookie, run, server_frame};

const CASES: u32 = 1000;

/// One side's half of a codec, so that each property is written once for both sides.
struct Side<F: 'static> {
    encode: fn(Codec, &F) -> bytes::Bytes,
    decode: fn(Codec, &[u8]) -> Result<F, DecodeError>,
}

const CLIENT: Side<ClientFrame> =
    Side { encode: Codec::encode_client, decode: Codec::decode_client };
const SERVER: Side<ServerFrame> =
    Side { encode: Codec::encode_server, decode: Codec::decode_server };

#[test]
fn a_frame_of_a_client_is_read_back_as_it_was_written() {
    run(CASES, client_frame(), |frame| there_and_back(&CLIENT, &frame));
}

#[test]
fn a_frame_of_a_broker_is_read_back_as_it_was_written() {
    run(CASES, server_frame(), |frame| there_and_back(&SERVER, &frame));
}

#[test]
fn every_kind_of_frame_is_among_those_that_are_tried() {
    let seen = std::cell::RefCell::new(BTreeSet::new());
    let note = |side: char, debug: String| {
        let name: String = debug.chars().take_while(char::is_ascii_alphabetic).collect();
        seen.borrow_mut().insert((side, name));
        Ok(())
    };
    run(400, client_frame(), |frame| note('c', format!("{frame:?}")));
    run(400, server_frame(), |frame| note('s', format!("{frame:?}")));
    assert_eq!(seen.borrow().len(), 16 + 12, "{seen:?}");
}

#[test]
fn a_frame_of_a_client_that_is_cut_off_or_broken_is_refused_or_read() {
    run(CASES, (client_frame(), breakage()), |(frame, breakage)| {
        broken(&CLIENT, &frame, &breakage)
    });
}

#[test]
fn a_frame_of_a_broker_that_is_cut_off_or_broken_is_refused_or_read() {
    run(CASES, (server_frame(), breakage()), |(frame, breakage)| {
        broken(&SERVER, &frame, &breakage)
    });
}

#[test]
fn bytes_by_chance_are_refused_or_read() {
    let noise = prop_oneof![
        vec(any::<u8>(), 0..200),
        // Looks like a frame of MessagePack at first.
        (0x90..=0x9fu8, 1..20u8, vec(any::<u8>(), 0..60)).prop_map(|(array, op, rest)| [
            vec![array, op],
            rest
        ]
        .concat()),
        // Looks like JSON.
        "[{}\\[\\]\",:0-9a-z\\\\ ]{0,80}".prop_map(String::into_bytes),
        "\\{\"op\":\"[a-z]{2,6}\",\"id\":[0-9]{1,3},.{0,40}\\}".prop_map(String::into_bytes),
    ];
    run(4 * CASES, noise, |bytes| {
        for codec in Codec::ALL {
            told(codec.decode_client(&bytes).err())?;
            told(codec.decode_server(&bytes).err())?;
        }
        Ok(())
    });
}

#[test]
fn fields_of_json_may_come_in_any_order_with_unknown_ones_among_them() {
    run(CASES, (client_frame(), any::<u64>()), |(frame, turn)| {
        let text = Codec::Json.encode_client(&frame);
        let mut members = members(&text);
        let turn = turn as usize % members.len();
        members.rotate_left(turn);
        members.insert(turn, r#""new":{"deep":[1,2.5e3,"}"]}"#.to_owned());
        let turned = format!("{{ {} }}", members.join(" ,\n"));
        prop_assert_eq!(Codec::Json.decode_client(turned.as_bytes()), Ok(frame));
        Ok(())
    });
}

#[test]
fn elements_of_messagepack_behind_the_known_ones_are_ignored() {
    run(CASES, server_frame(), |frame| {
        let bytes = Codec::MsgPack.encode_server(&frame);
        prop_assert_eq!(bytes[0] >> 4, 9, "no frame has sixteen elements");
        let known = usize::from(bytes[0] & 15);
        // Nil up to the sixteenth element, then an element that no version has.
        let head = vec![0xdc, 0, 17];
        let tail = [vec![0xc0; 16 - known], vec![0x92, 1, 0xa1, b'x']].concat();
        let longer = [head, bytes[1..].to_vec(), tail].concat();
        prop_assert_eq!(Codec::MsgPack.decode_server(&longer), Ok(frame));
        Ok(())
    });
}

#[test]
fn a_change_is_one_line_and_comes_back_from_it() {
    run(CASES, change(), |change| {
        let line = json::change_line(&change);
        prop_assert!(!line.contains(['\n', '\r']), "{line}");
        prop_assert_eq!(json::parse_change_line(&line).map_err(|e| e.0), Ok(change));
        Ok(())
    });
}

#[test]
fn space_around_a_json_text_is_not_part_of_the_value() {
    let put = |bytes: &[u8], media: MediaType| {
        let value = Value { media, bytes: bytes.into() };
        let path = Path::parse("/a").unwrap();
        ClientFrame::Signal(SendSignal { id: None, path, value })
    };
    let spaced = b" \t\r\n{\"k\": 1}\n ";
    let bytes = Codec::MsgPack.encode_client(&put(spaced, MediaType::Json));
    let read = Codec::MsgPack.decode_client(&bytes).unwrap();
    assert_eq!(read, put(b"{\"k\": 1}", MediaType::Json));
    let json = r#"{"op":"signal","path":"/a","type":"application/json","bytes":"IDEK"}"#;
    let read = Codec::Json.decode_client(json.as_bytes()).unwrap();
    assert_eq!(read, put(b"1", MediaType::Json));
    // In a value of any other type white space is part of the value.
    for media in [MediaType::Text, MediaType::Octets] {
        let frame = put(spaced, media);
        let bytes = Codec::MsgPack.encode_client(&frame);
        assert_eq!(Codec::MsgPack.decode_client(&bytes).unwrap(), frame);
    }
}

#[test]
fn a_line_keeps_the_spaces_inside_of_a_json_value() {
    for space in [" ", "\t", "\n", "\r\n", "\r"] {
        for (text, kept) in [
            (format!("{space}1"), "1".to_owned()),
            (format!("1{space}"), "1".to_owned()),
            (format!("[{space}1]"), format!("[{space}1]")),
        ] {
            let change = |text: &str| {
                let act = Act::Put(Some(Value::json(text)));
                Change { path: Path::root(), rev: Revision::ZERO, act }
            };
            let line = json::change_line(&change(&text));
            assert!(!line.contains(['\n', '\r']), "{line}");
            assert_eq!(json::parse_change_line(&line), Ok(change(&kept)), "{text:?}");
        }
    }
}

#[test]
fn a_value_that_is_all_escapes_takes_no_more_than_its_hint() {
    let values = ["\0", "\"", "\\", "\u{1f}", "\n", "\u{7f}", "ä", "\u{2028}", "/"]
        .map(|unit| Value::text(&unit.repeat(1000)));
    let octets = (0..100).map(|length| Value::octets(&vec![0xff; length]));
    for value in values.into_iter().chain(octets) {
        let act = Act::Put(Some(value));
        let path = Path::parse(&format!("/{}", "\"".repeat(255))).unwrap();
        let change = Change { path, rev: Revision::MAX, act };
        let hint = Codec::size_hint(&change);
        assert!(json::change_line(&change).len() <= hint, "{change:?}");
    }
}

#[test]
fn a_change_never_takes_more_than_its_hint() {
    use onetree_protocol::frame::Entries;
    run(CASES, change(), |change| {
        let hint = Codec::size_hint(&change);
        for codec in Codec::ALL {
            let size = |changes| {
                let frame = ServerFrame::Entries(Entries { sub: 1, changes });
                codec.encode_server(&frame).len()
            };
            let one = vec![change.clone()];
            let two = vec![change.clone(), change.clone()];
            // The second change takes a comma, if the codec has commas.
            let takes = size(two) - size(one);
            prop_assert!(takes <= hint, "{codec:?} {takes} > {hint}");
        }
        Ok(())
    });
}

#[test]
fn a_cookie_comes_back_from_its_text() {
    run(CASES, cookie(), |cookie: Cookie| {
        prop_assert_eq!(json::parse_cookie(&json::cookie(&cookie)).map_err(|e| e.0), Ok(cookie));
        Ok(())
    });
}

fn there_and_back<F: PartialEq + std::fmt::Debug>(
    side: &Side<F>,
    frame: &F,
) -> Result<(), TestCaseError> {
    let read = |codec, bytes: &[u8]| {
        let read = (side.decode)(codec, bytes);
        read.map_err(|e| TestCaseError::fail(format!("{codec:?}: {} {e}", e.code.as_str())))
    };
    let [json, pack] = Codec::ALL.map(|codec| (side.encode)(codec, frame));
    let (from_json, from_pack) = (read(Codec::Json, &json)?, read(Codec::MsgPack, &pack)?);
    prop_assert_eq!(&from_json, frame);
    prop_assert_eq!(&from_pack, frame);
    prop_assert!(std::str::from_utf8(&json).is_ok());
    // Across: from JSON to MessagePack to JSON, compared byte by byte.
    let across = (side.encode)(Codec::MsgPack, &from_json);
    prop_assert_eq!(&across, &pack);
    prop_assert_eq!((side.encode)(Codec::Json, &read(Codec::MsgPack, &across)?), json);
    Ok(())
}

/// Where the bytes are cut, and which bytes are replaced by what.
fn breakage() -> impl Strategy<Value = (Index, Vec<(Index, u8)>)> {
    (any::<Index>(), vec((any::<Index>(), any::<u8>()), 20))
}

fn broken<F: PartialEq + std::fmt::Debug>(
    side: &Side<F>,
    frame: &F,
    (cut, changed): &(Index, Vec<(Index, u8)>),
) -> Result<(), TestCaseError> {
    for codec in Codec::ALL {
        let bytes = (side.encode)(codec, frame);
        let cut = cut.index(bytes.len());
        let Err(error) = (side.decode)(codec, &bytes[..cut]) else {
            return Err(TestCaseError::fail(format!("{codec:?}: read although cut at {cut}")));
        };
        told(Some(error))?;
        for (at, byte) in changed {
            let mut bytes = bytes.to_vec();
            let at = at.index(bytes.len());
            bytes[at] = *byte;
            told((side.decode)(codec, &bytes).err())?;
        }
    }
    Ok(())
}

/// Checks that a refusal has a code with which frames can be refused, and says why.
fn told(error: Option<DecodeError>) -> Result<(), TestCaseError> {
    let Some(DecodeError { code, message, .. }) = error else { return Ok(()) };
    let codes = ["bad-frame", "unknown-op", "bad-path", "bad-pattern", "bad-field"];
    prop_assert!(codes.contains(&code.as_str()), "{} {message}", code.as_str());
    prop_assert!(!message.is_empty());
    Ok(())
}

/// Returns the members of an object, each as it stands there.
fn members(text: &[u8]) -> Vec<String> {
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(text).expect("an object");
    let member = |(name, value): (&String, &&RawValue)| format!("{name:?}:{}", value.get());
    members.iter().map(member).collect()
}
