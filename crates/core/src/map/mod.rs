//! A summarized, ordered, copy-on-write B+tree map: the one true tree, as a data structure.
//!
//! Items lie in order in leaves. Every inner node keeps, for each child, the [`Summary`] of
//! everything below it. So a question about a contiguous range ("how many", "the highest revision",
//! "the digest") is answered without reading its items, and a search for what changed enters only
//! those nodes in which something changed. Nodes are shared by reference count: a clone of a map is
//! a snapshot. The next write copies only the nodes on its path, and only those that another map
//! still holds.
//!
//! # Layout
//!
//! - `mod.rs`: [`Map`], and what it requires of its content: [`Item`], [`Summary`]
//! - `node.rs`: leaves, inner nodes, and how they split
//! - `marks.rs`: how a search in a node reads one key instead of many
//! - `peaks.rs`: how a search for high revisions reads few cache lines of a node
//! - `fetch.rs`: bringing what several keys lead to into the caches, all at once
//! - `span.rs`: which parts of the tree a contiguous range is made of
//! - `iter.rs`: [`Iter`] and [`IterWhere`], both double-ended
//! - `edit.rs`: inserting, modifying and removing one item
//! - `join.rs`: joining neighbours that hold little
//! - `cut.rs`: removing a contiguous range, whole nodes at a time
//! - `build.rs`: building a map from items that are in order already
//! - `check.rs`: the invariants below, checked from scratch
//! - `cost.rs`: a count of visited nodes, for tests (feature `count-visits`)
//!
//! # Invariants
//!
//! 1. All leaves are equally deep. No leaf but the root is empty; no inner node has fewer than two
//!    children. No leaf holds more than `LEAF` items, no inner node more than `FANOUT` children.
//! 2. Keys strictly ascend. A separator lies above every key to its left, and at or below every key
//!    to its right; it need not be a key that is still present.
//! 3. What a node says about a child (its length, its summary) is what a walk through the child
//!    would find: the summaries of its items and the residues of its leaves.
//! 4. A key that was forgotten lies between the separators around a leaf whose residue covers it.
//! 5. A node that can be reached from two maps is never written.
//! 6. The marks of a node are those of its keys: of the items of a leaf, of the separators of an
//!    inner node. (This holds if keys have letters, see [`Item::SPELLED`].) The peaks of a node are
//!    those of its items, or of the summaries of its children.
//!
//! # Costs
//!
//! `n` items, `h` = height, about log(n) to the base 11; `k` = items found or removed.
//!
//! | operation | nodes visited |
//! |---|---|
//! | [`Map::clone`], [`Map::len`], [`Map::summary`] | 0 |
//! | [`Map::get`]; [`Map::fetch`], for each key | `h` |
//! | [`Map::insert`], [`Map::modify`], [`Map::upsert_at`] (a hint saves the search), [`Map::remove`], [`Map::forget`] | `2h`, and a few at a split or a join |
//! | [`Map::span_summary`] | at most `2h` |
//! | [`Map::range`] | at most `2h`, and the leaves that are really read |
//! | [`Map::range_where`], [`Map::range_above`] | at most `2h + k * h`, and 256 on each level |
//! | [`Map::remove_span`] | O(`h`²), and one for each subtree freed whole |
//!
//! A write to a node that a snapshot holds copies that node: at most `h` nodes a write.
//!
//! # Sources
//!
//! - R. Bayer, E. McCreight, *Organization and Maintenance of Large Ordered Indices*, 1972; the B+
//!   variant as in D. Comer, *The Ubiquitous B-Tree*, 1979.
//! - R. Hinze, R. Paterson, *Finger Trees: A Simple General-purpose Data Structure*, 2006: a monoid
//!   cached in every inner node, and predicates that are monotone along the sequence.
//! - O. Rodeh, *B-trees, Shadowing, and Clones*, 2008 (btrfs), and LMDB: copy the path, share the
//!   rest.

mod build;
mod check;
mod cost;
mod cut;
mod edit;
mod fetch;
mod iter;
mod join;
mod marks;
mod node;
mod peaks;
mod span;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;

#[cfg(feature = "count-visits")]
pub use cost::{reset_visits, visits};
pub use fetch::Hint;
pub use iter::{Iter, IterWhere};

use iter::Walk;
use node::{Child, Node, Shape};
use span::{Edges, Part};

/// The most items in a leaf.
///
/// With a million items of 80 bytes inserted at random, 32 costs 20 bytes an item beyond the item
/// itself, and 64 costs 11. But a write under a snapshot copies the leaf, and touches two reference
/// counts for each item in it.
pub const LEAF: usize = 32;

