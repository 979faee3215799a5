//! The groups of one base.

use std::collections::HashMap;
use std::sync::Arc;

use onetree_core::Interest;
use onetree_protocol::Path;

use super::FEW;
use super::group::{Group, Kind};
use super::patterns::Patterns;

/// The groups of one base: nearly always one, of 8 bytes.
///
/// Few are searched one by one. Becomes many above [`FEW`], and few again at half of that.
#[derive(Debug)]
pub(super) enum Groups {
    Few(Vec<Arc<Group>>),
    Many(Box<Many>),
}

/// Groups that are found by what is asked: by their interest, or by a path that they see. So whoever
/// comes or leaves with views that nobody else has does not search through all the others, nor does
/// a change.
#[derive(Debug, Default)]
pub(super) struct Many {
    all: HashMap<Kind, Arc<Group>>,
    patterns: Patterns,
}

impl Groups {
    pub(super) fn new() -> Groups {
        Groups::Few(Vec::with_capacity(1))
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Groups::Few(list) => list.is_empty(),
            Groups::Many(many) => many.all.is_empty(),
        }
    }

    /// The group that this interest belongs to.
    pub(super) fn get(&self, interest: &Interest) -> Option<&Arc<Group>> {
        match self {
            Groups::Few(list) => list.iter().find(|group| group.is(interest)),
            Groups::Many(many) => many.all.get(&Kind::of(interest)),
        }
    }

    /// Puts in a group whose interest no other has.
    pub(super) fn insert(&mut self, group: Arc<Group>) {
        match self {
            Groups::Few(list) if list.len() < FEW => list.push(group),
            Groups::Few(list) => {
                let mut many = Box::new(Many::default());
                list.drain(..).chain([group]).for_each(|group| many.insert(group));
                *self = Groups::Many(many);
            }
            Groups::Many(many) => many.insert(group),
        }
    }

    /// Takes out the group that this interest belongs to, if nobody is in it.
    pub(super) fn remove_empty(&mut self, interest: &Interest) {
        match self {
            Groups::Few(list) => list.retain(|group| !group.is(interest) || !group.is_empty()),
            Groups::Many(many) => {
                many.remove_empty(interest);
                if many.all.len() <= FEW / 2 {
                    *self = Groups::Few(many.all.drain().map(|(_, group)| group).collect());
                }
            }
        }
    }

    /// Calls `each` with every group.
    pub(super) fn each(&self, each: impl FnMut(&Arc<Group>)) {
        match self {
            Groups::Few(list) => list.iter().for_each(each),
            Groups::Many(many) => many.all.values().for_each(each),
        }
    }

    /// Calls `each` with every group whose view sees `path`, once. `above`: the segments of the base,
    /// which `path` lies at or under. Gives how many steps that took.
    pub(super) fn each_seeing(
        &self,
        path: &Path,
        above: usize,
        mut each: impl FnMut(&Arc<Group>),
    ) -> usize {
        match self {
            Groups::Few(list) => {
                list.iter().filter(|group| group.view.sees(path)).for_each(each);
                let below = path.depth() - above;
                list.iter().map(|group| group.steps(below)).sum()
            }
            Groups::Many(many) => {
                let (matching, steps) = many.patterns.matching(path.segments().skip(above));
                for group in matching.into_iter().filter(|group| group.view.reaches(path)) {
                    each(group);
                }
                steps
            }
        }
    }
}

impl Many {
    fn insert(&mut self, group: Arc<Group>) {
        self.patterns.insert(&group);
        self.all.insert(group.kind(), group);
    }

    fn remove_empty(&mut self, interest: &Interest) {
        let kind = Kind::of(interest);
        if self.all.get(&kind).is_none_or(|group| !group.is_empty()) {
            return;
        }
        if let Some(group) = self.all.remove(&kind) {
            self.patterns.remove(&group);
        }
        if self.all.len() < self.all.capacity() / 4 {
            self.all.shrink_to(2 * self.all.len());
        }
    }
}
