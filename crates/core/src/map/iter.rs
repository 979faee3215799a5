//! Iterators over a span, in key order, from both ends.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::hint::black_box;
use core::iter::FusedIterator;
use core::slice;

use super::Item;
use super::cost::visit;
use super::node::{Child, Node};
use super::span::{self, Edges, Part};

/// Who has taken so many items is likely to take them all; who wants to know whether there is one, or which
/// is the first, takes fewer.
const FIRST: usize = 4;

/// Nodes of one level that are opened together, at most.
const MOST: usize = 256;

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
    /// All that was left in the walk when it was gathered.
    gathered: VecDeque<&'a T>,
    /// How many came from either end before.
    taken: usize,
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
        Self { iter: Iter::new(walk), gathered: VecDeque::new(), taken: 0, keep }
    }

    /// Takes note of an item that one of the ends gives; from the fifth on all that are left are gathered,
    /// when they are few.
    fn took(&mut self, item: &'a T) -> &'a T {
        self.taken += 1;
        if self.taken == FIRST {
            self.gathered = self.iter.walk.gather(&mut self.keep).unwrap_or_default();
        }
        item
    }
}

impl<'a, T: Item, K: FnMut(&T::Summary) -> bool> Iterator for IterWhere<'a, T, K> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            let Self { iter, keep, gathered, .. } = self;
            if let Some(item) = iter.front.find(|item| keep(&item.summary())) {
                return Some(self.took(item));
            }
            if let Some(item) = gathered.pop_front() {
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
        loop {
            let Self { iter, keep, gathered, .. } = self;
            if let Some(item) = iter.back.rfind(|item| keep(&item.summary())) {
                return Some(self.took(item));
            }
            if let Some(item) = gathered.pop_back() {
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

    /// All items that are left and kept, in order, when they lie in few leaves; then nothing is left here.
    ///
    /// Found level by level, as in [`super::fetch`]: each leaf is behind a chain of reads from memory, and so
    /// the reads of all chains overlap.
    fn gather(&mut self, keep: &mut impl FnMut(&T::Summary) -> bool) -> Option<VecDeque<&'a T>> {
        let mut parts: Vec<Gather<'a, T>> = Vec::new();
        for run in &self.runs {
            match run {
                Run::Items(items) => parts.push(Gather::Items(items.clone())),
                Run::Children(children) => {
                    let children = children.clone().filter(|child| keep(&child.summary));
                    parts.extend(children.take(MOST + 1).map(Gather::Child));
                }
            }
        }
        while parts.iter().any(|part| matches!(part, Gather::Child(_))) {
            if parts.len() > MOST {
                return None;
            }
            for part in &parts {
                if let Gather::Child(child) = part {
                    black_box(child.node.size());
                }
            }
            let mut below = Vec::with_capacity(parts.len());
            for part in parts {
                match part {
                    Gather::Items(items) => below.push(Gather::Items(items)),
                    Gather::Child(child) => match enter(child) {
                        Run::Items(items) => below.push(Gather::Items(items)),
                        Run::Children(children) => {
                            let children = children.filter(|child| keep(&child.summary));
                            below.extend(children.map(Gather::Child));
                        }
                    },
                }
            }
            parts = below;
        }
        self.runs.clear();
        let items = parts.into_iter().flat_map(|part| match part {
            Gather::Items(items) => items,
            Gather::Child(_) => [].iter(),
        });
        Some(items.filter(|item| keep(&item.summary())).collect())
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

/// A part of what is being gathered: a child that has not been opened, or items.
enum Gather<'a, T: Item> {
    Child(&'a Child<T>),
    Items(slice::Iter<'a, T>),
}

fn enter<T: Item>(child: &Child<T>) -> Run<'_, T> {
    visit();
    match &*child.node {
        Node::Leaf(leaf) => Run::Items(leaf.items.iter()),
        Node::Inner(inner) => Run::Children(inner.children.iter()),
    }
}
