//! What the broker commits by itself: expiry, the end of sessions, retention, compaction.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use onetree_protocol::{LogKey, Path};

use super::past::{Earliest, Grave, Sum};
use super::{Committed, State};
use crate::commit::{Commit, Effect};
use crate::map::Hint;
use crate::settings::{Bounds, Retention, Time, stretched};
use crate::slot::{Slot, Summary};

/// The most entries that one commit of housekeeping trims or lets expire, and the most tombstones
/// that it forgets. Each takes two to four microseconds, most of it to give memory back. In the
/// meantime nobody can write, and nothing is delivered.
const STEP: usize = 250;

/// The most logs that one call may find to need no trim. Each costs a look-up, and no commit
/// results.
const RECHECKS: usize = 1_000;

impl State {
    /// Makes the next commit that is due by itself at `now`, and applies it.
    ///
    /// Returns `None` if nothing is due, or if enough was looked at for one turn. In the latter
    /// case [`State::due`] still returns a moment in the past; call this again until it does not.
    ///
    /// A commit has at most `commit_changes` changes. The end of a session deletes everything that
    /// the session owns at once, which is no more than that.
    pub fn housekeep(&mut self, now: Time) -> Option<Arc<Commit>> {
        let rev = self.committed.rev.next()?;
        let effects = self
            .end_session_due(now)
            .or_else(|| self.expire(now))
            .or_else(|| self.retain(now))
            .or_else(|| self.forget(now))?;
        Some(self.commit(now, rev, effects, None, Hint::default()))
    }

    /// Returns when [`State::housekeep`] next has something to do, if nothing else happens before.
    pub fn due(&self) -> Option<Time> {
        let bounds = &self.settings.bounds;
        let Earliest(log) = self.committed.logs.summary();
        let client = self.committed.clients.summary().oldest;
        let grave = self.committed.graves.iter().next();
        let grave =
            grave.map_or(Time::NEVER, |grave| grave.time.plus(stretched(bounds.tombstone_ms)));
        let expires = self.committed.tree.summary().expires;
        let outgrown = if self.outgrown.is_empty() { Time::NEVER } else { Time(0) };
        let crowded = if self.crowded() { Time(0) } else { Time::NEVER };
        let past = [log, client.plus(bounds.dedup_ms), grave, expires, outgrown, crowded];
        past.into_iter().chain(self.sessions.first_end()).min().filter(|due| *due < Time::NEVER)
    }

    fn end_session_due(&mut self, now: Time) -> Option<Vec<Effect>> {
        while let Some(name) = self.sessions.over(now) {
            let owned = self.committed.owned.range(|owned| owned.place(&name));
            let effects: Vec<_> =
                owned.map(|owned| Effect::Delete { path: owned.path.clone() }).collect();
            if !effects.is_empty() {
                // The session is removed when nothing that it owns is left: if the commit cannot be
                // stored, the next call tries again.
                return Some(effects);
            }
            self.sessions.remove(&name);
        }
        None
    }

    fn expire(&self, now: Time) -> Option<Vec<Effect>> {
        let all = |_: &Path| core::cmp::Ordering::Equal;
        let expired =
            self.committed.tree.range_where(all, |summary: &Summary| summary.expires <= now);
        let most = STEP.min(self.settings.bounds.commit_changes as usize);
        let effects: Vec<_> =
            expired.take(most).map(|slot| Effect::Delete { path: slot.path.clone() }).collect();
        Some(effects).filter(|effects| !effects.is_empty())
    }

    /// Returns the next trim. If many logs turn out to need no trim, it returns none and leaves the
    /// others for the next call: then [`State::due`] is in the past.
    fn retain(&mut self, now: Time) -> Option<Vec<Effect>> {
        for _ in 0..RECHECKS {
            if let Some(log) = self.outgrown.first() {
                // The log stays noted until nothing is to be trimmed, so that a trim that could not
                // be stored is made again.
                if let Some(trim) = self.trim_due(log, now) {
                    return Some(vec![trim]);
                }
                self.outgrown.pop_first();
                continue;
            }
            let all = |_: &Path| core::cmp::Ordering::Equal;
            let logs = &self.committed.logs;
            let log = logs.range_where(all, |summary: &Earliest| summary.0 <= now).next();
            let log = log?.path.clone();
            if let Some(trim) = self.trim_due(&log, now) {
                return Some(vec![trim]);
            }
            // The log's oldest entries were written again, or deleted one by one. So there is
            // nothing to trim, only a new moment to note: an effect that removes nothing would be a
            // useless commit.
            self.recheck(&log);
        }
        None
    }

