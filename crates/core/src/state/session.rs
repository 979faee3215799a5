//! Sessions: which exist, and how long a session outlives its connection.

use alloc::collections::{BTreeMap, BTreeSet};
use core::mem::take;

use onetree_protocol::{Code, Name};

use super::State;
use crate::request::Refusal;
use crate::settings::Time;

/// A session's state. It starts attached.
///
/// - attached -> leaving: its connection is gone.
/// - leaving -> attached: the client comes back.
/// - leaving -> over: its grace has passed. Then one commit deletes what the session owns, and the
///   session is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// The session has a connection.
    Attached,
    /// The session's connection is gone; the session is over at this moment.
    Leaving(Time),
}

/// All sessions, with an index of which ends first: this is looked up for each batch of writes, and
/// there may be a hundred thousand sessions.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    all: BTreeMap<Name, Session>,
    /// The sessions that are leaving, by their end.
    ends: BTreeSet<(Time, Name)>,
    /// The leaving sessions that owned nothing when they left, by their end. They make room for
    /// others.
    spare: BTreeSet<(Time, Name)>,
}

impl Sessions {
    /// Returns when the first leaving session is over.
    pub(super) fn first_end(&self) -> Option<Time> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// Returns the first session that is over at `now`.
    pub(super) fn over(&self, now: Time) -> Option<Name> {
        self.ends.first().filter(|(end, _)| *end <= now).map(|(_, name)| name.clone())
    }

    /// Returns whether the session exists: it is not over, or what it owns is still to be deleted.
    pub(super) fn is_there(&self, name: &Name) -> bool {
        self.all.contains_key(name)
    }

    fn set(&mut self, name: &Name, session: Session) {
        let before = self.all.insert(name.clone(), session);
        self.end_is_not(name, before);
        if let Session::Leaving(end) = session {
            self.ends.insert((end, name.clone()));
        }
    }

    pub(super) fn remove(&mut self, name: &Name) {
        let before = self.all.remove(name);
        self.end_is_not(name, before);
    }

    /// Moves the end of every leaving session by `ms` milliseconds.
    fn postpone(&mut self, ms: u64) {
        for session in self.all.values_mut() {
            if let Session::Leaving(end) = session {
                *end = end.plus(ms);
            }
        }
        for places in [&mut self.ends, &mut self.spare] {
            let before = take(places).into_iter();
            *places = before.map(|(end, name)| (end.plus(ms), name)).collect();
        }
    }

    fn end_is_not(&mut self, name: &Name, before: Option<Session>) {
        if let Some(Session::Leaving(end)) = before {
            let place = (end, name.clone());
            self.ends.remove(&place);
            self.spare.remove(&place);
        }
    }
}

/// The result of opening a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The session's name.
    pub name: Name,
    /// Whether the session existed before, with everything that it owns.
    pub resumed: bool,
}

impl State {
    /// Opens a session: the wanted one if it still exists, otherwise a new one named `fresh`. If
    /// the wanted session still has a connection, the caller closes that.
    ///
    /// If there are already as many sessions as allowed, a session in its grace that owns nothing
    /// ends to make room: the one that left first.
    ///
    /// # Errors
    /// [`Code::TooManySessions`].
    pub fn open_session(
        &mut self,
        now: Time,
        wanted: Option<&Name>,
        fresh: Name,
    ) -> Result<Opened, Refusal> {
        if let Some((name, session)) = wanted.and_then(|name| self.sessions.all.get_key_value(name))
        {
            let over = matches!(session, Session::Leaving(end) if *end <= now);
            if !over {
                let name = name.clone();
                self.sessions.set(&name, Session::Attached);
                return Ok(Opened { name, resumed: true });
            }
        }
        let most = self.settings.bounds.sessions;
        if self.sessions.all.len() >= most as usize && !self.make_room() {
            let message = alloc::format!("the broker keeps at most {most} sessions");
            return Err(Refusal::new(Code::TooManySessions, message));
        }
        self.sessions.set(&fresh, Session::Attached);
        Ok(Opened { name: fresh, resumed: false })
    }

    /// Notes that the session's connection is gone: its grace begins.
    pub fn detach_session(&mut self, now: Time, name: &Name) {
        let end = now.plus(self.settings.bounds.grace_ms);
        self.leave(name, end);
    }

    /// Ends the session now, without grace: the next [`State::housekeep`] deletes what it owns.
    pub fn end_session(&mut self, now: Time, name: &Name) {
        self.leave(name, now);
    }

    /// Returns whether a session is over at `now` that [`State::housekeep`] has not ended yet.
    pub fn is_session_over(&self, now: Time) -> bool {
        self.sessions.over(now).is_some()
    }

    /// Extends every grace by `ms` milliseconds. Call this when the clock was set forward by that
    /// much: nobody could come back in that time, so it must not count as grace. O(n).
    pub fn prolong_graces(&mut self, ms: u64) {
        self.sessions.postpone(ms);
    }

    /// Returns how many sessions there are, attached or in their grace. O(1).
    pub fn sessions(&self) -> usize {
        self.sessions.all.len()
    }

    fn leave(&mut self, name: &Name, end: Time) {
        if self.sessions.all.contains_key(name) {
            self.sessions.set(name, Session::Leaving(end));
            if !self.owns(name) {
                self.sessions.spare.insert((end, name.clone()));
            }
        }
    }

    /// Ends the first session in its grace that owns nothing; false if there is none.
    fn make_room(&mut self) -> bool {
        while let Some((_, name)) = self.sessions.spare.pop_first() {
            // The session may own entries again: a commit that deleted them may have been undone
            // because it could not be stored.
            if !self.owns(&name) {
                self.sessions.remove(&name);
                return true;
            }
        }
        false
    }

    fn owns(&self, name: &Name) -> bool {
        self.committed.owned.range(|owned| owned.place(name)).next().is_some()
    }

    /// Gives every owner of an entry a session in its grace. Call this at a start from a store.
    pub fn await_owners(&mut self, now: Time) {
        self.admit_owners(now.plus(self.settings.bounds.grace_ms));
    }

    /// Gives every owner without a session one that is over at `end`.
    pub(super) fn admit_owners(&mut self, end: Time) {
        for owned in self.committed.owned.iter() {
            if !self.sessions.all.contains_key(&owned.owner) {
                self.sessions.set(&owned.owner, Session::Leaving(end));
            }
        }
    }
}
