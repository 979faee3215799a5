//! Encodes what subscribers receive: the bytes of commits and signals, made once for each distinct
//! set of changes that subscribers see.

use std::sync::Arc;

use bytes::Bytes;
use onetree_protocol::frame::{Delta, ServerFrame, Signal};
use onetree_protocol::{Act, Change, Codec, Revision};

use super::marks::Marks;

/// The most bytes that a delta takes around its changes: names, two revisions, brackets.
const AROUND_BYTES: usize = 256;

/// The usual number of bytes around a change, a delta or a signal. Room is reserved for this many:
/// what waits in an outbox then takes about as much memory as it has bytes.
const USUAL_BYTES: usize = 64;

/// How many bytes of memory frames may keep beyond twice their length: freeing less is not worth a
/// copy.
const SPARE_BYTES: usize = 256;

/// How many bytes one byte of a path or a value may become in a frame: `\u0000`.
const ESCAPED: usize = 6;

/// What goes before a frame on the wire. The fan-out knows no transport; the transport provides
/// this.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    /// The number of bytes that are left free before each frame.
    pub room: usize,
    /// Fills the room that begins at the given offset and has a frame behind it up to the end.
    /// Moves the frame if the header takes more or fewer bytes.
    pub seal: fn(&mut Vec<u8>, usize, Codec),
}

impl Envelope {
    /// No envelope, for code that looks at the frames themselves.
    pub const NONE: Envelope = Envelope { room: 0, seal: |_, _, _| {} };

    /// Appends a frame to `bytes`.
    fn put(self, bytes: &mut Vec<u8>, codec: Codec, encode: impl FnOnce(&mut Vec<u8>)) {
        let start = bytes.len();
        bytes.resize(start + self.room, 0);
        encode(bytes);
        (self.seal)(bytes, start, codec);
    }
}

/// Live frames in order, as the transport takes them. Everyone who receives the same frames shares
/// them.
#[derive(Debug)]
pub struct Frames {
    /// The revision of each delta, and the offset where its frames end. Empty for signals.
    ends: Box<[(Revision, usize)]>,
    count: usize,
    bytes: Bytes,
}

impl Frames {
    /// Makes frames of one delta or one signal.
    #[cfg(test)]
    pub(super) fn of(rev: Option<Revision>, bytes: Bytes) -> Frames {
        let ends = rev.map(|rev| (rev, bytes.len())).into_iter().collect();
        Frames { ends, count: 1, bytes }
    }

    /// Returns how much memory the bytes take. Nobody else may share them.
    #[cfg(test)]
    pub(super) fn allocated(self) -> usize {
        self.bytes.try_into_mut().unwrap().capacity()
    }

    /// Makes frames with one frame for each delta.
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

    /// Makes frames, and frees the memory that they do not fill: nobody knows how long they will
    /// wait in outboxes.
    fn new(ends: Box<[(Revision, usize)]>, count: usize, mut bytes: Vec<u8>) -> Frames {
        if bytes.capacity() > 2 * bytes.len() + SPARE_BYTES {
            bytes.shrink_to_fit();
        }
        Frames { ends, count, bytes: bytes.into() }
    }

    /// Encodes signals, in order.
    pub(super) fn of_signals(signals: &[Signal], codec: Codec, envelope: Envelope) -> Frames {
        let mut bytes = Vec::with_capacity(signals.iter().map(signal_size).sum());
        for signal in signals {
            envelope.put(&mut bytes, codec, |out| codec.encode_signal_into(signal, out));
        }
        Frames::new(Box::default(), signals.len(), bytes)
    }

    /// Returns the number of frames.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the bytes of all frames, one after the other.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the revision of the last delta; ZERO for signals.
    pub fn rev(&self) -> Revision {
        self.ends.last().map_or(Revision::ZERO, |(rev, _)| *rev)
    }

    /// Returns the frames of the deltas that are needed, which are the last ones; `None` when none
    /// is needed.
    pub fn needed(&self, needs: impl Fn(Revision) -> bool) -> Option<Bytes> {
        let passed = match self.ends.first() {
            Some((rev, _)) if needs(*rev) => 0,
            _ => self.ends.partition_point(|(rev, _)| !needs(*rev)),
        };
        let start = passed.checked_sub(1).map_or(0, |at| self.ends[at].1);
        (passed < self.ends.len()).then(|| self.bytes.slice(start..))
    }
}

/// Returns about how many bytes a signal takes in a frame.
pub(super) fn signal_size(signal: &Signal) -> usize {
    USUAL_BYTES + signal.path.as_str().len() + signal.value.bytes.len()
}

/// Deltas of consecutive commits that are not encoded yet.
#[derive(Default)]
pub(super) struct Draft {
    /// The revision of each commit, and how many frames belong to it and to the commits before it.
    commits: Vec<(Revision, usize)>,
    frames: Vec<ServerFrame>,
    /// About how many bytes the frames will take.
    pub(super) size: usize,
}

impl Draft {
    /// Adds the delta of a commit, with the changes that are in `marks`. It is split into several
    /// frames only if one frame would be larger than `frame_bytes`.
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

    /// Like [`Draft::delta`], for changes of which others see a different part. The cost is
    /// proportional to what is seen.
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

    /// Returns how many commits it has.
    pub(super) fn commits(&self) -> usize {
        self.commits.len()
    }

    fn push(&mut self, rev: Revision, changes: Vec<Change>, part: bool) {
        self.size += USUAL_BYTES;
        let delta = Delta { rev, since: None, sub: None, part, changes };
        self.frames.push(ServerFrame::Delta(delta));
    }

    /// Returns the revision of the last commit; `None` when there is none.
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

/// Returns the bytes of a change's path and value.
fn raw_size(change: &Change) -> usize {
    let value = match &change.act {
        Act::Put(Some(value)) => value.bytes.len(),
        _ => 0,
    };
    change.path.as_str().len() + value
}

/// The frames for a set of subscribers, in each codec that one of them wants.
#[derive(Default)]
pub(super) struct Made([Option<Arc<Frames>>; 2]);

impl Made {
    /// Returns the frames in this codec. Encodes them if they have not been wanted before.
    pub(super) fn frames(&mut self, codec: Codec, encode: impl FnOnce() -> Frames) -> &Arc<Frames> {
        let place = match codec {
            Codec::Json => 0,
            Codec::MsgPack => 1,
        };
        self.0[place].get_or_insert_with(|| Arc::new(encode()))
    }
}
