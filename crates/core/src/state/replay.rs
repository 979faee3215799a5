//! From one state to the next: what each effect does to the tree.

use alloc::vec::Vec;
use core::cmp::Ordering;

use onetree_protocol::{EntryHasher, LogKey, Name, Path, Revision, Value};

use super::past::{Grave, Log, Owned};
use super::{Committed, State};
use crate::commit::{Commit, Effect};
use crate::map::Hint;
use crate::settings::{Time, stretched};
use crate::slot::{Depths, Slot, Summary};

/// A put, and where its path was seen.
struct Put<'a> {
    path: &'a Path,
    value: &'a Value,
    expires: Option<Time>,
    owner: Option<&'a Name>,
    hint: Hint,
}

impl State {
    /// Makes `commit` part of the state; `hint` says where the path of its first effect is.
    pub(super) fn apply(&mut self, commit: &Commit, mut hint: Hint) {
        let Commit { rev, time, effects, origin } = commit;
        self.committed.rev = *rev;
        self.committed.time = *time;
        for effect in effects {
            self.effect(*rev, *time, effect, core::mem::take(&mut hint));
        }
        if let Some(origin) = origin {
            self.committed.remember(origin, *rev, *time, &self.settings.bounds);
        }
    }

    fn effect(&mut self, rev: Revision, time: Time, effect: &Effect, hint: Hint) {
        let State { settings, hasher, committed, .. } = self;
        match effect {
            Effect::Put { path, value, expires, owner } => {
                let put = Put { path, value, expires: *expires, owner: owner.as_ref(), hint };
                let fresh = committed.put(hasher, rev, time, put);
                if !settings.retention.is_empty() && LogKey::of(path).is_some() {
                    self.appended(path, time, fresh);
                }
            }
            Effect::Delete { path } => {
                committed.delete(rev, time, path);
                self.removed(path);
            }
            Effect::Drop { path } => {
                committed.drop_tree(rev, time, path);
                self.removed(path);
            }
            Effect::Trim { path, to } => {
                committed.trim(rev, time, path, *to);
                self.recheck(path);
            }
            Effect::Compact { horizon } => committed.compact(*horizon),
            Effect::Forget { client } => committed.forget_client(client),
        }
    }

