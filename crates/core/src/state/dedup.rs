//! The memory of answers: a numbered write that comes again takes effect once.

use alloc::format;
use alloc::sync::Arc;

use onetree_protocol::{Code, Name, Revision};

use super::past::{Earliest, Nothing};
use super::{Committed, State};
use crate::commit::Origin;
use crate::map::Item;
use crate::request::{Answer, Author, Outcome, Refusal};
use crate::settings::Time;

/// A client that numbers its writes.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) name: Name,
    /// The highest number it has used.
    pub(super) last: u64,
    pub(super) time: Time,
}

/// The answer to one numbered write.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub(super) key: (Name, u64),
    pub(super) answer: Arc<Result<Answer, Refusal>>,
}

impl Item for Client {
    type Key = Name;
    type Handle = Name;
    type Summary = Earliest;

    fn key(&self) -> &Name {
        &self.name
    }

    fn handle(&self) -> Name {
        self.name.clone()
    }

    fn summary(&self) -> Earliest {
        Earliest(self.time)
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

/// What the number of a write says about it.
pub(super) enum Numbered {
    /// It is new: execute it.
    New(Option<Name>),
    /// It is settled already.
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
        let last = self.committed.clients.get(client).map_or(0, |known| known.last);
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
    /// Remembers the answer that a commit gave, and lets go of the oldest beyond `keep`.
    pub(super) fn remember(&mut self, origin: &Origin, time: Time, keep: u32) {
        let Origin { client, seq, answer } = origin;
        self.clients.insert(Client { name: client.clone(), last: *seq, time });
        let key = (client.clone(), *seq);
        self.answers.insert(Remembered { key, answer: answer.clone() });
        if let Some(oldest) = seq.checked_sub(u64::from(keep)) {
            self.answers.remove(&(client.clone(), oldest));
        }
    }

    /// Forgets all answers to a client.
    pub(super) fn forget_client(&mut self, client: &Name) {
        self.clients.remove(client);
        self.answers.remove_span(|(name, _): &(Name, u64)| name.cmp(client));
    }

    /// Whose last write is the longest ago, if that is at or before `until`.
    pub(super) fn idle_client(&self, until: Time) -> Option<Name> {
        let Earliest(oldest) = self.clients.summary();
        if oldest > until {
            return None;
        }
        let all = |_: &Name| core::cmp::Ordering::Equal;
        let mut idle = self.clients.range_where(all, |summary: &Earliest| summary.0 <= oldest);
        idle.next().map(|client| client.name.clone())
    }
}

/// The answer to a write without effects.
pub(super) fn unchanged(rev: Revision) -> Answer {
    Answer { rev, paths: alloc::vec::Vec::new() }
}
