//! The tree at one revision. All reads go through it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;

use onetree_protocol::frame::List;
use onetree_protocol::{
    Act, Change, Codec, Depth, Digest, DigestKey, Epoch, Path, Revision, Value, View,
};

use crate::map::Map;
use crate::settings::Settings;
use crate::slot::{Slot, Summary};
use crate::sync::{Walk, trims};

/// The tree at one revision, immutable. O(1) to take and to clone. A snapshot that is kept holds
/// the memory of what has changed since.
#[derive(Clone, Debug)]
pub struct Snapshot {
    settings: Arc<Settings>,
    rev: Revision,
    horizon: Revision,
    tree: Map<Slot>,
}

impl Snapshot {
    pub(crate) fn new(
        settings: &Arc<Settings>,
        rev: Revision,
        horizon: Revision,
        tree: Map<Slot>,
    ) -> Snapshot {
        Snapshot { settings: settings.clone(), rev, horizon, tree }
    }

    pub(crate) fn tree(&self) -> &Map<Slot> {
        &self.tree
    }

    /// Returns the epoch: the history that the revisions count in.
    pub fn epoch(&self) -> Epoch {
        self.settings.epoch
    }

    /// Returns the revision of this snapshot.
    pub fn rev(&self) -> Revision {
        self.rev
    }

    /// Returns the horizon: the oldest revision from which deletes are still remembered.
    pub fn horizon(&self) -> Revision {
        self.horizon
    }

    /// Returns the key of the digests.
    pub fn digest_key(&self) -> DigestKey {
        self.settings.digest_key
    }

    /// Returns the entry at `path`, as a put; `None` if there is none. O(log n).
    pub fn get(&self, path: &Path) -> Option<Change> {
        self.tree.get(path)?.entry(true)
    }

