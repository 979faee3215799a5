//! The bounded queue of one connection.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{fmt, io, mem};

use bytes::Bytes;
use onetree_protocol::Revision;

use super::encode::Frames;

/// A queue that has grown beyond so many items gives its memory back when it is empty: 64 items
/// take 3 KiB, a full one of 8,192 would keep 400 KiB for good.
const KEPT_ITEMS: usize = 64;

/// What is written past a connection at rest takes so many bytes at most: where more comes at once
/// there is a stream, and the connection gathers what it writes.
const AT_ONCE_BYTES: usize = 4 * 1024;

/// And it comes so long after what came before: a burst is gathered as well, by the connection that
/// it wakes. Several times as long as it takes to be awake.
const APART: Duration = Duration::from_micros(300);

/// Live deltas and signals that a connection has not written yet, bounded in frames and bytes.
///
/// Starts open. Open -> overflowed when a delta does not fit: then everything is dropped; or is not
/// made for it ([`Outbox::overflow`]): then all deltas are. None is queued from then on. Overflowed
/// -> open, without deltas, when the connection takes note of it ([`Outbox::take_overflow`]) and
/// will get what changed from the tree instead.
///
/// A connection that has nothing to do rests ([`Outbox::rest`]). Then what is small and comes alone
/// need not wait until it is awake: whoever pushes it writes it to the wire, in its place. As soon
/// as the wire does not take all of it the rest waits here, and everything behind it.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    most_bytes: usize,
    most_frames: usize,
    wire: Weak<dyn Wire>,
    apart: Duration,
}

/// Where a connection writes to, and others while it rests.
pub trait Wire: fmt::Debug + Send + Sync {
    /// Writes what the wire takes without waiting; how many bytes that were.
    ///
    /// # Errors
    /// When it takes nothing now, or will take nothing any more.
    fn write_now(&self, messages: &[u8]) -> io::Result<usize>;
}

/// What waits.
#[derive(Clone, Debug)]
pub enum Item {
    /// Deltas, all parts of each. The bytes are shared with everyone who gets the same.
    Deltas(Arc<Frames>),
    /// Signals.
    Signals(Arc<Frames>),
}

/// What has become of an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// The connection has to be woken: it had nothing to look at before.
    pub wakes: bool,
    /// It has been written, or will be before anything else.
    pub written: bool,
}

/// What others have written while a connection rested.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Up to which delta; ZERO: none.
    pub rev: Revision,
    /// What the wire has not taken of the last message. It comes before everything else.
    pub rest: Option<Bytes>,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    frames: usize,
    overflowed: bool,
    /// While the connection rests: what it will need to know.
    resting: Option<Resting>,
    /// When something small last came, for few.
    last: Option<Instant>,
}

/// A connection that rests.
#[derive(Debug)]
struct Resting {
    /// It needs the deltas above this one.
    above: Revision,
    written: Written,
}

impl State {
    /// Everything is dropped.
    fn overflow(&mut self) {
        (self.items, self.bytes, self.frames) = Default::default();
        self.overflowed = true;
    }

    /// Whether nothing came shortly before what comes now.
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
    /// How many frames.
    pub fn frames(&self) -> usize {
        self.size().1
    }

    fn size(&self) -> (usize, usize) {
        let (Item::Deltas(frames) | Item::Signals(frames)) = self;
        (frames.bytes().len(), frames.count())
    }
}

impl Outbox {
    /// An open, empty one.
    pub fn new(most_bytes: usize, most_frames: usize, wire: Weak<dyn Wire>) -> Outbox {
        Outbox { state: Mutex::default(), most_bytes, most_frames, wire, apart: APART }
    }

    /// One that takes for alone what comes so long after what came before.
    #[cfg(test)]
    pub(super) fn apart(self, apart: Duration) -> Outbox {
        Outbox { apart, ..self }
    }

    /// Queues `item`, or writes it, if it may be written `at_once`, comes alone, and the connection
    /// rests. Deltas that do not fit make the outbox overflow; signals that do not fit are dropped.
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

    /// The connection has written everything and waits: until [`Outbox::rouse`] what it needs,
    /// which are signals and the deltas above a revision, may be written to its wire. False when
    /// something waits.
    pub fn rest(&self, above: Revision) -> bool {
        let mut state = self.lock();
        let idle = state.is_idle();
        if idle {
            state.resting = Some(Resting { above, written: Written::default() });
        }
        idle
    }

    /// The connection is awake, and writes itself. To be called before it does anything else.
    #[must_use]
    pub fn rouse(&self) -> Written {
        self.lock().resting.take().map(|resting| resting.written).unwrap_or_default()
    }

    /// A delta is missing; signals are not. True when the connection has to be woken.
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

    /// Takes items into `taken` until about `bytes` of them, and none with a delta above
    /// `up_to`. False when it has overflowed: then deltas were lost, and no others were taken.
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

    /// Whether it has overflowed; if so it is open again, without deltas. Whoever calls this loads
    /// the snapshot that it catches up with afterwards: what is queued from now on is above it, or
    /// in it and then skipped.
    pub fn take_overflow(&self) -> bool {
        mem::take(&mut self.lock().overflowed)
    }

    /// Whether it has overflowed and nobody has taken note of it.
    pub fn has_overflowed(&self) -> bool {
        self.lock().overflowed
    }

    /// Bytes that wait. At most `most_bytes`.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Whether nothing waits and nothing was lost.
    pub fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resting {
    /// Writes what is needed of an item; `None` when the wire takes nothing of it.
    fn write(&mut self, item: &Item, wire: &Weak<dyn Wire>) -> Option<Pushed> {
        let (messages, rev) = match item {
            Item::Deltas(frames) => match frames.needed(|rev| rev > self.above) {
                Some(messages) => (messages, frames.rev()),
                None => return Some(Pushed::default()),
            },
            Item::Signals(frames) => (frames.bytes().clone(), self.above),
        };
        // An error is found by the connection itself, which ends with it.
        let count = wire.upgrade()?.write_now(&messages).ok()?;
        if rev > self.above {
            (self.above, self.written.rev) = (rev, rev);
        }
        self.written.rest = (count < messages.len()).then(|| messages.slice(count..));
        Some(Pushed { wakes: self.written.rest.is_some(), written: true })
    }
}
