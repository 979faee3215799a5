//! Logs: the index of the logs that a rule of retention applies to, and searches for the entries of
//! a log.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::cmp::Ordering;

use onetree_protocol::{LogKey, Path};

use super::past::Log;
use super::{Committed, State};
use crate::settings::{Time, stretched};
use crate::slot::{Depths, Slot, Summary};

impl State {
    /// Notes that a log has grown, by a `fresh` entry or by the bytes of an old one. Adds the log
    /// to the index, and notes whether it has outgrown its rule.
    pub(super) fn appended(&mut self, entry: &Path, time: Time, fresh: bool) {
        let Some(log) = entry.parent() else { return };
        let (rule, entries) = match self.committed.logs.get(&log) {
            Some(known) => (known.rule, known.entries),
            None => {
                let rules = &self.settings.retention;
                let below = || log.segments();
                let Some(rule) = rules.iter().position(|r| r.pattern.matches(below())) else {
                    return;
                };
                let age = rules[rule].max_age_ms;
                let due = age.map_or(Time::NEVER, |ms| time.plus(stretched(ms)));
                self.committed.logs.insert(Log { path: log.clone(), rule, entries: 0, due });
                (rule, 0)
            }
        };
        let entries = entries + u64::from(fresh);
        if fresh {
            self.committed.logs.modify(&log, |known| known.entries = entries);
        }
        let rule = &self.settings.retention[rule];
        let many = rule.keep.is_some_and(|keep| entries > stretched(keep));
        // Nearly always everything under the log together is small enough; then no further look-up
        // is needed.
        let under = || self.committed.tree.span_summary(|path: &Path| log.place(path)).bytes;
        let large = |most| under() > most && self.committed.bytes_of(&log) > most;
        if many || rule.max_bytes.is_some_and(|most| large(stretched(most))) {
            self.outgrown.insert(log);
        }
    }

    /// Notes that an entry is gone. If it was a log entry, the log's oldest entry has to be looked
    /// up again: entries that were written again are not in the order of their age.
    pub(super) fn removed(&mut self, path: &Path) {
        if !self.committed.logs.is_empty() && LogKey::of(path).is_some() {
            path.parent().iter().for_each(|log| self.recheck(log));
        }
    }

    /// Notes when a log's oldest entry will be too old; forgets a log without entries.
    pub(super) fn recheck(&mut self, log: &Path) {
        let Some(known) = self.committed.logs.get(log) else { return };
        let age = self.settings.retention[known.rule].max_age_ms;
        let oldest = self.committed.entries_of(log).next().map(|slot| slot.time);
        match (oldest, age) {
            (None, _) => {
                self.committed.logs.remove(log);
            }
            (Some(oldest), Some(age)) => {
                let due = oldest.plus(stretched(age));
                self.committed.logs.modify(log, |known| known.due = due);
            }
            (Some(_), None) => {}
        }
    }
}

