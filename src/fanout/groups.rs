//! The groups of one base.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use onetree_core::Interest;
use onetree_protocol::Path;

use super::FEW;
use super::group::{Group, Kind};
use super::lookup::Lookup;
use super::patterns::Patterns;

/// The groups of one base: nearly always one, of 8 bytes.
///
/// Few are searched one by one. Becomes many above [`FEW`], or where their patterns have more segments than
/// [`LIGHT`], and few again at half of both.
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
    /// Those without patterns, by their address.
    plain: BTreeMap<usize, Arc<Group>>,
    patterns: Patterns,
    /// Segments of all patterns.
    segments: usize,
}

/// Segments of patterns that are compared with a path one by one.
const LIGHT: usize = 64;

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
            Groups::Few(list) if list.len() < FEW && segments(list) + group.segments() <= LIGHT => {
                list.push(group);
            }
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
                if many.all.len() <= FEW / 2 && many.segments <= LIGHT / 2 {
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
    /// which `path` lies at or under. False: of those with patterns none was found, as that takes more steps than are
    /// left.
    pub(super) fn each_seeing(
        &self,
        path: &Path,
        above: usize,
        lookup: &mut Lookup,
        mut each: impl FnMut(&Arc<Group>),
    ) -> bool {
        let Groups::Many(many) = self else {
            self.each(|group| {
                if group.view.sees(path) {
                    each(group);
                }
            });
            return true;
        };
        self.each_plain(path, &mut each);
        let Some(matching) = many.patterns.matching(path.segments().skip(above), lookup) else {
            return false;
        };
        matching.into_iter().filter(|group| group.view.reaches(path)).for_each(each);
        true
    }

    /// Calls `each` with every group without patterns whose view sees `path`, once.
    pub(super) fn each_plain(&self, path: &Path, mut each: impl FnMut(&Arc<Group>)) {
        let sees = |group: &&Arc<Group>| !group.is_patterned() && group.view.reaches(path);
        match self {
            Groups::Few(list) => list.iter().filter(sees).for_each(&mut each),
            Groups::Many(many) => many.plain.values().filter(sees).for_each(&mut each),
        }
    }

    /// Calls `each` with every group with patterns.
    pub(super) fn each_patterned(&self, mut each: impl FnMut(&Arc<Group>)) {
        self.each(|group| {
            if group.is_patterned() {
                each(group);
            }
        });
    }
}

/// Of all of their patterns.
fn segments(groups: &[Arc<Group>]) -> usize {
    groups.iter().map(|group| group.segments()).sum()
}

impl Many {
    fn insert(&mut self, group: Arc<Group>) {
        self.segments += group.segments();
        if group.is_patterned() {
            self.patterns.insert(&group);
        } else {
            self.plain.insert(group.address(), group.clone());
        }
        self.all.insert(group.kind(), group);
    }

    fn remove_empty(&mut self, interest: &Interest) {
        let kind = Kind::of(interest);
        if self.all.get(&kind).is_none_or(|group| !group.is_empty()) {
            return;
        }
        if let Some(group) = self.all.remove(&kind) {
            self.segments -= group.segments();
            self.patterns.remove(&group);
            self.plain.remove(&group.address());
        }
        if self.all.len() < self.all.capacity() / 4 {
            self.all.shrink_to(2 * self.all.len());
        }
    }
}
