//! Which views are registered where.

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

/// The views that are registered, by their base: a change at a path concerns the views at that
/// path and above it, and a drop or a trim also some below.
///
/// There may be a million: everyone who has the same interest shares one group, its view and its
/// path, so that a subscription costs its place in the list of a group.
#[derive(Debug, Default)]
pub(super) struct Index {
    at: DashMap<Base, Groups>,
    /// The keys of `at`, in the order of the tree: what lies under a drop is one range. Changed
    /// while the key's part of `at` is locked, so that both always have the same keys. Nothing of
    /// `at` is asked for while this is locked: that would be the other way round.
    bases: RwLock<BTreeSet<Path>>,
}

/// What it takes to ask for a base, in steps.
const BASE_STEPS: usize = 8;

/// What is known of a group.
pub(super) enum Seen<'a> {
    /// Its view sees it.
    Yes(&'a Arc<Group>),
    /// It stays open whether its view sees it.
    Perhaps(&'a Arc<Group>),
}

/// A path that is found by its text.
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
    /// Puts a subscription in; gives back the view that all of its group share.
    pub(super) fn insert(&self, subscriber: &Arc<Subscriber>, interest: &Interest) -> Arc<View> {
        let base = &interest.view.base;
        if let Some(groups) = self.at.get(base.as_str())
            && let Some(group) = groups.get(interest)
        {
            // The lock on `groups` keeps it there: only one that is empty is taken out.
            group.insert(subscriber);
            return group.view.clone();
        }
        let mut groups = self.at.entry(Base(base.clone())).or_insert_with(|| {
            self.bases.write().unwrap_or_else(PoisonError::into_inner).insert(base.clone());
            Groups::new()
        });
        // Someone may have been faster.
        if let Some(group) = groups.get(interest) {
            group.insert(subscriber);
            return group.view.clone();
        }
        let group = Arc::new(Group::new(interest));
        group.insert(subscriber);
        groups.insert(group);
        interest.view.clone()
    }

    /// Takes a subscription out.
    pub(super) fn remove(&self, subscriber: &Subscriber, interest: &Interest) {
        let base = &interest.view.base;
        let emptied = self.at.get(base.as_str()).is_some_and(|groups| {
            groups.get(interest).is_some_and(|group| group.remove(subscriber))
        });
        if !emptied {
            return;
        }
        self.at.remove_if_mut(base.as_str(), |_, groups| {
            // Someone may have come meanwhile.
            groups.remove_empty(interest);
            if groups.is_empty() {
                self.bases.write().unwrap_or_else(PoisonError::into_inner).remove(base);
            }
            groups.is_empty()
        });
    }

    /// Calls `each` with every group that `change` concerns, as [`concerns`] says, once, and with
    /// those that it may concern where `lookup` has no steps left to find out.
    pub(super) fn each_concerned(
        &self,
        change: &Change,
        lookup: &mut Lookup,
        mut each: impl FnMut(Seen<'_>),
    ) {
        if matches!(change.act, Act::Put(_) | Act::Delete) {
            return self.each_seeing(&change.path, lookup, each);
        }
        // Patterns are not asked: what goes is told as it is.
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

    /// The groups of one base that a drop or a trim concerns. False: there were no steps left.
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

    /// The bases under a path, at most so many.
    fn below(&self, path: &Path, most: usize) -> Vec<Path> {
        let bases = self.bases.read().unwrap_or_else(PoisonError::into_inner);
        let from = bases.range(path..).take_while(|base| path.contains(base));
        from.filter(|base| *base != path).take(most).cloned().collect()
    }

    /// Calls `each` with every group whose view sees `path`, once, and with those whose view may
    /// see it where `lookup` has no steps left to find out: these once for each base, not again
    /// with a later path.
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
