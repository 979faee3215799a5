//! The patterns of many groups.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::group::Group;
use super::lookup::{Lookup, Tier};

/// Many groups of one base as a tree of their patterns' segments. A beginning that several patterns
/// share is matched once for all of them, and beginnings that do not match the path are not looked
/// at.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    root: Node,
}

/// The place that some patterns have reached after the same segments.
#[derive(Debug, Default)]
struct Node {
    /// The groups with a pattern that ends here, by their address.
    groups: BTreeMap<usize, Arc<Group>>,
    next: Next,
}

/// The child nodes of a node, by segment. Mostly there is one.
#[derive(Debug, Default)]
enum Next {
    #[default]
    None,
    One(Box<(Box<str>, Node)>),
    #[expect(clippy::box_collection, reason = "in place it would make all the others larger")]
    More(Box<HashMap<Box<str>, Node>>),
}

/// The segments that stand for one segment and for any number of them, as in
/// [`Pattern`](onetree_protocol::Pattern).
const ONE: &str = "*";
const ANY: &str = "**";

impl Patterns {
    pub(super) fn insert(&mut self, group: &Arc<Group>) {
        for pattern in &group.view.patterns {
            let mut node = &mut self.root;
            for segment in pattern.as_str().split('/') {
                node = node.next.get_or_insert(segment);
            }
            node.groups.insert(group.address(), group.clone());
        }
    }

    pub(super) fn remove(&mut self, group: &Arc<Group>) {
        for pattern in &group.view.patterns {
            self.root.remove(pattern.as_str().split('/'), group);
        }
    }

    /// Returns every group once that has a pattern which matches these segments below the base.
    ///
    /// Cost: at most the segments of all distinct patterns for each segment of the path; mostly
    /// three lookups for each. `None`: that takes more steps than are left.
    pub(super) fn matching<'p>(
        &self,
        below: impl Iterator<Item = &'p str>,
        tier: Tier,
        lookup: &mut Lookup,
    ) -> Option<Vec<&Arc<Group>>> {
        let mut reached = Reached::default();
        let mut here = vec![&self.root];
        reached.open(&here);
        for segment in below {
            let mut next = Vec::new();
            if !lookup.take(tier, here.len() + reached.any.len()) {
                return None;
            }
            for node in here.iter().chain(&reached.any) {
                next.extend(node.next.get(ONE));
                // A path may contain such a segment literally; in a pattern it is a wildcard.
                if segment != ONE && segment != ANY {
                    next.extend(node.next.get(segment));
                }
            }
            reached.open(&next);
            here = next;
        }
        let ends = || here.iter().chain(&reached.any);
        if !lookup.take(tier, ends().map(|node| node.groups.len()).sum()) {
            return None;
        }
        let mut groups: Vec<&Arc<Group>> = ends().flat_map(|node| node.groups.values()).collect();
        groups.sort_unstable_by_key(|group| group.address());
        groups.dedup_by_key(|group| group.address());
        Some(groups)
    }
}

/// The nodes behind a `**` that a path has reached. The path stays there, whatever segments follow.
#[derive(Default)]
struct Reached<'n> {
    any: Vec<&'n Node>,
    known: HashSet<*const Node>,
}

impl<'n> Reached<'n> {
    /// Adds the `**` nodes behind these nodes, which the path has reached, because a `**` also
    /// matches no segment.
    fn open(&mut self, nodes: &[&'n Node]) {
        for node in nodes {
            let mut behind = node.next.get(ANY);
            while let Some(any) = behind.filter(|any| self.known.insert(*any)) {
                self.any.push(any);
                behind = any.next.get(ANY);
            }
        }
    }
}

impl Node {
    /// Removes `group` where `segments` end, and the nodes that nobody needs then. Returns true
    /// when this node is one of them.
    fn remove<'p>(
        &mut self,
        mut segments: impl Iterator<Item = &'p str>,
        group: &Arc<Group>,
    ) -> bool {
        match segments.next() {
            None => drop(self.groups.remove(&group.address())),
            Some(segment) => {
                let node = self.next.get_mut(segment);
                if node.is_some_and(|node| node.remove(segments, group)) {
                    self.next.remove(segment);
                }
            }
        }
        self.groups.is_empty() && matches!(self.next, Next::None)
    }
}

