//! Those who have registered the same interest.

use std::sync::{Arc, PoisonError, RwLock};

use onetree_core::Interest;
use onetree_protocol::View;

use super::lookup::Tier;
use super::members::Members;
use super::subscriber::Subscriber;

/// Segments of patterns that are few.
pub(super) const LIGHT: usize = 64;

/// Everyone who has registered the same interest: it is checked once for all of them.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) view: Arc<View>,
    pub(super) deltas: bool,
    pub(super) signals: bool,
    /// Segments of its patterns.
    segments: u32,
    members: RwLock<Members>,
}

/// What those of a group have in common; no two groups have the same.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    view: Arc<View>,
    deltas: bool,
    signals: bool,
}

impl Kind {
    /// Of the group that this interest belongs to.
    pub(super) fn of(interest: &Interest) -> Kind {
        Kind { view: interest.view.clone(), deltas: interest.deltas, signals: interest.signals }
    }
}

impl Group {
    /// One without members.
    pub(super) fn new(interest: &Interest) -> Group {
        Group {
            segments: interest.view.pattern_segments() as u32,
            view: interest.view.clone(),
            deltas: interest.deltas,
            signals: interest.signals,
            members: RwLock::default(),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        Kind { view: self.view.clone(), deltas: self.deltas, signals: self.signals }
    }

    /// Whether this interest belongs to it.
    pub(super) fn is(&self, interest: &Interest) -> bool {
        self.deltas == interest.deltas
            && self.signals == interest.signals
            && self.view == interest.view
    }

    /// Segments of all its patterns.
    pub(super) fn segments(&self) -> usize {
        self.segments as usize
    }

    pub(super) fn tier(&self) -> Tier {
        match self.segments() {
            0 => Tier::Plain,
            1..=LIGHT => Tier::Light,
            _ => Tier::Heavy,
        }
    }

    /// What tells it from all others while it lives.
    pub(super) fn address(self: &Arc<Group>) -> usize {
        Arc::as_ptr(self).addr()
    }

    pub(super) fn insert(&self, subscriber: &Arc<Subscriber>) {
        self.members.write().unwrap_or_else(PoisonError::into_inner).insert(subscriber);
    }

    /// True when nobody is left.
    pub(super) fn remove(&self, subscriber: &Subscriber) -> bool {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        members.remove(subscriber);
        members.list().is_empty()
    }

    /// Whether these are the same groups, in the same order.
    pub(super) fn are<'a>(
        groups: impl ExactSizeIterator<Item = &'a Arc<Group>>,
        others: &[Arc<Group>],
    ) -> bool {
        groups.len() == others.len()
            && groups.zip(others).all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// Calls `each` with everyone who is in any of the groups, once. `first`: whether it is the
    /// first time that a subscriber comes by; not asked where there is but one group.
    pub(super) fn each_of(
        groups: &[Arc<Group>],
        mut first: impl FnMut(&Subscriber) -> bool,
        mut each: impl FnMut(&Subscriber),
    ) {
        let alone = groups.len() == 1;
        for group in groups {
            group.each_member(|subscriber| {
                if alone || first(subscriber) {
                    each(subscriber);
                }
            });
        }
    }

    /// Members of all these groups; who is in several counts in each.
    pub(super) fn size_of(groups: &[Arc<Group>]) -> usize {
        let size = |group: &Arc<Group>| {
            group.members.read().unwrap_or_else(PoisonError::into_inner).list().len()
        };
        groups.iter().map(size).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.read().unwrap_or_else(PoisonError::into_inner).list().is_empty()
    }

    /// Calls `each` with every member, once.
    pub(super) fn each_member(&self, each: impl FnMut(&Arc<Subscriber>)) {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.list().iter().for_each(each);
    }
}
