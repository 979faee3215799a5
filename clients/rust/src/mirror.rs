//! The rules of a mirror, as pure code: it takes frames and returns outcomes.

use std::fmt;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use onetree_protocol::frame::{Fresh, Reason, Refresh, RefreshKind};
use onetree_protocol::{
    Act, Change, Cookie, Digest, DigestKey, Epoch, LogKey, Path, Revision, Value, View,
};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// The entry that a mirror has at one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The revision of the commit that put the entry.
    pub rev: Revision,
    /// The value; `None` if the view has no values.
    #[serde(flatten)]
    pub value: Option<Value>,
}

/// A change of one path, with the entries before and after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The path.
    pub path: Path,
    /// The revision of the new entry. If there is none, a revision at which the entry was gone.
    pub rev: Revision,
    /// The entry before the change; `None` if there was none.
    pub old: Option<Entry>,
    /// The entry after the change; `None` if there is none.
    pub new: Option<Entry>,
}

/// A mirror at one revision, with its cookie. It never changes. Save the entries and the cookie
/// together: they belong together. Taking a snapshot and cloning one cost O(1).
#[derive(Clone, Default)]
pub struct Snapshot {
    pub(crate) cookie: Option<Cookie>,
    pub(crate) rev: Revision,
    pub(crate) entries: OrdMap<Path, Entry>,
}

impl Snapshot {
    /// A copy that was saved earlier: puts, in any order.
    pub(crate) fn saved(cookie: Cookie, entries: impl IntoIterator<Item = Change>) -> Snapshot {
        let put = |change: Change| match change.act {
            Act::Put(value) => Some((change.path, Entry { rev: change.rev, value })),
            Act::Delete | Act::Drop | Act::Trim { .. } => None,
        };
        let entries = entries.into_iter().filter_map(put).collect();
        Snapshot { cookie: Some(cookie), rev: cookie.rev, entries }
    }

    /// Returns the cookie of the snapshot. Give it with the entries to
    /// [`crate::MirrorOptions::from_cookie`], and a mirror goes on from here. `None` before the
    /// mirror was whole for the first time, and after it was found to be wrong, until it is fresh
    /// again.
    pub fn cookie(&self) -> Option<Cookie> {
        self.cookie
    }

    /// Returns the revision of the snapshot.
    pub fn rev(&self) -> Revision {
        self.rev
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the entry at `path`. O(log n).
    pub fn get(&self, path: &Path) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Returns all entries, in path order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Path, &Entry)> + ExactSizeIterator {
        self.entries.iter()
    }

    /// Returns the entries at and under `top`, in path order.
    pub fn under(&self, top: &Path) -> impl Iterator<Item = (&Path, &Entry)> {
        let (from, top) = (top.clone(), top.clone());
        self.entries.range(from..).take_while(move |(path, _)| top.contains(path))
    }

