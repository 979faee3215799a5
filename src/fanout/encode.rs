//! A commit's bytes, made once for each way of seeing it.

use std::sync::Arc;

use bytes::Bytes;
use onetree_protocol::frame::{Delta, ServerFrame, Signal};
use onetree_protocol::{Act, Change, Codec, Path, Revision, Value};

/// What stands around the changes of a delta, at most, bytes: names, two revisions, brackets.
const ENVELOPE_BYTES: usize = 256;

/// Which changes of a commit someone sees, and how: 0 not at all, 1 without its value, 2 whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marks(Box<[u8]>);

impl Marks {
    pub(super) fn none(changes: usize) -> Marks {
        Marks(vec![0; changes].into())
    }

    /// The change `at` this place is seen; only a put has a value to leave out.
    pub(super) fn set(&mut self, at: usize, change: &Change, values: bool) {
        let whole = values || !matches!(change.act, Act::Put(_));
        self.0[at] = self.0[at].max(if whole { 2 } else { 1 });
    }

    /// What the other sees is seen as well.
    pub(super) fn add(&mut self, other: &Marks) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own = (*own).max(*other));
    }
}

/// The deltas of one commit, as far as they have been asked for.
pub(super) struct Deltas {
    rev: Revision,
    changes: Vec<Change>,
    frame_bytes: usize,
    /// Few: nearly always one, so a list is searched fastest.
    made: Vec<(Codec, Marks, Arc<[Bytes]>)>,
}

impl Deltas {
    pub(super) fn new(rev: Revision, changes: Vec<Change>, frame_bytes: usize) -> Deltas {
        Deltas { rev, changes, frame_bytes, made: Vec::new() }
    }

    /// The frames of the delta for those who see `marks`: several only where one would be larger
    /// than `frame_bytes`.
    pub(super) fn frames(&mut self, marks: &Marks, codec: Codec) -> &Arc<[Bytes]> {
        let found = self.made.iter().position(|(c, m, _)| *c == codec && m == marks);
        let place = found.unwrap_or_else(|| {
            let frames = self.encode(marks, codec);
            self.made.push((codec, marks.clone(), frames));
            self.made.len() - 1
        });
        &self.made[place].2
    }

    fn encode(&self, marks: &Marks, codec: Codec) -> Arc<[Bytes]> {
        let mut frames = Vec::with_capacity(1);
        let mut part = Vec::new();
        let mut size = ENVELOPE_BYTES;
        for (change, mark) in self.changes.iter().zip(&marks.0).filter(|(_, mark)| **mark > 0) {
            let change = match (mark, &change.act) {
                (1, Act::Put(_)) => Change { act: Act::Put(None), ..change.clone() },
                _ => change.clone(),
            };
            let more = Codec::size_hint(&change);
            if size + more > self.frame_bytes && !part.is_empty() {
                frames.push(self.frame(std::mem::take(&mut part), true, codec));
                size = ENVELOPE_BYTES;
            }
            size += more;
            part.push(change);
        }
        frames.push(self.frame(part, false, codec));
        frames.into()
    }

    fn frame(&self, changes: Vec<Change>, part: bool, codec: Codec) -> Bytes {
        let delta = Delta { rev: self.rev, since: None, sub: None, part, changes };
        codec.encode_server(&ServerFrame::Delta(delta))
    }
}

/// The bytes of one signal, as far as they have been asked for.
pub(super) struct SignalBytes {
    frame: ServerFrame,
    made: [Option<Bytes>; 2],
}

impl SignalBytes {
    pub(super) fn new(path: &Path, value: &Value) -> SignalBytes {
        let frame = ServerFrame::Signal(Signal { path: path.clone(), value: value.clone() });
        SignalBytes { frame, made: [None, None] }
    }

    pub(super) fn frame(&mut self, codec: Codec) -> &Bytes {
        let place = match codec {
            Codec::Json => 0,
            Codec::MsgPack => 1,
        };
        self.made[place].get_or_insert_with(|| codec.encode_server(&self.frame))
    }
}
