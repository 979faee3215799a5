//! Sessions: who is there, and for how long one who left may come back.

use alloc::collections::{BTreeMap, BTreeSet};
use core::mem::take;

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

/// All sessions, and which of them ends first: that is asked for with each batch, and there may be
/// a hundred thousand.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    all: BTreeMap<Name, Session>,
    /// Those that are leaving, by their end.
    ends: BTreeSet<(Time, Name)>,
    /// Those of them that owned nothing when they left, by their end: they make room for others.
    spare: BTreeSet<(Time, Name)>,
}

impl Sessions {
    /// When the first of those that are leaving is over.
    pub(super) fn first_end(&self) -> Option<Time> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// The first session that is over.
    pub(super) fn over(&self, now: Time) -> Option<Name> {
        self.ends.first().filter(|(end, _)| *end <= now).map(|(_, name)| name.clone())
    }

    /// Whether it is not over, or what it owns is still to be deleted.
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

    /// All that are leaving end so much later.
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
    /// Where there are as many as may be, one in its grace that owns nothing ends for it: the first
    /// that left.
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

    /// The session's connection is gone: its grace begins.
    pub fn detach_session(&mut self, now: Time, name: &Name) {
        let end = now.plus(self.settings.bounds.grace_ms);
        self.leave(name, end);
    }

    /// The session is over now, without grace: the next [`State::housekeep`] deletes what it owns.
    pub fn end_session(&mut self, now: Time, name: &Name) {
        self.leave(name, now);
    }

    /// The clock was set forward by so many milliseconds, in which nobody could come back: they are
    /// no part of anyone's grace. O(n).
    pub fn prolong_graces(&mut self, ms: u64) {
        self.sessions.postpone(ms);
    }

    /// How many sessions there are, attached or in their grace. O(1).
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

    /// Ends the first session in its grace that owns nothing; false when there is none.
    fn make_room(&mut self) -> bool {
        while let Some((_, name)) = self.sessions.spare.pop_first() {
            // It may own again what was deleted before it left: that was not stored.
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

    /// Gives every owner of an entry a session in its grace: at a start from a store.
    pub fn await_owners(&mut self, now: Time) {
        self.admit_owners(now.plus(self.settings.bounds.grace_ms));
    }

    /// Gives every owner that has no session one that is over at `end`.
    pub(super) fn admit_owners(&mut self, end: Time) {
        for owned in self.committed.owned.iter() {
            if !self.sessions.all.contains_key(&owned.owner) {
                self.sessions.set(&owned.owner, Session::Leaving(end));
            }
        }
    }
}