    /// Returns all entries as puts, in path order, in the form in which they are saved.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Change> + '_ {
        self.entries.iter().map(|(path, entry)| put(path, entry))
    }

    /// Returns what differs between `before` and this snapshot: one difference for each path, in
    /// path order. Costs as much as [`Snapshot::since`].
    pub fn differences(&self, before: &Snapshot) -> Vec<Difference> {
        let difference = |item| {
            let (path, old, new): (&Path, Option<&Entry>, Option<&Entry>) = match item {
                DiffItem::Add(path, new) => (path, None, Some(new)),
                DiffItem::Update { old: (path, old), new: (_, new) } => {
                    (path, Some(old), Some(new))
                }
                DiffItem::Remove(path, old) => (path, Some(old), None),
            };
            let rev = new.map_or(self.rev, |new| new.rev);
            Difference { path: path.clone(), rev, old: old.cloned(), new: new.cloned() }
        };
        before.entries.diff(&self.entries).map(difference).collect()
    }

    /// Returns the changes that lead from `before` to this snapshot: puts and deletes, in path
    /// order. Parts that both share in memory are skipped, so the cost is about that of what
    /// differs.
    pub fn since(&self, before: &Snapshot) -> Vec<Change> {
        let rev = self.rev;
        let change = |item| match item {
            DiffItem::Add(path, entry) => put(path, entry),
            DiffItem::Update { new: (path, entry), .. } => put(path, entry),
            DiffItem::Remove(path, _) => Change { path: path.clone(), rev, act: Act::Delete },
        };
        before.entries.diff(&self.entries).map(change).collect()
    }

    /// Returns the trims among `changes` that leave a gap for a reader who knows `known`. A trim
    /// leaves a gap if it removes a log's entry that is not in `known`, or if the broker says that
    /// it removed entries which the mirror never had. `changes` are those that come after this
    /// snapshot. Entries are compared and not only revisions: another history may have other
    /// entries at the same revisions.
    pub(crate) fn gaps<'a>(&self, known: &Snapshot, changes: &'a [Change]) -> Vec<&'a Change> {
        let paths = View { values: false, ..View::tree(Path::root()) };
        let mut copy = Copy { snapshot: self.clone(), digest: Digest::default() };
        let mut gaps = Vec::new();
        for change in changes {
            if let Act::Trim { to, gap } = change.act {
                let is_new = |path: &Path| copy.snapshot.get(path) != known.get(path);
                let is_logged = |path: &Path| path.name().and_then(LogKey::parse).is_some();
                let gone = copy.trimmed(&change.path, to);
                if gap || gone.iter().any(|path| is_logged(path) && is_new(path)) {
                    gaps.push(change);
                }
            }
            // A view without values allows every change, so this cannot fail.
            let _ = copy.apply(change, &paths, None);
        }
        gaps
    }
}

/// `{"rev","cookie","entries"}`. The entries are lines of `export`.
impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries: Vec<Change> = self.entries().collect();
        let mut told = serializer.serialize_struct("Snapshot", 3)?;
        told.serialize_field("rev", &self.rev)?;
        told.serialize_field("cookie", &self.cookie)?;
        told.serialize_field("entries", &entries)?;
        told.end()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "snapshot of {} entries at {}", self.entries.len(), self.rev)
    }
}

fn put(path: &Path, entry: &Entry) -> Change {
    Change { path: path.clone(), rev: entry.rev, act: Act::Put(entry.value.clone()) }
}

/// What a frame did to a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to report: the frame was not for this mirror, brought nothing new, or is only a
    /// part.
    Nothing,
    /// A refresh has begun.
    Refreshing {
        /// How the mirror is refreshed.
        kind: RefreshKind,
        /// Why it is refreshed in this way.
        why: Reason,
    },
    /// The mirror is whole, and its snapshot is a new one.
    Fresh {
        /// The changes from the former copy to this one.
        changes: Vec<Change>,
    },
    /// The mirror moved to a later revision, and its snapshot is a new one.
    Delta {
        /// The revision before.
        since: Revision,
        /// The changes that are in the view.
        changes: Vec<Change>,
    },
    /// The mirror moved to a later revision, and nothing changed.
    Synced {
        /// Whether digests were compared.
        verified: bool,
    },
    /// The mirror's digest differs from the broker's. The mirror must start again from nothing.
    Corrupt {
        /// The broker's digest.
        expected: Digest,
        /// The mirror's.
        found: Digest,
    },
    /// A frame broke this rule. The mirror must start again from nothing.
    Broken(&'static str),
}

/// The state of one mirror: the copy that it shows, and the copy that a refresh is building.
///
/// A mirror begins as waiting. A `refresh` makes it refreshing, and `fresh` makes it fresh. A fresh
/// mirror takes deltas and syncs. Any state becomes waiting when the connection is lost or the
/// mirror must start again.
#[derive(Clone, Debug)]
pub struct State {
    view: View,
    key: Option<DigestKey>,
    shown: Copy,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Frames are not for this mirror: it is not subscribed, or the frames that come were sent
    /// before it was started again.
    Waiting,
    /// Entries go into the staged copy. The connection's deltas are not for this mirror.
    Refreshing(Staged),
    /// The copy that is shown is the view of the tree at its revision.
    Fresh,
}

