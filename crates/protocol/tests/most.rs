//! The limits on lists in a client's frame; items beyond a limit are not read.

use onetree_protocol::frame::{Condition, Do, Get, Hello, Sub, Txn};
use onetree_protocol::limits::{GET_PATHS, HELLO_ITEMS, PATTERNS, TXN_ITEMS};
use onetree_protocol::{ClientFrame, Code, Codec, DecodeError, Path, Pattern, Revision, View};

/// Makes the same frame with a list of this many items.
type Make = fn(usize) -> ClientFrame;

const ID: u32 = 7;

fn sub(patterns: usize) -> Sub {
    let pattern = Pattern::parse("*").unwrap();
    Sub {
        id: ID,
        sub: 1,
        view: View { patterns: vec![pattern; patterns], ..View::tree(Path::root()) },
        cookie: None,
        mode: Default::default(),
        signals: false,
        every_ms: 0,
        copy: false,
    }
}

fn hello(subs: Vec<Sub>) -> ClientFrame {
    ClientFrame::Hello(Box::new(Hello { id: ID, subs, ..Hello::default() }))
}

fn txn(conditions: usize, changes: usize) -> ClientFrame {
    let condition = Condition::Entry { path: Path::root(), rev: Revision::ZERO };
    let conditions = vec![condition; conditions];
    let changes = vec![Do::Delete { path: Path::root() }; changes];
    ClientFrame::Txn(Txn { id: ID, seq: None, conditions, changes })
}

#[test]
fn a_list_of_a_client_has_a_most() {
    let lists: [(&str, usize, Code, Make); 6] = [
        ("do: at most 65535 changes", TXN_ITEMS, Code::TooManyChanges, |n| txn(0, n)),
        ("if: at most 65535 conditions", TXN_ITEMS, Code::TooManyChanges, |n| txn(n, 1)),
        ("paths: at most 1024 paths", GET_PATHS, Code::BadField, |n| {
            ClientFrame::Get(Get { id: ID, paths: vec![Path::root(); n] })
        }),
        ("match: at most 32 patterns", PATTERNS, Code::BadField, |n| {
            ClientFrame::Sub(Box::new(sub(n)))
        }),
        ("subs: at most 65535 subscriptions", HELLO_ITEMS, Code::TooManySubscriptions, |n| {
            hello(vec![sub(0); n])
        }),
        ("subs[2047]: at most 65535 patterns", HELLO_ITEMS, Code::TooManySubscriptions, |n| {
            let last = n % PATTERNS;
            let mut subs = vec![sub(PATTERNS); n / PATTERNS];
            subs.extend((last > 0).then(|| sub(last)));
            hello(subs)
        }),
    ];
    for (message, most, code, make) in lists {
        for codec in Codec::ALL {
            let frame = make(most);
            assert_eq!(codec.decode_client(&codec.encode_client(&frame)), Ok(frame), "{message}");
            let refused = DecodeError { id: Some(ID), code, message: message.to_owned() };
            for more in [1, most] {
                let bytes = codec.encode_client(&make(most + more));
                assert_eq!(codec.decode_client(&bytes), Err(refused.clone()), "{message}");
            }
        }
    }
}

/// This also holds if the fields are in another order, if they are behind an unknown field, and if
/// the items are invalid.
#[test]
fn more_are_refused_wherever_they_stand() {
    let items = |item: &str, many: usize| vec![item; many].join(",");
    let numbers = items("0", GET_PATHS + 1);
    for text in [
        format!(r#"{{"paths":[{numbers}],"op":"get","id":7}}"#),
        format!(r#"{{"op":"get","id":7,"paths":[{numbers}],"unknown":1}}"#),
        format!("{{\"op\":\"get\",\"id\":7,\n\"paths\" : [\t{numbers}\t]\n}}"),
    ] {
        let refused = Codec::decode_client_text(&text).unwrap_err();
        assert_eq!((refused.id, refused.code), (Some(ID), Code::BadField), "{refused}");
    }
    let most = Codec::decode_client_text(&format!(
        r#"{{"op":"get","id":7,"paths":[{}]}}"#,
        items("0", GET_PATHS)
    ));
    assert_eq!(most.unwrap_err().code, Code::BadFrame, "the first of them is not a path");
    // What is not a frame is refused as such, whatever its list claims.
    let text = format!(r#"{{"op":"get","id":7,"paths":[{numbers}],"id":7}}"#);
    let refused = Codec::decode_client_text(&text).unwrap_err();
    assert_eq!((refused.id, refused.code), (None, Code::BadFrame), "{refused}");
    let cut = [0x93, 14, ID as u8, 0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0];
    let refused = Codec::MsgPack.decode_client(&cut).unwrap_err();
    assert_eq!((refused.id, refused.code), (None, Code::BadFrame), "{refused}");
}