    /// A log has grown, by a `fresh` entry or by the bytes of an old one: notes the log, and whether it has
    /// outgrown its rule.
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
    fn removed(&mut self, path: &Path) {
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
    /// Gives whether there was no entry before.
    fn put(&mut self, hasher: &EntryHasher, rev: Revision, time: Time, put: Put<'_>) -> bool {
        let Put { path, value, expires, owner, hint } = put;
        let mut fresh = true;
        let mut buried = None;
        let mut disowned = None;
        let fill = |slot: &mut Slot| {
            let before = slot.rev;
            fresh = !slot.is_live();
            let dead = fresh && before > Revision::ZERO;
            let special = expires.is_some() || owner.is_some() || slot.rare().is_some();
            if special {
                disowned = slot.owner().cloned();
                slot.with_rare(|rare| (rare.expires, rare.owner) = (expires, owner.cloned()));
            }
            slot.set(hasher, rev, time, value.clone());
            if dead && !slot.remembers(before) {
                buried = Some((before, path.clone()));
            }
        };
        self.tree.upsert_at(hint, path, || Slot::empty(path.clone()), fill);
        if let Some(grave) = buried {
            self.graves.remove(&grave);
        }
        if let Some(owner) = disowned {
            self.owned.remove(&Owned { owner, path: path.clone() });
        }
        if let Some(owner) = owner {
            self.owned.insert(Owned { owner: owner.clone(), path: path.clone() });
        }
        fresh
    }

    fn delete(&mut self, rev: Revision, time: Time, path: &Path) {
        let (mut owner, mut gone) = (None, None);
        self.tree.modify(path, |slot| {
            if slot.is_live() {
                // As it stands here, so that it is in memory once.
                gone = Some(slot.path.clone());
                owner = slot.owner().cloned();
                if slot.rare().is_some() {
                    slot.with_rare(|rare| (rare.expires, rare.owner) = (None, None));
                }
                slot.bury(rev, time);
            }
        });
        if let Some(gone) = gone {
            self.uncount(path);
            self.graves.insert(Grave { at: (rev, gone), time });
        }
        if let Some(owner) = owner {
            self.owned.remove(&Owned { owner, path: path.clone() });
        }
    }

    /// The entry at `path` is gone: if it is of a log, that has one less.
    fn uncount(&mut self, path: &Path) {
        if !self.logs.is_empty()
            && LogKey::of(path).is_some()
            && let Some(log) = path.parent()
        {
            self.logs.modify(&log, |known| known.entries = known.entries.saturating_sub(1));
        }
    }

    fn drop_tree(&mut self, rev: Revision, time: Time, path: &Path) {
        let under = |other: &Path| path.place(other);
        self.disown(&under);
        if self.tree.get(path).is_some_and(Slot::is_live) {
            self.uncount(path);
        }
        self.tree.remove_span(under);
        self.logs.remove_span(under);
        let mut slot = Slot::empty(path.clone());
        slot.time = time;
        slot.with_rare(|rare| rare.dropped = rev);
        self.tree.insert(slot);
        self.graves.insert(Grave { at: (rev, path.clone()), time });
    }

    fn trim(&mut self, rev: Revision, time: Time, log: &Path, to: LogKey) {
        let before = self.tree.get(log).and_then(Slot::trimmed);
        if before.is_some_and(|(_, further)| further > to) {
            // A mark says how far the furthest trim went, and of nothing since that it is gone:
            // what was put under a trimmed key again, and goes now, is remembered by itself.
            self.keys_of(log, to).iter().for_each(|entry| self.drop_tree(rev, time, entry));
            return;
        }
        // By their keys, whether or not an entry is still there itself: what is under one that was
        // deleted before goes too, and a mirror has nothing but the key to go by.
        for run in self.runs_of(log, to) {
            self.take_entries(log, &run);
        }
        let mut slot = self.tree.get(log).cloned().unwrap_or_else(|| Slot::empty(log.clone()));
        slot.with_rare(|rare| rare.trimmed = Some((rev, to)));
        if let Some((earlier, _)) = before.filter(|(earlier, _)| !slot.remembers(*earlier)) {
            self.graves.remove(&(earlier, log.clone()));
        }
        self.tree.insert(slot);
        self.graves.insert(Grave { at: (rev, log.clone()), time });
    }

    /// What a span has is about to go: nobody owns anything of it. O(log n) for each that is owned.
    fn disown(&mut self, span: &impl Fn(&Path) -> Ordering) {
        for slot in self.tree.range_where(span, |summary| summary.owned > 0) {
            if let Some(owner) = slot.owner() {
                self.owned.remove(&Owned { owner: owner.clone(), path: slot.path.clone() });
            }
        }
    }

    /// Takes a run of entries out.
    fn take_entries(&mut self, log: &Path, run: &Run) {
        let span = |path: &Path| run.place(path);
        self.disown(&span);
        if !self.logs.is_empty() {
            let depth = log.depth() + 1;
            let own = |slot: &&Slot| slot.is_live() && slot.is_key_at(depth);
            let gone = self.tree.range(span).filter(own).count() as u64;
            self.logs.modify(log, |known| known.entries = known.entries.saturating_sub(gone));
            self.logs.remove_span(span);
        }
        self.tree.remove_span(span);
    }

    /// The entries of a log, the oldest first, each without what is under it. O(log n) for each, whatever
    /// else lies under the log.
    pub(super) fn entries_of<'a>(
        &'a self,
        log: &'a Path,
    ) -> impl DoubleEndedIterator<Item = &'a Slot> + 'a {
        let depth = Depths::only(log.depth() + 1);
        let own = move |summary: &Summary| summary.entries.meet(depth);
        self.tree.range_where(|path: &Path| log.place(path), own)
    }

