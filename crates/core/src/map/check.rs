//! The invariants, checked from scratch.

use core::borrow::Borrow;
use core::fmt::Debug;

use super::marks::Marks;
use super::node::{Child, Node, Shape};
use super::peaks::Peaks;
use super::{Item, Summary};

pub(super) fn check<T: Item>(root: &Child<T>, shape: Shape)
where
    T::Summary: PartialEq + Debug,
{
    if let Node::Inner(inner) = &*root.node {
        assert!(inner.children.len() > 1, "a root with a single child");
    }
    check_child(root, shape, root.node.height(), None, None);
}

/// What a walk through a whole subtree finds.
struct Found<S> {
    len: usize,
    sum: S,
    residue: S,
}

fn check_child<'a, T: Item>(
    child: &'a Child<T>,
    shape: Shape,
    height: usize,
    low: Option<&'a T::Key>,
    high: Option<&'a T::Key>,
) -> Found<T::Summary>
where
    T::Summary: PartialEq + Debug,
{
    let mut found = Found { len: 0, sum: T::Summary::default(), residue: T::Summary::default() };
    match &*child.node {
        Node::Leaf(leaf) => {
            assert_eq!(height, 1, "leaves are not equally deep");
            assert!(leaf.items.len() <= shape.leaf, "a leaf is too full");
            let unbounded = low.is_none() && high.is_none();
            assert!(unbounded || !leaf.items.is_empty(), "an empty leaf");
            assert!(leaf.items.is_sorted_by(|a, b| a.key() < b.key()), "items out of order");
            let marks = Marks::of::<T>(leaf.items.iter().map(Item::key));
            assert!(marks.agree(&leaf.marks, leaf.items.len()), "the marks of a leaf");
            let peaks = Peaks::of(leaf.items.iter().map(|item| item.summary().peak()));
            let len = leaf.items.len();
            assert_eq!(peaks.first(len), leaf.peaks.first(len), "the peaks of a leaf");
            for item in &leaf.items {
                assert!(low.is_none_or(|low| low <= item.key()), "an item below its leaf");
                assert!(high.is_none_or(|high| item.key() < high), "an item above its leaf");
                found.sum.add(&item.summary());
            }
            found.len = leaf.items.len();
            found.sum.add(&leaf.residue);
            found.residue = leaf.residue.clone();
        }
        Node::Inner(inner) => {
            let children = inner.children.len();
            assert!((2..=shape.inner).contains(&children), "{children} children");
            assert_eq!(inner.separators.len() + 1, children, "separators and children");
            let marks = Marks::of::<T>(inner.separators.iter().map(Borrow::borrow));
            assert!(marks.agree(&inner.marks, children - 1), "the marks of an inner node");
            let peaks = Peaks::of(inner.children.iter().map(|child| child.summary.peak()));
            let (found_peaks, kept) = (peaks.first(children), inner.peaks.first(children));
            assert_eq!(found_peaks, kept, "the peaks of an inner node");
            for (slot, child) in inner.children.iter().enumerate() {
                let bound = |at: usize| inner.separators.get(at).map(Borrow::borrow);
                let low = slot.checked_sub(1).map_or(low, bound);
                let high = bound(slot).or(high);
                assert!(low.is_none() || high.is_none() || low < high, "separators out of order");
                let below = check_child(child, shape, height - 1, low, high);
                found.len += below.len;
                found.sum.add(&below.sum);
                found.residue.add(&below.residue);
            }
            assert_eq!(inner.residue, found.residue, "the residue of an inner node");
        }
    }
    assert_eq!(child.len, found.len, "the length of a node");
    assert_eq!(child.summary, found.sum, "the summary of a node");
    found
}
