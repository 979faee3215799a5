//! Removing a contiguous range, whole nodes at a time.

use alloc::sync::Arc;
use core::cmp::Ordering;

use super::cost::visit;
use super::edit::collapse;
use super::iter::{Iter, Walk};
use super::node::{Child, Inner, Node, Shape, shrink};
use super::span::Edges;
use super::{Item, Removed, Summary};

pub(super) fn remove_span<T: Item>(
    root: &mut Child<T>,
    shape: Shape,
    span: &impl Fn(&T::Key) -> Ordering,
) -> Removed<T::Summary> {
    let mut removed = Removed::default();
    // If there is nothing to remove, nothing must be copied.
    if Iter::new(Walk::new(&root.node, Edges::OPEN, span)).next().is_some() {
        cut(root, Edges::OPEN, span, shape, &mut removed);
        collapse(root);
    }
    removed
}

/// Removes the span from a node that is not wholly inside it. The node may be left too small.
fn cut<T: Item>(
    child: &mut Child<T>,
    edges: Edges,
    span: &impl Fn(&T::Key) -> Ordering,
    shape: Shape,
    removed: &mut Removed<T::Summary>,
) {
    visit();
    match Arc::make_mut(&mut child.node) {
        Node::Leaf(leaf) => {
            for item in leaf.items.drain(leaf.inside(span)) {
                removed.count += 1;
                removed.summary.add(&item.summary());
            }
            shrink(&mut leaf.items);
            leaf.mark();
        }
        Node::Inner(inner) => {
            let reach = inner.reach(edges, span);
            for (slot, edges) in [reach.low, reach.high].into_iter().flatten() {
                inner.change(slot, |child| cut(child, edges, span, shape, removed));
            }
            let seam = reach.low.map_or(0, |(slot, _)| slot);
            inner.drop_children(reach.whole, removed);
            inner.settle(seam + 1, shape);
            inner.settle(seam, shape);
        }
    }
    child.refresh();
}

impl<T: Item> Inner<T> {
    /// Drops some of the children, never all. A neighbour becomes responsible for their keys, and
    /// so takes over the residue of what was forgotten among them.
    fn drop_children(&mut self, whole: core::ops::Range<usize>, removed: &mut Removed<T::Summary>) {
        if whole.is_empty() {
            return;
        }
        let mut residue = T::Summary::default();
        for child in &self.children[whole.clone()] {
            visit();
            removed.count += child.len;
            removed.summary.add(&child.summary);
            residue.add(child.node.residue());
        }
        self.children.drain(whole.clone());
        if let Some(before) = whole.start.checked_sub(1) {
            self.separators.drain(before..whole.end - 1);
            self.children[before].leave(&residue, |inner| inner.children.len() - 1);
        } else {
            self.separators.drain(whole);
            self.children[0].leave(&residue, |_| 0);
        }
        shrink(&mut self.children);
        shrink(&mut self.separators);
        self.mark();
    }
}

impl<T: Item> Child<T> {
    /// Adds a residue to the leaf at one edge, and to all nodes above it.
    fn leave(&mut self, residue: &T::Summary, edge: fn(&Inner<T>) -> usize) {
        visit();
        self.summary.add(residue);
        match Arc::make_mut(&mut self.node) {
            Node::Leaf(leaf) => leaf.residue.add(residue),
            Node::Inner(inner) => {
                inner.residue.add(residue);
                inner.change(edge(inner), |child| child.leave(residue, edge));
            }
        }
    }
}
