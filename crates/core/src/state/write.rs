//! From a request to a commit: either all of the request is done, or nothing.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use onetree_protocol::frame::{Condition, Do};
use onetree_protocol::{Code, LogKey, Path, Revision, Value};

use super::State;
use super::dedup::{Numbered, unchanged};
use super::past::Owned;
use super::session::Sessions;
use crate::commit::{Commit, Effect, Origin, Outcome};
use crate::map::Hint;
use crate::request::{Answer, Author, Refusal, Request};
use crate::settings::Time;
use crate::slot::Slot;
use crate::sync::trims;

/// What a request does if all of its conditions hold.
#[derive(Default)]
struct Plan {
    effects: Vec<Effect>,
    paths: Vec<Path>,
    /// An upper limit of how many entries and bytes are added.
    growth: (u64, u64),
    /// The number of puts of entries that the session owns.
    owned: u64,
}

impl State {
    /// The best number of requests for one call of [`State::fetch`]: enough that their reads from
    /// memory overlap, and few enough that what was fetched first is still in the cache at the end.
    pub const FETCHED: usize = 64;

    /// The most keys that the trims of one commit may take one by one, because earlier trims of
    /// their logs went further. Nobody can write in the meantime, and a request that is refused may
    /// come again at once: to look for a key takes as long as a put, and to take it some ten
    /// microseconds.
    pub const SINGLY: usize = 100;

