//! A slot of the tree: what is, or was, at one path.

use alloc::sync::Arc;

use onetree_protocol::{Change, Digest, EntryHasher, LogKey, Name, Path, Revision, Value};

use crate::map;
use crate::settings::Time;

/// What the tree knows about one path: an entry or the tombstone of one, and the marks of drops and
/// trims at this path. A path with none of these has no slot.
///
/// `rev` is ZERO while there are only marks; a put or a delete sets it. `value` is `Some` for an
/// entry and `None` for a tombstone.
///
/// The fields are in this order so that a search for changes, which reads `rev` and `rare` of each
/// slot in a leaf, fetches one cache line for both.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct Slot {
    pub(crate) path: Path,
    pub(crate) rev: Revision,
    rare: Option<Arc<Rare>>,
    pub(crate) value: Option<Value>,
    /// The hash of (path, rev) as two halves: a `u128` would align the slot to 16 bytes.
    hash: [u64; 2],
    pub(crate) time: Time,
    /// The depths at which the path has a log key. It is stored because a search looks at each slot
    /// of a leaf, and would have to fetch most of their paths from memory to find out.
    keyed: Depths,
    /// The number of segments of the path if the last one is a log key, otherwise 0.
    logged_depth: u8,
}

/// A set of the depths that a path can have, 1 to 32: one bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Depths(u32);

impl Depths {
    /// Returns the set of this one depth; the empty set if no path is so deep.
    pub(crate) fn only(depth: usize) -> Depths {
        let bit = depth.checked_sub(1).and_then(|place| 1_u32.checked_shl(place as u32));
        Depths(bit.unwrap_or(0))
    }

    /// Returns whether the two sets have a depth in common.
    pub(crate) fn meet(self, other: Depths) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns the union of both sets.
    fn with(self, other: Depths) -> Depths {
        Depths(self.0 | other.0)
    }

    /// Returns whether `new` lacks a depth of this set.
    fn shrink(self, new: Depths) -> bool {
        self.0 & !new.0 != 0
    }
}

/// What only few slots have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rare {
    pub(crate) expires: Option<Time>,
    pub(crate) owner: Option<Name>,
    /// The revision of the last drop at this path; ZERO: none is remembered.
    pub(crate) dropped: Revision,
    /// The last trim of the log at this path: its revision, and the last key that went.
    pub(crate) trimmed: Option<(Revision, LogKey)>,
}

impl Slot {
    pub(crate) fn empty(path: Path) -> Slot {
        let (mut keyed, mut logged_depth) = (Depths::default(), 0);
        for (above, segment) in path.segments().enumerate() {
            let depth = above + 1;
            let is_key = LogKey::parse(segment).is_some();
            logged_depth = if is_key { depth as u8 } else { 0 };
            if is_key {
                keyed = keyed.with(Depths::only(depth));
            }
        }
        let (rev, time) = (Revision::ZERO, Time(0));
        Slot { path, hash: [0; 2], rev, time, value: None, rare: None, keyed, logged_depth }
    }

    pub(crate) fn set(&mut self, hasher: &EntryHasher, rev: Revision, time: Time, value: Value) {
        let hash = hasher.hash(&self.path, rev);
        self.hash = [(hash >> 64) as u64, hash as u64];
        (self.rev, self.time, self.value) = (rev, time, Some(value));
    }

    pub(crate) fn bury(&mut self, rev: Revision, time: Time) {
        (self.rev, self.time, self.value) = (rev, time, None);
    }

