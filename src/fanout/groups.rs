//! The groups of one base.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use onetree_core::Interest;
use onetree_protocol::{Depth, Path};

use super::FEW;
use super::group::{Group, Kind, LIGHT};
use super::lookup::{Lookup, Tier};
use super::patterns::Patterns;

/// The groups of one base: nearly always one, of 8 bytes.
///
/// Few are searched one by one. Becomes many above [`FEW`], or where their patterns have more
/// segments than [`LIGHT`], and few again at half of both.
#[derive(Debug)]
pub(super) enum Groups {
    Few(Vec<Arc<Group>>),
    Many(Box<Many>),
}

/// Groups that are found by what is asked: by their interest, or by a path that they see. So
/// whoever comes or leaves with views that nobody else has does not search through all the others,
/// nor does a change.
#[derive(Debug, Default)]
pub(super) struct Many {
    all: HashMap<Kind, Arc<Group>>,
    /// Those without patterns: by their depth, the least first, and by their address.
    plain: [BTreeMap<usize, Arc<Group>>; 3],
    /// Those with patterns.
    light: Patterns,
    heavy: Patterns,
    /// Segments of all patterns.
    segments: usize,
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

    pub(super) fn len(&self) -> usize {
        match self {
            Groups::Few(list) => list.len(),
            Groups::Many(many) => many.all.len(),
        }
    }

    /// Calls `each` with every group.
    pub(super) fn each(&self, each: impl FnMut(&Arc<Group>)) {
        match self {
            Groups::Few(list) => list.iter().for_each(each),
            Groups::Many(many) => many.all.values().for_each(each),
        }
    }

    /// Calls `each` with every group whose view sees `path`, once. `above`: the segments of the
    /// base, which `path` lies at or under; `open`: the tier from which on they are not looked at.
    /// `Err`: there were no steps left to find those of a tier, and of those above it.
    pub(super) fn each_seeing(
        &self,
        path: &Path,
        above: usize,
        open: Option<Tier>,
        lookup: &mut Lookup,
        mut each: impl FnMut(&Arc<Group>),
    ) -> Result<(), Tier> {
        for tier in [Tier::Plain, Tier::Light, Tier::Heavy] {
            if open.is_some_and(|open| tier >= open) {
                break;
            }
            self.each_of_tier(tier, path, above, lookup, &mut each).ok_or(tier)?;
        }
        Ok(())
    }

    /// Those of one tier. `None`: there were no steps left.
    fn each_of_tier(
        &self,
        tier: Tier,
        path: &Path,
        above: usize,
        lookup: &mut Lookup,
        mut each: impl FnMut(&Arc<Group>),
    ) -> Option<()> {
        let below = path.depth() - above;
        match (self, tier) {
            (Groups::Few(list), _) => {
                let of_tier = || list.iter().filter(|group| group.tier() == tier);
                let steps = of_tier().map(|group| 1 + group.segments() * below).sum();
                if !lookup.take(tier, steps) {
                    return None;
                }
                of_tier().filter(|group| group.view.sees(path)).for_each(each);
            }
            (Groups::Many(many), Tier::Plain) => {
                // So deep reach those of some depths only; the others are not looked at.
                let reaching = &many.plain[below.min(Depth::Tree as usize)..];
                if !lookup.take(tier, reaching.iter().map(BTreeMap::len).sum()) {
                    return None;
                }
                reaching.iter().flat_map(BTreeMap::values).for_each(each);
            }
            (Groups::Many(many), _) => {
                let patterns = if tier == Tier::Light { &many.light } else { &many.heavy };
                let matching = patterns.matching(path.segments().skip(above), tier, lookup)?;
                let reaching = matching.into_iter().filter(|group| group.view.reaches(path));
                reaching.for_each(&mut each);
            }
        }
        Some(())
    }

    /// Calls `each` with every group of a tier, and of those above it.
    pub(super) fn each_from(&self, tier: Tier, mut each: impl FnMut(&Arc<Group>)) {
        self.each(|group| {
            if group.tier() >= tier {
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
        match group.tier() {
            Tier::Plain => {
                let plain = &mut self.plain[group.view.depth as usize];
                plain.insert(group.address(), group.clone());
            }
            Tier::Light => self.light.insert(&group),
            Tier::Heavy => self.heavy.insert(&group),
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
            match group.tier() {
                Tier::Plain => {
                    self.plain[group.view.depth as usize].remove(&group.address());
                }
                Tier::Light => self.light.remove(&group),
                Tier::Heavy => self.heavy.remove(&group),
            }
        }
        if self.all.len() < self.all.capacity() / 4 {
            self.all.shrink_to(2 * self.all.len());
        }
    }
}
