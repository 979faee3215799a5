//! Which views are registered where.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use dashmap::DashMap;
use onetree_core::Interest;
use onetree_protocol::{Act, Change, Path, View};

use super::subscriber::Subscriber;

/// The views that are registered, by their base: a change at a path concerns the views at that
/// path and above it, and a drop or a trim also some below.
#[derive(Debug, Default)]
pub(super) struct Index {
    at: DashMap<Box<str>, Vec<Arc<Group>>>,
    /// The keys of `at`, in the order of the tree: what lies under a drop is one range. Whoever
    /// changes `at` holds this, so that both always have the same keys.
    bases: RwLock<BTreeSet<Path>>,
}

/// Everyone who has registered the same interest: it is checked once for all of them.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) view: Arc<View>,
    pub(super) deltas: bool,
    pub(super) signals: bool,
    members: RwLock<Members>,
}

/// A list to go through, and the place of each in it.
#[derive(Debug, Default)]
struct Members {
    /// With the number of its subscriptions that have this interest.
    list: Vec<(Arc<Subscriber>, u32)>,
    places: HashMap<u64, usize>,
}

impl Index {
    pub(super) fn insert(&self, subscriber: &Arc<Subscriber>, interest: &Interest) {
        let base = &interest.view.base;
        let mut bases = self.bases.write().unwrap_or_else(PoisonError::into_inner);
        let mut groups = self.at.entry(base.as_str().into()).or_default();
        let group = match groups.iter().find(|group| group.is(interest)) {
            Some(group) => group.clone(),
            None => {
                let group = Arc::new(Group::new(interest));
                groups.push(group.clone());
                group
            }
        };
        group.insert(subscriber);
        if !bases.contains(base) {
            bases.insert(base.clone());
        }
    }

    pub(super) fn remove(&self, subscriber: &Subscriber, interest: &Interest) {
        let base = &interest.view.base;
        let mut bases = self.bases.write().unwrap_or_else(PoisonError::into_inner);
        let Some(mut groups) = self.at.get_mut(base.as_str()) else { return };
        groups.retain(|group| !(group.is(interest) && group.remove(subscriber)));
        let empty = groups.is_empty();
        drop(groups);
        if empty {
            self.at.remove(base.as_str());
            bases.remove(base);
        }
    }

    /// Calls `each` with every group that `change` may concern; whether it does is for
    /// [`onetree_core::concerns`] to say.
    pub(super) fn each_group(&self, change: &Change, mut each: impl FnMut(&Arc<Group>)) {
        self.each_group_above(&change.path, &mut each);
        if matches!(change.act, Act::Put(_) | Act::Delete) {
            return;
        }
        let bases = self.bases.read().unwrap_or_else(PoisonError::into_inner);
        let from = bases.range(&change.path..).take_while(|base| change.path.contains(base));
        for base in from.filter(|base| **base != change.path) {
            if let Some(groups) = self.at.get(base.as_str()) {
                groups.iter().for_each(&mut each);
            }
        }
    }

    /// Calls `each` with every group whose base is `path` or lies above it.
    pub(super) fn each_group_above(&self, path: &Path, mut each: impl FnMut(&Arc<Group>)) {
        for prefix in path.prefixes() {
            if let Some(groups) = self.at.get(prefix) {
                groups.iter().for_each(&mut each);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.at.is_empty() && self.bases.read().unwrap().is_empty()
    }
}

impl Group {
    fn new(interest: &Interest) -> Group {
        Group {
            view: interest.view.clone(),
            deltas: interest.deltas,
            signals: interest.signals,
            members: RwLock::default(),
        }
    }

    fn is(&self, interest: &Interest) -> bool {
        self.deltas == interest.deltas
            && self.signals == interest.signals
            && self.view == interest.view
    }

    fn insert(&self, subscriber: &Arc<Subscriber>) {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        let Members { list, places } = &mut *members;
        match places.get(&subscriber.id) {
            Some(&place) => list[place].1 += 1,
            None => {
                places.insert(subscriber.id, list.len());
                list.push((subscriber.clone(), 1));
            }
        }
    }

    /// True when nobody is left.
    fn remove(&self, subscriber: &Subscriber) -> bool {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        let Members { list, places } = &mut *members;
        if let Some(&place) = places.get(&subscriber.id) {
            list[place].1 -= 1;
            if list[place].1 == 0 {
                places.remove(&subscriber.id);
                list.swap_remove(place);
                if let Some((moved, _)) = list.get(place) {
                    places.insert(moved.id, place);
                }
            }
        }
        list.is_empty()
    }

    /// Calls `each` with every member, once.
    pub(super) fn each_member(&self, mut each: impl FnMut(&Arc<Subscriber>)) {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.list.iter().for_each(|(subscriber, _)| each(subscriber));
    }
}
