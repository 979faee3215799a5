//! Iterators over a span, in key order, from both ends.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::hint::black_box;
use core::iter::FusedIterator;
use core::ops::Range;
use core::slice;

use super::Item;
use super::cost::visit;
use super::node::{Child, Inner, Leaf, Node};
use super::peaks::Peaks;
use super::span::{self, Edges, Part};

/// Once this many items were taken, the caller is likely to take them all. A caller that wants to
/// know whether there is an item, or which is the first, takes fewer.
const FIRST: usize = 4;

/// The most nodes of one level that are opened together.
const MOST: usize = 256;

/// The items of a span; see [`Map::range`](super::Map::range).
#[derive(Clone)]
pub struct Iter<'a, T: Item> {
    front: slice::Iter<'a, T>,
    walk: Walk<'a, T>,
    back: slice::Iter<'a, T>,
}

/// The items of a span that meet a condition; see [`Map::range_where`](super::Map::range_where) and
/// [`Map::range_above`](super::Map::range_above).
#[derive(Clone)]
pub struct IterWhere<'a, T: Item, K> {
    front: Row<'a, T>,
    walk: Walk<'a, T>,
    back: Row<'a, T>,
    /// All items that were left in the walk when they were gathered.
    gathered: VecDeque<&'a T>,
    /// How many items came from either end before that.
    taken: usize,
    asked: Asked<K>,
}

/// The condition: at least this peak, and accepted by `keep`.
#[derive(Clone)]
struct Asked<K> {
    peak: u64,
    keep: K,
}

/// The part of a span that has not been entered yet, in order. Both ends take runs from it, and put
/// back the part of a run that they have not used up. So they may meet anywhere.
#[derive(Clone)]
pub(super) struct Walk<'a, T: Item> {
    runs: VecDeque<Run<'a, T>>,
}

#[derive(Clone)]
enum Run<'a, T: Item> {
    Children(Row<'a, Child<T>>),
    Items(Row<'a, T>),
}

/// Adjacent elements of a node, with their peaks.
#[derive(Clone)]
struct Row<'a, E> {
    elements: slice::Iter<'a, E>,
    peaks: slice::Iter<'a, u64>,
}

impl<'a, E> Row<'a, E> {
    fn empty() -> Self {
        Self { elements: [].iter(), peaks: [].iter() }
    }

    fn new(elements: &'a [E], peaks: &'a Peaks, range: Range<usize>) -> Self {
        let peaks = &peaks.first(elements.len())[range.clone()];
        Self { elements: elements[range].iter(), peaks: peaks.iter() }
    }

    /// Returns the next element with at least this peak that `keep` accepts.
    fn find(&mut self, least: u64, mut keep: impl FnMut(&E) -> bool) -> Option<&'a E> {
        loop {
            let Some(skipped) = self.peaks.position(|&peak| peak >= least) else {
                self.elements = [].iter();
                return None;
            };
            let element = self.elements.nth(skipped)?;
            if keep(element) {
                return Some(element);
            }
        }
    }

    /// Does what [`Row::find`] does, from the other end.
    fn rfind(&mut self, least: u64, mut keep: impl FnMut(&E) -> bool) -> Option<&'a E> {
        loop {
            let Some(left) = self.peaks.rposition(|&peak| peak >= least) else {
                self.elements = [].iter();
                return None;
            };
            let element = self.elements.nth_back(self.elements.len() - 1 - left)?;
            if keep(element) {
                return Some(element);
            }
        }
    }
}

impl<T: Item> Run<'_, T> {
    /// Returns all items of a leaf, or all children of an inner node.
    fn of(node: &Node<T>) -> Run<'_, T> {
        match node {
            Node::Leaf(leaf) => Run::of_leaf(leaf, 0..leaf.items.len()),
            Node::Inner(inner) => Run::of_inner(inner, 0..inner.children.len()),
        }
    }

    fn of_leaf(leaf: &Leaf<T>, inside: Range<usize>) -> Run<'_, T> {
        Run::Items(Row::new(&leaf.items, &leaf.peaks, inside))
    }

    fn of_inner(inner: &Inner<T>, whole: Range<usize>) -> Run<'_, T> {
        Run::Children(Row::new(&inner.children, &inner.peaks, whole))
    }
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
            match self.walk.next_items(&mut Asked::all()) {
                Some(items) => self.front = items.elements,
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
            match self.walk.next_items_back(&mut Asked::all()) {
                Some(items) => self.back = items.elements,
                None => return self.front.next_back(),
            }
        }
    }
}

