//! Everything that can happen to the tree.

use std::sync::Arc;

use onetree_core::{Author, Opened, Refusal, Request};
use onetree_protocol::Name;
use tokio::sync::oneshot;

use super::mailbox::Mailbox;

/// Everything that can happen to the tree.
pub(crate) enum Event {
    /// A client writes: in this order.
    Write(Vec<Write>),
    /// A connection wants a session.
    Open(Opening),
    /// A connection is gone: the grace of its session begins.
    Detach { session: Name, connection: u64 },
    /// A client says goodbye: its session is over. [`super::Reply::Ended`] answers.
    End { session: Name, mailbox: Arc<Mailbox> },
    /// Someone asks whether the owner is there.
    Probe(oneshot::Sender<()>),
    /// Housekeeping is due.
    Tick,
    /// The broker stops, when everything before this is done.
    Stop,
}

impl Event {
    /// How many writes it is, or other things as long as one.
    pub(super) fn weight(&self) -> usize {
        match self {
            Event::Write(writes) => writes.len(),
            _ => 1,
        }
    }
}

/// A write, and whom to answer.
pub(crate) struct Write {
    pub(crate) mailbox: Arc<Mailbox>,
    /// Of the reply.
    pub(crate) id: u32,
    pub(crate) author: Arc<Author>,
    pub(crate) request: Request,
}

/// A connection that wants a session.
pub(crate) struct Opening {
    pub(crate) mailbox: Arc<Mailbox>,
    /// The session to come back to.
    pub(crate) wanted: Option<Name>,
    /// The name of a new one.
    pub(crate) fresh: Name,
    pub(crate) reply: oneshot::Sender<Result<Opened, Refusal>>,
}
