//! The events: everything that can happen to the tree.

use std::sync::Arc;

use onetree_core::{Author, Opened, Refusal, Request, State};
use onetree_protocol::Name;
use onetree_protocol::frame::Do;
use tokio::sync::oneshot;

use super::mailbox::Mailbox;

/// How many events, counting each change of a write, the owner applies before it lets other tasks
/// have the thread: about half a millisecond. The connections on the same thread wait meanwhile,
/// and so do clients that only read.
pub(crate) const TURN_EVENTS: usize = 256;

/// Everything that can happen to the tree.
pub(crate) enum Event {
    /// A client writes, in this order.
    Write(Vec<Write>),
    /// A connection wants a session.
    Open(Opening),
    /// A connection is gone: the grace period of its session begins.
    Detach { session: Name, connection: u64 },
    /// A client says goodbye: its session ends. [`super::Reply::Ended`] answers when what the
    /// session owns is deleted.
    End { session: Name, mailbox: Arc<Mailbox> },
    /// Somebody asks whether the owner is alive.
    Probe(oneshot::Sender<()>),
    /// Housekeeping is due.
    Tick,
    /// The broker stops, when everything before this is done.
    Stop,
}

impl Event {
    /// Returns how many changes the event makes, or how many other things that take as long.
    pub(super) fn weight(&self) -> usize {
        match self {
            Event::Write(writes) => writes.iter().map(Write::weight).sum(),
            _ => 1,
        }
    }
}

/// Returns how many of these events, from the first on, one turn takes. The turn ends when it is
/// full; the last event may exceed it by up to one turn. An event that is larger than a turn goes
/// alone.
pub(super) fn turn(events: &[Event]) -> usize {
    let mut taken = 0;
    let together = events.iter().take_while(|event| {
        let weight = event.weight();
        let fits = taken == 0 || taken < TURN_EVENTS && weight <= TURN_EVENTS;
        taken += weight;
        fits
    });
    together.count()
}

/// A write, and the connection to answer.
pub(crate) struct Write {
    pub(crate) mailbox: Arc<Mailbox>,
    /// The `id` of the reply.
    pub(crate) id: u32,
    pub(crate) author: Arc<Author>,
    pub(crate) request: Request,
}

impl Write {
    /// Returns how many changes it makes, or how many conditions it checks, whichever is more: the
    /// time is proportional to that. A write of one change under one condition counts as one, as
    /// without the condition. With a trim it also counts the keys that may be taken one by one,
    /// since looking for them takes that long even if the write is then refused.
    pub(crate) fn weight(&self) -> usize {
        let Request { changes, conditions, .. } = &self.request;
        let trims = changes.iter().any(|change| matches!(change, Do::Trim { .. }));
        let keys = if trims { State::SINGLY } else { 0 };
        (changes.len() + keys).max(conditions.len()).max(1)
    }
}

/// A connection that wants a session.
pub(crate) struct Opening {
    pub(crate) mailbox: Arc<Mailbox>,
    /// The session to resume.
    pub(crate) wanted: Option<Name>,
    /// The name for a new session.
    pub(crate) fresh: Name,
    pub(crate) reply: oneshot::Sender<Result<Opened, Refusal>>,
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use onetree_protocol::frame::Condition;
    use onetree_protocol::{LogKey, Path, Revision};
    use tokio::net::tcp::OwnedWriteHalf;

    use super::*;
    use crate::fanout::Outbox;

    /// Makes a write of this many changes under this many conditions.
    fn write(changes: usize, conditions: usize) -> Write {
        let path = Path::parse("/a").unwrap();
        let condition = Condition::Entry { path: path.clone(), rev: Revision::ZERO };
        let request = Request {
            seq: None,
            conditions: vec![condition; conditions],
            changes: vec![Do::Delete { path }; changes],
        };
        let outbox = Outbox::new(0, 0, Weak::<OwnedWriteHalf>::new());
        let mailbox = Arc::new(Mailbox::new(1, outbox, Arc::default()));
        Write { mailbox, id: 1, author: Arc::default(), request }
    }

    fn event(sizes: &[usize]) -> Event {
        Event::Write(sizes.iter().map(|size| write(*size, 0)).collect())
    }

    #[test]
    fn a_write_weighs_what_it_changes_or_checks() {
        assert_eq!(Event::Write(vec![write(1_000, 1)]).weight(), 1_000);
        assert_eq!(Event::Write(vec![write(1, 1_000), write(0, 0)]).weight(), 1_001);
        assert_eq!(Event::Write(vec![write(1, 1), write(1, 0)]).weight(), 2);
        assert_eq!(Event::Tick.weight(), 1);
    }

    /// Refused trims of which each was a single change once kept everyone waiting for seconds.
    #[test]
    fn a_write_with_trims_weighs_the_keys_that_they_may_take() {
        let mut trims = write(2, 0);
        let (path, to) =
            (Path::parse("/log").unwrap(), LogKey::parse("000000000000010000").unwrap());
        trims.request.changes = vec![Do::Trim { path, to }; 3];
        assert_eq!(trims.weight(), 3 + State::SINGLY);
    }

    #[test]
    fn a_turn_takes_so_much_or_one_event() {
        let turns = |sizes: &[&[usize]]| {
            let mut events: Vec<Event> = sizes.iter().map(|sizes| event(sizes)).collect();
            let mut turns = Vec::new();
            while !events.is_empty() {
                turns.push(turn(&events));
                events.drain(..turn(&events));
            }
            turns
        };
        assert_eq!(turns(&[&[100, 100], &[56], &[1]]), [2, 1]);
        assert_eq!(turns(&[&[200], &[200], &[1]]), [2, 1]);
        assert_eq!(turns(&[&[100], &[1_000], &[100], &[100, 100]]), [1, 1, 2]);
        assert_eq!(turns(&[&[1][..]; 300]), [256, 44]);
    }
}
