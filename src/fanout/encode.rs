//! What subscribers are handed: the bytes of commits and signals, made once for each way of seeing
//! them.

use std::sync::Arc;

use bytes::Bytes;
use onetree_protocol::frame::{Delta, ServerFrame, Signal};
use onetree_protocol::{Act, Change, Codec, Revision};

use super::marks::Marks;

/// What stands around the changes of a delta, at most, bytes: names, two revisions, brackets.
const AROUND_BYTES: usize = 256;

/// What stands around a change, a delta or a signal as a rule, bytes. Room is made for so much:
/// what waits in an outbox takes about as much memory as it has bytes.
const USUAL_BYTES: usize = 64;

/// Frames keep at most so many bytes of memory more than twice what they have: to give back less is
/// not worth a copy.
const SPARE_BYTES: usize = 256;

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

    /// How much memory the bytes take, of which nobody else has a part.
    #[cfg(test)]
    pub(super) fn allocated(self) -> usize {
        self.bytes.try_into_mut().unwrap().capacity()
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

    /// Nobody knows how long they will wait: they keep no room that they do not fill.
    fn new(ends: Box<[(Revision, usize)]>, count: usize, mut bytes: Vec<u8>) -> Frames {
        if bytes.capacity() > 2 * bytes.len() + SPARE_BYTES {
            bytes.shrink_to_fit();
        }
        Frames { ends, count, bytes: bytes.into() }
    }

    /// Of signals, in their order.
    pub(super) fn of_signals(signals: &[Signal], codec: Codec, envelope: Envelope) -> Frames {
        let mut bytes = Vec::with_capacity(signals.iter().map(signal_size).sum());
        for signal in signals {
            envelope.put(&mut bytes, codec, |out| codec.encode_signal_into(signal, out));
        }
        Frames::new(Box::default(), signals.len(), bytes)
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

/// About how many bytes a signal takes in a frame.
pub(super) fn signal_size(signal: &Signal) -> usize {
    USUAL_BYTES + signal.path.as_str().len() + signal.value.bytes.len()
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
        if !marks.are_all(changes.len()) {
            return self.seen(rev, &changes, marks, frame_bytes);
        }
        let raw: usize = changes.iter().map(raw_size).sum();
        if ESCAPED * (raw + changes.len() * AROUND_BYTES) + AROUND_BYTES > frame_bytes {
            return self.seen(rev, &changes, marks, frame_bytes);
        }
        self.size += raw + changes.len() * USUAL_BYTES;
        self.push(rev, changes, false);
        self.commits.push((rev, self.frames.len()));
    }

    /// The same of changes that others see in other ways. Cost: what is seen of them.
    pub(super) fn seen(
        &mut self,
        rev: Revision,
        changes: &[Change],
        marks: &Marks,
        frame_bytes: usize,
    ) {
        let mut part = Vec::new();
        let mut size = AROUND_BYTES;
        for (at, whole) in marks.iter() {
            let change = match &changes[at] {
                Change { path, rev, act: Act::Put(_) } if !whole => {
                    Change { path: path.clone(), rev: *rev, act: Act::Put(None) }
                }
                change => change.clone(),
            };
            let more = Codec::size_hint(&change);
            if size + more > frame_bytes && !part.is_empty() {
                self.push(rev, std::mem::take(&mut part), true);
                size = AROUND_BYTES;
            }
            size += more;
            self.size += USUAL_BYTES + raw_size(&change);
            part.push(change);
        }
        self.push(rev, part, false);
        self.commits.push((rev, self.frames.len()));
    }

    /// How many commits it is of.
    pub(super) fn commits(&self) -> usize {
        self.commits.len()
    }

    fn push(&mut self, rev: Revision, changes: Vec<Change>, part: bool) {
        self.size += USUAL_BYTES;
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
        Frames::new(ends.into(), self.frames.len(), bytes)
    }
}

/// The bytes of a change that are its own.
fn raw_size(change: &Change) -> usize {
    let value = match &change.act {
        Act::Put(Some(value)) => value.bytes.len(),
        _ => 0,
    };
    change.path.as_str().len() + value
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
