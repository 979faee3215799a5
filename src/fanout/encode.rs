//! What subscribers are handed: the bytes of commits and signals, made once for each way of seeing
//! them.

use std::sync::Arc;

use bytes::Bytes;
use onetree_protocol::frame::{Delta, ServerFrame, Signal};
use onetree_protocol::{Act, Change, Codec, Revision};

/// What stands around the changes of a delta, at most, bytes: names, two revisions, brackets.
const AROUND_BYTES: usize = 256;

/// Bytes of a path and a value become at most so many in a frame: `\u0000` for one.
const ESCAPED: usize = 6;

/// What goes before a frame on the wire. The fan-out knows no transport, and is given this by the
/// one that there is.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    /// So many bytes are left free before each frame.
    pub room: usize,
    /// Fills the room, which begins here and has a frame behind it up to the end; moves the frame
    /// where it takes more or less.
    pub seal: fn(&mut Vec<u8>, usize, Codec),
}

impl Envelope {
    /// Nothing: for those who look at frames themselves.
    pub const NONE: Envelope = Envelope { room: 0, seal: |_, _, _| {} };

    /// Puts a frame behind what is there.
    fn put(self, bytes: &mut Vec<u8>, codec: Codec, encode: impl FnOnce(&mut Vec<u8>)) {
        let start = bytes.len();
        bytes.resize(start + self.room, 0);
        encode(bytes);
        (self.seal)(bytes, start, codec);
    }
}

/// Live frames in their order, as the transport takes them, shared by everyone who gets the same.
#[derive(Debug)]
pub struct Frames {
    /// Where the frames of each delta end, and its revision; of signals nothing.
    ends: Box<[(Revision, usize)]>,
    count: usize,
    bytes: Bytes,
}

impl Frames {
    /// One frame, of a delta or of a signal.
    #[cfg(test)]
    pub(super) fn of(rev: Option<Revision>, bytes: Bytes) -> Frames {
        let ends = rev.map(|rev| (rev, bytes.len())).into_iter().collect();
        Frames { ends, count: 1, bytes }
    }

    /// A frame of each delta.
    #[cfg(test)]
    pub(super) fn of_deltas(deltas: &[(Revision, &str)]) -> Frames {
        let mut bytes = Vec::new();
        let end = |&(rev, text): &(Revision, &str)| {
            bytes.extend_from_slice(text.as_bytes());
            (rev, bytes.len())
        };
        let ends = deltas.iter().map(end).collect();
        Frames { ends, count: deltas.len(), bytes: bytes.into() }
    }

    /// Of signals, in their order.
    pub(super) fn of_signals(signals: &[Signal], codec: Codec, envelope: Envelope) -> Frames {
        let mut bytes = Vec::with_capacity(signals.iter().map(signal_size).sum());
        for signal in signals {
            envelope.put(&mut bytes, codec, |out| codec.encode_signal_into(signal, out));
        }
        Frames { ends: Box::default(), count: signals.len(), bytes: bytes.into() }
    }

    /// How many frames.
    pub fn count(&self) -> usize {
        self.count
    }

    /// All of them, one behind the other.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The revision of the last delta; ZERO for signals.
    pub fn rev(&self) -> Revision {
        self.ends.last().map_or(Revision::ZERO, |(rev, _)| *rev)
    }

    /// The frames of the deltas that are needed, which are the last ones; `None` when none is.
    pub fn needed(&self, needs: impl Fn(Revision) -> bool) -> Option<Bytes> {
        let passed = match self.ends.first() {
            Some((rev, _)) if needs(*rev) => 0,
            _ => self.ends.partition_point(|(rev, _)| !needs(*rev)),
        };
        let start = passed.checked_sub(1).map_or(0, |at| self.ends[at].1);
        (passed < self.ends.len()).then(|| self.bytes.slice(start..))
    }
}

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

