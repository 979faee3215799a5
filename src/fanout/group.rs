//! A group: the subscribers that have registered the same interest.

use std::sync::{Arc, PoisonError, RwLock};

use onetree_core::Interest;
use onetree_protocol::View;

use super::lookup::Tier;
use super::members::Members;
use super::subscriber::Subscriber;

/// The most segments of patterns that count as few.
pub(super) const LIGHT: usize = 64;

/// All subscribers that have registered the same interest. The interest is checked once for all of
/// them.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) view: Arc<View>,
    pub(super) deltas: bool,
    pub(super) signals: bool,
    /// The number of segments in its patterns.
    segments: u32,
    members: RwLock<Members>,
}

/// What the members of a group have in common. No two groups have the same kind.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    view: Arc<View>,
    deltas: bool,
    signals: bool,
}

impl Kind {
    /// Returns the kind of the group that this interest belongs to.
    pub(super) fn of(interest: &Interest) -> Kind {
        Kind { view: interest.view.clone(), deltas: interest.deltas, signals: interest.signals }
    }
}

impl Group {
    /// Makes a group without members.
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

    /// Whether this interest belongs to the group.
    pub(super) fn is(&self, interest: &Interest) -> bool {
        self.deltas == interest.deltas
            && self.signals == interest.signals
            && self.view == interest.view
    }

    /// Returns the number of segments in all its patterns.
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

    /// Returns a number that identifies the group while it exists.
    pub(super) fn address(self: &Arc<Group>) -> usize {
        Arc::as_ptr(self).addr()
    }

    pub(super) fn insert(&self, subscriber: &Arc<Subscriber>) {
        self.members.write().unwrap_or_else(PoisonError::into_inner).insert(subscriber);
    }

    /// Removes a subscriber. Returns true when no member is left.
    pub(super) fn remove(&self, subscriber: &Subscriber) -> bool {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        members.remove(subscriber);
        members.list().is_empty()
    }

    /// Whether `groups` and `others` are the same groups in the same order.
    pub(super) fn are<'a>(
        groups: impl ExactSizeIterator<Item = &'a Arc<Group>>,
        others: &[Arc<Group>],
    ) -> bool {
        groups.len() == others.len()
            && groups.zip(others).all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// Calls `each` once for every subscriber that is in any of the groups. `first` returns whether
    /// this is the first time that it is called with a subscriber; it is not called when there is
    /// only one group.
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

    /// Returns the number of members of all these groups. A subscriber in several groups counts in
    /// each.
    pub(super) fn size_of(groups: &[Arc<Group>]) -> usize {
        let size = |group: &Arc<Group>| {
            group.members.read().unwrap_or_else(PoisonError::into_inner).list().len()
        };
        groups.iter().map(size).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.read().unwrap_or_else(PoisonError::into_inner).list().is_empty()
    }

    /// Calls `each` once for every member.
    pub(super) fn each_member(&self, each: impl FnMut(&Arc<Subscriber>)) {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.list().iter().for_each(each);
    }
}