/// The most children of an inner node.
///
/// In the same measurement 32 made the tree one level lower and lookups no faster beyond the noise,
/// and there is twice as much to add up for a summary, and to copy under a snapshot.
pub const FANOUT: usize = 16;

/// One item of a [`Map`]: it has a key, and contributes to the summaries above it.
pub trait Item: Clone {
    /// The type of keys, by which items are ordered.
    type Key: Ord + ?Sized;
    /// An owned key that is cheap to clone, such as `Arc<str>`: inner nodes keep one for each
    /// child, so that a descent compares without touching the children it does not enter.
    type Handle: Clone + Borrow<Self::Key>;
    /// What the inner nodes keep about the items below them.
    type Summary: Summary;

    /// Returns the key. It must not change while the item is in a map.
    fn key(&self) -> &Self::Key;
    /// Returns the same key, owned.
    fn handle(&self) -> Self::Handle;
    /// Returns what this item adds to the summaries above it.
    fn summary(&self) -> Self::Summary;

    /// Whether keys are words of fewer than 65,535 letters, ordered by the first letter in which
    /// they differ. If so, a search for a key fetches one key of each node instead of many.
    const SPELLED: bool = false;

    /// Returns the letter of a key at this place. Behind the last letter, and only there, it is 0.
    fn letter(key: &Self::Key, place: usize) -> u8 {
        let _ = (key, place);
        0
    }

    /// Reads, with [`core::hint::black_box`], what [`Map::fetch`] is to bring into the caches:
    /// everything that a change of this item reads and that is not stored in the item itself. Does
    /// nothing by default.
    fn touch(&self) {}

    /// Returns [`Summary::peak`] of this item's summary.
    fn peak(&self) -> u64 {
        self.summary().peak()
    }

    /// Returns the first place at which two keys have different letters; if they are equal, the
    /// place where both end.
    fn parting(one: &Self::Key, other: &Self::Key) -> usize {
        let _ = (one, other);
        0
    }
}

/// A commutative monoid: [`Default`] is its identity, [`Summary::add`] its operation.
pub trait Summary: Clone + Default {
    /// Adds another summary to this one. Must be associative and commutative.
    fn add(&mut self, other: &Self);

    /// Returns what stays in the range when an item is forgotten rather than removed (see
    /// [`Map::forget`]).
    ///
    /// Adding a residue twice must be the same as adding it once (a maximum, a flag, a set; not a
    /// count or a digest), because a leaf that splits leaves its residue with both halves. Empty by
    /// default.
    fn residue(&self) -> Self {
        Self::default()
    }

    /// Returns a number such that the peak of a sum is the maximum of the peaks of its terms. Nodes
    /// keep the peaks of what they hold side by side, so that [`Map::range_above`] reads little to
    /// find what is high. 0 by default.
    fn peak(&self) -> u64 {
        0
    }

    /// Replaces one term, `old`, of this sum by `new`, and returns true. If the result cannot be
    /// told from the sum alone (`old` may have been the maximum), leaves the sum as it was and
    /// returns false. Then the node is added up anew: 32 items in a leaf, 16 children elsewhere.
    ///
    /// This is only an optimization. Returns false by default.
    fn replace(&mut self, old: &Self, new: &Self) -> bool {
        let _ = (old, new);
        false
    }
}

/// What [`Map::remove_span`] has removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed<S> {
    /// The number of items.
    pub count: usize,
    /// The sum of their summaries, and of the residues in the nodes that were freed whole. It is
    /// exact where residues add nothing (counts, digests), and an upper bound where they do
    /// (maxima).
    pub summary: S,
}

/// An ordered map of items, summarized at every level; see the [module](self) for its costs.
///
/// A *span* is a contiguous range of keys. It is given by a function that places any key: `Less`
/// when the key lies before the span, `Equal` inside, `Greater` behind. The function must be
/// monotone: it must never fall as keys ascend. "At or under this path" and "above this key" are
/// monotone. With a function that is not, the answers are about some part of the map, but nothing
/// panics and no invariant breaks.
///
/// `LEAF` and `FANOUT` are the capacities of nodes, at least 4. Only tests have reason to choose
/// others.
pub struct Map<T: Item, const LEAF: usize = { self::LEAF }, const FANOUT: usize = { self::FANOUT }>
{
    root: Child<T>,
}

impl<T: Item> Map<T> {
    /// Returns an empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<T: Item, const LEAF: usize, const FANOUT: usize> Map<T, LEAF, FANOUT> {
    const SHAPE: Shape = {
        assert!(LEAF >= 4 && FANOUT >= 4, "a node must be able to split into two of two");
        assert!(LEAF <= marks::MOST && FANOUT <= marks::MOST, "a node has marks for so many keys");
        Shape { leaf: LEAF, inner: FANOUT }
    };