#[derive(Clone, Debug)]
struct Staged {
    copy: Copy,
    kind: RefreshKind,
    /// With [`RefreshKind::Delta`]: the changes that came, which lead from the shown copy to the
    /// staged one.
    changes: Vec<Change>,
    /// The highest revision among the changes that came.
    highest: Revision,
    /// How many changes came.
    received: u64,
}

/// Entries and their digest. Cloning costs O(1).
#[derive(Clone, Debug, Default)]
struct Copy {
    snapshot: Snapshot,
    digest: Digest,
}

impl State {
    /// A mirror of `view` that has no entries, or the entries that were `saved` from an earlier
    /// one.
    pub fn new(view: View, saved: Option<Snapshot>) -> State {
        let snapshot = saved.unwrap_or_default();
        let shown = Copy { snapshot, digest: Digest::default() };
        State { view, key: None, shown, phase: Phase::Waiting }
    }

    /// Returns the view of the mirror.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Returns the copy that is shown.
    pub fn snapshot(&self) -> &Snapshot {
        &self.shown.snapshot
    }

    /// Returns whether the copy that is shown is the view of the tree, as far as this connection
    /// has reported it.
    pub fn is_fresh(&self) -> bool {
        matches!(self.phase, Phase::Fresh)
    }

    /// Returns the digest of the copy that is shown, under the key of [`State::handle_key`]. If the
    /// view has a `tail`, it has no digest, and the value means nothing.
    pub fn digest(&self) -> Digest {
        self.shown.digest
    }

    /// Takes the key of the digests from the `welcome`. Costs nothing if the key is the same as
    /// before, otherwise one hash for each entry.
    pub fn handle_key(&mut self, key: DigestKey) {
        if self.key == Some(key) || self.view.tail.is_some() {
            return;
        }
        self.key = Some(key);
        let mut digest = Digest::default();
        for (path, entry) in &self.shown.snapshot.entries {
            digest.insert(key.hash(path, entry.rev));
        }
        self.shown.digest = digest;
    }

    /// The connection was lost. The staged copy is thrown away.
    pub fn handle_lost(&mut self) {
        self.phase = Phase::Waiting;
    }

    /// The mirror must start again from nothing. It goes on showing its copy, but without the
    /// cookie: nobody knows what it is a copy of.
    pub fn handle_distrust(&mut self) {
        self.phase = Phase::Waiting;
        self.shown.snapshot.cookie = None;
    }

    /// Takes a `refresh`: throws the staged copy away and begins a new one.
    pub fn handle_refresh(&mut self, refresh: &Refresh) -> Outcome {
        let copy = match refresh.kind {
            RefreshKind::Full => Copy::default(),
            RefreshKind::Delta => {
                let at = self.shown.snapshot.cookie.map(|cookie| cookie.rev);
                if refresh.from.is_none() || refresh.from > at {
                    return self.broken("a delta refresh starts at or below the mirror's revision");
                }
                self.shown.clone()
            }
            RefreshKind::Repair => return self.broken("a repair that nobody asked for"),
        };
        let (changes, highest) = (Vec::new(), Revision::ZERO);
        self.phase =
            Phase::Refreshing(Staged { copy, kind: refresh.kind, changes, highest, received: 0 });
        Outcome::Refreshing { kind: refresh.kind, why: refresh.why }
    }

    /// Returns how many changes have come in the refresh that is under way; 0 if there is none.
    pub fn received(&self) -> u64 {
        if let Phase::Refreshing(staged) = &self.phase { staged.received } else { 0 }
    }

    /// Takes `entries`: a part of the refresh.
    pub fn handle_entries(&mut self, changes: Vec<Change>) -> Outcome {
        let Phase::Refreshing(staged) = &mut self.phase else { return self.stray() };
        staged.received += changes.len() as u64;
        for change in changes {
            let news = match staged.copy.apply(&change, &self.view, self.key) {
                Ok(news) => news,
                Err(why) => return self.broken(why),
            };
            staged.highest = staged.highest.max(change.rev);
            if news && staged.kind == RefreshKind::Delta && concerns(&self.view, &change) {
                staged.changes.push(self.view.seen(&change));
            }
        }
        Outcome::Nothing
    }

