//! Which changes of a commit a subscriber sees.

use std::ops::Range;

use onetree_protocol::{Act, Change};

/// Which changes of a commit a subscriber sees, and whether with the value or without.
///
/// Each change has two places. A change seen without its value occupies the first; a change seen
/// whole occupies both. The occupied places are kept as sorted, disjoint ranges. So the memory is
/// proportional to what is seen, and small when everything is seen. The union of several sights is
/// the union of their ranges, and equal sights have equal ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Marks(Vec<(u32, u32)>);

/// When a union has gathered this many ranges, they are joined before more are added: many views
/// that see the same do not take the memory of all of them.
const LOOSE: usize = 1024;

impl Marks {
    /// Marks the change at index `at` as seen. The changes must be pushed once each, in order. Only
    /// a put has a value that can be left out.
    pub(super) fn push(&mut self, at: usize, change: &Change, values: bool) {
        let whole = values || !matches!(change.act, Act::Put(_));
        let from = 2 * at as u32;
        let to = from + if whole { 2 } else { 1 };
        match self.0.last_mut() {
            Some(last) if last.1 == from => last.1 = to,
            _ => self.0.push((from, to)),
        }
    }

    /// Returns what is seen by any of these.
    pub(super) fn union<'m>(all: impl Iterator<Item = &'m Marks>) -> Marks {
        let mut union = Marks::default();
        let mut joined = 0;
        for marks in all {
            union.0.extend_from_slice(&marks.0);
            if union.0.len() >= LOOSE + 2 * joined {
                union.join();
                joined = union.0.len();
            }
        }
        union.join();
        union
    }

    /// Sorts the ranges and joins those that touch.
    fn join(&mut self) {
        // The ranges of each part are sorted already, so this sort merges them.
        self.0.sort();
        self.0.dedup_by(|next, last| {
            let touches = next.0 <= last.1;
            if touches {
                last.1 = last.1.max(next.1);
            }
            touches
        });
    }

    /// Whether all of `changes` changes are seen whole.
    pub(super) fn are_all(&self, changes: usize) -> bool {
        *self.0 == [(0, 2 * changes as u32)]
    }

    /// Returns the number of ranges.
    pub(super) fn ranges(&self) -> usize {
        self.0.len()
    }

    /// Returns the number of changes that are seen.
    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|range| places(range).len()).sum()
    }

    /// Returns the indices of the changes that are seen, each with whether it is seen whole.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, bool)> {
        self.0.iter().flat_map(|range| places(range).map(|at| (at, 2 * at + 1 < range.1 as usize)))
    }
}

/// Returns the indices of the changes that a range covers.
fn places((from, to): &(u32, u32)) -> Range<usize> {
    *from as usize / 2..(*to as usize).div_ceil(2)
}

#[cfg(test)]
mod tests {
    use onetree_protocol::{Path, Revision};

    use super::*;

    /// Makes marks from levels. 0: not seen; 1: without the value; 2: whole.
    fn marks(levels: &[u8]) -> Marks {
        let change = Change { path: Path::root(), rev: Revision::ZERO, act: Act::Put(None) };
        let mut marks = Marks::default();
        for (at, level) in levels.iter().enumerate().filter(|(_, level)| **level > 0) {
            marks.push(at, &change, *level == 2);
        }
        marks
    }

    /// Returns every way of seeing this many changes.
    fn all(changes: u32) -> impl Iterator<Item = Vec<u8>> {
        (0..3_u32.pow(changes)).map(move |n| (0..changes).map(|at| digit(n, at)).collect())
    }

    fn digit(n: u32, at: u32) -> u8 {
        (n / 3_u32.pow(at) % 3) as u8
    }

    #[test]
    fn what_is_marked_is_seen() {
        for levels in all(6) {
            let mut seen = vec![0; 6];
            marks(&levels).iter().for_each(|(at, whole)| seen[at] = if whole { 2 } else { 1 });
            assert_eq!(seen, levels);
            assert_eq!(marks(&levels).count(), levels.iter().filter(|level| **level > 0).count());
            assert_eq!(marks(&levels).are_all(6), levels == [2; 6]);
        }
    }

    #[test]
    fn together_they_are_what_any_of_them_sees() {
        for (one, other) in all(4).flat_map(|one| all(4).map(move |other| (one.clone(), other))) {
            let both: Vec<u8> = one.iter().zip(&other).map(|(a, b)| *a.max(b)).collect();
            let union = Marks::union([&marks(&one), &marks(&other)].into_iter());
            assert_eq!(union, marks(&both), "{one:?} {other:?}");
        }
    }

    #[test]
    fn many_together_take_no_more_than_what_they_see() {
        let even: Vec<u8> = (0..2_000).map(|at| if at % 2 == 0 { 2 } else { 0 }).collect();
        let odd: Vec<u8> = even.iter().map(|level| (*level + 1) % 3).collect();
        let (even, odd) = (marks(&even), marks(&odd));
        let union = Marks::union([&even, &odd].into_iter().cycle().take(2_001));
        assert_eq!(
            (union.count(), union.iter().filter(|(_, whole)| *whole).count()),
            (2_000, 1_000)
        );
        assert!(union.0.capacity() < 10_000, "{}", union.0.capacity());
    }
}