    /// Returns a map of items whose keys strictly ascend. Every key range has `residue` as its
    /// residue (see [`Map::forget`]). O(n): several times faster than inserting the items.
    ///
    /// If the items are not in order, later lookups fail; only a debug build panics at once.
    pub fn from_sorted(items: impl IntoIterator<Item = T>, residue: &T::Summary) -> Self {
        Self { root: build::build(items, Self::SHAPE, residue) }
    }

    /// Returns the number of items. O(1).
    #[must_use]
    pub fn len(&self) -> usize {
        self.root.len
    }

    /// Returns true if there are no items. O(1). There may still be a residue.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.len == 0
    }

    /// Returns the summary of all items and residues. O(1).
    #[must_use]
    pub fn summary(&self) -> T::Summary {
        self.root.summary.clone()
    }

    /// Returns the number of levels: 1 for a single leaf. O(height).
    #[must_use]
    pub fn height(&self) -> usize {
        self.root.node.height()
    }

    /// Returns the item with this key. O(log n).
    #[must_use]
    pub fn get(&self, key: &T::Key) -> Option<&T> {
        self.root.node.get(key)
    }

    /// Returns true if there is an item with this key. O(log n).
    #[must_use]
    pub fn contains(&self, key: &T::Key) -> bool {
        self.get(key).is_some()
    }

    /// Brings what these keys lead to into the processor's caches, so that the next operations on
    /// them do not wait for memory. O(log n) for each key, but all of them wait together: on a map
    /// that is much larger than the caches this is several times faster than one search after the
    /// other.
    ///
    /// This is only an optimization, and only for keys that are [spelled](Item::SPELLED). Give it
    /// some dozens of keys at a time: what is not used soon is evicted from the caches again.
    ///
    /// Returns a hint for each key, with which [`Map::upsert_at`] does not have to search again.
    pub fn fetch<'a>(&'a self, keys: impl IntoIterator<Item = &'a T::Key>) -> Vec<Hint>
    where
        T::Key: 'a,
    {
        fetch::fetch(&self.root.node, keys.into_iter())
    }

    /// Inserts an item, and returns the item with the same key that it replaces. O(log n).
    ///
    /// Items that are inserted at the end of a leaf leave full leaves behind them, so loading in
    /// ascending order (of the whole map, or within any subtree) wastes no space.
    pub fn insert(&mut self, item: T) -> Option<T> {
        edit::insert(&mut self.root, Self::SHAPE, item)
    }

    /// Lets `change` modify the item with this key in place, and returns true. If there is none,
    /// returns false and copies no node. O(log n).
    ///
    /// The key must not change. If `change` panics, the item is as `change` left it but the
    /// summaries are not updated yet: discard the map, or go back to a snapshot.
    pub fn modify(&mut self, key: &T::Key, change: impl FnOnce(&mut T)) -> bool {
        edit::modify(&mut self.root, key, change)
    }

    /// Does what [`Map::modify`] does; but if there is no item with this key, one is `made`,
    /// changed and inserted. Returns whether the item was there. It takes one search either way,
    /// and none with a good hint from [`Map::fetch`]. A hint that is old or of another map costs
    /// only its check.
    pub fn upsert_at(
        &mut self,
        hint: Hint,
        key: &T::Key,
        made: impl FnOnce() -> T,
        change: impl FnOnce(&mut T),
    ) -> bool {
        edit::upsert(&mut self.root, Self::SHAPE, (hint, key), made, change)
    }

    /// Removes the item with this key, and returns it. O(log n). If there is none, no node is
    /// copied.
    pub fn remove(&mut self, key: &T::Key) -> Option<T> {
        edit::remove(&mut self.root, Self::SHAPE, key, |_| T::Summary::default())
    }

    /// Removes the item with this key, and returns it, but leaves its [`Summary::residue`] in the
    /// range. O(log n).
    ///
    /// The residue stays with the leaf that held the item. From then on it is part of the summary
    /// of every span that touches the keys for which this leaf is responsible. It does not stay
    /// with the key: when leaves join, the residue covers both; when a leaf splits, it goes to both
    /// halves; and nothing removes it. So it is sound for "may have" ("an entry deleted at revision
    /// 70 or below may have been here"), never for counts.
    pub fn forget(&mut self, key: &T::Key) -> Option<T> {
        edit::remove(&mut self.root, Self::SHAPE, key, Summary::residue)
    }

    /// Removes every item of a span. O(log n + removed). Nodes that lie wholly inside the span are
    /// freed without reading what is below them. Residues inside the span stay, with a neighbour.
    pub fn remove_span(&mut self, span: impl Fn(&T::Key) -> Ordering) -> Removed<T::Summary> {
        cut::remove_span(&mut self.root, Self::SHAPE, &span)
    }

    /// Returns the summary of a span: of its items, and of the residues of all leaves whose keys it
    /// touches, including the two at its edges that are partly outside. O(log n).
    #[must_use]
    pub fn span_summary(&self, span: impl Fn(&T::Key) -> Ordering) -> T::Summary {
        let mut sum = T::Summary::default();
        span::parts(&self.root.node, Edges::OPEN, &span, &mut |part| match part {
            Part::Children(inner, whole) => {
                inner.children[whole].iter().for_each(|child| sum.add(&child.summary));
            }
            Part::Leaf(leaf, inside) => {
                sum.add(&leaf.residue);
                leaf.items[inside].iter().for_each(|item| sum.add(&item.summary()));
            }
        });
        sum
    }

    /// Returns all items in key order, from both ends.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, T> {
        Iter::new(Walk::new(&self.root.node, Edges::CLOSED, &|_: &T::Key| Ordering::Equal))
    }

    /// Returns the items of a span in key order, from both ends. O(log n), then O(1) an item.
    #[must_use]
    pub fn range(&self, span: impl Fn(&T::Key) -> Ordering) -> Iter<'_, T> {
        Iter::new(Walk::new(&self.root.node, Edges::OPEN, &span))
    }

    /// Returns the items of a span whose own summary `keep` accepts, in key order, from both ends.
    /// Nodes whose summary `keep` does not accept are not entered: O(log n), then O(log n) for each
    /// item found. Once some items have been taken, the others are found all together if they are
    /// few.
    ///
    /// `keep` must be monotone: if it accepts a summary it accepts every sum that has that summary
    /// as a term. "The highest revision is above 70" is monotone.
    #[must_use]
    pub fn range_where<K: FnMut(&T::Summary) -> bool>(
        &self,
        span: impl Fn(&T::Key) -> Ordering,
        keep: K,
    ) -> IterWhere<'_, T, K> {
        IterWhere::new(Walk::new(&self.root.node, Edges::OPEN, &span), 0, keep)
    }

    /// Does what [`Map::range_where`] does, for the items whose [peak](Summary::peak) is above
    /// `level`. All others are passed over without being read.
    #[must_use]
    pub fn range_above<K: FnMut(&T::Summary) -> bool>(
        &self,
        span: impl Fn(&T::Key) -> Ordering,
        level: u64,
        keep: K,
    ) -> IterWhere<'_, T, K> {
        let walk = match level.checked_add(1) {
            Some(_) => Walk::new(&self.root.node, Edges::OPEN, &span),
            None => Walk::default(),
        };
        IterWhere::new(walk, level.saturating_add(1), keep)
    }
}

