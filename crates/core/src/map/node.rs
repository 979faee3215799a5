//! Leaves and inner nodes, and how they split.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::borrow::Borrow;

use super::cost::visit;
use super::marks::Marks;
use super::peaks::Peaks;
use super::{Item, Summary};

/// How many slots a vector in a node grows by. Doubling would leave a third of all slots empty;
/// this way two of some 22 are (8 bytes an item), and the cost of moving a leaf on every fourth
/// insert does not show.
const STEP: usize = 4;

/// How many elements a search in a node advances by, before it takes single steps; 4 and 8 measured
/// the same.
const STRIDE: usize = 6;

/// The most levels of a tree: every inner node has two children or more, so 2^64 leaves fit.
const MAX_HEIGHT: usize = 64;

/// The capacities of nodes.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) leaf: usize,
    pub(super) inner: usize,
}

#[derive(Clone)]
pub(super) enum Node<T: Item> {
    Leaf(Leaf<T>),
    Inner(Inner<T>),
}

pub(super) struct Leaf<T: Item> {
    pub(super) items: Vec<T>,
    /// The marks of the items' keys.
    pub(super) marks: Marks,
    /// The peaks of the items.
    pub(super) peaks: Peaks,
    /// The residue of what was forgotten between the separators around this leaf.
    pub(super) residue: T::Summary,
}

pub(super) struct Inner<T: Item> {
    /// `separators[i]` lies between `children[i]` and `children[i + 1]`.
    pub(super) separators: Vec<T::Handle>,
    /// The marks of the separators.
    pub(super) marks: Marks,
    /// The peaks of the children's summaries.
    pub(super) peaks: Peaks,
    pub(super) children: Vec<Child<T>>,
    /// The sum of the residues of all leaves below.
    pub(super) residue: T::Summary,
}

/// A node, and what the node above keeps about it.
pub(super) struct Child<T: Item> {
    /// The sum of all items and all residues below.
    pub(super) summary: T::Summary,
    /// The number of items below.
    pub(super) len: usize,
    pub(super) node: Arc<Node<T>>,
}

/// The right part of a node that was split, and the separator to its left.
pub(super) type Split<T> = (<T as Item>::Handle, Child<T>);

/// The slots that lead from the root to a leaf.
pub(super) struct Descent {
    slots: [u16; MAX_HEIGHT],
    depth: usize,
}

impl Default for Descent {
    fn default() -> Self {
        Self { slots: [0; MAX_HEIGHT], depth: 0 }
    }
}

impl Descent {
    pub(super) fn slots(&self) -> &[u16] {
        &self.slots[..self.depth]
    }

    pub(super) fn push(&mut self, slot: usize) {
        self.slots[self.depth] = slot as u16;
        self.depth += 1;
    }
}

impl<T: Item> Node<T> {
    pub(super) fn empty() -> Self {
        Self::Leaf(Leaf::of(Vec::new(), T::Summary::default()))
    }

    pub(super) fn get(&self, key: &T::Key) -> Option<&T> {
        let mut node = self;
        loop {
            visit();
            match node {
                Self::Inner(inner) => node = &inner.children[inner.slot(key)].node,
                Self::Leaf(leaf) => return leaf.find(key).ok().map(|at| &leaf.items[at]),
            }
        }
    }

    /// Returns the way to the leaf for this key, and where in the leaf the key is or would be.
    pub(super) fn find(&self, key: &T::Key) -> (Descent, Result<usize, usize>) {
        let mut descent = Descent::default();
        let mut node = self;
        loop {
            visit();
            match node {
                Self::Inner(inner) => {
                    let slot = inner.slot(key);
                    descent.push(slot);
                    node = &inner.children[slot].node;
                }
                Self::Leaf(leaf) => return (descent, leaf.find(key)),
            }
        }
    }

    pub(super) fn height(&self) -> usize {
        let mut height = 1;
        let mut node = self;
        while let Self::Inner(inner) = node {
            node = &inner.children[0].node;
            height += 1;
        }
        height
    }