impl Next {
    fn get(&self, segment: &str) -> Option<&Node> {
        match self {
            Next::None => None,
            Next::One(one) => (*one.0 == *segment).then_some(&one.1),
            Next::More(more) => more.get(segment),
        }
    }

    fn get_mut(&mut self, segment: &str) -> Option<&mut Node> {
        match self {
            Next::None => None,
            Next::One(one) => (*one.0 == *segment).then_some(&mut one.1),
            Next::More(more) => more.get_mut(segment),
        }
    }

    fn get_or_insert(&mut self, segment: &str) -> &mut Node {
        if self.get(segment).is_none() {
            let new = (Box::from(segment), Node::default());
            *self = match std::mem::take(self) {
                Next::None => Next::One(Box::new(new)),
                Next::One(one) => Next::More(Box::new(HashMap::from([*one, new]))),
                Next::More(mut more) => {
                    more.extend([new]);
                    Next::More(more)
                }
            };
        }
        match self.get_mut(segment) {
            Some(node) => node,
            None => unreachable!("it was put in above"),
        }
    }

    fn remove(&mut self, segment: &str) {
        let empty = match self {
            Next::None => true,
            Next::One(one) => *one.0 == *segment,
            Next::More(more) => {
                more.remove(segment);
                if more.len() < more.capacity() / 4 {
                    more.shrink_to(2 * more.len());
                }
                more.is_empty()
            }
        };
        if empty {
            *self = Next::None;
        }
    }
}

#[cfg(test)]
mod tests {
    use onetree_core::Interest;
    use onetree_protocol::{Path, Pattern, View};

    use super::super::lookup::Steps;
    use super::*;

    /// Returns every sequence of up to `most` of these segments.
    fn sequences(segments: &[&str], most: usize) -> Vec<String> {
        let mut all: Vec<String> = segments.iter().map(|segment| (*segment).to_owned()).collect();
        let mut last = all.clone();
        for _ in 1..most {
            let longer = |one: &String| segments.iter().map(|s| format!("{one}/{s}")).collect();
            last = last.iter().flat_map::<Vec<String>, _>(longer).collect();
            all.extend(last.clone());
        }
        all
    }

    fn group(patterns: &[&str]) -> Arc<Group> {
        let patterns = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        let view = Arc::new(View { patterns, ..View::tree(Path::root()) });
        Arc::new(Group::new(&Interest { sub: 1, view, deltas: true, signals: true }))
    }

    #[test]
    fn they_match_what_each_of_them_matches() {
        let texts = sequences(&["a", "b", ONE, ANY], 4);
        let mut groups: Vec<_> = texts.iter().map(|text| group(&[text])).collect();
        let pairs = texts.iter().zip(texts.iter().rev());
        groups.extend(pairs.step_by(7).map(|(one, other)| group(&[one, other, one])));
        let mut patterns = Patterns::default();
        groups.iter().for_each(|group| patterns.insert(group));
        let mut paths: Vec<Path> = vec![Path::root()];
        let texts = sequences(&["a", "b", ONE, ANY], 5);
        paths.extend(texts.iter().map(|text| Path::parse(&format!("/{text}")).unwrap()));
        while !groups.is_empty() {
            for path in paths.iter().step_by(3) {
                let found = patterns
                    .matching(path.segments(), Tier::Light, &mut Lookup::with(Steps::ANY))
                    .unwrap()
                    .into_iter()
                    .map(Group::address);
                let seeing = groups.iter().filter(|group| group.view.sees(path));
                let mut seeing: Vec<usize> = seeing.map(Group::address).collect();
                seeing.sort_unstable();
                assert_eq!(found.collect::<Vec<_>>(), seeing, "{path}");
            }
            // Remove half of the groups, from everywhere.
            let left = groups.len() / 2;
            while groups.len() > left {
                let group = groups.swap_remove(groups.len() * 7 / 11);
                patterns.remove(&group);
            }
        }
        assert!(matches!(patterns.root.next, Next::None), "something stays");
    }
}
