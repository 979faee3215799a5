//! Frames that are read in an unusual way.

use onetree_protocol::json::{change_line, check, parse_change_line};
use onetree_protocol::{Act, Change, ClientFrame, Code, Codec, Path, Revision, Value};

fn path_of(codec: Codec, frame: &[u8]) -> Result<String, Code> {
    match codec.decode_client(frame) {
        Ok(ClientFrame::Put(put)) => Ok(put.path.as_str().to_owned()),
        Ok(other) => panic!("not a put: {other:?}"),
        Err(error) => Err(error.code),
    }
}

/// The path of the frame before is taken again only where it is the same.
#[test]
fn a_path_is_that_of_the_frame_before_only_where_it_is_the_same() {
    for codec in Codec::ALL {
        let paths = ["/b", "/a/b", "/b", "/b/c", "/b"];
        let frames = paths.map(|at| {
            let frame = format!(r#"{{"op":"put","id":1,"path":"{at}","json":1}}"#);
            codec.encode_client(&Codec::Json.decode_client(frame.as_bytes()).unwrap())
        });
        for (at, frame) in paths.iter().zip(&frames) {
            assert_eq!(path_of(codec, frame), Ok((*at).to_owned()), "{codec:?}");
        }
    }
    // A path with a backslash, and what looks like it and is an escape.
    let put = |text: &str| {
        path_of(
            Codec::Json,
            format!(r#"{{"op":"put","id":1,"path":"{text}","json":1}}"#).as_bytes(),
        )
    };
    assert_eq!(put(r"/\\u0041"), Ok(r"/\u0041".to_owned()));
    assert_eq!(put(r"/\u0041"), Ok("/A".to_owned()));
    assert_eq!(put(r"/\\b"), Ok(r"/\b".to_owned()));
    assert_eq!(put(r"/\b"), Err(Code::BadPath));
}

/// A frame of very many members is checked as others are.
#[test]
fn a_frame_of_many_members_is_checked_too() {
    let many: String = (0..40).map(|n| format!(r#""x{n}":0,"#)).collect();
    let put = |value: &str| format!(r#"{{{many}"op":"put","id":1,"path":"/a","json":{value}}}"#);
    assert_eq!(path_of(Codec::Json, put("1").as_bytes()), Ok("/a".to_owned()));
    for wrong in [r#"1,"x3":0"#, r#"{"a":1,"a":2}"#, r#""\ud800""#, "1e999"] {
        assert_eq!(path_of(Codec::Json, put(wrong).as_bytes()), Err(Code::BadFrame), "{wrong}");
    }
}

/// What may stand in the tree may stand in a line.
#[test]
fn the_deepest_value_comes_back_from_its_line() {
    let text = format!("{}{}", "[".repeat(127), "]".repeat(127));
    assert!(check(text.as_bytes()).is_ok() && check(format!("[{text}]").as_bytes()).is_err());
    let (path, rev) = (Path::parse("/a").unwrap(), Revision::ZERO);
    let change = Change { path, rev, act: Act::Put(Some(Value::json(&text))) };
    assert_eq!(parse_change_line(&change_line(&change)), Ok(change));
}

/// Bytes that are said to be JSON are: they are spliced into frames as they are.
#[test]
fn bytes_that_are_said_to_be_json_are() {
    for (bytes, code) in [("MQ==", None), ("MSx9", Some(Code::BadValue))] {
        let frame = format!(
            r#"{{"op":"put","id":1,"path":"/a","type":"application/json","bytes":"{bytes}"}}"#
        );
        assert_eq!(path_of(Codec::Json, frame.as_bytes()).err(), code, "{bytes}");
    }
}
