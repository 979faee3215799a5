//! Bringing what several keys lead to into the caches, all at once.
//!
//! A search in a large map is a chain of reads from memory: a node, the location of one of its
//! keys, that key, the next node. Each read takes as long as some hundred instructions, and cannot
//! begin before the previous one is done. But the searches for several keys do not depend on one
//! another. Here they go down the tree together, step by step, and each step starts the reads of
//! all searches before it uses any result. So the processor has ten reads under way where one
//! search has one.
//!
//! - S. Chen, A. Ailamaki, P. Gibbons, T. Mowry, *Improving Hash Join Performance through
//!   Prefetching*, 2004: group prefetching. Ordinary reads take the place of prefetch instructions,
//!   which safe Rust does not have.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::hint::black_box;

use super::Item;
use super::cost::visit;
use super::node::{Descent, Node};

/// The number of keys that go down together. A processor has some ten reads under way at once, and
/// what they bring, a few KiB a key, must still be in its nearer caches when it is used.
const GROUP: usize = 32;

/// The number of levels that a hint has room for: at the very least 2^12 leaves, and with nodes
/// half full enough for all that fits into memory.
const LEVELS: usize = 12;

/// Where a key was when [`Map::fetch`](super::Map::fetch) looked. It is a guess, and is checked
/// before it is used. So an old hint, or a hint of another map, does no harm and no good.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hint {
    /// The child to take at each level from the root; at the leaf, the item.
    slots: [u8; LEVELS],
    /// How many of them are set; 0: nothing is known.
    depth: u8,
}

/// The state of one search: it is at this node, where `guess` is the key to compare with.
struct Search<'a, T: Item> {
    key: &'a T::Key,
    node: &'a Arc<Node<T>>,
    guess: usize,
    hint: Hint,
}

pub(super) fn fetch<'a, T: Item>(
    root: &'a Arc<Node<T>>,
    keys: impl Iterator<Item = &'a T::Key>,
) -> Vec<Hint>
where
    T::Key: 'a,
{
    let search = |key| Search { key, node: root, guess: 0, hint: Hint::default() };
    let mut group: Vec<Search<'_, T>> = keys.map(search).collect();
    if T::SPELLED {
        group.chunks_mut(GROUP).for_each(|group| while descend(group) {});
    }
    group.iter().map(|search| search.hint).collect()
}

/// Takes all searches one level down. Returns false at the last level; all leaves are equally deep.
fn descend<T: Item>(group: &mut [Search<'_, T>]) -> bool {
    for search in &*group {
        visit();
        touch_node(search.node);
    }
    for search in &mut *group {
        search.guess = search.guess();
    }
    for search in &*group {
        black_box(search.near().map(|near| T::letter(near, 0)));
    }
    let mut deeper = false;
    group.iter_mut().for_each(|search| deeper |= search.step());
    deeper
}

/// Reads what a search and a change read of a node itself.
fn touch_node<T: Item>(node: &Arc<Node<T>>) {
    black_box(Arc::strong_count(node));
    let (marks, size) = match &**node {
        Node::Leaf(leaf) => (&leaf.marks, leaf.items.len()),
        Node::Inner(inner) => (&inner.marks, inner.children.len() + inner.separators.len()),
    };
    black_box(size);
    marks.touch();
}

impl<'a, T: Item> Search<'a, T> {
    fn guess(&self) -> usize {
        let (marks, keys) = match &**self.node {
            Node::Leaf(leaf) => (&leaf.marks, leaf.items.len()),
            Node::Inner(inner) => (&inner.marks, inner.separators.len()),
        };
        if keys == 0 { 0 } else { marks.guess::<T>(self.key, keys) }
    }

    fn near(&self) -> Option<&'a T::Key> {
        match &**self.node {
            Node::Leaf(leaf) => leaf.items.get(self.guess).map(Item::key),
            Node::Inner(inner) => inner.separators.get(self.guess).map(Borrow::borrow),
        }
    }

    /// Goes to the child that is responsible for the key; false at a leaf.
    fn step(&mut self) -> bool {
        let Some(near) = self.near() else { return false };
        match &**self.node {
            Node::Leaf(leaf) => {
                match leaf.marks.settle::<T>(self.key, leaf.items.len(), self.guess, near) {
                    Ok(at) => {
                        leaf.items[at].touch();
                        leaf.peaks.touch(at);
                        self.hint.push(at);
                    }
                    Err(_) => self.hint = Hint::default(),
                }
                false
            }
            Node::Inner(inner) => {
                let keys = inner.separators.len();
                let slot = match inner.marks.settle::<T>(self.key, keys, self.guess, near) {
                    Ok(at) => at + 1,
                    Err(at) => at,
                };
                self.hint.push(slot);
                inner.peaks.touch(slot);
                self.node = &inner.children[slot].node;
                true
            }
        }
    }
}

impl Hint {
    /// Adds a slot. Beyond the last level that there is room for, the hint is incomplete, and so
    /// wrong.
    fn push(&mut self, slot: usize) {
        if let Some(place) = self.slots.get_mut(usize::from(self.depth)) {
            *place = slot as u8;
            self.depth += 1;
        }
    }

    /// Returns where the key is, if it is still at the place of the hint.
    pub(super) fn find<T: Item>(
        &self,
        mut node: &Node<T>,
        key: &T::Key,
    ) -> Option<(Descent, usize)> {
        let (at, slots) = self.slots[..usize::from(self.depth)].split_last()?;
        let mut descent = Descent::default();
        for &slot in slots {
            visit();
            let Node::Inner(inner) = node else { return None };
            node = &inner.children.get(usize::from(slot))?.node;
            descent.push(usize::from(slot));
        }
        visit();
        let (Node::Leaf(leaf), at) = (node, usize::from(*at)) else { return None };
        leaf.items.get(at).filter(|item| item.key() == key).map(|_| (descent, at))
    }
}
