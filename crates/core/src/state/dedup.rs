//! The memory of answers, so that a numbered write that is sent again takes effect once.

use alloc::format;
use alloc::sync::Arc;

use onetree_protocol::{Code, Name, Path, Revision};

use super::past::Nothing;
use super::{Committed, State};
use crate::commit::{Origin, Outcome};
use crate::map::{Item, Summary};
use crate::request::{Answer, Author, Refusal};
use crate::settings::{Bounds, Time};

/// A client that numbers its writes.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) name: Name,
    /// The highest number that the client has used.
    pub(super) last: u64,
    pub(super) time: Time,
    /// The revision of the commit that answered this number, or a later one.
    pub(super) rev: Revision,
    /// The size of the answers that are remembered.
    pub(super) held: Held,
}

/// How much is remembered of one client.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    answers: u64,
    bytes: u64,
}

impl Held {
    pub(super) fn add(&mut self, one: &Remembered) {
        self.answers += 1;
        self.bytes += one.bytes();
    }

    fn remove(&mut self, one: &Remembered) {
        self.answers -= 1;
        self.bytes -= one.bytes();
    }

    /// Returns whether more is held than the bounds allow. The newest answer is always kept.
    fn is_over(&self, bounds: &Bounds) -> bool {
        let over = self.answers > u64::from(bounds.dedup_answers)
            || self.bytes > bounds.dedup_client_bytes;
        over && self.answers > 1
    }
}

/// The answer to one numbered write.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub(super) key: (Name, u64),
    pub(super) answer: Arc<Result<Answer, Refusal>>,
}

impl Remembered {
    /// The bytes of memory that an answer takes besides its texts, and that each text takes besides
    /// its characters.
    const ANSWER: usize = 192;
    const TEXT: usize = 32;

    /// Returns roughly how much memory the answer takes. The result is the same on every machine
    /// and at every replay.
    fn bytes(&self) -> u64 {
        let text = |length: usize| Remembered::TEXT + length;
        let path = |path: &Path| text(path.as_str().len());
        let texts = match &*self.answer {
            Ok(answer) => answer.paths.iter().map(path).sum(),
            Err(refusal) => text(refusal.message.len()) + refusal.path.as_ref().map_or(0, path),
        };
        (Remembered::ANSWER + texts) as u64
    }
}

/// The time at which the client that has been silent longest last wrote, and the bytes of the
/// answers of all clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Idle {
    pub(super) oldest: Time,
    bytes: u64,
}

impl Default for Idle {
    fn default() -> Idle {
        Idle { oldest: Time::NEVER, bytes: 0 }
    }
}

impl Summary for Idle {
    fn add(&mut self, other: &Idle) {
        self.oldest = self.oldest.min(other.oldest);
        self.bytes += other.bytes;
    }
}

impl Item for Client {
    type Key = Name;
    type Handle = Name;
    type Summary = Idle;

    fn key(&self) -> &Name {
        &self.name
    }

    fn handle(&self) -> Name {
        self.name.clone()
    }

    fn summary(&self) -> Idle {
        Idle { oldest: self.time, bytes: self.held.bytes }
    }
}

impl Item for Remembered {
    type Key = (Name, u64);
    type Handle = (Name, u64);
    type Summary = Nothing;

    fn key(&self) -> &(Name, u64) {
        &self.key
    }

    fn handle(&self) -> (Name, u64) {
        self.key.clone()
    }

    fn summary(&self) -> Nothing {
        Nothing
    }
}

/// The meaning of a write's number.
pub(super) enum Numbered {
    /// The write is new: execute it.
    New(Option<Name>),
    /// The write has an outcome already.
    Settled(Outcome),
}

impl State {
    /// Looks up whether a numbered write was seen before.
    pub(super) fn number(&self, author: &Author, seq: Option<u64>) -> Numbered {
        let Some(seq) = seq else { return Numbered::New(None) };
        let refuse = |code, message| {
            Numbered::Settled(Outcome { answer: Err(Refusal::new(code, message)), commit: None })
        };
        let Some(client) = &author.client else {
            return refuse(Code::SeqGap, format!("seq {seq} needs a 'client' in 'hello'"));
        };
        let known = self.committed.clients.get(client);
        // The client looks new, but may be one that was forgotten.
        if known.is_none() && author.since.is_some_and(|since| since < self.committed.forgotten) {
            let message = format!("whether seq {seq} was sent before is not remembered");
            return refuse(Code::OutcomeUnknown, message);
        }
        let last = known.map_or(0, |known| known.last);
        if seq == last + 1 {
            return Numbered::New(Some(client.clone()));
        }
        match self.committed.answers.get(&(client.clone(), seq)) {
            Some(known) => {
                Numbered::Settled(Outcome { answer: Result::clone(&known.answer), commit: None })
            }
            None if seq > last && last > 0 => {
                refuse(Code::SeqGap, format!("seq {seq} comes after {last}: one was skipped"))
            }
            None => {
                refuse(Code::OutcomeUnknown, format!("the answer to seq {seq} is not remembered"))
            }
        }
    }
}

impl Committed {
    /// Remembers the answer that a commit gave, and forgets the client's oldest answers beyond the
    /// bounds.
    pub(super) fn remember(&mut self, origin: &Origin, rev: Revision, time: Time, bounds: &Bounds) {
        let Origin { client, seq, answer } = origin;
        let mut held = self.clients.get(client).map(|known| known.held).unwrap_or_default();
        let one = Remembered { key: (client.clone(), *seq), answer: answer.clone() };
        held.add(&one);
        self.answers.insert(one);
        while held.is_over(bounds) {
            let oldest = self.answers.range(|(name, _)| name.cmp(client)).next();
            let Some(oldest) = oldest.cloned() else { break };
            held.remove(&oldest);
            self.answers.remove(&oldest.key);
        }
        self.clients.insert(Client { name: client.clone(), last: *seq, time, rev, held });
    }

    /// Forgets all answers to a client.
    pub(super) fn forget_client(&mut self, client: &Name) {
        if let Some(known) = self.clients.remove(client) {
            self.forgotten = self.forgotten.max(known.rev);
        }
        self.answers.remove_span(|(name, _): &(Name, u64)| name.cmp(client));
    }

    /// Returns whether more clients, or more bytes of answers, are remembered than the bounds
    /// allow. If so, the client that wrote the longest ago is to be forgotten. The answers of one
    /// client have their own bound.
    pub(super) fn crowd(&self, bounds: &Bounds) -> bool {
        let count = self.clients.len();
        count > bounds.dedup_clients as usize
            || count > 1 && self.clients.summary().bytes > bounds.dedup_bytes
    }

    /// Returns the client that has been silent longest, if it last wrote at or before `until`.
    pub(super) fn idle_client(&self, until: Time) -> Option<Name> {
        let Idle { oldest, .. } = self.clients.summary();
        if oldest > until {
            return None;
        }
        let all = |_: &Name| core::cmp::Ordering::Equal;
        let mut idle = self.clients.range_where(all, |summary: &Idle| summary.oldest <= oldest);
        idle.next().map(|client| client.name.clone())
    }
}

/// Returns the answer to a write without effects.
pub(super) fn unchanged(rev: Revision) -> Answer {
    Answer { rev, paths: alloc::vec::Vec::new() }
}
