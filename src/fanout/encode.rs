//! What subscribers are handed: the bytes of commits and signals, made once for each way of seeing
//! them.

use bytes::{BufMut, Bytes, BytesMut};
use onetree_protocol::frame::{Delta, ServerFrame, Signal};
use onetree_protocol::{Act, Change, Codec, Revision};

/// What stands around the changes of a delta, at most, bytes: names, two revisions, brackets.
const ENVELOPE_BYTES: usize = 256;

/// Bytes of a path and a value become at most so many in a frame: `\u0000` for one.
const ESCAPED: usize = 6;

/// Puts a frame behind others as its transport wants it: with what goes before it on the wire. The
/// fan-out knows no transport, and is given this by the one that there is.
pub type Envelop = fn(&mut BytesMut, Codec, &[u8]);

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

/// Frames that have not been encoded yet: of one commit after the other, or of signals, never of both.
#[derive(Default)]
pub(super) struct Draft {
    /// The revision of each commit, and how many of the frames belong to it and those before.
    commits: Vec<(Revision, usize)>,
    frames: Vec<ServerFrame>,
    signals: Vec<Signal>,
    /// About how many bytes they will take.
    pub(super) size: usize,
}

impl Draft {
    /// Adds the delta of a commit, as those see it who see `marks`: in several frames only where one
    /// would be larger than `frame_bytes`.
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
        let raw = changes.iter().map(bytes).sum::<usize>() + changes.len() * ENVELOPE_BYTES;
        self.size += raw;
        if ESCAPED * raw + ENVELOPE_BYTES <= frame_bytes && marks.0.iter().all(|mark| *mark == 2) {
            self.push(rev, changes, false);
        } else {
            self.parts(rev, &changes, marks, frame_bytes);
        }
        self.commits.push((rev, self.frames.len()));
    }

    fn parts(&mut self, rev: Revision, changes: &[Change], marks: &Marks, frame_bytes: usize) {
        let mut part = Vec::new();
        let mut size = ENVELOPE_BYTES;
        for (change, mark) in changes.iter().zip(&marks.0).filter(|(_, mark)| **mark > 0) {
            let change = match (mark, &change.act) {
                (1, Act::Put(_)) => Change { act: Act::Put(None), ..change.clone() },
                _ => change.clone(),
            };
            let more = Codec::size_hint(&change);
            if size + more > frame_bytes && !part.is_empty() {
                self.push(rev, std::mem::take(&mut part), true);
                size = ENVELOPE_BYTES;
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

    pub(super) fn signal(&mut self, signal: Signal) {
        self.size += ENVELOPE_BYTES + signal.path.as_str().len() + signal.value.bytes.len();
        self.signals.push(signal);
    }

    /// Of the last commit; `None` when it is of signals.
    pub(super) fn rev(&self) -> Option<Revision> {
        self.commits.last().map(|(rev, _)| *rev)
    }

    pub(super) fn encode(&self, codec: Codec, envelop: Envelop) -> Frames {
        let mut ends = Vec::with_capacity(self.commits.len());
        let mut bytes = BytesMut::with_capacity(self.size);
        let mut one = Vec::with_capacity(2 * ENVELOPE_BYTES);
        let mut done = 0;
        for (rev, end) in &self.commits {
            for frame in &self.frames[done..*end] {
                one.clear();
                codec.encode_server_into(frame, &mut one);
                envelop(&mut bytes, codec, &one);
            }
            ends.push((*rev, bytes.len()));
            done = *end;
        }
        for signal in &self.signals {
            one.clear();
            codec.encode_signal_into(signal, &mut one);
            envelop(&mut bytes, codec, &one);
        }
        let count = self.frames.len() + self.signals.len();
        Frames { ends: ends.into(), count, bytes: bytes.freeze() }
    }
}

/// An [`Envelop`] that adds nothing: for those who look at frames themselves.
pub fn bare(bytes: &mut BytesMut, _: Codec, frame: &[u8]) {
    bytes.put_slice(frame);
}
