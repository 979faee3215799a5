//! Sessions: who is there, and for how long one who left may come back.

use onetree_protocol::{Code, Name};

use super::State;
use crate::request::Refusal;
use crate::settings::Time;

/// A session starts attached; attached -> leaving when its connection is gone, leaving -> attached
/// when it comes back; leaving -> over when its grace has passed: then one commit deletes what it
/// owns, and it is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// It has a connection.
    Attached,
    /// Its connection is gone; it is over at this moment.
    Leaving(Time),
}

/// A session that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its name.
    pub name: Name,
    /// Whether it was there before, with everything it owns.
    pub resumed: bool,
}

impl State {
    /// Opens a session: the wanted one when that is still there (the caller closes a connection
    /// that it may have), otherwise a new one named `fresh`.
    ///
    /// # Errors
    /// [`Code::TooManySessions`].
    pub fn open_session(
        &mut self,
        now: Time,
        wanted: Option<&Name>,
        fresh: Name,
    ) -> Result<Opened, Refusal> {
        if let Some((name, session)) = wanted.and_then(|name| self.sessions.get_key_value(name)) {
            let over = matches!(session, Session::Leaving(end) if *end <= now);
            if !over {
                let name = name.clone();
                self.sessions.insert(name.clone(), Session::Attached);
                return Ok(Opened { name, resumed: true });
            }
        }
        let most = self.settings.bounds.sessions;
        if self.sessions.len() >= most as usize {
            let message = alloc::format!("the broker keeps at most {most} sessions");
            return Err(Refusal::new(Code::TooManySessions, message));
        }
        self.sessions.insert(fresh.clone(), Session::Attached);
        Ok(Opened { name: fresh, resumed: false })
    }

    /// The session's connection is gone: its grace begins.
    pub fn detach_session(&mut self, now: Time, name: &Name) {
        let end = now.plus(self.settings.bounds.grace_ms);
        if let Some(session) = self.sessions.get_mut(name) {
            *session = Session::Leaving(end);
        }
    }

    /// The session is over now, without grace: the next [`State::housekeep`] deletes what it owns.
    pub fn end_session(&mut self, now: Time, name: &Name) {
        if let Some(session) = self.sessions.get_mut(name) {
            *session = Session::Leaving(now);
        }
    }

    /// Gives every owner of an entry a session in its grace: at a start from a store.
    pub fn await_owners(&mut self, now: Time) {
        self.admit_owners(now.plus(self.settings.bounds.grace_ms));
    }

    /// Gives every owner that has no session one that is over at `end`.
    pub(super) fn admit_owners(&mut self, end: Time) {
        for owned in self.committed.owned.iter() {
            self.sessions.entry(owned.owner.clone()).or_insert(Session::Leaving(end));
        }
    }

    /// The first session that is over.
    pub(super) fn over(&self, now: Time) -> Option<Name> {
        let over = |session: &Session| matches!(session, Session::Leaving(end) if *end <= now);
        self.sessions.iter().find(|(_, session)| over(session)).map(|(name, _)| name.clone())
    }
}
