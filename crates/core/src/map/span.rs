//! Which parts of the tree a contiguous range of keys consists of.

use core::borrow::Borrow;
use core::cmp::Ordering;
use core::ops::Range;

use super::Item;
use super::cost::visit;
use super::node::{Inner, Leaf, Node, boundary};

/// Whether the bounds of a node's keys are known to lie inside the span.
#[derive(Clone, Copy)]
pub(super) struct Edges {
    low: bool,
    high: bool,
}

impl Edges {
    /// Nothing is known, because the root has no bounds.
    pub(super) const OPEN: Self = Self { low: false, high: false };
    /// The span is the whole map.
    pub(super) const CLOSED: Self = Self { low: true, high: true };
}

/// A run of whole subtrees, or a run of items in one leaf whose keys may lie partly outside the
/// span.
pub(super) enum Part<'a, T: Item> {
    Children(&'a Inner<T>, Range<usize>),
    Leaf(&'a Leaf<T>, Range<usize>),
}

/// Calls `each` with the parts of a span, in order: at most two leaves, and two runs of children on
/// each level.
pub(super) fn parts<'a, T: Item>(
    node: &'a Node<T>,
    edges: Edges,
    span: &impl Fn(&T::Key) -> Ordering,
    each: &mut impl FnMut(Part<'a, T>),
) {
    visit();
    match node {
        Node::Leaf(leaf) => each(Part::Leaf(leaf, leaf.inside(span))),
        Node::Inner(inner) => {
            let reach = inner.reach(edges, span);
            if let Some((slot, edges)) = reach.low {
                parts(&inner.children[slot].node, edges, span, each);
            }
            if !reach.whole.is_empty() {
                each(Part::Children(inner, reach.whole));
            }
            if let Some((slot, edges)) = reach.high {
                parts(&inner.children[slot].node, edges, span, each);
            }
        }
    }
}

/// The children of an inner node that a span touches.
pub(super) struct Reach {
    /// The first child, if it may be partly outside.
    pub(super) low: Option<(usize, Edges)>,
    /// The children that are wholly inside.
    pub(super) whole: Range<usize>,
    /// The last child, if it may be partly outside and is not also the first.
    pub(super) high: Option<(usize, Edges)>,
}

impl<T: Item> Inner<T> {
    pub(super) fn reach(&self, edges: Edges, span: &impl Fn(&T::Key) -> Ordering) -> Reach {
        let touched = self.touched(span);
        let (first, last) = (touched.start, touched.end - 1);
        let low = first == 0 && edges.low;
        let high = last + 1 == self.children.len() && edges.high;
        if first == last && !(low && high) {
            return Reach {
                low: Some((first, Edges { low, high })),
                whole: touched.end..touched.end,
                high: None,
            };
        }
        Reach {
            low: (!low).then_some((first, Edges { low: false, high: true })),
            whole: first + usize::from(!low)..last + usize::from(high),
            high: (!high).then_some((last, Edges { low: true, high: false })),
        }
    }

    /// Returns the children that the span touches. There is at least one: even a span without a key
    /// lies within the keys of some child.
    fn touched(&self, span: &impl Fn(&T::Key) -> Ordering) -> Range<usize> {
        let place = |separator: &T::Handle| span(separator.borrow());
        let first = boundary(&self.separators, |s| place(s) == Ordering::Less);
        let inside = boundary(&self.separators[first..], |s| place(s) != Ordering::Greater);
        first..first + inside + 1
    }
}

impl<T: Item> Leaf<T> {
    /// Returns the items that lie inside the span.
    pub(super) fn inside(&self, span: &impl Fn(&T::Key) -> Ordering) -> Range<usize> {
        let first = boundary(&self.items, |item| span(item.key()) == Ordering::Less);
        let inside = boundary(&self.items[first..], |i| span(i.key()) != Ordering::Greater);
        first..first + inside
    }
}
