//! Who sees something of one commit.

use std::collections::HashMap;
use std::sync::Arc;

use super::FEW;
use super::group::Group;
use super::marks::Marks;

/// The groups that see something of a commit, and what each of them sees.
#[derive(Default)]
pub(super) struct Matched {
    pub(super) groups: Vec<(Arc<Group>, Marks)>,
    /// The index of each group in `groups`, by the group's address. Filled only when there are many
    /// groups.
    places: HashMap<usize, usize>,
}

impl Matched {
    pub(super) fn clear(&mut self) {
        self.groups.clear();
        self.places.clear();
    }

    /// Returns what this group sees, to add to it.
    pub(super) fn of(&mut self, group: &Arc<Group>) -> &mut Marks {
        let Matched { groups, places } = self;
        let known = match groups.len() {
            0..=FEW => groups.iter().position(|(known, _)| Arc::ptr_eq(known, group)),
            _ => places.get(&group.address()).copied(),
        };
        let place = known.unwrap_or_else(|| {
            groups.push((group.clone(), Marks::default()));
            if groups.len() == FEW + 1 {
                places.extend(groups.iter().map(|(group, _)| group.address()).zip(0..));
            } else if groups.len() > FEW {
                places.insert(group.address(), groups.len() - 1);
            }
            groups.len() - 1
        });
        &mut groups[place].1
    }
}
