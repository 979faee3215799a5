//! The groups of one base.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use onetree_core::Interest;
use onetree_protocol::{Depth, Path, View};

use super::FEW;
use super::group::{Group, Kind, LIGHT};
use super::lookup::{Lookup, Tier};
use super::patterns::Patterns;

/// The groups of one base. Nearly always there is one, which takes 8 bytes.
///
/// A few groups are searched one by one. They become `Many` above [`FEW`] groups, or when their
/// patterns have more segments than [`LIGHT`], and become `Few` again at half of both.
#[derive(Debug)]
pub(super) enum Groups {
    Few(Vec<Arc<Group>>),
    Many(Box<Many>),
}

/// Groups in maps: by their interest, and by the paths that they see. So a subscriber with a view
/// that nobody else has registers and leaves without a search through all other groups, and so does
/// a change find the groups that see it.
#[derive(Debug, Default)]
pub(super) struct Many {
    all: HashMap<Kind, Arc<Group>>,
    /// The groups without patterns: by their depth, the least first, and by their address.
    plain: [BTreeMap<usize, Arc<Group>>; 3],
    /// The groups with patterns.
    light: Patterns,
    heavy: Patterns,
    /// The number of segments of all patterns.
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

    /// Returns the group that this interest belongs to.
    pub(super) fn get(&self, interest: &Interest) -> Option<&Arc<Group>> {
        match self {
            Groups::Few(list) => list.iter().find(|group| group.is(interest)),
            Groups::Many(many) => many.all.get(&Kind::of(interest)),
        }
    }

    /// Adds a group. No other group may have its interest.
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

    /// Removes the group that this interest belongs to, if it has no members.
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

    /// Calls `each` for every group.
    pub(super) fn each(&self, each: impl FnMut(&Arc<Group>)) {
        match self {
            Groups::Few(list) => list.iter().for_each(each),
            Groups::Many(many) => many.all.values().for_each(each),
        }
    }

    /// Calls `each` once for every group whose view sees `path`. `above` is the number of segments
    /// of the base; `path` is the base or lies under it. `open`: groups of this tier and above are
    /// skipped. `Err`: too few steps were left to check the groups of this tier; they and those of
    /// higher tiers were not checked.
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

    /// Does this for the groups of one tier. `None`: too few steps were left.
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
                let steps =
                    of_tier().map(|group| 1 + View::comparisons(group.segments(), below)).sum();
                if !lookup.take(tier, steps) {
                    return None;
                }
                of_tier().filter(|group| group.view.sees(path)).for_each(each);
            }
            (Groups::Many(many), Tier::Plain) => {
                // Only groups of sufficient depth reach this far below the base; the others are not
                // looked at.
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

    /// Calls `each` for every group of this tier and of those above it.
    pub(super) fn each_from(&self, tier: Tier, mut each: impl FnMut(&Arc<Group>)) {
        self.each(|group| {
            if group.tier() >= tier {
                each(group);
            }
        });
    }
}

/// Returns the number of segments of all their patterns.
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