    /// Returns the trim that the log's rule asks for, or the first piece of it.
    fn trim_due(&self, log: &Path, now: Time) -> Option<Effect> {
        let known = self.committed.logs.get(log)?;
        let rule = &self.settings.retention[known.rule];
        let aged = (known.due <= now).then(|| self.aged(log, rule, now)).flatten();
        let to = aged.max(self.excess(log, rule))?;
        Some(Effect::Trim { path: log.clone(), to })
    }

    /// Returns the key of the newest entry that is too old, among the log's oldest entries.
    fn aged(&self, log: &Path, rule: &Retention, now: Time) -> Option<LogKey> {
        let most = rule.max_age_ms?;
        let oldest = self.committed.entries_of(log).take(STEP);
        let newest_gone = oldest.filter(|slot| slot.time.plus(most) <= now).last()?;
        LogKey::of(&newest_gone.path)
    }

    /// Returns the key of the newest entry that has to go because the log has too many entries or
    /// bytes.
    fn excess(&self, log: &Path, rule: &Retention) -> Option<LogKey> {
        let entries = self.committed.logs.get(log)?.entries;
        let many = entries.saturating_sub(rule.keep.unwrap_or(entries)).min(STEP as u64) as usize;
        let large = rule.max_bytes.map_or(0, |most| self.large(log, most));
        let goes = many.max(large).checked_sub(1)?;
        LogKey::of(&self.committed.entries_of(log).nth(goes)?.path)
    }

    /// Returns how many of the log's oldest entries have to go, so that it takes at most `most`
    /// bytes.
    fn large(&self, log: &Path, most: u64) -> usize {
        let Some(newest) = self.committed.entries_of(log).next_back() else { return 0 };
        let more = |from: &Slot| self.committed.bytes_between(from, newest) > most;
        let oldest = || self.committed.entries_of(log);
        if !oldest().next().is_some_and(more) {
            return 0;
        }
        let oldest: Vec<&Slot> = oldest().take(STEP).collect();
        oldest.partition_point(|from| more(from))
    }

    fn forget(&self, now: Time) -> Option<Vec<Effect>> {
        let bounds = &self.settings.bounds;
        let graves = &self.committed.graves;
        let due = |grave: &Grave, ms: u64| grave.time.plus(ms) <= now;
        let aged = graves.iter().next().is_some_and(|g| due(g, stretched(bounds.tombstone_ms)));
        if aged || self.committed.overgrown(bounds) {
            let (mut left, Sum(mut bytes)) = (graves.len() as u64, graves.summary());
            let goes = |grave: &&Grave| {
                let goes = left > bounds.tombstones
                    || bytes > bounds.tombstone_bytes
                    || due(grave, bounds.tombstone_ms);
                (left, bytes) = (left - 1, bytes - grave.bytes());
                goes
            };
            let last = graves.iter().take(STEP).take_while(goes).last();
            return last.map(|grave| vec![Effect::Compact { horizon: grave.at.0 }]);
        }
        let until = if self.committed.crowd(bounds) {
            Time(u64::MAX - 1)
        } else {
            now.minus(bounds.dedup_ms)
        };
        let client = self.committed.idle_client(until)?;
        Some(vec![Effect::Forget { client }])
    }

    fn crowded(&self) -> bool {
        let bounds = &self.settings.bounds;
        self.committed.overgrown(bounds) || self.committed.crowd(bounds)
    }
}

impl Committed {
    /// Returns whether there are so many tombstones and marks, or such large ones, that the oldest
    /// have to be forgotten.
    fn overgrown(&self, bounds: &Bounds) -> bool {
        let Sum(bytes) = self.graves.summary();
        self.graves.len() as u64 > stretched(bounds.tombstones)
            || bytes > stretched(bounds.tombstone_bytes)
    }
}
