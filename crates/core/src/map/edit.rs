//! Inserting, modifying and removing one item.
//!
//! Each operation first finds the path without writing, so that nothing is copied for a key that is
//! not there. Then it writes along the path: [`Arc::make_mut`] copies the nodes that a snapshot
//! holds, and only those.

use alloc::sync::Arc;
use core::mem;

use super::cost::visit;
use super::fetch::Hint;
use super::node::{Child, Inner, Node, Shape, Split};
use super::{Item, Summary};

/// One term of the sums above a leaf, before and after a change.
struct Term<S> {
    old: S,
    new: S,
}

pub(super) fn insert<T: Item>(root: &mut Child<T>, shape: Shape, item: T) -> Option<T> {
    let (descent, place) = root.node.find(item.key());
    match place {
        Ok(at) => {
            let mut item = item;
            replace(root, descent.slots(), at, |old| mem::swap(old, &mut item));
            Some(item)
        }
        Err(at) => {
            put(root, shape, descent.slots(), at, item);
            None
        }
    }
}

pub(super) fn modify<T: Item>(
    root: &mut Child<T>,
    key: &T::Key,
    change: impl FnOnce(&mut T),
) -> bool {
    let (descent, Ok(at)) = root.node.find(key) else { return false };
    replace(root, descent.slots(), at, |item| {
        change(item);
        debug_assert!(item.key() == key, "modify must not change the key");
    });
    true
}

/// Does what [`modify`] does. If there is no item with this key, one is `made`, changed and
/// inserted.
pub(super) fn upsert<T: Item>(
    root: &mut Child<T>,
    shape: Shape,
    (hint, key): (Hint, &T::Key),
    made: impl FnOnce() -> T,
    change: impl FnOnce(&mut T),
) -> bool {
    let found = hint.find(&root.node, key).map(|(descent, at)| (descent, Ok(at)));
    let (descent, place) = found.unwrap_or_else(|| root.node.find(key));
    let change = |item: &mut T| {
        change(item);
        debug_assert!(item.key() == key, "upsert must not change the key");
    };
    match place {
        Ok(at) => {
            replace(root, descent.slots(), at, change);
        }
        Err(at) => {
            let mut item = made();
            change(&mut item);
            put(root, shape, descent.slots(), at, item);
        }
    }
    place.is_ok()
}

/// Removes an item and leaves `residue` of its summary behind.
pub(super) fn remove<T: Item>(
    root: &mut Child<T>,
    shape: Shape,
    key: &T::Key,
    residue: impl FnOnce(&T::Summary) -> T::Summary,
) -> Option<T> {
    let (descent, Ok(at)) = root.node.find(key) else { return None };
    let (item, _) = take(root, descent.slots(), at, residue, shape);
    collapse(root);
    Some(item)
}

/// Makes the only child of the root the new root, as long as there is only one.
pub(super) fn collapse<T: Item>(root: &mut Child<T>) {
    while let Node::Inner(inner) = &*root.node
        && let [only] = inner.children.as_slice()
    {
        *root = only.clone();
    }
}

/// Inserts a new item at its place.
fn put<T: Item>(root: &mut Child<T>, shape: Shape, path: &[u16], at: usize, item: T) {
    let summary = item.summary();
    if let Some(right) = add(root, path, at, item, &summary, shape) {
        let node = Inner::pair(root.clone(), right);
        *root = Child::new(Arc::new(Node::Inner(node)));
    }
}

fn replace<T: Item>(
    child: &mut Child<T>,
    path: &[u16],
    at: usize,
    change: impl FnOnce(&mut T),
) -> Term<T::Summary> {
    visit();
    let term = match (Arc::make_mut(&mut child.node), path) {
        (Node::Leaf(leaf), _) => {
            let item = &mut leaf.items[at];
            let old = item.summary();
            change(item);
            let new = item.summary();
            leaf.peaks.set(at, item.peak());
            Term { old, new }
        }
        (Node::Inner(inner), [slot, path @ ..]) => {
            inner.change(usize::from(*slot), |child| replace(child, path, at, change))
        }
        (Node::Inner(_), []) => unreachable!("a path ends at a leaf"),
    };
    child.apply(&term);
    term
}

fn add<T: Item>(
    child: &mut Child<T>,
    path: &[u16],
    at: usize,
    item: T,
    summary: &T::Summary,
    shape: Shape,
) -> Option<Split<T>> {
    visit();
    let right = match (Arc::make_mut(&mut child.node), path) {
        (Node::Leaf(leaf), _) if leaf.items.len() < shape.leaf => {
            leaf.put(at, item);
            None
        }
        (Node::Leaf(leaf), _) => {
            // At the end: an author that appends is likely to continue, so leave a full leaf
            // behind.
            let middle = if at == leaf.items.len() { at } else { leaf.items.len() / 2 };
            let mut right = leaf.split(middle);
            if at < middle {
                leaf.put(at, item);
            } else {
                right.put(at - middle, item);
            }
            Some((right.items[0].handle(), Node::Leaf(right)))
        }
        (Node::Inner(inner), [slot, path @ ..]) => {
            let slot = usize::from(*slot);
            match inner.change(slot, |child| add(child, path, at, item, summary, shape)) {
                None => None,
                Some(right) => {
                    inner.put(slot, right);
                    let size = inner.children.len();
                    (size > shape.inner).then(|| {
                        // At the end: as above, but an inner node has two children or more.
                        let middle = if slot + 2 == size { size - 2 } else { size / 2 };
                        let (separator, right) = inner.split(middle);
                        (separator, Node::Inner(right))
                    })
                }
            }
        }
        (Node::Inner(_), []) => unreachable!("a path ends at a leaf"),
    };
    match right {
        None => {
            child.summary.add(summary);
            child.len += 1;
            None
        }
        Some((separator, right)) => {
            child.refresh();
            Some((separator, Child::new(Arc::new(right))))
        }
    }
}

fn take<T: Item>(
    child: &mut Child<T>,
    path: &[u16],
    at: usize,
    residue: impl FnOnce(&T::Summary) -> T::Summary,
    shape: Shape,
) -> (T, Term<T::Summary>) {
    visit();
    let (item, term) = match (Arc::make_mut(&mut child.node), path) {
        (Node::Leaf(leaf), _) => {
            let item = leaf.take(at);
            let old = item.summary();
            let new = residue(&old);
            leaf.residue.add(&new);
            (item, Term { old, new })
        }
        (Node::Inner(inner), [slot, path @ ..]) => {
            let slot = usize::from(*slot);
            let (item, term) = inner.change(slot, |child| take(child, path, at, residue, shape));
            inner.residue.add(&term.new);
            inner.settle(slot, shape);
            (item, term)
        }
        (Node::Inner(_), []) => unreachable!("a path ends at a leaf"),
    };
    child.len -= 1;
    child.apply(&term);
    (item, term)
}

impl<T: Item> Child<T> {
    fn apply(&mut self, term: &Term<T::Summary>) {
        if !self.summary.replace(&term.old, &term.new) {
            self.summary = self.node.sum();
        }
    }
}