    /// Returns the number of items of a leaf, or of children of an inner node.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.items.len(),
            Self::Inner(inner) => inner.children.len(),
        }
    }

    pub(super) fn residue(&self) -> &T::Summary {
        match self {
            Self::Leaf(leaf) => &leaf.residue,
            Self::Inner(inner) => &inner.residue,
        }
    }

    /// Adds up the items of a leaf and its residue, or the summaries of the children of an inner
    /// node.
    pub(super) fn sum(&self) -> T::Summary {
        match self {
            Self::Leaf(leaf) => {
                let mut sum = leaf.residue.clone();
                leaf.items.iter().for_each(|item| sum.add(&item.summary()));
                sum
            }
            Self::Inner(inner) => {
                let mut sum = T::Summary::default();
                inner.children.iter().for_each(|child| sum.add(&child.summary));
                sum
            }
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.items.len(),
            Self::Inner(inner) => inner.children.iter().map(|child| child.len).sum(),
        }
    }
}

impl<T: Item> Child<T> {
    pub(super) fn new(node: Arc<Node<T>>) -> Self {
        visit();
        Self { summary: node.sum(), len: node.count(), node }
    }

    pub(super) fn peak(&self) -> u64 {
        self.summary.peak()
    }

    /// Recomputes length and summary after the node below has changed.
    pub(super) fn refresh(&mut self) {
        self.summary = self.node.sum();
        self.len = self.node.count();
    }
}

impl<T: Item> Leaf<T> {
    pub(super) fn of(items: Vec<T>, residue: T::Summary) -> Self {
        let marks = Marks::of::<T>(items.iter().map(Item::key));
        let peaks = Peaks::of(items.iter().map(Item::peak));
        Self { items, marks, peaks, residue }
    }

    /// Recomputes marks and peaks after many items have come or gone.
    pub(super) fn mark(&mut self) {
        self.marks = Marks::of::<T>(self.items.iter().map(Item::key));
        self.peaks = Peaks::of(self.items.iter().map(Item::peak));
    }

    pub(super) fn find(&self, key: &T::Key) -> Result<usize, usize> {
        if T::SPELLED {
            return self.marks.find::<T>(key, self.items.len(), |at| self.items[at].key());
        }
        let at = boundary(&self.items, |item| item.key() < key);
        match self.items.get(at) {
            Some(item) if item.key() == key => Ok(at),
            _ => Err(at),
        }
    }

    pub(super) fn put(&mut self, at: usize, item: T) {
        grow(&mut self.items);
        self.items.insert(at, item);
        let key = |at: usize| self.items.get(at).map(Item::key);
        let before = at.checked_sub(1).and_then(key);
        let around = (before, self.items[at].key(), key(at + 1));
        self.marks.insert::<T>(at, self.items.len(), around);
        self.peaks.insert(at, self.items.len(), self.items[at].peak());
    }

    pub(super) fn take(&mut self, at: usize) -> T {
        let item = self.items.remove(at);
        shrink(&mut self.items);
        self.marks.remove(at, self.items.len());
        self.peaks.remove(at, self.items.len());
        item
    }

    /// Keeps the items below `at`, and moves the others into a new leaf. Both get the residue,
    /// because it is not known in which half the forgotten items were.
    pub(super) fn split(&mut self, at: usize) -> Self {
        let items = split_off(&mut self.items, at);
        self.mark();
        Self::of(items, self.residue.clone())
    }
}

impl<T: Item> Inner<T> {
    pub(super) fn pair(left: Child<T>, (separator, right): Split<T>) -> Self {
        let mut residue = left.node.residue().clone();
        residue.add(right.node.residue());
        let (mut separators, mut children) = (Vec::with_capacity(STEP), Vec::with_capacity(STEP));
        separators.push(separator);
        children.extend([left, right]);
        Self::of(separators, children, residue)
    }

    pub(super) fn of(
        separators: Vec<T::Handle>,
        children: Vec<Child<T>>,
        residue: T::Summary,
    ) -> Self {
        let marks = Marks::of::<T>(separators.iter().map(Borrow::borrow));
        let peaks = Peaks::of(children.iter().map(Child::peak));
        Self { separators, marks, peaks, children, residue }
    }

    /// Recomputes marks and peaks after children have come or gone.
    pub(super) fn mark(&mut self) {
        self.marks = Marks::of::<T>(self.separators.iter().map(Borrow::borrow));
        self.peaks = Peaks::of(self.children.iter().map(Child::peak));
    }

