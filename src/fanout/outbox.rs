//! The bounded queue of one connection.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{fmt, io, mem};

use bytes::Bytes;
use onetree_protocol::Revision;

use super::encode::Frames;

/// A queue that has grown beyond this many items frees its memory when it is empty: 64 items take 3
/// KiB; a queue of 8,192 would keep 400 KiB for good.
const KEPT_ITEMS: usize = 64;

/// The most bytes that are written directly to a connection at rest. When more comes at once there
/// is a stream, and the connection itself gathers what it writes.
const AT_ONCE_BYTES: usize = 4 * 1024;

/// An item is written directly only if nothing came for this long before it: the connection that is
/// woken gathers a burst. This is several times as long as waking up takes.
const APART: Duration = Duration::from_micros(300);

/// The live deltas and signals that a connection has not written yet, bounded in frames and bytes.
///
/// It starts open. It becomes overflowed when a delta does not fit, and then drops everything; or
/// when deltas were not made for it ([`Outbox::overflow`]), and then drops all deltas. While it is
/// overflowed, it queues no deltas. It becomes open again, without deltas, when the connection
/// takes note ([`Outbox::take_overflow`]); the connection then gets the changes from the tree
/// instead.
///
/// A connection that has nothing to do rests ([`Outbox::rest`]). Then a small item that comes alone
/// need not wait until the connection is awake: the task that pushes it writes it to the wire in
/// the connection's place. If the wire does not take all of it, the remainder waits here, and
/// everything behind it.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    most_bytes: usize,
    most_frames: usize,
    wire: Weak<dyn Wire>,
    apart: Duration,
}

/// The wire of a connection. The connection writes to it, and other tasks do while the connection
/// rests.
pub trait Wire: fmt::Debug + Send + Sync {
    /// Writes as much as the wire takes without waiting. Returns how many bytes that were.
    ///
    /// # Errors
    /// When the wire takes nothing at present, or will never take anything again.
    fn write_now(&self, messages: &[u8]) -> io::Result<usize>;
}

/// An item in an outbox.
#[derive(Clone, Debug)]
pub enum Item {
    /// Deltas, each with all its parts. The bytes are shared by all subscribers that receive the
    /// same.
    Deltas(Arc<Frames>),
    /// Signals.
    Signals(Arc<Frames>),
}

/// What happened to an item that was pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// The connection must be woken: it had nothing to do before.
    pub wakes: bool,
    /// The item was written, or will be written before anything else.
    pub written: bool,
}

/// What other tasks have written while a connection rested.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The revision of the last delta that was written; ZERO: none.
    pub rev: Revision,
    /// What the wire has not taken of the last message. It must be written before everything else.
    pub rest: Option<Bytes>,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    frames: usize,
    overflowed: bool,
    /// Present while the connection rests: what the connection will need to know.
    resting: Option<Resting>,
    /// When a small item for few connections last came.
    last: Option<Instant>,
}

/// The state of a connection that rests.
#[derive(Debug)]
struct Resting {
    /// The connection needs the deltas above this revision.
    above: Revision,
    written: Written,
}

impl State {
    /// Drops everything.
    fn overflow(&mut self) {
        (self.items, self.bytes, self.frames) = Default::default();
        self.overflowed = true;
    }

    /// Whether nothing came shortly before this item.
    fn is_alone(&mut self, apart: Duration) -> bool {
        let now = Instant::now();
        self.last.replace(now).is_none_or(|last| now.duration_since(last) >= apart)
    }

    fn is_idle(&self) -> bool {
        let rest = self.resting.as_ref().and_then(|resting| resting.written.rest.as_ref());
        self.items.is_empty() && !self.overflowed && rest.is_none()
    }
}

impl Item {
    /// Returns the number of frames.
    pub fn frames(&self) -> usize {
        self.size().1
    }

    fn size(&self) -> (usize, usize) {
        let (Item::Deltas(frames) | Item::Signals(frames)) = self;
        (frames.bytes().len(), frames.count())
    }
}

impl Outbox {
    /// Makes an open, empty outbox.
    pub fn new(most_bytes: usize, most_frames: usize, wire: Weak<dyn Wire>) -> Outbox {
        Outbox { state: Mutex::default(), most_bytes, most_frames, wire, apart: APART }
    }

    /// Sets how long nothing must have come before an item that counts as alone.
    #[cfg(test)]
    pub(super) fn apart(self, apart: Duration) -> Outbox {
        Outbox { apart, ..self }
    }

