//! Joining neighbours that hold little, so that a map that shrinks does not stay spread out.

use alloc::sync::Arc;

use super::cost::visit;
use super::node::{Child, Inner, Node, Shape, shrink};
use super::{Item, Summary};

impl<T: Item> Inner<T> {
    /// Joins the child at `slot` with its neighbours while one of these holds:
    ///
    /// - The child is too small to stand alone.
    /// - The child is less than half full, and fits with the lighter neighbour into three quarters
    ///   of a node. (Not a whole node: that would have to split again at the next insert.)
    ///
    /// Afterwards either the child can stand alone, or it is the only child. In the latter case
    /// this node is itself too small, and the caller has to mend that.
    pub(super) fn settle(&mut self, slot: usize, shape: Shape) {
        let mut slot = slot;
        while slot < self.children.len() && self.children.len() > 1 {
            let node = &*self.children[slot].node;
            let (capacity, least) = match node {
                Node::Leaf(_) => (shape.leaf, 1),
                Node::Inner(_) => (shape.inner, 2),
            };
            let size = node.size();
            if size >= capacity / 2 {
                return;
            }
            let (left, other) = self.lighter_neighbour(slot);
            if size >= least && size + other > capacity / 4 * 3 {
                return;
            }
            if self.join(left, shape) {
                return;
            }
            slot = left;
        }
    }

    /// Returns the left slot of the pair that the child makes with its lighter neighbour, and the
    /// size of that neighbour.
    fn lighter_neighbour(&self, slot: usize) -> (usize, usize) {
        let size = |slot: usize| {
            visit();
            self.children.get(slot).map_or(usize::MAX, |child| child.node.size())
        };
        let (left, right) = (slot.checked_sub(1).map_or(usize::MAX, size), size(slot + 1));
        if left < right { (slot - 1, left) } else { (slot, right) }
    }

    /// Joins the children at `left` and `left + 1`. If the result does not fit into one node,
    /// divides it evenly between both and returns true.
    fn join(&mut self, left: usize, shape: Shape) -> bool {
        visit();
        let separator = self.separators.remove(left);
        let right = self.children.remove(left + 1);
        shrink(&mut self.separators);
        shrink(&mut self.children);
        let child = &mut self.children[left];
        let half = match (Arc::make_mut(&mut child.node), Arc::unwrap_or_clone(right.node)) {
            (Node::Leaf(leaf), Node::Leaf(mut right)) => {
                leaf.items.reserve_exact(right.items.len());
                leaf.items.append(&mut right.items);
                leaf.residue.add(&right.residue);
                leaf.mark();
                let size = leaf.items.len();
                (size > shape.leaf).then(|| {
                    let right = leaf.split(size / 2);
                    (right.items[0].handle(), Node::Leaf(right))
                })
            }
            (Node::Inner(inner), Node::Inner(mut right)) => {
                let seam = inner.children.len();
                inner.separators.reserve_exact(right.separators.len() + 1);
                inner.separators.push(separator);
                inner.separators.append(&mut right.separators);
                inner.children.reserve_exact(right.children.len());
                inner.children.append(&mut right.children);
                inner.residue.add(&right.residue);
                inner.mark();
                // A node with one child may have been too small: now its child has neighbours.
                inner.settle(seam, shape);
                inner.settle(seam - 1, shape);
                let size = inner.children.len();
                (size > shape.inner).then(|| {
                    let (separator, right) = inner.split(size / 2);
                    (separator, Node::Inner(right))
                })
            }
            _ => unreachable!("all leaves are equally deep"),
        };
        match half {
            None => {
                child.summary.add(&right.summary);
                child.len += right.len;
                self.mark();
                false
            }
            Some((separator, right)) => {
                child.refresh();
                self.put(left, (separator, Child::new(Arc::new(right))));
                true
            }
        }
    }
}