/// About how many bytes a signal takes in a frame.
pub(super) fn signal_size(signal: &Signal) -> usize {
    AROUND_BYTES + signal.path.as_str().len() + signal.value.bytes.len()
}

/// Deltas that have not been encoded yet, of one commit after the other.
#[derive(Default)]
pub(super) struct Draft {
    /// The revision of each commit, and how many of the frames belong to it and those before.
    commits: Vec<(Revision, usize)>,
    frames: Vec<ServerFrame>,
    /// About how many bytes they will take.
    pub(super) size: usize,
}

impl Draft {
    /// Adds the delta of a commit, as those see it who see `marks`: in several frames only where
    /// one would be larger than `frame_bytes`.
    pub(super) fn delta(
        &mut self,
        rev: Revision,
        changes: Vec<Change>,
        marks: &Marks,
        frame_bytes: usize,
    ) {
        let bytes = |change: &Change| match &change.act {
            Act::Put(Some(value)) => change.path.as_str().len() + value.bytes.len(),
            _ => change.path.as_str().len(),
        };
        let raw = changes.iter().map(bytes).sum::<usize>() + changes.len() * AROUND_BYTES;
        self.size += raw;
        if ESCAPED * raw + AROUND_BYTES <= frame_bytes && marks.0.iter().all(|mark| *mark == 2) {
            self.push(rev, changes, false);
        } else {
            self.parts(rev, &changes, marks, frame_bytes);
        }
        self.commits.push((rev, self.frames.len()));
    }

    /// How many commits it is of.
    pub(super) fn commits(&self) -> usize {
        self.commits.len()
    }

    fn parts(&mut self, rev: Revision, changes: &[Change], marks: &Marks, frame_bytes: usize) {
        let mut part = Vec::new();
        let mut size = AROUND_BYTES;
        for (change, mark) in changes.iter().zip(&marks.0).filter(|(_, mark)| **mark > 0) {
            let change = match (mark, &change.act) {
                (1, Act::Put(_)) => Change { act: Act::Put(None), ..change.clone() },
                _ => change.clone(),
            };
            let more = Codec::size_hint(&change);
            if size + more > frame_bytes && !part.is_empty() {
                self.push(rev, std::mem::take(&mut part), true);
                size = AROUND_BYTES;
            }
            size += more;
            part.push(change);
        }
        self.push(rev, part, false);
    }

    fn push(&mut self, rev: Revision, changes: Vec<Change>, part: bool) {
        let delta = Delta { rev, since: None, sub: None, part, changes };
        self.frames.push(ServerFrame::Delta(delta));
    }

    /// Of the last commit; `None` when there is none.
    pub(super) fn rev(&self) -> Option<Revision> {
        self.commits.last().map(|(rev, _)| *rev)
    }

    pub(super) fn encode(&self, codec: Codec, envelope: Envelope) -> Frames {
        let mut ends = Vec::with_capacity(self.commits.len());
        let mut bytes = Vec::with_capacity(self.size);
        let mut done = 0;
        for (rev, end) in &self.commits {
            for frame in &self.frames[done..*end] {
                envelope.put(&mut bytes, codec, |out| codec.encode_server_into(frame, out));
            }
            ends.push((*rev, bytes.len()));
            done = *end;
        }
        Frames { ends: ends.into(), count: self.frames.len(), bytes: bytes.into() }
    }
}

/// What was encoded for some, in each codec that one of them wanted.
#[derive(Default)]
pub(super) struct Made([Option<Arc<Frames>>; 2]);

impl Made {
    /// The frames in this codec, encoded if nobody has wanted them before.
    pub(super) fn frames(&mut self, codec: Codec, encode: impl FnOnce() -> Frames) -> &Arc<Frames> {
        let place = match codec {
            Codec::Json => 0,
            Codec::MsgPack => 1,
        };
        self.0[place].get_or_insert_with(|| Arc::new(encode()))
    }
}
