//! The bounded queue of one connection.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onetree_protocol::Revision;

use super::encode::Frames;

/// A queue that has grown beyond so many items gives its memory back when it is empty: 64 items
/// take 3 KiB, a full one of 8,192 would keep 400 KiB for good.
const KEPT_ITEMS: usize = 64;

/// Live deltas and signals that a connection has not written yet, bounded in frames and bytes.
///
/// Starts open. Open -> overflowed when a delta does not fit: then everything is dropped; or is not made for it
/// ([`Outbox::overflow`]): then all deltas are. None is queued from then on. Overflowed -> open, without deltas, when
/// the connection takes note of it ([`Outbox::take_overflow`]) and will get what changed from the tree instead.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    most_bytes: usize,
    most_frames: usize,
}

/// What waits.
#[derive(Clone, Debug)]
pub enum Item {
    /// Deltas, all parts of each. The bytes are shared with everyone who gets the same.
    Deltas(Arc<Frames>),
    /// Signals.
    Signals(Arc<Frames>),
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    frames: usize,
    overflowed: bool,
}

impl State {
    const OVERFLOWED: State =
        State { items: VecDeque::new(), bytes: 0, frames: 0, overflowed: true };
}

impl Item {
    fn size(&self) -> (usize, usize) {
        let (Item::Deltas(frames) | Item::Signals(frames)) = self;
        (frames.bytes().len(), frames.count())
    }
}

impl Outbox {
    /// An open, empty one.
    pub fn new(most_bytes: usize, most_frames: usize) -> Outbox {
        Outbox { state: Mutex::default(), most_bytes, most_frames }
    }

    /// Queues `item`. Deltas that do not fit make the outbox overflow; signals that do not fit are
    /// dropped. True when the connection has to be woken: it had nothing to look at before.
    pub fn push(&self, item: Item) -> bool {
        let (bytes, frames) = item.size();
        let mut state = self.lock();
        let is_signal = matches!(item, Item::Signals(_));
        if state.overflowed && !is_signal {
            return false;
        }
        let fits =
            state.bytes + bytes <= self.most_bytes && state.frames + frames <= self.most_frames;
        if !fits {
            if is_signal {
                return false;
            }
            *state = State::OVERFLOWED;
            return true;
        }
        let idle = state.items.is_empty() && !state.overflowed;
        state.bytes += bytes;
        state.frames += frames;
        state.items.push_back(item);
        idle
    }

    /// A delta is missing; signals are not. True when the connection has to be woken.
    pub fn overflow(&self) -> bool {
        let mut state = self.lock();
        let first = !std::mem::replace(&mut state.overflowed, true);
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

    /// Whether it has overflowed; if so it is open again, without deltas. Whoever calls this loads the
    /// snapshot that it catches up with afterwards: what is queued from now on is above it, or in
    /// it and then skipped.
    pub fn take_overflow(&self) -> bool {
        std::mem::take(&mut self.lock().overflowed)
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
        let state = self.lock();
        state.items.is_empty() && !state.overflowed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
