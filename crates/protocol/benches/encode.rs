//! `cargo bench -p onetree-protocol --bench encode`: encoding and decoding frames in both codecs.
//! The floor is a copy of the bytes.

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use onetree_protocol::frame::{Delta, Entries, Fresh, Put, SendSignal};
use onetree_protocol::{
    Act, Change, ClientFrame, Codec, Digest, Path, Revision, ServerFrame, Value, View,
};

fn main() {
    divan::main();
}

/// The frame that is encoded.
#[derive(Clone, Copy, Debug)]
enum What {
    /// A delta with this many changes; nearly every commit makes a delta of one change.
    Delta(usize),
    /// A piece of a refresh, with this many entries.
    Entries(usize),
    /// The end of a refresh.
    Fresh,
}

const WHAT: [What; 4] = [What::Delta(1), What::Delta(100), What::Entries(100), What::Fresh];

impl What {
    fn frame(self) -> ServerFrame {
        let rev = Revision::new(1_234_567).unwrap();
        match self {
            What::Delta(n) => {
                let changes = changes(n);
                ServerFrame::Delta(Delta { rev, since: None, sub: None, part: false, changes })
            }
            What::Entries(n) => ServerFrame::Entries(Entries { sub: 1, changes: changes(n) }),
            What::Fresh => {
                let view = View::tree(Path::root()).fingerprint();
                let digest = Some(Digest { count: 1_000_000, sum: u128::MAX / 3 });
                ServerFrame::Fresh(Fresh { sub: 1, rev, view, digest })
            }
        }
    }
}

fn path(n: usize) -> Path {
    Path::parse(&format!("/site-07/room-031/entry-{n:06}/sensor")).unwrap()
}

/// A value of about 100 bytes.
fn value(n: usize) -> Value {
    Value::json(&format!("{{\"n\":{},\"text\":\"{}\"}}", 100_000 + n, "x".repeat(81)))
}

fn changes(n: usize) -> Vec<Change> {
    let rev = |n: usize| Revision::new(1_234_000 + n as u64).unwrap();
    (0..n).map(|n| Change { path: path(n), rev: rev(n), act: Act::Put(Some(value(n))) }).collect()
}

fn floor(bencher: Bencher<'_, '_>, bytes: &Bytes) {
    let count = BytesCount::new(bytes.len());
    bencher.counter(count).bench(|| Bytes::copy_from_slice(black_box(bytes)));
}

fn encode(bencher: Bencher<'_, '_>, codec: Codec, what: What) {
    let frame = what.frame();
    let count = BytesCount::new(codec.encode_server(&frame).len());
    bencher.counter(count).bench(|| codec.encode_server(black_box(&frame)));
}

fn decode(bencher: Bencher<'_, '_>, codec: Codec, what: What) {
    let bytes = codec.encode_server(&what.frame());
    let count = BytesCount::new(bytes.len());
    bencher.counter(count).bench(|| codec.decode_server(black_box(&bytes)).unwrap());
}

/// A put as a broker reads it.
fn decode_put(bencher: Bencher<'_, '_>, codec: Codec) {
    let (path, value) = (path(1), value(1));
    let (seq, expect, ttl_ms) = (Some(7), None, None);
    let put = Put { id: 7, seq, path, value, expect, ttl_ms, ephemeral: false };
    decode_client(bencher, codec, &ClientFrame::Put(put));
}

/// A signal as a broker reads it.
fn decode_signal(bencher: Bencher<'_, '_>, codec: Codec) {
    let value = Value::json(&format!("\"{}\"", "x".repeat(126)));
    let signal = SendSignal { id: None, path: path(1), value };
    decode_client(bencher, codec, &ClientFrame::Signal(signal));
}

fn decode_client(bencher: Bencher<'_, '_>, codec: Codec, frame: &ClientFrame) {
    let bytes = codec.encode_client(frame);
    let count = BytesCount::new(bytes.len());
    bencher.counter(count).bench(|| codec.decode_client(black_box(&bytes)).unwrap());
}

macro_rules! codec {
    ($name:ident, $codec:expr) => {
        mod $name {
            use super::*;

            #[divan::bench(args = WHAT)]
            fn encode(bencher: Bencher<'_, '_>, what: What) {
                super::encode(bencher, $codec, what);
            }

            #[divan::bench(args = WHAT)]
            fn decode(bencher: Bencher<'_, '_>, what: What) {
                super::decode(bencher, $codec, what);
            }

            #[divan::bench]
            fn decode_put(bencher: Bencher<'_, '_>) {
                super::decode_put(bencher, $codec);
            }

            #[divan::bench]
            fn decode_signal(bencher: Bencher<'_, '_>) {
                super::decode_signal(bencher, $codec);
            }

            /// The floor: copies the bytes of the frame.
            #[divan::bench(args = WHAT)]
            fn floor(bencher: Bencher<'_, '_>, what: What) {
                super::floor(bencher, &$codec.encode_server(&what.frame()));
            }
        }
    };
}

codec!(json, Codec::Json);
codec!(msgpack, Codec::MsgPack);