    pub(crate) fn rare(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    /// Changes the rare part, and frees its allocation when nothing is left in it.
    pub(crate) fn with_rare(&mut self, change: impl FnOnce(&mut Rare)) {
        let mut rare = self.rare.as_deref().cloned().unwrap_or_default();
        change(&mut rare);
        self.rare = if rare == Rare::default() { None } else { Some(Arc::new(rare)) };
    }

    pub(crate) fn owner(&self) -> Option<&Name> {
        self.rare().and_then(|rare| rare.owner.as_ref())
    }

    pub(crate) fn dropped(&self) -> Revision {
        self.rare().map_or(Revision::ZERO, |rare| rare.dropped)
    }

    pub(crate) fn trimmed(&self) -> Option<(Revision, LogKey)> {
        self.rare().and_then(|rare| rare.trimmed)
    }

    /// Returns the highest revision of the marks.
    fn marked(&self) -> Revision {
        let trimmed = self.trimmed().map_or(Revision::ZERO, |(rev, _)| rev);
        self.dropped().max(trimmed)
    }

    /// Returns whether the slot still remembers that it was deleted, dropped or trimmed at `rev`.
    pub(crate) fn remembers(&self, rev: Revision) -> bool {
        let deleted = !self.is_live() && self.rev == rev;
        deleted || self.dropped() == rev || self.trimmed().is_some_and(|(at, _)| at == rev)
    }

    /// Returns each revision at which the slot still remembers a delete, a drop or a trim.
    pub(crate) fn deletes(&self) -> impl Iterator<Item = Revision> + use<> {
        let deleted = if self.is_live() { Revision::ZERO } else { self.rev };
        let trimmed = self.trimmed().map_or(Revision::ZERO, |(rev, _)| rev);
        [deleted, self.dropped(), trimmed].into_iter().filter(|rev| *rev > Revision::ZERO)
    }

    /// Returns whether the last segment is a log key and the path has `depth` segments.
    pub(crate) fn is_key_at(&self, depth: usize) -> bool {
        usize::from(self.logged_depth) == depth
    }

    /// Returns whether the segment at this depth is a log key: the slot's own name, or the name of
    /// a path above it.
    pub(crate) fn is_under_key_at(&self, depth: usize) -> bool {
        self.keyed.meet(Depths::only(depth))
    }

    pub(crate) fn is_live(&self) -> bool {
        self.value.is_some()
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.rev == Revision::ZERO && self.rare.is_none()
    }

    /// Returns the entry as a put, without its value if `values` is false; `None` if there is no
    /// entry.
    pub(crate) fn entry(&self, values: bool) -> Option<Change> {
        let value = self.value.as_ref()?;
        let value = if values { Some(value.clone()) } else { None };
        Some(Change {
            path: self.path.clone(),
            rev: self.rev,
            act: onetree_protocol::Act::Put(value),
        })
    }
}

/// A summary of everything in a range of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The number of entries.
    pub live: u64,
    /// The number of slots: of paths with an entry, a tombstone or a mark.
    pub slots: u64,
    /// The number of slots whose name is a log key.
    pub logged: u64,
    /// The most segments that the path of such a slot has.
    pub logged_depth: usize,
    /// The depths of the entries of logs. In the range under a log's path, the log's own entries
    /// lie less deep than those of any log within it. So a search finds them, whatever else is
    /// there.
    pub(crate) entries: Depths,
    /// The depths at which the paths of slots have log keys, including segments above the last.
    pub(crate) keyed: Depths,
    /// The same for entries alone. So a search finds what a trim could take, whatever was deleted
    /// around it and whatever is not part of the log.
    pub(crate) keyed_live: Depths,
    /// The number of entries that are owned by a session.
    pub owned: u64,
    /// The bytes of the paths and values of entries.
    pub bytes: u64,
    /// The highest revision of anything that is still remembered.
    pub highest_rev: Revision,
    /// The highest revision of a delete, including deletes that have been compacted. It may belong
    /// to a neighbouring range: it says where something can have been lost, not that something was.
    pub highest_delete_rev: Revision,
    /// When the first entry expires.
    pub expires: Time,
    digest: u128,
}

impl Summary {
    /// Returns the summary of a range without slots that may have lost something up to `rev`.
    pub(crate) fn lost(rev: Revision) -> Summary {
        Summary { highest_delete_rev: rev, ..Summary::default() }
    }

    /// Returns the digest of the entries.
    pub fn digest(&self) -> Digest {
        Digest { count: self.live, sum: self.digest }
    }
}

impl Default for Summary {
    fn default() -> Summary {
        Summary {
            live: 0,
            slots: 0,
            logged: 0,
            logged_depth: 0,
            entries: Depths::default(),
            keyed: Depths::default(),
            keyed_live: Depths::default(),
            owned: 0,
            bytes: 0,
            highest_rev: Revision::ZERO,
            highest_delete_rev: Revision::ZERO,
            expires: Time::NEVER,
            digest: 0,
        }
    }
}

impl map::Summary for Summary {
    fn add(&mut self, other: &Summary) {
        self.live += other.live;
        self.slots += other.slots;
        self.logged += other.logged;
        self.logged_depth = self.logged_depth.max(other.logged_depth);
        self.entries = self.entries.with(other.entries);
        self.keyed = self.keyed.with(other.keyed);
        self.keyed_live = self.keyed_live.with(other.keyed_live);
        self.owned += other.owned;
        self.bytes += other.bytes;
        self.highest_rev = self.highest_rev.max(other.highest_rev);
        self.highest_delete_rev = self.highest_delete_rev.max(other.highest_delete_rev);
        self.expires = self.expires.min(other.expires);
        self.digest = self.digest.wrapping_add(other.digest);
    }