impl<T: Item, const LEAF: usize, const FANOUT: usize> Map<T, LEAF, FANOUT>
where
    T::Summary: PartialEq + fmt::Debug,
{
    /// Checks every invariant of the [module](self), adding up every summary from scratch. O(n).
    /// For tests.
    ///
    /// # Panics
    ///
    /// If an invariant does not hold.
    pub fn check_invariants(&self) {
        check::check(&self.root, Self::SHAPE);
    }
}

/// Makes a snapshot, in O(1): it shares all nodes, and the next write to either map copies its
/// path.
impl<T: Item, const LEAF: usize, const FANOUT: usize> Clone for Map<T, LEAF, FANOUT> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone() }
    }
}

impl<T: Item, const LEAF: usize, const FANOUT: usize> Default for Map<T, LEAF, FANOUT> {
    fn default() -> Self {
        Self { root: Child::new(Arc::new(Node::empty())) }
    }
}

impl<T: Item + fmt::Debug, const LEAF: usize, const FANOUT: usize> fmt::Debug
    for Map<T, LEAF, FANOUT>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl<T: Item, const LEAF: usize, const FANOUT: usize> FromIterator<T> for Map<T, LEAF, FANOUT> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut map = Self::default();
        map.extend(items);
        map
    }
}

impl<T: Item, const LEAF: usize, const FANOUT: usize> Extend<T> for Map<T, LEAF, FANOUT> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        for item in items {
            self.insert(item);
        }
    }
}

impl<'a, T: Item, const LEAF: usize, const FANOUT: usize> IntoIterator
    for &'a Map<T, LEAF, FANOUT>
{
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
