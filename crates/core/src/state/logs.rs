//! Logs: what is known of each that a rule is about, and what finds the entries of one.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::cmp::Ordering;

use onetree_protocol::{LogKey, Path};

use super::past::Log;
use super::{Committed, State};
use crate::settings::{Time, stretched};
use crate::slot::{Depths, Slot, Summary};

impl State {
    /// A log has grown, by a `fresh` entry or by the bytes of an old one: notes the log, and
    /// whether it has outgrown its rule.
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
        // Nearly always all that is under the log is little enough; then that is all to be asked.
        let under = || self.committed.tree.span_summary(|path: &Path| log.place(path)).bytes;
        let large = |most| under() > most && self.committed.bytes_of(&log) > most;
        if many || rule.max_bytes.is_some_and(|most| large(stretched(most))) {
            self.outgrown.insert(log);
        }
    }

    /// An entry is gone. If it was of a log, the next one may be older, where this one was written
    /// again.
    pub(super) fn removed(&mut self, path: &Path) {
        if !self.committed.logs.is_empty() && LogKey::of(path).is_some() {
            path.parent().iter().for_each(|log| self.recheck(log));
        }
    }

    /// Notes when a log's oldest entry will next be too old; forgets a log without entries.
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
    /// The entries of a log, the oldest first, each without what is under it. O(log n) for each,
    /// whatever else lies under the log.
    pub(super) fn entries_of<'a>(
        &'a self,
        log: &'a Path,
    ) -> impl DoubleEndedIterator<Item = &'a Slot> + 'a {
        let depth = Depths::only(log.depth() + 1);
        let own = move |summary: &Summary| summary.entries.meet(depth);
        self.tree.range_where(|path: &Path| log.place(path), own)
    }

    /// Whether there is anything for a trim to take: an entry of the log up to `to`, or something
    /// under a key of one that was deleted. O(log n), whatever else is there.
    pub(super) fn has_entries_up_to(&self, log: &Path, to: LogKey) -> bool {
        let depth = Depths::only(log.depth() + 1);
        let keyed = |summary: &Summary| summary.keyed_live.meet(depth);
        self.tree.range_where(before_key(log, to), keyed).next().is_some()
    }

    /// How far the furthest trim of a log went, as far as that is still known.
    pub(super) fn mark(&self, log: &Path) -> Option<LogKey> {
        self.tree.get(log)?.trimmed().map(|(_, to)| to)
    }

    /// The bytes of a log: paths and values from its oldest entry to its newest, with what is under
    /// each. O(log n).
    pub(super) fn bytes_of(&self, log: &Path) -> u64 {
        let mut entries = self.entries_of(log);
        let oldest = entries.next();
        let newest = entries.next_back().or(oldest);
        oldest.zip(newest).map_or(0, |(oldest, newest)| self.bytes_between(oldest, newest))
    }

    /// Bytes of paths and values from one slot to another, with what is under that. O(log n).
    pub(super) fn bytes_between(&self, from: &Slot, to: &Slot) -> u64 {
        let place = |path: &Path| match to.path.place(path) {
            Ordering::Greater => Ordering::Greater,
            _ if *path < from.path => Ordering::Less,
            _ => Ordering::Equal,
        };
        self.tree.span_summary(place).bytes
    }

    /// What there is of a log up to its entry `to`, dead or alive, the oldest first, in as few
    /// pieces as what has other names leaves it in: that sorts between, and stays. O(log n) for
    /// each piece, and a step for each slot.
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
            // The entry itself may be forgotten, and a log right under it has no slot of its own.
            let entry = |slot: &Slot| log.child(log.below(&slot.path)?.next()?).ok();
            let Some((first, last)) = entry(first).zip(entry(last)) else { return runs };
            runs.push(Run { first, last });
        }
    }

    /// The paths of the log's keys up to `to`, the oldest first, at or under which there is an
    /// entry. O(log n) for each, however many that are.
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

/// Where a path lies that is so within a span of which some was seen, the last of that so beside
/// it.
fn behind(within: Ordering, last: Option<Ordering>) -> Ordering {
    match within {
        Ordering::Equal if last.is_some_and(Ordering::is_le) => Ordering::Less,
        place => place,
    }
}

/// Entries of a log that follow one another, with all that is under each.
pub(super) struct Run {
    first: Path,
    last: Path,
}

impl Run {
    /// Where a path is, from the run.
    pub(super) fn place(&self, path: &Path) -> Ordering {
        if *path < self.first { Ordering::Less } else { self.last.place(path).max(Ordering::Equal) }
    }
}

/// The range strictly under `log` up to its entry `to`, with what is under that.
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
