//! Making light neighbours one, so that a map that shrinks does not stay spread out.

use alloc::sync::Arc;

use super::cost::visit;
use super::node::{Child, Inner, Node, Shape, shrink};
use super::{Item, Summary};

impl<T: Item> Inner<T> {
    /// Joins the child at `slot` with its neighbours while it is too small to stand alone, or is
    /// less than half full and fits with the lighter neighbour into three quarters of a node (not
    /// into a whole one, which would have to split again at the next insert).
    ///
    /// Afterwards the child can stand alone, or it is the only one, which is for the caller to
    /// mend: then this node is too small itself.
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

    /// The left one of the pair that the child makes with its lighter neighbour, and the size of
    /// that.
    fn lighter_neighbour(&self, slot: usize) -> (usize, usize) {
        let size = |slot: usize| {
            visit();
            self.children.get(slot).map_or(usize::MAX, |child| child.node.size())
        };
        let (left, right) = (slot.checked_sub(1).map_or(usize::MAX, size), size(slot + 1));
        if left < right { (slot - 1, left) } else { (slot, right) }
    }

    /// Makes the children at `left` and `left + 1` one; or, if it does not fit, evens them out and
    /// gives true.
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
                // An only child may have been too small: now it has neighbours.
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
