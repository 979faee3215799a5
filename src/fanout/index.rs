//! The index: which views are registered at which base.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use dashmap::DashMap;
use onetree_core::{Interest, concerns};
use onetree_protocol::{Act, Change, Path, View};

use super::group::Group;
use super::groups::Groups;
use super::lookup::{Lookup, Tier};
use super::subscriber::Subscriber;

/// The registered views by their base. A change at a path concerns the views at that path and above
/// it; a drop or a trim also concerns some below.
///
/// There may be a million subscriptions. All subscribers with the same interest share one group,
/// its view and its path, so a subscription costs only its place in the list of a group.
#[derive(Debug, Default)]
pub(super) struct Index {
    at: DashMap<Base, Groups>,
    /// The keys of `at`, in the order of the tree, so that the bases under a drop are one range. It
    /// is changed only while the key's shard of `at` is locked, so that both always have the same
    /// keys. While this is locked, nothing may be looked up in `at`, because that would reverse the
    /// order of the locks.
    bases: RwLock<BTreeSet<Path>>,
}

/// The cost of looking up one base, in steps.
const BASE_STEPS: usize = 8;

/// What the lookup found out about a group.
pub(super) enum Seen<'a> {
    /// The group's view sees the change.
    Yes(&'a Arc<Group>),
    /// The group's view may see the change; it was not checked.
    Perhaps(&'a Arc<Group>),
}

/// A path that can be looked up by its text.
#[derive(Debug, PartialEq, Eq)]
struct Base(Path);

impl Hash for Base {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

impl Borrow<str> for Base {
    fn borrow(&self) -> &str {
        self.0.as_str()
    }
}

impl Index {
    /// Registers a subscription. Returns the view that all members of its group share.
    pub(super) fn insert(&self, subscriber: &Arc<Subscriber>, interest: &Interest) -> Arc<View> {
        let base = &interest.view.base;
        if let Some(groups) = self.at.get(base.as_str())
            && let Some(group) = groups.get(interest)
        {
            // The lock on `groups` keeps the group in the index: only an empty group is removed.
            group.insert(subscriber);
            return group.view.clone();
        }
        let mut groups = self.at.entry(Base(base.clone())).or_insert_with(|| {
            self.bases.write().unwrap_or_else(PoisonError::into_inner).insert(base.clone());
            Groups::new()
        });
        // Another thread may have inserted the group in the meantime.
        if let Some(group) = groups.get(interest) {
            group.insert(subscriber);
            return group.view.clone();
        }
        let group = Arc::new(Group::new(interest));
        group.insert(subscriber);
        groups.insert(group);
        interest.view.clone()
    }

    /// Removes a subscription.
    pub(super) fn remove(&self, subscriber: &Subscriber, interest: &Interest) {
        let base = &interest.view.base;
        let emptied = self.at.get(base.as_str()).is_some_and(|groups| {
            groups.get(interest).is_some_and(|group| group.remove(subscriber))
        });
        if !emptied {
            return;
        }
        self.at.remove_if_mut(base.as_str(), |_, groups| {
            // Another subscriber may have joined the group in the meantime, so this checks again.
            groups.remove_empty(interest);
            if groups.is_empty() {
                self.bases.write().unwrap_or_else(PoisonError::into_inner).remove(base);
            }
            groups.is_empty()
        });
    }

    /// Calls `each` once for every group that `change` concerns, as [`concerns`] defines it. When
    /// `lookup` has too few steps left, it is called with [`Seen::Perhaps`] for the groups that
    /// were not checked.
    pub(super) fn each_concerned(
        &self,
        change: &Change,
        lookup: &mut Lookup,
        mut each: impl FnMut(Seen<'_>),
    ) {
        if matches!(change.act, Act::Put(_) | Act::Delete) {
            return self.each_seeing(&change.path, lookup, each);
        }
        // Patterns are not matched here: views receive a drop or a trim whatever their patterns
        // are.
        for prefix in change.path.prefixes() {
            self.check(prefix, change, lookup, &mut each);
            if lookup.is_open_below(prefix) {
                return;
            }
        }
        let most = lookup.left().light / BASE_STEPS;
        let below = self.below(&change.path, most + 1);
        let checked = below.len() <= most
            && lookup.take(Tier::Plain, BASE_STEPS * below.len())
            && below.iter().all(|base| self.check(base.as_str(), change, lookup, &mut each));
        if !checked {
            lookup.leave_open_below(change.path.as_str());
            for base in self.below(&change.path, usize::MAX) {
                if let Some(groups) = self.at.get(base.as_str()) {
                    groups.each(|group| each(Seen::Perhaps(group)));
                }
            }
        }
    }

    /// Checks which groups of one base a drop or a trim concerns. Returns false when too few steps
    /// were left.
    fn check(
        &self,
        base: &str,
        change: &Change,
        lookup: &mut Lookup,
        mut each: impl FnMut(Seen<'_>),
    ) -> bool {
        let Some(groups) = self.at.get(base) else { return true };
        if lookup.open_from(base) == Some(Tier::Plain) {
            return true;
        }
        let checked = lookup.take(Tier::Plain, groups.len());
        if checked {
            groups.each(|group| {
                if concerns(&group.view, change) {
                    each(Seen::Yes(group));
                }
            });
        } else {
            lookup.leave_open(base, Tier::Plain);
            groups.each(|group| each(Seen::Perhaps(group)));
        }
        checked
    }

    /// Returns at most this many of the bases under a path.
    fn below(&self, path: &Path, most: usize) -> Vec<Path> {
        let bases = self.bases.read().unwrap_or_else(PoisonError::into_inner);
        let from = bases.range(path..).take_while(|base| path.contains(base));
        from.filter(|base| *base != path).take(most).cloned().collect()
    }

    /// Calls `each` once for every group whose view sees `path`. When `lookup` has too few steps
    /// left, it is called with [`Seen::Perhaps`] for the groups that were not checked: once for
    /// each base, and not again for a later path.
    pub(super) fn each_seeing(
        &self,
        path: &Path,
        lookup: &mut Lookup,
        mut each: impl FnMut(Seen<'_>),
    ) {
        for (above, prefix) in path.prefixes().enumerate() {
            if let Some(groups) = self.at.get(prefix) {
                let open = lookup.open_from(prefix);
                let yes = |group: &Arc<Group>| each(Seen::Yes(group));
                if let Err(from) = groups.each_seeing(path, above, open, lookup, yes) {
                    lookup.leave_open(prefix, from);
                    groups.each_from(from, |group| each(Seen::Perhaps(group)));
                }
            }
            if lookup.is_open_below(prefix) {
                return;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.at.is_empty() && self.bases.read().unwrap().is_empty()
    }
}
