//! Which sessions are attached, and which connections wait for their goodbye to be answered.

use std::collections::HashMap;
use std::sync::Arc;

use onetree_protocol::Name;

use super::mailbox::{Mailbox, Order, Reply};

/// Which connection has which session, and which goodbyes are still to be answered.
#[derive(Default)]
pub(super) struct Presence {
    /// The connection that each attached session has.
    attached: HashMap<Name, Arc<Mailbox>>,
    /// Connections that have said goodbye and wait until what their sessions own is deleted.
    leaving: Vec<Arc<Mailbox>>,
}

impl Presence {
    /// Gives the session to this connection. A connection that had it before is ordered to close.
    pub(super) fn enter(&mut self, session: Name, mailbox: Arc<Mailbox>) {
        if let Some(before) = self.attached.insert(session, mailbox) {
            before.order(Order::SessionTaken);
        }
    }

    /// Takes the session from the connection. Returns false when another connection has taken the
    /// session over.
    pub(super) fn leave(&mut self, session: &Name, connection: u64) -> bool {
        let own = self.attached.get(session).is_some_and(|mailbox| mailbox.id == connection);
        own && self.attached.remove(session).is_some()
    }

    /// Remembers to answer the connection's goodbye when what its session owns is deleted.
    pub(super) fn await_end(&mut self, mailbox: Arc<Mailbox>) {
        self.leaving.push(mailbox);
    }

    /// Whether any goodbye waits for its answer.
    pub(super) fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Takes out the connections whose goodbyes wait.
    pub(super) fn take_leaving(&mut self) -> Vec<Arc<Mailbox>> {
        std::mem::take(&mut self.leaving)
    }
}

/// Answers the goodbyes of these connections.
pub(super) fn see_off<'a>(mailboxes: impl IntoIterator<Item = &'a Arc<Mailbox>>) {
    mailboxes.into_iter().for_each(|mailbox| mailbox.reply([Reply::Ended]));
}
