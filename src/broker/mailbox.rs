//! What other tasks pass to a connection.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use onetree_core::{Answer, Refusal};
use tokio::sync::Notify;

use super::counters::Counters;
use crate::fanout::{Frames, Item, Outbox, Sink};

/// What other tasks pass to a connection: replies, live frames and orders. A task that puts
/// something in never waits for the connection.
pub(crate) struct Mailbox {
    /// The connection's number in this process.
    pub(crate) id: u64,
    pub(crate) outbox: Outbox,
    /// The replies to be sent. Their number is bounded, because a connection bounds its requests in
    /// flight.
    replies: Mutex<Vec<Reply>>,
    orders: AtomicU8,
    wake: Notify,
    counters: Arc<Counters>,
}

/// The owner's answer to an event. Answers come in the order of the events.
pub(crate) enum Reply {
    /// The answer to a write.
    Written { id: u32, result: Result<Answer, Refusal>, durable: bool },
    /// The session has ended.
    Ended,
}

/// What a connection is ordered to do. An order is permanent once given, except `Tell`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Order {
    /// Another connection has taken over the session: close.
    SessionTaken = 1,
    /// The broker shuts down: finish what was begun, and say goodbye.
    Finish = 2,
    /// The time is up: close at once.
    Cut = 4,
    /// Somebody asks for `/v1/sessions`: describe yourself.
    Tell = 8,
}

impl Mailbox {
    pub(crate) fn new(id: u64, outbox: Outbox, counters: Arc<Counters>) -> Mailbox {
        let (replies, orders, wake) = Default::default();
        Mailbox { id, outbox, replies, orders, wake, counters }
    }

    /// Adds replies; `new` has at least one.
    pub(crate) fn reply(&self, new: impl IntoIterator<Item = Reply>) {
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        let first = replies.is_empty();
        replies.extend(new);
        drop(replies);
        if first {
            self.wake.notify_one();
        }
    }

    /// Takes the replies that have arrived since the last call, in order.
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

    /// Returns whether the order was given, and withdraws it.
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

    /// Waits until something has been put in since the last call. It may have been taken out
    /// already.
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
