//! The broker's own protocol, in both codecs.

use onetree_protocol::frame::{Append, Hello, Put, SendSignal, Sub};
use onetree_protocol::{ClientFrame, Codec, Cookie, Path, Value, View};

use super::{Content, LEAST_ID, Rule, Step, Template, Until, payload, websocket};

/// How a message is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Put,
    Append,
    Signal,
}

/// The kind of a frame from the broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Welcome,
    Error,
    Refresh,
    Entries,
    Fresh,
    Delta,
    Signal,
    /// `ok` and `done`.
    Reply,
    Other,
}

impl Op {
    /// Returns the kind from the beginning of a frame, without decoding it.
    #[inline]
    pub(crate) fn of(codec: Codec, frame: &[u8]) -> Op {
        match codec {
            Codec::MsgPack => match frame.get(1) {
                Some(1) => Op::Welcome,
                Some(2 | 10) => Op::Reply,
                Some(3) => Op::Error,
                Some(4) => Op::Refresh,
                Some(5) => Op::Entries,
                Some(6) => Op::Fresh,
                Some(7) => Op::Delta,
                Some(8) => Op::Signal,
                _ => Op::Other,
            },
            // `{"op":"` precedes it.
            Codec::Json => match frame.get(7..9) {
                Some(b"we") => Op::Welcome,
                Some(b"ok" | b"do") => Op::Reply,
                Some(b"er") => Op::Error,
                Some(b"re") => Op::Refresh,
                Some(b"en") => Op::Entries,
                Some(b"fr") => Op::Fresh,
                Some(b"de") => Op::Delta,
                Some(b"si") => Op::Signal,
                _ => Op::Other,
            },
        }
    }
}

/// The most requests that may wait at once: the broker's `requests_in_flight`.
pub(crate) const IN_FLIGHT: u64 = 1024;

pub(crate) fn rule(codec: Codec) -> Rule {
    Rule { websocket: true, content: Content::Onetree(codec) }
}

fn opcode(codec: Codec) -> u8 {
    match codec {
        Codec::Json => websocket::TEXT,
        Codec::MsgPack => websocket::BINARY,
    }
}

/// Returns the path of a topic.
pub(crate) fn path(topic: usize) -> Path {
    Path::parse(&format!("/bench/t-{topic:03}")).expect("it is a path")
}

/// Makes a subscription to a subtree.
pub(crate) fn sub(number: u32, base: Path, cookie: Option<Cookie>, signals: bool) -> Sub {
    Sub {
        id: number + 1,
        sub: number,
        view: View::tree(base),
        cookie,
        mode: Default::default(),
        signals,
        every_ms: 0,
        copy: false,
    }
}

/// Opens a connection with subscriptions, and waits until each is complete.
pub(crate) fn subscriber(codec: Codec, subs: Vec<Sub>) -> Vec<Step> {
    let count = u32::try_from(subs.len()).expect("there are few");
    opening(codec, subs, Until::Frames(Op::Fresh, count))
}

/// Opens a connection that writes.
pub(crate) fn publisher(codec: Codec) -> Vec<Step> {
    opening(codec, Vec::new(), Until::Frames(Op::Welcome, 1))
}

fn opening(codec: Codec, subs: Vec<Sub>, until: Until) -> Vec<Step> {
    let hello = ClientFrame::Hello(Box::new(Hello { id: 1, subs, ..Hello::default() }));
    vec![
        Step::new(
            websocket::upgrade("/v1/sync", Some(codec.subprotocol())),
            Until::Bytes(b"\r\n\r\n"),
        ),
        Step::new(frame(codec, &hello), until),
    ]
}

/// Encodes a frame as it is sent.
pub(crate) fn frame(codec: Codec, frame: &ClientFrame) -> Vec<u8> {
    let mut out = Vec::new();
    websocket::message(opcode(codec), &codec.encode_client(frame), &mut out);
    out
}

/// Makes the message that is sent again and again to one topic.
pub(crate) fn message(codec: Codec, kind: Kind, path: Path, size: usize) -> Template {
    let value = Value::json(&payload(size));
    let id = LEAST_ID;
    let frame = match kind {
        Kind::Put => ClientFrame::Put(Put {
            id,
            seq: None,
            path,
            value,
            expect: None,
            ttl_ms: None,
            ephemeral: false,
        }),
        Kind::Append => ClientFrame::Append(Append {
            id,
            seq: None,
            path,
            value,
            ttl_ms: None,
            ephemeral: false,
        }),
        // Without an answer, as with all peers but Redis.
        Kind::Signal => ClientFrame::Signal(SendSignal { id: None, path, value }),
    };
    let numbered = (kind != Kind::Signal).then_some(codec);
    Template::new(Some(opcode(codec)), codec.encode_client(&frame).to_vec(), numbered)
}
