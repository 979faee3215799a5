//! Iterators over a span, in key order, from both ends.

use alloc::collections::VecDeque;
use core::cmp::Ordering;
use core::iter::FusedIterator;
use core::slice;

use super::Item;
use super::cost::visit;
use super::node::{Child, Node};
use super::span::{self, Edges, Part};

/// Items of a span; see [`Map::range`](super::Map::range).
#[derive(Clone)]
pub struct Iter<'a, T: Item> {
    front: slice::Iter<'a, T>,
    walk: Walk<'a, T>,
    back: slice::Iter<'a, T>,
}

/// Items of a span that were asked for; see [`Map::range_where`](super::Map::range_where).
#[derive(Clone)]
pub struct IterWhere<'a, T: Item, K> {
    iter: Iter<'a, T>,
    keep: K,
}

/// What of a span has not been entered yet, in order. Both ends take from it, and put back in parts
/// what they have taken and not used up, so they meet wherever they meet.
#[derive(Clone)]
pub(super) struct Walk<'a, T: Item> {
    runs: VecDeque<Run<'a, T>>,
}

#[derive(Clone)]
enum Run<'a, T: Item> {
    Children(slice::Iter<'a, Child<T>>),
    Items(slice::Iter<'a, T>),
}

impl<'a, T: Item> Iter<'a, T> {
    pub(super) fn new(walk: Walk<'a, T>) -> Self {
        Self { front: [].iter(), walk, back: [].iter() }
    }
}

impl<'a, T: Item> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(item) = self.front.next() {
                return Some(item);
            }
            match self.walk.next_items(&mut |_| true) {
                Some(items) => self.front = items,
                None => return self.back.next(),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.front.len() + self.back.len(), None)
    }
}

impl<T: Item> DoubleEndedIterator for Iter<'_, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.back.next_back() {
                return Some(item);
            }
            match self.walk.next_items_back(&mut |_| true) {
                Some(items) => self.back = items,
                None => return self.front.next_back(),
            }
        }
    }
}

impl<T: Item> FusedIterator for Iter<'_, T> {}

impl<'a, T: Item, K: FnMut(&T::Summary) -> bool> IterWhere<'a, T, K> {
    pub(super) fn new(walk: Walk<'a, T>, keep: K) -> Self {
        Self { iter: Iter::new(walk), keep }
    }
}

impl<'a, T: Item, K: FnMut(&T::Summary) -> bool> Iterator for IterWhere<'a, T, K> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        let Self { iter, keep } = self;
        loop {
            if let Some(item) = iter.front.find(|item| keep(&item.summary())) {
                return Some(item);
            }
            match iter.walk.next_items(keep) {
                Some(items) => iter.front = items,
                None => return iter.back.find(|item| keep(&item.summary())),
            }
        }
    }
}

impl<T: Item, K: FnMut(&T::Summary) -> bool> DoubleEndedIterator for IterWhere<'_, T, K> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let Self { iter, keep } = self;
        loop {
            if let Some(item) = iter.back.rfind(|item| keep(&item.summary())) {
                return Some(item);
            }
            match iter.walk.next_items_back(keep) {
                Some(items) => iter.back = items,
                None => return iter.front.rfind(|item| keep(&item.summary())),
            }
        }
    }
}

impl<T: Item, K: FnMut(&T::Summary) -> bool> FusedIterator for IterWhere<'_, T, K> {}

impl<'a, T: Item> Walk<'a, T> {
    pub(super) fn new(
        root: &'a Node<T>,
        edges: Edges,
        span: &impl Fn(&T::Key) -> Ordering,
    ) -> Self {
        let mut runs = VecDeque::new();
        span::parts(root, edges, span, &mut |part| match part {
            Part::Children(children) => runs.push_back(Run::Children(children.iter())),
            Part::Leaf(leaf, inside) if !inside.is_empty() => {
                runs.push_back(Run::Items(leaf.items[inside].iter()));
            }
            Part::Leaf(..) => {}
        });
        Self { runs }
    }

    /// The next items: of one leaf, or what of it lies inside the span.
    fn next_items(
        &mut self,
        keep: &mut impl FnMut(&T::Summary) -> bool,
    ) -> Option<slice::Iter<'a, T>> {
        loop {
            match self.runs.front_mut()? {
                Run::Items(items) => {
                    let items = items.clone();
                    self.runs.pop_front();
                    return Some(items);
                }
                Run::Children(children) => match children.find(|child| keep(&child.summary)) {
                    None => drop(self.runs.pop_front()),
                    Some(child) => match enter(child) {
                        Run::Items(items) => return Some(items),
                        children => self.runs.push_front(children),
                    },
                },
            }
        }
    }

    fn next_items_back(
        &mut self,
        keep: &mut impl FnMut(&T::Summary) -> bool,
    ) -> Option<slice::Iter<'a, T>> {
        loop {
            match self.runs.back_mut()? {
                Run::Items(items) => {
                    let items = items.clone();
                    self.runs.pop_back();
                    return Some(items);
                }
                Run::Children(children) => match children.rfind(|child| keep(&child.summary)) {
                    None => drop(self.runs.pop_back()),
                    Some(child) => match enter(child) {
                        Run::Items(items) => return Some(items),
                        children => self.runs.push_back(children),
                    },
                },
            }
        }
    }
}

fn enter<T: Item>(child: &Child<T>) -> Run<'_, T> {
    visit();
    match &*child.node {
        Node::Leaf(leaf) => Run::Items(leaf.items.iter()),
        Node::Inner(inner) => Run::Children(inner.children.iter()),
    }
}