    fn replace(&mut self, old: &Summary, new: &Summary) -> bool {
        // Sums can be subtracted. A maximum can be kept only if the old value was not the maximum,
        // and a set only if nothing is taken out of it.
        let lost = |sum: Revision, old: Revision, new: Revision| old == sum && new < old;
        if lost(self.highest_rev, old.highest_rev, new.highest_rev)
            || lost(self.highest_delete_rev, old.highest_delete_rev, new.highest_delete_rev)
            || old.entries.shrink(new.entries)
            || old.keyed.shrink(new.keyed)
            || old.keyed_live.shrink(new.keyed_live)
            || (old.logged_depth == self.logged_depth && new.logged_depth < old.logged_depth)
            || (old.expires == self.expires && new.expires > old.expires)
        {
            return false;
        }
        let swap = |sum: &mut u64, old: u64, new: u64| *sum = *sum - old + new;
        swap(&mut self.live, old.live, new.live);
        swap(&mut self.slots, old.slots, new.slots);
        swap(&mut self.logged, old.logged, new.logged);
        swap(&mut self.owned, old.owned, new.owned);
        swap(&mut self.bytes, old.bytes, new.bytes);
        self.logged_depth = self.logged_depth.max(new.logged_depth);
        self.entries = self.entries.with(new.entries);
        self.keyed = self.keyed.with(new.keyed);
        self.keyed_live = self.keyed_live.with(new.keyed_live);
        self.highest_rev = self.highest_rev.max(new.highest_rev);
        self.highest_delete_rev = self.highest_delete_rev.max(new.highest_delete_rev);
        self.expires = self.expires.min(new.expires);
        self.digest = self.digest.wrapping_sub(old.digest).wrapping_add(new.digest);
        true
    }

    fn peak(&self) -> u64 {
        self.highest_rev.get()
    }

    fn residue(&self) -> Summary {
        Summary { highest_delete_rev: self.highest_delete_rev, ..Summary::default() }
    }
}

impl map::Item for Slot {
    type Key = Path;
    type Handle = Path;
    type Summary = Summary;

    const SPELLED: bool = true;

    /// In the order of paths the end of a path comes before `/`, and `/` comes before all other
    /// bytes (a path contains no control characters).
    #[inline]
    fn letter(path: &Path, place: usize) -> u8 {
        match path.as_str().as_bytes().get(place) {
            None => 0,
            Some(b'/') => 1,
            Some(&other) => other,
        }
    }

    #[inline]
    fn parting(one: &Path, other: &Path) -> usize {
        let (one, other) = (one.as_str().as_bytes(), other.as_str().as_bytes());
        let shorter = one.len().min(other.len());
        let mut at = 0;
        // Compare eight bytes at a time: the paths of one subtree share a long prefix.
        while at + 8 <= shorter && one[at..at + 8] == other[at..at + 8] {
            at += 8;
        }
        while at < shorter && one[at] == other[at] {
            at += 1;
        }
        at
    }

    /// Also reads the value's reference count, because a change drops the old value.
    fn touch(&self) {
        let held = self.value.as_ref().map(|value| Arc::strong_count(&value.bytes));
        core::hint::black_box((self.rev, self.rare.is_some(), held));
    }

    fn peak(&self) -> u64 {
        self.rev.max(self.marked()).get()
    }

    fn key(&self) -> &Path {
        &self.path
    }

    fn handle(&self) -> Path {
        self.path.clone()
    }

    #[inline]
    fn summary(&self) -> Summary {
        let (rare, marks) = (self.rare(), self.marked());
        let mut summary = Summary {
            slots: 1,
            logged: u64::from(self.logged_depth > 0),
            logged_depth: usize::from(self.logged_depth),
            keyed: self.keyed,
            highest_rev: self.rev.max(marks),
            ..Summary::default()
        };
        match &self.value {
            Some(value) => {
                summary.live = 1;
                summary.entries = Depths::only(summary.logged_depth);
                summary.keyed_live = self.keyed;
                summary.owned = u64::from(self.owner().is_some());
                summary.bytes = (self.path.as_str().len() + value.bytes.len()) as u64;
                summary.highest_delete_rev = marks;
                summary.expires = rare.and_then(|rare| rare.expires).unwrap_or(Time::NEVER);
                summary.digest = u128::from(self.hash[0]) << 64 | u128::from(self.hash[1]);
            }
            None => summary.highest_delete_rev = self.rev.max(marks),
        }
        summary
    }
}