    /// Whether there is anything for a trim to take: an entry of the log up to `to`, or something under a key of
    /// one that was deleted. O(log n), but for dead entries and live ones of other names between them.
    pub(super) fn has_entries_up_to(&self, log: &Path, to: LogKey) -> bool {
        let depth = log.depth() + 1;
        let keyed = |summary: &Summary| summary.live > 0 && summary.keyed.meet(Depths::only(depth));
        let mut slots = self.tree.range_where(before_key(log, to), keyed);
        slots.any(|slot| slot.is_live() && slot.is_under_key_at(depth))
    }

    /// The bytes of a log: paths and values from its oldest entry to its newest, with what is under each.
    /// O(log n).
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

    /// What there is of a log up to its entry `to`, dead or alive, the oldest first, in as few pieces as what has other
    /// names leaves it in: that sorts between, and stays. O(log n) for each piece, and a step for each slot.
    fn runs_of(&self, log: &Path, to: LogKey) -> Vec<Run> {
        let depth = log.depth() + 1;
        let within = before_key(log, to);
        let keyed = |summary: &Summary| summary.keyed.meet(Depths::only(depth));
        let mut runs: Vec<Run> = Vec::new();
        loop {
            let behind = |path: &Path| match within(path) {
                Ordering::Equal if runs.last().is_some_and(|run| run.place(path).is_le()) => {
                    Ordering::Less
                }
                place => place,
            };
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

    /// The paths of the log's keys up to `to`, the oldest first, at or under which there is something.
    fn keys_of(&self, log: &Path, to: LogKey) -> Vec<Path> {
        let mut keys: Vec<Path> = Vec::new();
        for run in self.runs_of(log, to) {
            for slot in self.tree.range(|path: &Path| run.place(path)) {
                if !keys.last().is_some_and(|key| key.contains(&slot.path)) {
                    let name = log.below(&slot.path).and_then(|mut below| below.next());
                    keys.extend(name.and_then(|name| log.child(name).ok()));
                }
            }
        }
        keys
    }

    /// Deletes up to `horizon` are forgotten. What is taken from the tree leaves its highest
    /// delete revision behind, see [`crate::map`].
    fn compact(&mut self, horizon: Revision) {
        self.horizon = horizon;
        let old = |(rev, _): &(Revision, Path)| {
            if *rev <= horizon { Ordering::Equal } else { Ordering::Greater }
        };
        let graves: Vec<Path> = self.graves.range(old).map(|grave| grave.at.1.clone()).collect();
        self.graves.remove_span(old);
        for path in graves {
            let Some(slot) = self.tree.get(&path) else { continue };
            let mut rest = slot.clone();
            let mut gone = Revision::ZERO;
            if !rest.is_live() && rest.rev <= horizon {
                gone = core::mem::take(&mut rest.rev);
            }
            rest.with_rare(|rare| {
                if rare.dropped <= horizon {
                    gone = gone.max(core::mem::take(&mut rare.dropped));
                }
                if let Some((rev, _)) = rare.trimmed.take_if(|(rev, _)| *rev <= horizon) {
                    gone = gone.max(rev);
                }
            });
            if gone == Revision::ZERO {
                continue;
            }
            if !rest.is_nothing() {
                // What is left behind says when it went, and nothing of what is still here.
                let mut grave = Slot::empty(path.clone());
                grave.bury(gone, rest.time);
                self.tree.insert(grave);
            }
            self.tree.forget(&path);
            if !rest.is_nothing() {
                self.tree.insert(rest);
            }
        }
    }
}

/// Entries of a log that follow one another, with all that is under each.
struct Run {
    first: Path,
    last: Path,
}

impl Run {
    /// Where a path is, from the run.
    fn place(&self, path: &Path) -> Ordering {
        if *path < self.first { Ordering::Less } else { self.last.place(path).max(Ordering::Equal) }
    }
}

/// The range strictly under `log` up to its entry `to`, with what is under that.
fn before_key(log: &Path, to: LogKey) -> impl Fn(&Path) -> Ordering {
    let last = log.child(&alloc::string::ToString::to_string(&to));
    move |path: &Path| match log.place(path) {
        Ordering::Equal if path == log => Ordering::Less,
        Ordering::Equal => match &last {
            Ok(last) => last.place(path).max(Ordering::Equal),
            Err(_) => Ordering::Greater,
        },
        outside => outside,
    }
}
