//! `verify`: who waits for the `sync` that compares a mirror with the broker's digest.

use super::{Effect, Link, Reply, Session, Time};
use crate::errors::{Error, Sent};
use crate::event::Verdict;

/// One request to verify a mirror.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    ticket: u64,
    pub(super) sub: u32,
    pub(super) until: Time,
    /// The id of the `sync`, once it was sent.
    pub(super) sync: Option<u32>,
}

impl Session {
    /// Compares a mirror with the broker's digest. The reply is a [`Reply::Verdict`], or
    /// [`Error::Timeout`] if the broker does not answer.
    pub fn verify(&mut self, now: Time, ticket: u64, sub: u32) {
        let until = now.saturating_add(self.options.request_timeout);
        self.checks.push_back(Check { ticket, sub, until, sync: None });
        if matches!(self.link, Link::Up { .. }) && self.slots.contains_key(&sub) {
            self.sync_wanted = true;
        } else {
            self.end_checks(|check| (check.ticket == ticket).then_some(Ok(Verdict::Unknown)));
        }
    }

    pub(super) fn expire_checks(&mut self, now: Time) {
        let after = self.options.request_timeout;
        self.end_checks(|check| {
            let sent = check.sync.map_or(Sent::Never, |_| Sent::Read);
            (check.until <= now).then_some(Err(Error::Timeout { after, sent }))
        });
    }

    /// Replies to the requests for which `outcome` returns a result.
    pub(super) fn end_checks(
        &mut self,
        outcome: impl Fn(&Check) -> Option<Result<Verdict, Error>>,
    ) {
        let effects = &mut self.effects;
        self.checks.retain(|check| {
            let Some(outcome) = outcome(check) else { return true };
            let (ticket, result) = (check.ticket, outcome.map(Reply::Verdict));
            effects.push_back(Effect::Reply { ticket, result });
            effects.push_back(Effect::Release { ticket });
            false
        });
    }
}