    /// Returns the entries at and under `base`, in path order, as references into the tree: nothing
    /// is copied. O(log n), then O(1) for each entry.
    pub fn entries<'a>(
        &'a self,
        base: &Path,
    ) -> impl DoubleEndedIterator<Item = (&'a Path, Revision, &'a Value)> + use<'a> {
        let slots = self.tree.range(|path: &Path| base.place(path));
        slots.filter_map(|slot| Some((&slot.path, slot.rev, slot.value.as_ref()?)))
    }

    /// Returns the summary of everything at and under `base`. O(log n).
    pub fn summary(&self, base: &Path) -> Summary {
        if base.is_root() {
            return self.tree.summary();
        }
        self.tree.span_summary(|path: &Path| base.place(path))
    }

    /// Returns the highest revision of anything that happened at or under `path`, including
    /// deletes, and drops and trims of a path above. From one snapshot to the next it never goes
    /// down. Where tombstones have been compacted, it may be the revision of a neighbour's delete,
    /// which is then at or below the horizon. O(log n) for each segment.
    pub fn touched(&self, path: &Path) -> Revision {
        let summary = self.summary(path);
        let gone = |slot: &Slot| match slot.trimmed() {
            Some((rev, to)) if trims(&slot.path, to, path) => rev.max(slot.dropped()),
            _ => slot.dropped(),
        };
        let above = self.above(path).map(gone).max().unwrap_or_default();
        let known = summary.highest_rev.max(summary.highest_delete_rev).max(above);
        if known >= self.horizon {
            // What has been compacted was not above the horizon, so it cannot be higher.
            return known;
        }
        // A mark above `path` that has been compacted left its revision behind at the place where
        // it stood.
        let stood = |above: &str| {
            let above = Path::parse(above).ok().filter(|above| above != path)?;
            Some(self.tree.span_summary(|other: &Path| other.cmp(&above)).highest_delete_rev)
        };
        let compacted = path.prefixes().filter_map(stood).max().unwrap_or_default();
        known.max(compacted.min(self.horizon))
    }

    /// Returns the slots at the paths above `path`, the root first.
    pub(crate) fn above<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Slot> {
        let above = path.prefixes().filter(move |prefix| *prefix != path.as_str());
        above
            .filter_map(|prefix| Path::parse(prefix).ok())
            .filter_map(|prefix| self.tree.get(&prefix))
    }

    /// Returns the digest that every mirror of `view` must have at this revision.
    ///
    /// For a subtree this costs O(log n). Any other view is walked. If that takes more than `scan`
    /// slots (counted as for [`FeedLimits::turn_slots`](crate::FeedLimits::turn_slots)) the result
    /// is `None`. The slots that were walked are subtracted from `scan`.
    ///
    /// A view with a `tail` has no digest: its content depends on when the mirror was last
    /// refreshed.
    pub fn digest(&self, view: &View, scan: &mut usize) -> Option<Digest> {
        if view.tail.is_some() {
            return None;
        }
        if view.is_subtree() {
            return Some(self.summary(&view.base).digest());
        }
        let mut digest = Digest::default();
        self.count(view, &mut None, &mut digest, scan).then_some(digest)
    }

    /// Adds to `digest` the entries of a view behind `after` that lie in the next `scan` slots, and
    /// subtracts the slots that were looked at from `scan`. False: there are more entries, behind
    /// the new value of `after`.
    pub(crate) fn count(
        &self,
        view: &View,
        after: &mut Option<Path>,
        digest: &mut Digest,
        scan: &mut usize,
    ) -> bool {
        let mut walk = Walk::new(self, view, None, after.as_ref(), *scan);
        while let Some(slot) = walk.next_entry() {
            digest.add(&crate::map::Item::summary(slot).digest());
        }
        let left = walk.left();
        if let (None, Some(passed)) = (left, walk.passed()) {
            *after = Some(passed.clone());
        }
        *scan = left.unwrap_or_default();
        left.is_some()
    }

    /// Returns a page of the entries at and under `page.path`, and whether there are more behind
    /// it.
    ///
    /// A page has at most `entries` entries, and ends once their bytes pass `bytes`, but has at
    /// least one. With direct children, a child without a value that has something below it is
    /// included, at revision 0. Cost: what is returned, times O(log n) for direct children.
    pub fn list(&self, page: &List, bytes: usize, entries: usize) -> (Vec<Change>, bool) {
        if page.depth == Depth::Entry {
            let shown = within(page, None, None, &page.path) == Ordering::Equal;
            let own = self.tree.get(&page.path).filter(|_| shown);
            return (own.and_then(|slot| slot.entry(page.values)).into_iter().collect(), false);
        }
        let most = if page.limit == 0 { entries } else { entries.min(page.limit as usize) };
        let mut found: Vec<Change> = Vec::new();
        let mut size = 0;
        // The page may end below one of the direct children. That child lies before the end, so it
        // belongs to the page.
        let before = page.before.as_ref().filter(|_| page.depth == Depth::Children);
        let last = before.and_then(|before| {
            let mut below = page.path.below(before)?;
            let (child, _) = (below.next()?, below.next()?);
            page.path.child(child).ok()
        });
        // The far edge moves with each entry taken. With direct children, what is below them is
        // skipped.
        let mut edge: Option<Path> = None;
        loop {
            let place = |path: &Path| within(page, last.as_ref(), edge.as_ref(), path);
            let next = if page.depth == Depth::Tree {
                let mut more = false;
                let mut each = |slot: &Slot| {
                    let Some(change) = slot.entry(page.values) else { return true };
                    if found.len() >= most || (size >= bytes && !found.is_empty()) {
                        more = true;
                        return false;
                    }
                    size += Codec::size_hint(&change);
                    found.push(change);
                    true
                };
                let range = self.tree.range_where(place, |summary: &Summary| summary.live > 0);
                if page.reverse {
                    let _ = range.rev().all(&mut each);
                } else {
                    let _ = { range }.all(&mut each);
                }
                return (found, more);
            } else {
                let mut range = self.tree.range_where(place, |summary: &Summary| summary.live > 0);
                if page.reverse { range.next_back() } else { range.next() }
            };
            let Some(slot) = next else { return (found, false) };
            // The direct child (or the top) that this slot is, or is below of.
            let below = page.path.below(&slot.path).and_then(|mut segments| segments.next());
            let child = below.map_or_else(|| Ok(page.path.clone()), |name| page.path.child(name));
            let Ok(child) = child else { return (found, false) };
            let entry = self.tree.get(&child).and_then(|slot| slot.entry(page.values));
            // A child without a value that has something below it: revision 0 says that it has no
            // entry.
            let glue = || Change { path: child.clone(), rev: Revision::ZERO, act: Act::Put(None) };
            let change = entry.or_else(|| (child != page.path).then(glue));
            let shown = within(page, None, None, &child) == Ordering::Equal;
            if let Some(change) = change.filter(|_| shown) {
                if found.len() >= most || (size >= bytes && !found.is_empty()) {
                    return (found, true);
                }
                size += Codec::size_hint(&change);
                found.push(change);
            }
            edge = Some(child);
        }
    }
}

/// Returns where `path` lies relative to what is left of the page, once the children up to `edge`
/// are done. What is below `last` belongs to the page even where it is behind the page's end.
fn within(page: &List, last: Option<&Path>, edge: Option<&Path>, path: &Path) -> Ordering {
    let done = |edge: &Path| match (edge == &page.path, page.reverse) {
        // The top itself: in reverse its children come before it, otherwise behind it.
        (true, false) => {
            if path <= edge {
                Ordering::Less
            } else {
                Ordering::Equal
            }
        }
        (true, true) => Ordering::Greater,
        (false, false) => {
            if edge.place(path) == Ordering::Greater {
                Ordering::Equal
            } else {
                Ordering::Less
            }
        }
        (false, true) => {
            if path < edge {
                Ordering::Equal
            } else {
                Ordering::Greater
            }
        }
    };
    match page.path.place(path) {
        Ordering::Equal => {}
        outside => return outside,
    }
    if page.after.as_ref().is_some_and(|after| path <= after) {
        return Ordering::Less;
    }
    let behind = |before: &Path| path >= before && !last.is_some_and(|last| last.contains(path));
    if page.before.as_ref().is_some_and(behind) {
        return Ordering::Greater;
    }
    edge.map_or(Ordering::Equal, done)
}
