//! Who is here, and who is about to be gone.

use std::collections::HashMap;
use std::sync::Arc;

use onetree_protocol::Name;

use super::mailbox::{Mailbox, Order, Reply};

/// Which connection has which session, and whose goodbye is still to be answered.
#[derive(Default)]
pub(super) struct Presence {
    /// The connection that each attached session has.
    attached: HashMap<Name, Arc<Mailbox>>,
    /// Who has said goodbye, until what their sessions own is deleted.
    leaving: Vec<Arc<Mailbox>>,
}

impl Presence {
    /// From now on this connection has the session; the one that had it is told.
    pub(super) fn enter(&mut self, session: Name, mailbox: Arc<Mailbox>) {
        if let Some(before) = self.attached.insert(session, mailbox) {
            before.order(Order::SessionTaken);
        }
    }

    /// The connection lets go of the session; false when another has taken it over.
    pub(super) fn leave(&mut self, session: &Name, connection: u64) -> bool {
        let own = self.attached.get(session).is_some_and(|mailbox| mailbox.id == connection);
        own && self.attached.remove(session).is_some()
    }

    /// Its goodbye is answered when what its session owns is deleted.
    pub(super) fn await_end(&mut self, mailbox: Arc<Mailbox>) {
        self.leaving.push(mailbox);
    }

    /// Whether somebody's goodbye waits.
    pub(super) fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Those whose goodbyes wait, who wait here no longer.
    pub(super) fn take_leaving(&mut self) -> Vec<Arc<Mailbox>> {
        std::mem::take(&mut self.leaving)
    }
}

/// Answers goodbyes.
pub(super) fn see_off<'a>(mailboxes: impl IntoIterator<Item = &'a Arc<Mailbox>>) {
    mailboxes.into_iter().for_each(|mailbox| mailbox.reply([Reply::Ended]));
}