    /// Takes `fresh`: the staged copy is complete, and is shown if its digest is right. `epoch` is
    /// the connection's.
    pub fn handle_fresh(&mut self, fresh: &Fresh, epoch: Epoch) -> Outcome {
        let staged = match std::mem::replace(&mut self.phase, Phase::Waiting) {
            Phase::Refreshing(staged) => staged,
            other => {
                self.phase = other;
                return self.stray();
            }
        };
        let Staged { mut copy, kind, changes, highest, .. } = staged;
        if highest > fresh.rev {
            return self.broken("an entry is newer than the refresh that it came with");
        }
        if kind == RefreshKind::Delta && fresh.rev < self.shown.snapshot.rev {
            return self.broken("a delta refresh ends at or above the mirror's revision");
        }
        if let (Some(expected), Some(_)) = (fresh.digest, self.key)
            && expected != copy.digest
        {
            self.handle_distrust();
            return Outcome::Corrupt { expected, found: copy.digest };
        }
        copy.snapshot.rev = fresh.rev;
        copy.snapshot.cookie = Some(Cookie { epoch, rev: fresh.rev, view: fresh.view });
        let changes = match kind {
            RefreshKind::Delta => changes,
            RefreshKind::Full | RefreshKind::Repair => copy.snapshot.since(&self.shown.snapshot),
        };
        self.shown = copy;
        self.phase = Phase::Fresh;
        Outcome::Fresh { changes }
    }

    /// Takes a complete `delta`, with all its parts. Applies all of it or nothing.
    pub fn handle_delta(
        &mut self,
        since: Option<Revision>,
        rev: Revision,
        changes: &[Change],
    ) -> Outcome {
        let before = self.shown.snapshot.rev;
        if !self.is_fresh() || rev <= before {
            return Outcome::Nothing;
        }
        if since.is_some_and(|since| since > before) {
            return self.broken("a delta starts at or below the mirror's revision");
        }
        let mut next = self.shown.clone();
        let mut taken = Vec::new();
        for change in changes {
            if change.rev > rev {
                return self.broken("a change is newer than the delta that it came with");
            }
            // A folded delta may begin below the mirror's revision. The mirror already has the
            // changes up to there.
            if change.rev <= before || !concerns(&self.view, change) {
                continue;
            }
            match next.apply(change, &self.view, self.key) {
                Ok(true) => taken.push(self.view.seen(change)),
                Ok(false) => {}
                Err(why) => return self.broken(why),
            }
        }
        next.go_to(rev);
        self.shown = next;
        Outcome::Delta { since: before, changes: taken }
    }

    /// Takes a `sync` that names this mirror: nothing in the view has changed up to `rev`, and
    /// `digest` is what the mirror's must be.
    pub fn handle_sync(&mut self, rev: Revision, digest: Option<Digest>) -> Outcome {
        if !self.is_fresh() || rev < self.shown.snapshot.rev {
            return Outcome::Nothing;
        }
        let found = self.shown.digest;
        match digest.filter(|_| self.key.is_some()) {
            Some(expected) if expected != found => {
                self.handle_distrust();
                Outcome::Corrupt { expected, found }
            }
            compared => {
                self.shown.go_to(rev);
                Outcome::Synced { verified: compared.is_some() }
            }
        }
    }

    /// A part or the end of a refresh came, but none is under way. If the mirror is waiting, the
    /// frame was sent before the mirror was started again.
    fn stray(&mut self) -> Outcome {
        match self.phase {
            Phase::Fresh => self.broken("a piece of a refresh came without a refresh"),
            Phase::Waiting | Phase::Refreshing(_) => Outcome::Nothing,
        }
    }

    fn broken(&mut self, why: &'static str) -> Outcome {
        self.handle_distrust();
        Outcome::Broken(why)
    }
}