impl<T: Item> FusedIterator for Iter<'_, T> {}

impl<'a, T: Item, K: FnMut(&T::Summary) -> bool> IterWhere<'a, T, K> {
    /// Iterates over the items of the walk that have at least this peak and that `keep` accepts.
    pub(super) fn new(walk: Walk<'a, T>, peak: u64, keep: K) -> Self {
        let (front, back) = (Row::empty(), Row::empty());
        let asked = Asked { peak, keep };
        Self { front, walk, back, gathered: VecDeque::new(), taken: 0, asked }
    }

    /// Notes that one of the ends has taken an item. At the fourth item all that are left are
    /// gathered, if they are few.
    fn took(&mut self, item: &'a T) -> &'a T {
        self.taken += 1;
        if self.taken == FIRST {
            self.gathered = self.walk.gather(&mut self.asked).unwrap_or_default();
        }
        item
    }
}

impl<'a, T: Item, K: FnMut(&T::Summary) -> bool> Iterator for IterWhere<'a, T, K> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(item) = self.asked.next_item(&mut self.front) {
                return Some(self.took(item));
            }
            if let Some(item) = self.gathered.pop_front() {
                return Some(item);
            }
            match self.walk.next_items(&mut self.asked) {
                Some(items) => self.front = items,
                None => return self.asked.next_item(&mut self.back),
            }
        }
    }
}

impl<T: Item, K: FnMut(&T::Summary) -> bool> DoubleEndedIterator for IterWhere<'_, T, K> {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.asked.last_item(&mut self.back) {
                return Some(self.took(item));
            }
            if let Some(item) = self.gathered.pop_back() {
                return Some(item);
            }
            match self.walk.next_items_back(&mut self.asked) {
                Some(items) => self.back = items,
                None => return self.asked.last_item(&mut self.front),
            }
        }
    }
}

impl<S> Asked<fn(&S) -> bool> {
    fn all() -> Self {
        Self { peak: 0, keep: |_| true }
    }
}

impl<K> Asked<K> {
    fn next_item<'a, T: Item>(&mut self, row: &mut Row<'a, T>) -> Option<&'a T>
    where
        K: FnMut(&T::Summary) -> bool,
    {
        row.find(self.peak, |item| (self.keep)(&item.summary()))
    }

    fn last_item<'a, T: Item>(&mut self, row: &mut Row<'a, T>) -> Option<&'a T>
    where
        K: FnMut(&T::Summary) -> bool,
    {
        row.rfind(self.peak, |item| (self.keep)(&item.summary()))
    }

    fn next_child<'a, T: Item>(&mut self, row: &mut Row<'a, Child<T>>) -> Option<&'a Child<T>>
    where
        K: FnMut(&T::Summary) -> bool,
    {
        row.find(self.peak, |child| (self.keep)(&child.summary))
    }

    fn last_child<'a, T: Item>(&mut self, row: &mut Row<'a, Child<T>>) -> Option<&'a Child<T>>
    where
        K: FnMut(&T::Summary) -> bool,
    {
        row.rfind(self.peak, |child| (self.keep)(&child.summary))
    }
}

impl<T: Item, K: FnMut(&T::Summary) -> bool> FusedIterator for IterWhere<'_, T, K> {}

impl<T: Item> Default for Walk<'_, T> {
    fn default() -> Self {
        Self { runs: VecDeque::new() }
    }
}

