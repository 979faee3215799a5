//! What a connection gets from other tasks.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use onetree_core::{Answer, Refusal};
use tokio::sync::Notify;

use super::counters::Counters;
use crate::fanout::{Frames, Item, Outbox, Sink};

/// What a connection gets from other tasks: replies, live frames, orders. Nobody who puts
/// something in waits for the connection.
pub(crate) struct Mailbox {
    /// The connection's own number in this process.
    pub(crate) id: u64,
    pub(crate) outbox: Outbox,
    /// Bounded by the requests in flight that the connection allows itself.
    replies: Mutex<Vec<Reply>>,
    orders: AtomicU8,
    wake: Notify,
    counters: Arc<Counters>,
}

/// The owner's answer to an event; answers come in the order of the events.
pub(crate) enum Reply {
    /// To a write.
    Written { id: u32, result: Result<Answer, Refusal>, durable: bool },
    /// To the end of the session.
    Ended,
}

/// What a connection is told to do. Once given an order stays, but for `Tell`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Order {
    /// Another connection has the session now: close.
    SessionTaken = 1,
    /// The broker shuts down: finish what was begun, say goodbye.
    Finish = 2,
    /// Time is over: close at once.
    Cut = 4,
    /// Somebody asks how it goes: tell.
    Tell = 8,
}

impl Mailbox {
    pub(crate) fn new(id: u64, outbox: Outbox, counters: Arc<Counters>) -> Mailbox {
        let (replies, orders, wake) = Default::default();
        Mailbox { id, outbox, replies, orders, wake, counters }
    }

    /// Puts replies in; at least one.
    pub(crate) fn reply(&self, new: impl IntoIterator<Item = Reply>) {
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        let first = replies.is_empty();
        replies.extend(new);
        drop(replies);
        if first {
            self.wake.notify_one();
        }
    }

    /// The replies that have come since, in their order.
    pub(crate) fn take_replies(&self) -> Vec<Reply> {
        std::mem::take(&mut *self.replies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn order(&self, order: Order) {
        self.orders.fetch_or(order as u8, Ordering::Release);
        self.wake.notify_one();
    }

    pub(crate) fn has(&self, order: Order) -> bool {
        self.orders.load(Ordering::Acquire) & order as u8 != 0
    }

    /// Whether the order was given; it is over with this.
    pub(crate) fn take(&self, order: Order) -> bool {
        self.has(order)
            && self.orders.fetch_and(!(order as u8), Ordering::AcqRel) & order as u8 != 0
    }

    fn push(&self, item: Item, at_once: bool) {
        let frames = item.frames();
        let pushed = self.outbox.push(item, at_once);
        if pushed.written {
            self.counters.deliveries.fetch_add(frames as u64, Ordering::Relaxed);
        }
        if pushed.wakes {
            self.wake.notify_one();
        }
    }

    /// Waits until something was put in since the last call; it may have been taken out already.
    pub(crate) async fn filled(&self) {
        self.wake.notified().await;
    }
}

impl Sink for Mailbox {
    fn deltas(&self, frames: &Arc<Frames>, at_once: bool) {
        self.push(Item::Deltas(frames.clone()), at_once);
    }

    fn overflow(&self) {
        if self.outbox.overflow() {
            self.wake.notify_one();
        }
    }

    fn signals(&self, frames: &Arc<Frames>, at_once: bool) {
        self.push(Item::Signals(frames.clone()), at_once);
    }
}