/// What a view makes of a change.
trait Seen {
    fn seen(&self, change: &Change) -> Change;
}

impl Seen for View {
    /// Removes the value if the view has none: a delta is the same for all mirrors of a connection.
    fn seen(&self, change: &Change) -> Change {
        let mut change = change.clone();
        if let (false, Act::Put(value)) = (self.values, &mut change.act) {
            *value = None;
        }
        change
    }
}

/// Returns whether a change can affect what the view sees.
fn concerns(view: &View, change: &Change) -> bool {
    match change.act {
        Act::Put(_) | Act::Delete => view.sees(&change.path),
        Act::Drop | Act::Trim { .. } => {
            change.path.contains(&view.base) || view.base.contains(&change.path)
        }
    }
}

impl Copy {
    /// Moves to a later revision.
    fn go_to(&mut self, rev: Revision) {
        self.snapshot.rev = rev;
        if let Some(cookie) = &mut self.snapshot.cookie {
            cookie.rev = rev;
        }
    }

    /// Applies a change. Returns false if this very put was applied already: the broker repeats a
    /// put that it has met in two rounds of a sweep. Another value at the same revision counts as
    /// new: it is another put of the same transaction.
    fn apply(
        &mut self,
        change: &Change,
        view: &View,
        key: Option<DigestKey>,
    ) -> Result<bool, &'static str> {
        let path = &change.path;
        match &change.act {
            Act::Put(value) => {
                if !view.sees(path) {
                    return Ok(true);
                }
                if view.values && value.is_none() {
                    return Err("a put has its value");
                }
                let value = value.as_ref().filter(|_| view.values);
                if let Some(key) = key {
                    self.digest.insert(key.hash(path, change.rev));
                }
                let entry = Entry { rev: change.rev, value: value.cloned() };
                let old = self.snapshot.entries.insert(path.clone(), entry);
                let same = |old: &Entry| old.rev == change.rev && old.value.as_ref() == value;
                let news = !old.as_ref().is_some_and(same);
                self.forget(path, old, key);
                return Ok(news);
            }
            Act::Delete => self.remove(path, key),
            Act::Drop => {
                // A drop at or above the base of the view removes everything.
                if path.contains(&view.base) {
                    self.snapshot.entries = OrdMap::new();
                    self.digest = Digest::default();
                    return Ok(true);
                }
                let gone: Vec<Path> = self.snapshot.under(path).map(|(p, _)| p.clone()).collect();
                gone.iter().for_each(|path| self.remove(path, key));
            }
            Act::Trim { to, .. } => {
                let gone = self.trimmed(path, *to);
                gone.iter().for_each(|path| self.remove(path, key));
            }
        }
        Ok(true)
    }

    /// Returns the entries of the log up to and including `to`, and everything under them. Other
    /// children of the log may lie between them in path order; they are left out.
    fn trimmed(&self, log: &Path, to: LogKey) -> Vec<Path> {
        let first = LogKey { rev: Revision::ZERO, index: 0 };
        let ends = (log.child(&first.to_string()), log.child(&to.to_string()));
        // If a path has no room for a key, the log has no entries under it.
        let (Ok(first), Ok(last)) = ends else { return Vec::new() };
        let near = self.snapshot.entries.range(first..);
        let near = near.take_while(|(path, _)| **path <= last || last.contains(path));
        let logged = near.filter(|(path, _)| {
            let entry = log.below(path).and_then(|mut segments| segments.next());
            entry.and_then(LogKey::parse).is_some_and(|key| key <= to)
        });
        logged.map(|(path, _)| path.clone()).collect()
    }

    fn remove(&mut self, path: &Path, key: Option<DigestKey>) {
        let old = self.snapshot.entries.remove(path);
        self.forget(path, old, key);
    }

    fn forget(&mut self, path: &Path, old: Option<Entry>, key: Option<DigestKey>) {
        if let (Some(old), Some(key)) = (old, key) {
            self.digest.remove(key.hash(path, old.rev));
        }
    }
}