impl<'a, T: Item> Walk<'a, T> {
    pub(super) fn new(
        root: &'a Node<T>,
        edges: Edges,
        span: &impl Fn(&T::Key) -> Ordering,
    ) -> Self {
        let mut runs = VecDeque::new();
        span::parts(root, edges, span, &mut |part| match part {
            Part::Children(inner, whole) => runs.push_back(Run::of_inner(inner, whole)),
            Part::Leaf(leaf, inside) if !inside.is_empty() => {
                runs.push_back(Run::of_leaf(leaf, inside));
            }
            Part::Leaf(..) => {}
        });
        Self { runs }
    }

    /// Takes all items that are left and meet the condition, in order, if they lie in few leaves.
    /// Then nothing is left in the walk.
    ///
    /// They are found level by level, as in [`super::fetch`]: each leaf is at the end of a chain of
    /// reads from memory, and this way the reads of all chains overlap.
    fn gather<K>(&mut self, asked: &mut Asked<K>) -> Option<VecDeque<&'a T>>
    where
        K: FnMut(&T::Summary) -> bool,
    {
        let mut parts: Vec<Gather<'a, T>> = Vec::new();
        for run in &self.runs {
            open(run.clone(), asked, &mut parts);
        }
        loop {
            if parts.len() > MOST {
                return None;
            }
            if !parts.iter().any(|part| matches!(part, Gather::Child(_))) {
                break;
            }
            for part in &parts {
                if let Gather::Child(child) = part {
                    touch(&child.node);
                }
            }
            let mut below = Vec::with_capacity(parts.len());
            for part in parts {
                match part {
                    Gather::Items(items) => below.push(Gather::Items(items)),
                    Gather::Child(child) => open(enter(child), asked, &mut below),
                }
            }
            parts = below;
        }
        self.runs.clear();
        let mut found = VecDeque::with_capacity(parts.len());
        for part in parts {
            if let Gather::Items(mut items) = part {
                while let Some(item) = asked.next_item(&mut items) {
                    found.push_back(item);
                }
            }
        }
        for item in &found {
            black_box(T::letter(item.key(), 0));
            item.touch();
        }
        Some(found)
    }

    /// Returns the next items: those of one leaf that lie inside the span.
    fn next_items<K>(&mut self, asked: &mut Asked<K>) -> Option<Row<'a, T>>
    where
        K: FnMut(&T::Summary) -> bool,
    {
        loop {
            match self.runs.front_mut()? {
                Run::Items(items) => {
                    let items = items.clone();
                    self.runs.pop_front();
                    return Some(items);
                }
                Run::Children(children) => match asked.next_child(children) {
                    None => drop(self.runs.pop_front()),
                    Some(child) => match enter(child) {
                        Run::Items(items) => return Some(items),
                        children => self.runs.push_front(children),
                    },
                },
            }
        }
    }

    fn next_items_back<K>(&mut self, asked: &mut Asked<K>) -> Option<Row<'a, T>>
    where
        K: FnMut(&T::Summary) -> bool,
    {
        loop {
            match self.runs.back_mut()? {
                Run::Items(items) => {
                    let items = items.clone();
                    self.runs.pop_back();
                    return Some(items);
                }
                Run::Children(children) => match asked.last_child(children) {
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
    Items(Row<'a, T>),
}

/// Adds the items of a run, or those of its children that meet the condition. It stops adding
/// children once there are too many to gather.
fn open<'a, T: Item, K>(run: Run<'a, T>, asked: &mut Asked<K>, parts: &mut Vec<Gather<'a, T>>)
where
    K: FnMut(&T::Summary) -> bool,
{
    match run {
        Run::Items(items) => parts.push(Gather::Items(items)),
        Run::Children(mut children) => {
            while parts.len() <= MOST
                && let Some(child) = asked.next_child(&mut children)
            {
                parts.push(Gather::Child(child));
            }
        }
    }
}

/// Reads something of each cache line of a node that a search by peaks reads.
fn touch<T: Item>(node: &Node<T>) {
    let (Node::Leaf(Leaf { peaks, .. }) | Node::Inner(Inner { peaks, .. })) = node;
    peaks.touch_all(node.size());
}

fn enter<T: Item>(child: &Child<T>) -> Run<'_, T> {
    visit();
    Run::of(&child.node)
}