    /// Lets `change` change a child, and updates the child's peak.
    pub(super) fn change<R>(&mut self, slot: usize, change: impl FnOnce(&mut Child<T>) -> R) -> R {
        let child = &mut self.children[slot];
        let result = change(child);
        self.peaks.set(slot, child.peak());
        result
    }

    /// Returns the slot of the child that is responsible for this key.
    pub(super) fn slot(&self, key: &T::Key) -> usize {
        if !T::SPELLED {
            return boundary(&self.separators, |separator| separator.borrow() <= key);
        }
        let separator = |at: usize| self.separators[at].borrow();
        match self.marks.find::<T>(key, self.separators.len(), separator) {
            Ok(at) => at + 1,
            Err(at) => at,
        }
    }

    /// Inserts the right part of a child that was split behind its left part.
    pub(super) fn put(&mut self, slot: usize, (separator, child): Split<T>) {
        grow(&mut self.separators);
        grow(&mut self.children);
        self.separators.insert(slot, separator);
        self.children.insert(slot + 1, child);
        self.mark();
    }

    /// Keeps the children below `at`, and moves the others into a new node.
    pub(super) fn split(&mut self, at: usize) -> (T::Handle, Self) {
        let children = split_off(&mut self.children, at);
        let separators = split_off(&mut self.separators, at);
        let separator = self.separators.pop().expect("the left part has a child");
        let mut right = Self::of(separators, children, T::Summary::default());
        self.mark();
        self.collect_residue();
        right.collect_residue();
        (separator, right)
    }

    fn collect_residue(&mut self) {
        let mut residue = T::Summary::default();
        self.children.iter().for_each(|child| residue.add(child.node.residue()));
        self.residue = residue;
    }
}

impl<T: Item> Clone for Child<T> {
    fn clone(&self) -> Self {
        Self { summary: self.summary.clone(), len: self.len, node: Arc::clone(&self.node) }
    }
}

/// A clone is made to be written, so it gets spare room, which the derived clone would not have.
impl<T: Item> Clone for Leaf<T> {
    fn clone(&self) -> Self {
        Self {
            items: roomy(&self.items),
            marks: self.marks.clone(),
            peaks: self.peaks.clone(),
            residue: self.residue.clone(),
        }
    }
}

impl<T: Item> Clone for Inner<T> {
    fn clone(&self) -> Self {
        Self {
            separators: roomy(&self.separators),
            marks: self.marks.clone(),
            peaks: self.peaks.clone(),
            children: roomy(&self.children),
            residue: self.residue.clone(),
        }
    }
}

/// Returns the index of the first element that is not `before`, like [`slice::partition_point`],
/// but advances in strides, then in steps.
///
/// Most of the time is spent on keys that are not in the cache. A binary search cannot know which
/// key it needs next before the last one has arrived. Here the processor predicts "continue", is
/// mostly right, and has several reads under way at once (a random lookup among a million keys: 2.5
/// us instead of 4.9, where one read from memory takes 0.2).
pub(super) fn boundary<E>(elements: &[E], before: impl Fn(&E) -> bool) -> usize {
    let mut at = 0;
    while elements.get(at + STRIDE - 1).is_some_and(&before) {
        at += STRIDE;
    }
    while elements.get(at).is_some_and(&before) {
        at += 1;
    }
    at
}

fn roomy<E: Clone>(elements: &[E]) -> Vec<E> {
    let mut copy = Vec::with_capacity(room(elements.len()));
    copy.extend_from_slice(elements);
    copy
}

fn room(len: usize) -> usize {
    len.next_multiple_of(STEP)
}

/// Makes room for a few more elements if there is none.
fn grow<E>(elements: &mut Vec<E>) {
    if elements.len() == elements.capacity() {
        elements.reserve_exact(STEP);
    }
}

/// Frees unused room, if it is more than alternating removals and insertions would use.
pub(super) fn shrink<E>(elements: &mut Vec<E>) {
    if elements.capacity() > room(elements.len()) + STEP {
        elements.shrink_to(room(elements.len()));
    }
}

/// Splits a vector. Unlike [`Vec::split_off`], it does not leave the left part its full capacity.
fn split_off<E>(elements: &mut Vec<E>, at: usize) -> Vec<E> {
    let mut right = Vec::with_capacity(room(elements.len() - at));
    right.extend(elements.drain(at..));
    shrink(elements);
    right
}