impl Committed {
    /// Returns the entries of a log, the oldest first, without what is under them. O(log n) for
    /// each, whatever else lies under the log.
    pub(super) fn entries_of<'a>(
        &'a self,
        log: &'a Path,
    ) -> impl DoubleEndedIterator<Item = &'a Slot> + 'a {
        let depth = Depths::only(log.depth() + 1);
        let own = move |summary: &Summary| summary.entries.meet(depth);
        self.tree.range_where(|path: &Path| log.place(path), own)
    }

    /// Returns whether there is anything for a trim to take: an entry of the log up to `to`, or
    /// something under the key of an entry that was deleted. O(log n), whatever else is there.
    pub(super) fn has_entries_up_to(&self, log: &Path, to: LogKey) -> bool {
        let depth = Depths::only(log.depth() + 1);
        let keyed = |summary: &Summary| summary.keyed_live.meet(depth);
        self.tree.range_where(before_key(log, to), keyed).next().is_some()
    }

    /// Returns how far the furthest trim of a log went, if that is still remembered.
    pub(super) fn mark(&self, log: &Path) -> Option<LogKey> {
        self.tree.get(log)?.trimmed().map(|(_, to)| to)
    }

    /// Returns the bytes of a log: the paths and values from its oldest entry to its newest,
    /// including what is under each. O(log n).
    pub(super) fn bytes_of(&self, log: &Path) -> u64 {
        let mut entries = self.entries_of(log);
        let oldest = entries.next();
        let newest = entries.next_back().or(oldest);
        oldest.zip(newest).map_or(0, |(oldest, newest)| self.bytes_between(oldest, newest))
    }

    /// Returns the bytes of paths and values from one slot to another, including what is under the
    /// latter. O(log n).
    pub(super) fn bytes_between(&self, from: &Slot, to: &Slot) -> u64 {
        let place = |path: &Path| match to.path.place(path) {
            Ordering::Greater => Ordering::Greater,
            _ if *path < from.path => Ordering::Less,
            _ => Ordering::Equal,
        };
        self.tree.span_summary(place).bytes
    }

    /// Returns what there is of a log up to its key `to`, live or deleted, the oldest first, as
    /// runs. Children of the log whose names are not keys sort between the keys and are kept, so
    /// they separate the runs. O(log n) for each run, and a step for each slot.
    pub(super) fn runs_of(&self, log: &Path, to: LogKey) -> Vec<Run> {
        let depth = log.depth() + 1;
        let within = before_key(log, to);
        let keyed = |summary: &Summary| summary.keyed.meet(Depths::only(depth));
        let mut runs: Vec<Run> = Vec::new();
        loop {
            let last = runs.last();
            let behind = |path: &Path| behind(within(path), last.map(|run| run.place(path)));
            let Some(first) = self.tree.range_where(behind, keyed).next() else { return runs };
            let from = |path: &Path| match within(path) {
                Ordering::Equal if *path < first.path => Ordering::Less,
                place => place,
            };
            let run = self.tree.range(from).take_while(|slot| slot.is_under_key_at(depth));
            let last = run.last().unwrap_or(first);
            // The entry itself may be forgotten, and a log right under it has no slot of its own:
            // derive the path from what is there.
            let entry = |slot: &Slot| log.child(log.below(&slot.path)?.next()?).ok();
            let Some((first, last)) = entry(first).zip(entry(last)) else { return runs };
            runs.push(Run { first, last });
        }
    }

    /// Returns the paths of the log's keys up to `to` at or under which there is an entry, the
    /// oldest first. O(log n) for each, however many there are.
    pub(super) fn keys_of<'a>(
        &'a self,
        log: &'a Path,
        to: LogKey,
    ) -> impl Iterator<Item = Path> + 'a {
        let depth = Depths::only(log.depth() + 1);
        let within = before_key(log, to);
        let keyed = move |summary: &Summary| summary.keyed_live.meet(depth);
        let mut key: Option<Path> = None;
        core::iter::from_fn(move || {
            let last = key.as_ref();
            let behind = |path: &Path| behind(within(path), last.map(|key| key.place(path)));
            let next = self.tree.range_where(behind, keyed).next()?;
            key = log.child(log.below(&next.path)?.next()?).ok();
            key.clone()
        })
    }
}

/// Returns where a path lies relative to the unseen rest of a span. `within` is where the path lies
/// relative to the whole span, and `last` where it lies relative to the last part that was seen.
fn behind(within: Ordering, last: Option<Ordering>) -> Ordering {
    match within {
        Ordering::Equal if last.is_some_and(Ordering::is_le) => Ordering::Less,
        place => place,
    }
}

/// Consecutive entries of a log, with everything under each.
pub(super) struct Run {
    first: Path,
    last: Path,
}

impl Run {
    /// Returns where a path lies relative to the run.
    pub(super) fn place(&self, path: &Path) -> Ordering {
        if *path < self.first { Ordering::Less } else { self.last.place(path).max(Ordering::Equal) }
    }
}

/// Selects the range strictly under `log` up to its key `to`, including what is under that key.
fn before_key(log: &Path, to: LogKey) -> impl Fn(&Path) -> Ordering {
    let last = log.child(&to.to_string());
    move |path: &Path| match log.place(path) {
        Ordering::Equal if path == log => Ordering::Less,
        Ordering::Equal => match &last {
            Ok(last) => last.place(path).max(Ordering::Equal),
            Err(_) => Ordering::Greater,
        },
        outside => outside,
    }
}
