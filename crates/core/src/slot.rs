//! A slot of the tree: what is, or was, at one path.

use alloc::sync::Arc;

use onetree_protocol::{Change, Digest, EntryHasher, LogKey, Name, Path, Revision, Value};

use crate::map;
use crate::settings::Time;

/// What is at one path: an entry, or the tombstone of one, and the marks of drops and trims that
/// happened here. A slot without any of these does not exist.
///
/// `rev` is ZERO while only marks are here; a put or a delete sets it. `value` is `Some` for an
/// entry, `None` for a tombstone.
///
/// In this order, so that a search for changes, which asks each slot of a leaf for `rev` and
/// `rare`, fetches one line of memory for both.
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
    /// Which segments of the path are log keys. Kept, because a search looks at each slot of a
    /// leaf, and most of their paths would have to be fetched from memory for it.
    keyed: Depths,
    /// Segments of the path if the last one is a log key, otherwise 0.
    logged_depth: u8,
}

/// Some of the depths that a path can have, 1 to 32: a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Depths(u32);

impl Depths {
    /// This depth alone; none, where no path is so deep.
    pub(crate) fn only(depth: usize) -> Depths {
        let bit = depth.checked_sub(1).and_then(|place| 1_u32.checked_shl(place as u32));
        Depths(bit.unwrap_or(0))
    }

    /// Whether they have one in common.
    pub(crate) fn meet(self, other: Depths) -> bool {
        self.0 & other.0 != 0
    }

    /// Those of both.
    fn with(self, other: Depths) -> Depths {
        Depths(self.0 | other.0)
    }

    /// Whether `new` lacks one of them.
    fn shrink(self, new: Depths) -> bool {
        self.0 & !new.0 != 0
    }
}

/// What few slots have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rare {
    pub(crate) expires: Option<Time>,
    pub(crate) owner: Option<Name>,
    /// The last drop at this path; ZERO: none that is remembered.
    pub(crate) dropped: Revision,
    /// The last trim of the log at this path: its commit, and the last key that went.
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

    /// Changes what is rare; drops the allocation when nothing of it is left.
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

    /// The highest revision of the marks.
    fn marked(&self) -> Revision {
        let trimmed = self.trimmed().map_or(Revision::ZERO, |(rev, _)| rev);
        self.dropped().max(trimmed)
    }

    /// Whether it was deleted, dropped or trimmed at `rev`, and that is still known.
    pub(crate) fn remembers(&self, rev: Revision) -> bool {
        let deleted = !self.is_live() && self.rev == rev;
        deleted || self.dropped() == rev || self.trimmed().is_some_and(|(at, _)| at == rev)
    }

    /// Each revision at which it was deleted, dropped or trimmed, as far as that is still known.
    pub(crate) fn deletes(&self) -> impl Iterator<Item = Revision> + use<> {
        let deleted = if self.is_live() { Revision::ZERO } else { self.rev };
        let trimmed = self.trimmed().map_or(Revision::ZERO, |(rev, _)| rev);
        [deleted, self.dropped(), trimmed].into_iter().filter(|rev| *rev > Revision::ZERO)
    }

    /// Whether its name is a log key, and its path so deep.
    pub(crate) fn is_key_at(&self, depth: usize) -> bool {
        usize::from(self.logged_depth) == depth
    }

    /// Whether its path so deep is a log key: its name, or that of what it lies under.
    pub(crate) fn is_under_key_at(&self, depth: usize) -> bool {
        self.keyed.meet(Depths::only(depth))
    }

    pub(crate) fn is_live(&self) -> bool {
        self.value.is_some()
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.rev == Revision::ZERO && self.rare.is_none()
    }

    /// The entry as a change; `None` where there is none.
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

/// What is in a range of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Entries.
    pub live: u64,
    /// Entries, tombstones and marks.
    pub slots: u64,
    /// Slots whose name is a log key.
    pub logged: u64,
    /// The most segments that the path of one of these has.
    pub logged_depth: usize,
    /// How deep the entries of logs lie. Of a range under a path, those of its own lie less deep
    /// than all others: so a search finds them, whatever else is there.
    pub(crate) entries: Depths,
    /// At which depths the paths of slots have log keys, also above their last segment.
    pub(crate) keyed: Depths,
    /// The same of entries alone: so what a trim could take is found, whatever was deleted around
    /// it and whatever stays between.
    pub(crate) keyed_live: Depths,
    /// Entries that die with a session.
    pub owned: u64,
    /// Bytes of the paths and values of entries.
    pub bytes: u64,
    /// The highest revision of anything that is still remembered.
    pub highest_rev: Revision,
    /// The highest revision of a delete, also of one that has been compacted. It may be one of a
    /// neighbour: it says where something can have been lost, never that it was.
    pub highest_delete_rev: Revision,
    /// When the first entry dies.
    pub expires: Time,
    digest: u128,
}

impl Summary {
    /// Of a range without slots that may have lost something up to `rev`.
    pub(crate) fn lost(rev: Revision) -> Summary {
        Summary { highest_delete_rev: rev, ..Summary::default() }
    }

    /// The digest of the entries.
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
        // Sums subtract; a maximum can be kept only while what goes was not it, a set while nothing
        // of it goes.
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

    /// In the order of paths, the end comes before `/`, and that before all other bytes (none of
    /// which is a control character).
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
        // Eight bytes a step: the paths of one subtree share a long beginning.
        while at + 8 <= shorter && one[at..at + 8] == other[at..at + 8] {
            at += 8;
        }
        while at < shorter && one[at] == other[at] {
            at += 1;
        }
        at
    }

    /// A change lets go of the value, whose memory says whether anyone else holds it.
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
