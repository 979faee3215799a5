//! Building a map from items that are in order already, bottom up.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::node::{Child, Inner, Leaf, Node, Shape};
use super::{Item, Summary};

/// Makes a map of `items`, whose keys strictly ascend. Every leaf gets this residue. O(n), each
/// summary is added up once.
///
/// Nodes are filled to three quarters, as random inserts leave them, so that a map that was just
/// loaded does not split at every write.
pub(super) fn build<T: Item>(
    items: impl IntoIterator<Item = T>,
    shape: Shape,
    residue: &T::Summary,
) -> Child<T> {
    let mut leaves: Vec<Child<T>> = Vec::new();
    let mut firsts: Vec<T::Handle> = Vec::new();
    let mut items = items.into_iter().peekable();
    while let Some(first) = items.peek() {
        firsts.push(first.handle());
        let leaf: Vec<T> = items.by_ref().take(three_quarters(shape.leaf)).collect();
        debug_assert!(leaf.is_sorted_by(|a, b| a.key() < b.key()), "items out of order");
        leaves.push(leaf_of(leaf, residue));
    }
    if leaves.is_empty() {
        return leaf_of(Vec::new(), residue);
    }
    let (mut level, mut firsts) = (leaves, firsts);
    while level.len() > 1 {
        (level, firsts) = above(level, firsts, shape);
    }
    level.remove(0)
}

/// Makes the level above one, and returns it with the first key of each of its nodes.
fn above<T: Item>(
    level: Vec<Child<T>>,
    firsts: Vec<T::Handle>,
    shape: Shape,
) -> (Vec<Child<T>>, Vec<T::Handle>) {
    let nodes = level.len().div_ceil(three_quarters(shape.inner));
    let (mut children, mut keys) = (level.into_iter(), firsts.into_iter());
    let (mut up, mut up_firsts) = (Vec::with_capacity(nodes), Vec::with_capacity(nodes));
    let mut left = children.len();
    for nodes_left in (1..=nodes).rev() {
        // Spread the children evenly, so that no node is left with a single child.
        let size = left.div_ceil(nodes_left);
        left -= size;
        let children: Vec<Child<T>> = children.by_ref().take(size).collect();
        let mut keys = keys.by_ref().take(size);
        up_firsts.extend(keys.next());
        let separators: Vec<T::Handle> = keys.collect();
        let mut residue = T::Summary::default();
        children.iter().for_each(|child| residue.add(child.node.residue()));
        up.push(child(Node::Inner(Inner::of(separators, children, residue))));
    }
    (up, up_firsts)
}

fn leaf_of<T: Item>(items: Vec<T>, residue: &T::Summary) -> Child<T> {
    child(Node::Leaf(Leaf::of(items, residue.clone())))
}

fn child<T: Item>(node: Node<T>) -> Child<T> {
    Child::new(Arc::new(node))
}

fn three_quarters(capacity: usize) -> usize {
    (capacity * 3 / 4).max(2)
}