    /// Queues `item`. If `at_once` allows it, the item comes alone, and the connection rests,
    /// writes it instead. Deltas that do not fit make the outbox overflow; signals that do not fit
    /// are dropped.
    pub fn push(&self, item: Item, at_once: bool) -> Pushed {
        let (bytes, frames) = item.size();
        let mut state = self.lock();
        let is_signal = matches!(item, Item::Signals(_));
        if state.overflowed && !is_signal {
            return Pushed::default();
        }
        let fits =
            state.bytes + bytes <= self.most_bytes && state.frames + frames <= self.most_frames;
        if !fits {
            if is_signal {
                return Pushed::default();
            }
            state.overflow();
            return Pushed { wakes: true, written: false };
        }
        let idle = state.is_idle();
        let at_once = at_once && bytes <= AT_ONCE_BYTES && state.is_alone(self.apart);
        if idle
            && at_once
            && let Some(resting) = &mut state.resting
            && let Some(pushed) = resting.write(&item, &self.wire)
        {
            return pushed;
        }
        state.bytes += bytes;
        state.frames += frames;
        state.items.push_back(item);
        Pushed { wakes: idle, written: false }
    }

    /// Notes that the connection has written everything and waits. Until [`Outbox::rouse`], other
    /// tasks may write to its wire what it needs: signals, and the deltas above a revision. Returns
    /// false when something waits.
    pub fn rest(&self, above: Revision) -> bool {
        let mut state = self.lock();
        let idle = state.is_idle();
        if idle {
            state.resting = Some(Resting { above, written: Written::default() });
        }
        idle
    }

    /// Notes that the connection is awake and writes by itself. The connection must call this
    /// before it does anything else.
    #[must_use]
    pub fn rouse(&self) -> Written {
        self.lock().resting.take().map(|resting| resting.written).unwrap_or_default()
    }

    /// Notes that the connection has missed a delta, but no signals. Returns true when the
    /// connection must be woken.
    pub fn overflow(&self) -> bool {
        let mut state = self.lock();
        let first = !mem::replace(&mut state.overflowed, true);
        if first {
            state.items.retain(|item| matches!(item, Item::Signals(_)));
            let sizes = state.items.iter().map(Item::size);
            (state.bytes, state.frames) =
                sizes.fold((0, 0), |(bytes, frames), size| (bytes + size.0, frames + size.1));
        }
        first
    }

    /// Moves about `bytes` bytes of items into `taken`, but no delta above `up_to`. Returns false
    /// when the outbox has overflowed: deltas were lost, and none was taken.
    #[must_use]
    pub fn take(&self, taken: &mut Vec<Item>, bytes: usize, up_to: Revision) -> bool {
        let mut state = self.lock();
        let mut sum = 0;
        while sum < bytes {
            match state.items.front() {
                Some(Item::Deltas(frames)) if frames.rev() > up_to => break,
                Some(_) => {}
                None => break,
            }
            let Some(item) = state.items.pop_front() else { break };
            let (bytes, frames) = item.size();
            state.bytes -= bytes;
            state.frames -= frames;
            sum += bytes;
            taken.push(item);
        }
        if state.items.is_empty() && state.items.capacity() > KEPT_ITEMS {
            state.items = VecDeque::new();
        }
        !state.overflowed
    }

    /// Returns whether the outbox has overflowed, and opens it again, without deltas. The caller
    /// must load the snapshot with which it catches up after this call: everything that is queued
    /// from now on is either above that snapshot, or in it and then skipped.
    pub fn take_overflow(&self) -> bool {
        mem::take(&mut self.lock().overflowed)
    }

    /// Whether the outbox has overflowed and the connection has not taken note.
    pub fn has_overflowed(&self) -> bool {
        self.lock().overflowed
    }

    /// Returns how many bytes wait: at most `most_bytes`.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Whether nothing waits and nothing was lost.
    pub fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned lock is fine: nothing panics while the state is half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resting {
    /// Writes what the connection needs of an item; `None` when the wire takes nothing of it.
    fn write(&mut self, item: &Item, wire: &Weak<dyn Wire>) -> Option<Pushed> {
        let (messages, rev) = match item {
            Item::Deltas(frames) => match frames.needed(|rev| rev > self.above) {
                Some(messages) => (messages, frames.rev()),
                None => return Some(Pushed::default()),
            },
            Item::Signals(frames) => (frames.bytes().clone(), self.above),
        };
        // The connection finds an error of the wire by itself, and ends with it.
        let count = wire.upgrade()?.write_now(&messages).ok()?;
        if rev > self.above {
            (self.above, self.written.rev) = (rev, rev);
        }
        self.written.rest = (count < messages.len()).then(|| messages.slice(count..));
        Some(Pushed { wakes: self.written.rest.is_some(), written: true })
    }
}