    /// Brings what these requests will touch into the processor's caches, for all of them together,
    /// so that [`State::write`] does not wait for memory: see
    /// [`Map::fetch`](crate::map::Map::fetch). Returns a hint for each request, which
    /// [`State::write_at`] takes. This is only an optimization, and only for requests that begin
    /// with a put. O(log n) for each.
    pub fn fetch<'a, R>(&'a self, requests: R) -> Vec<Hint>
    where
        R: Iterator<Item = &'a Request> + Clone,
    {
        let path = |request: &'a Request| match request.changes.first() {
            Some(Do::Put { path, .. }) => Some(path),
            _ => None,
        };
        let mut found = self.committed.tree.fetch(requests.clone().filter_map(path)).into_iter();
        requests
            .map(|request| path(request).and_then(|_| found.next()).unwrap_or_default())
            .collect()
    }

    /// Returns the time of the newest commit. No later commit has an earlier time.
    ///
    /// So the clock that the tree gets its time from must continue from here. If it were behind,
    /// all new commits would get this time, and nothing that is written would age until the clock
    /// has caught up.
    pub fn time(&self) -> Time {
        self.committed.time
    }

    /// Commits a request, or refuses it.
    ///
    /// A numbered write that changes nothing, or that is refused with a code for which
    /// [`Code::uses_seq`] is true, makes a commit without effects, because the memory of its answer
    /// is part of the state. Any other refusal is not remembered; the next write may use the same
    /// number.
    ///
    /// Cost: O(log n) for each change, and for a drop or a trim what it removes.
    pub fn write(&mut self, now: Time, author: &Author, request: &Request) -> Outcome {
        self.write_at(Hint::default(), now, author, request.clone())
    }

    /// Does what [`State::write`] does, with a hint from [`State::fetch`].
    pub fn write_at(
        &mut self,
        hint: Hint,
        now: Time,
        author: &Author,
        request: Request,
    ) -> Outcome {
        let client = match self.number(author, request.seq) {
            Numbered::New(client) => client,
            Numbered::Settled(outcome) => return outcome,
        };
        let Some(rev) = self.committed.rev.next() else {
            let end = Refusal::new(Code::Unavailable, "this history has no revisions left");
            return Outcome { answer: Err(end), commit: None };
        };
        let seq = request.seq;
        let (effects, answer) = match self.plan(now, rev, author, request) {
            Ok(plan) if plan.effects.is_empty() => {
                (plan.effects, Ok(unchanged(self.committed.rev)))
            }
            Ok(plan) => (plan.effects, Ok(Answer { rev, paths: plan.paths })),
            Err(refusal) => (Vec::new(), Err(refusal)),
        };
        let used = answer.as_ref().err().is_none_or(|refusal| refusal.code.uses_seq());
        let origin = client.zip(seq).filter(|_| used).map(|(client, seq)| {
            let answer = Arc::new(answer.clone());
            Origin { client, seq, answer }
        });
        if effects.is_empty() && origin.is_none() {
            return Outcome { answer, commit: None };
        }
        Outcome { answer, commit: Some(self.commit(now, rev, effects, origin, hint)) }
    }

    /// Makes a commit and applies it.
    pub(super) fn commit(
        &mut self,
        now: Time,
        rev: Revision,
        effects: Vec<Effect>,
        origin: Option<Origin>,
        hint: Hint,
    ) -> Arc<Commit> {
        let time = now.max(self.committed.time);
        let commit = Arc::new(Commit { rev, time, effects, origin });
        self.apply(&commit, hint);
        commit
    }

    fn plan(
        &self,
        now: Time,
        rev: Revision,
        author: &Author,
        request: Request,
    ) -> Result<Plan, Refusal> {
        let most = self.settings.bounds.commit_changes as usize;
        if request.changes.len() > most {
            let message = format!("{} changes, a commit has at most {most}", request.changes.len());
            return Err(Refusal::new(Code::TooManyChanges, message));
        }
        let most = self.settings.bounds.commit_conditions as usize;
        if request.conditions.len() > most {
            let count = request.conditions.len();
            let message = format!("{count} conditions, a commit has at most {most}");
            return Err(Refusal::new(Code::TooManyChanges, message));
        }
        for condition in &request.conditions {
            self.check(condition)?;
        }
        let mut plan =
            Plan { effects: Vec::with_capacity(request.changes.len()), ..Plan::default() };
        for change in request.changes {
            self.step(now, rev, author, change, &mut plan)?;
        }
        self.fits_singly(&plan)?;
        self.fits(&plan)?;
        self.may_own(author, &plan)?;
        Ok(plan)
    }

    /// Checks that the session still exists, and that everything it then owns can still be deleted
    /// in one commit at its end.
    fn may_own(&self, author: &Author, plan: &Plan) -> Result<(), Refusal> {
        let Some(session) = author.session.as_ref().filter(|_| plan.owned > 0) else {
            return Ok(());
        };
        if !self.sessions.is_there(session) {
            // Another connection has taken the session over and ended it while this request was on
            // its way: nobody would delete what it owns.
            let message = "the session is over, and with it what it owned";
            return Err(Refusal::new(Code::SessionTaken, message));
        }
        let most = u64::from(self.settings.bounds.commit_changes);
        let count = |state: &State| {
            state.committed.owned.span_summary(|owned: &Owned| owned.place(session)).0
        };
        let now = count(self);
        if now + plan.owned <= most {
            return Ok(());
        }
        // The bound is near: count how many of the entries the session owns already.
        let tree = &self.committed.tree;
        let is_new = |effect: &&Effect| match effect {
            Effect::Put { path, owner: Some(_), .. } => {
                tree.get(path).is_none_or(|slot| slot.owner() != Some(session))
            }
            _ => false,
        };
        if now + plan.effects.iter().filter(is_new).count() as u64 <= most {
            return Ok(());
        }
        // Still too many: apply the effects to a copy, because they may also delete entries, or put
        // one twice.
        let then = count(&self.trial(&plan.effects));
        if then > most && then > now {
            let message = format!(
                "a session owns at most {most} entries: they go in one commit when it is over"
            );
            return Err(Refusal::new(Code::TooManyChanges, message));
        }
        Ok(())
    }

    /// Returns the state that these effects would lead to.
    fn trial(&self, effects: &[Effect]) -> State {
        // Leave out the sessions: there may be many, and the effects do not need them.
        let mut trial = State {
            settings: self.settings.clone(),
            hasher: self.hasher.clone(),
            committed: self.committed.clone(),
            sessions: Sessions::default(),
            outgrown: BTreeSet::new(),
        };
        trial.committed.rev = self.committed.rev.next().unwrap_or(Revision::MAX);
        trial.attempt(effects);
        trial
    }

    fn check(&self, condition: &Condition) -> Result<(), Refusal> {
        let (path, expected, found) = match condition {
            Condition::Entry { path, rev } => {
                let slot = self.committed.tree.get(path).filter(|slot| slot.is_live());
                let found = slot.map_or(Revision::ZERO, |slot| slot.rev);
                (path, *rev, Some(found).filter(|found| found != rev))
            }
            Condition::Tree { path, rev } => {
                let found = self.snapshot().touched(path);
                (path, *rev, Some(found).filter(|found| found > rev))
            }
        };
        let Some(found) = found else { return Ok(()) };
        let message = match condition {
            Condition::Entry { .. } if found == Revision::ZERO => {
                format!("there is no entry at {path}")
            }
            Condition::Entry { rev: Revision::ZERO, .. } => {
                format!("{path} is there already, at revision {found}")
            }
            Condition::Entry { .. } => format!("{path} is at revision {found}, not {expected}"),
            Condition::Tree { .. } => {
                format!("{path} may have changed up to revision {found}, after {expected}")
            }
        };
        Err(Refusal { rev: Some(found), ..Refusal::at(Code::Conflict, path, message) })
    }

    fn step(
        &self,
        now: Time,
        rev: Revision,
        author: &Author,
        change: Do,
        plan: &mut Plan,
    ) -> Result<(), Refusal> {
        let tree = &self.committed.tree;
        // A step that does nothing is left out. Behind another step of the same request it stays,
        // because that step may have given it something to do.
        let first = plan.effects.is_empty();
        match change {
            Do::Put { path, value, ttl_ms, ephemeral } => {
                // An update should take one descent: look up the present entry only if it matters.
                let live = || tree.get(&path).is_some_and(|slot| slot.is_live());
                if LogKey::of(&path).is_some() && !live() {
                    let message = format!("{path} has the form of a log key: append gives these");
                    return Err(Refusal::at(Code::LogKey, &path, message));
                }
                plan.put(now, author, path, value, ttl_ms, ephemeral)
            }
            Do::Append { path, value, ttl_ms, ephemeral } => {
                let key = LogKey { rev, index: plan.effects.len() as u16 };
                let entry = path.child(&key.to_string()).map_err(|error| {
                    Refusal::at(
                        Code::BadPath,
                        &path,
                        format!("no entry fits below {path}: {error}"),
                    )
                })?;
                plan.paths.push(entry.clone());
                plan.put(now, author, entry, value, ttl_ms, ephemeral)
            }
            Do::Delete { path } => {
                if !first || tree.get(&path).is_some_and(|slot| slot.is_live()) {
                    plan.effects.push(Effect::Delete { path });
                }
                Ok(())
            }
            Do::Drop { path } => {
                if !first || tree.span_summary(|other: &Path| path.place(other)).live > 0 {
                    plan.effects.push(Effect::Drop { path });
                }
                Ok(())
            }
            Do::Trim { path, to } => {
                if to.rev > self.committed.rev {
                    let message = format!("the log key {to} is not given out yet");
                    return Err(Refusal::at(Code::LogKey, &path, message));
                }
                if !first || self.committed.has_entries_up_to(&path, to) {
                    plan.effects.push(Effect::Trim { path, to });
                }
                Ok(())
            }
        }
    }

    /// Checks that the trims take no more than [`State::SINGLY`] keys one by one: a trim that stops
    /// short of an earlier one takes each key separately.
    ///
    /// All that was there before the request counts, and all that it puts there, even if another
    /// step takes that away: to find out what is left would take as long as to do it all.
    fn fits_singly(&self, plan: &Plan) -> Result<(), Refusal> {
        // For each log the furthest trim, and the furthest of those that stop short of one.
        let (mut marks, mut short) = (BTreeMap::new(), BTreeMap::new());
        for effect in &plan.effects {
            let Effect::Trim { path: log, to } = effect else { continue };
            let mark = marks.entry(log).or_insert_with(|| self.committed.mark(log).unwrap_or(*to));
            if to < mark {
                let (_, furthest) = short.entry(log.as_str()).or_insert((log, *to));
                *furthest = (*furthest).max(*to);
            }
            *mark = (*mark).max(*to);
        }
        if short.is_empty() {
            return Ok(());
        }
        let taken = |above: &str, path: &Path| {
            short.get(above).is_some_and(|(log, to)| trims(log, *to, path))
        };
        let goes = |effect: &&Effect| match effect {
            Effect::Put { path, .. } => path.prefixes().any(|above| taken(above, path)),
            _ => false,
        };
        let mut keys = plan.effects.iter().filter(goes).count();
        for (log, to) in short.values() {
            keys += self.committed.keys_of(log, *to).take(State::SINGLY + 1).count();
            if keys > State::SINGLY {
                let message = format!(
                    "more than {} keys that were trimmed before have something under them again: a \
                     trim up to {} takes it all at once",
                    State::SINGLY,
                    marks[log]
                );
                return Err(Refusal::at(Code::TooManyChanges, log, message));
            }
        }
        Ok(())
    }

    /// Checks that the tree stays within its bounds. A request that also removes entries is applied
    /// to a copy to be sure, but only when the bound is near.
    fn fits(&self, plan: &Plan) -> Result<(), Refusal> {
        let bounds = &self.settings.bounds;
        let over = |live: u64, bytes: u64| live > bounds.entries || bytes > bounds.bytes;
        let now = self.committed.tree.summary();
        let (entries, bytes) = plan.growth;
        if (entries, bytes) == (0, 0) || !over(now.live + entries, now.bytes + bytes) {
            return Ok(());
        }
        // The bound is near: count how many of the puts are updates.
        let tree = &self.committed.tree;
        let is_new = |effect: &&Effect| match effect {
            Effect::Put { path, .. } => !tree.get(path).is_some_and(Slot::is_live),
            _ => false,
        };
        let entries = plan.effects.iter().filter(is_new).count() as u64;
        if !over(now.live + entries, now.bytes + bytes) {
            return Ok(());
        }
        let then = self.trial(&plan.effects).committed.tree.summary();
        if over(then.live, then.bytes) && (then.live > now.live || then.bytes > now.bytes) {
            let (most, size) = (bounds.entries, bounds.bytes);
            let message = format!("the tree holds at most {most} entries and {size} bytes");
            return Err(Refusal::new(Code::TreeFull, message));
        }
        Ok(())
    }
}

impl Plan {
    fn put(
        &mut self,
        now: Time,
        author: &Author,
        path: Path,
        value: Value,
        ttl_ms: Option<u64>,
        ephemeral: bool,
    ) -> Result<(), Refusal> {
        let owner = if ephemeral { author.session.clone() } else { None };
        if ephemeral && owner.is_none() {
            let message = "an ephemeral entry needs a session to die with";
            return Err(Refusal::at(Code::BadField, &path, message));
        }
        self.owned += u64::from(ephemeral);
        self.growth.0 += 1;
        self.growth.1 += (path.as_str().len() + value.bytes.len()) as u64;
        let expires = ttl_ms.map(|ms| now.plus(ms));
        self.effects.push(Effect::Put { path, value, expires, owner });
        Ok(())
    }
}
