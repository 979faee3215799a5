//! From one state to the next: what each effect does to the tree.

use alloc::vec::Vec;
use core::cmp::Ordering;

use onetree_protocol::{EntryHasher, LogKey, Name, Path, Revision, Value};

use super::logs::Run;
use super::past::{Grave, Owned};
use super::{Committed, State};
use crate::commit::{Commit, Effect};
use crate::map::Hint;
use crate::settings::Time;
use crate::slot::{Slot, Summary};

/// The most graves that the drops and trims of one commit remove. Nobody can write in the meantime,
/// and each grave takes up to a few microseconds. The drop itself takes no longer for a million
/// entries than for one: their memory is given back later, by whoever holds the tree before it.
const UNBURIED: usize = 250;

/// How many entries can be disowned one by one in the time that looking up one owner takes.
const OWNED_A_STEP: usize = 4;

/// A put, with a hint where its path was found.
struct Put<'a> {
    path: &'a Path,
    value: &'a Value,
    expires: Option<Time>,
    owner: Option<&'a Name>,
    hint: Hint,
}

impl State {
    /// Makes `commit` part of the state. `hint` says where the path of its first effect is.
    pub(super) fn apply(&mut self, commit: &Commit, mut hint: Hint) {
        let Commit { rev, time, effects, origin } = commit;
        self.committed.rev = *rev;
        self.committed.time = *time;
        let mut unburies = UNBURIED;
        for effect in effects {
            self.effect(*rev, *time, effect, core::mem::take(&mut hint), &mut unburies);
        }
        if let Some(origin) = origin {
            self.committed.remember(origin, *rev, *time, &self.settings.bounds);
        }
    }

    /// Applies effects to a trial copy, at its present revision. It leaves graves in place that a
    /// commit would remove, because nobody looks at them in a trial.
    pub(super) fn attempt(&mut self, effects: &[Effect]) {
        let (rev, time) = (self.committed.rev, self.committed.time);
        for effect in effects {
            self.effect(rev, time, effect, Hint::default(), &mut 0);
        }
    }

    /// Applies one effect. `unburies`: how many graves may still be removed.
    fn effect(
        &mut self,
        rev: Revision,
        time: Time,
        effect: &Effect,
        hint: Hint,
        unburies: &mut usize,
    ) {
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
                committed.drop_tree(rev, time, path, unburies);
                self.removed(path);
            }
            Effect::Trim { path, to } => {
                committed.trim(rev, time, path, *to, unburies);
                self.recheck(path);
            }
            Effect::Compact { horizon } => committed.compact(*horizon),
            Effect::Forget { client } => committed.forget_client(client),
        }
    }
}

impl Committed {
    /// Puts an entry. Returns whether there was no entry before.
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
                // Share the path with the tree, so that it is in memory once.
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

    /// Reduces the entry count of the log that `path` belongs to, if `path` is a log entry.
    fn uncount(&mut self, path: &Path) {
        if !self.logs.is_empty()
            && LogKey::of(path).is_some()
            && let Some(log) = path.parent()
        {
            self.logs.modify(&log, |known| known.entries = known.entries.saturating_sub(1));
        }
    }

    fn drop_tree(&mut self, rev: Revision, time: Time, path: &Path, unburies: &mut usize) {
        let under = |other: &Path| path.place(other);
        self.disown(&under);
        self.unbury(&under, unburies);
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

    fn trim(&mut self, rev: Revision, time: Time, log: &Path, to: LogKey, unburies: &mut usize) {
        let before = self.tree.get(log).and_then(Slot::trimmed);
        if before.is_some_and(|(_, further)| further > to) {
            // A mark says how far the furthest trim went. It does not say that anything put under a
            // trimmed key since is gone. So each such key gets its own drop.
            let entries: Vec<Path> = self.keys_of(log, to).collect();
            entries.iter().for_each(|entry| self.drop_tree(rev, time, entry, unburies));
            return;
        }
        // Select by the keys, whether or not the entry itself is still there. What is under an
        // entry that was deleted before goes too, and a mirror has only the keys to go by.
        for run in self.runs_of(log, to) {
            self.take_entries(log, &run, unburies);
        }
        let mut slot = self.tree.get(log).cloned().unwrap_or_else(|| Slot::empty(log.clone()));
        slot.with_rare(|rare| rare.trimmed = Some((rev, to)));
        if let Some((earlier, _)) = before.filter(|(earlier, _)| !slot.remembers(*earlier)) {
            self.graves.remove(&(earlier, log.clone()));
        }
        self.tree.insert(slot);
        self.graves.insert(Grave { at: (rev, log.clone()), time });
    }

    /// Removes everything in a span from the index of owners, before the span is removed. O(log n)
    /// for each owner that exists or for each owned entry in the span, whichever are fewer.
    fn disown(&mut self, span: &impl Fn(&Path) -> Ordering) {
        let mut left = self.tree.span_summary(span).owned as usize;
        let mut last: Option<Name> = None;
        // An owner takes as long as several entries, and may own nothing in this span.
        for _ in 0..left / OWNED_A_STEP {
            let behind = |owned: &Owned| match &last {
                Some(last) if owned.owner <= *last => Ordering::Less,
                _ => Ordering::Equal,
            };
            let Some(next) = self.owned.range(behind).next() else { break };
            let owner = next.owner.clone();
            let its = |owned: &Owned| owned.place(&owner).then_with(|| span(&owned.path));
            left = left.saturating_sub(self.owned.remove_span(its).count);
            if left == 0 {
                return;
            }
            last = Some(owner);
        }
        for slot in self.tree.range_where(span, |summary| summary.owned > 0) {
            if let Some(owner) = slot.owner() {
                self.owned.remove(&Owned { owner: owner.clone(), path: slot.path.clone() });
            }
        }
    }

    /// Removes the graves of a span that is about to be removed: the deletes in it need not be
    /// remembered separately any more. O(log n) for each. At most `most` are removed, and `most` is
    /// reduced by as many; the others stay until the horizon passes them.
    fn unbury(&mut self, span: &impl Fn(&Path) -> Ordering, most: &mut usize) {
        let horizon = self.horizon;
        let deleted = |summary: &Summary| summary.highest_delete_rev > horizon;
        for slot in self.tree.range_where(span, deleted).take(*most) {
            *most -= 1;
            for rev in slot.deletes() {
                self.graves.remove(&(rev, slot.path.clone()));
            }
        }
    }

    /// Removes a run of log entries.
    fn take_entries(&mut self, log: &Path, run: &Run, unburies: &mut usize) {
        let span = |path: &Path| run.place(path);
        self.disown(&span);
        self.unbury(&span, unburies);
        if !self.logs.is_empty() {
            let depth = log.depth() + 1;
            let own = |slot: &&Slot| slot.is_live() && slot.is_key_at(depth);
            let gone = self.tree.range(span).filter(own).count() as u64;
            self.logs.modify(log, |known| known.entries = known.entries.saturating_sub(gone));
            self.logs.remove_span(span);
        }
        self.tree.remove_span(span);
    }

    /// Forgets the deletes up to `horizon`. A slot that is taken from the tree leaves its highest
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
                // What the map leaves behind must tell when this was deleted, and nothing of what
                // is still here. So forget a slot that has only the delete, then put the rest back.
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
