//! A mirror's rules, pure: frames in, outcomes out.

use std::fmt;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use onetree_protocol::frame::{Fresh, Reason, Refresh, RefreshKind};
use onetree_protocol::{
    Act, Change, Cookie, Digest, DigestKey, Epoch, LogKey, Path, Revision, Value, View,
};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// What a mirror holds at one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The commit that put it.
    pub rev: Revision,
    /// What it is; `None` where the view has no values.
    #[serde(flatten)]
    pub value: Option<Value>,
}

/// What became of one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The path.
    pub path: Path,
    /// The revision of the new entry; where there is none, one at which it was gone.
    pub rev: Revision,
    /// What was there.
    pub old: Option<Entry>,
    /// What is there now.
    pub new: Option<Entry>,
}

/// A mirror at one moment, with the cookie that dates it: the two belong together and are saved
/// together. Taking one, and cloning it, costs O(1); it never changes.
#[derive(Clone, Default)]
pub struct Snapshot {
    pub(crate) cookie: Option<Cookie>,
    pub(crate) rev: Revision,
    pub(crate) entries: OrdMap<Path, Entry>,
}

impl Snapshot {
    /// A copy from an earlier time: puts, in any order.
    pub(crate) fn saved(cookie: Cookie, entries: impl IntoIterator<Item = Change>) -> Snapshot {
        let put = |change: Change| match change.act {
            Act::Put(value) => Some((change.path, Entry { rev: change.rev, value })),
            Act::Delete | Act::Drop | Act::Trim { .. } => None,
        };
        let entries = entries.into_iter().filter_map(put).collect();
        Snapshot { cookie: Some(cookie), rev: cookie.rev, entries }
    }

    /// What dates it: given to [`crate::MirrorOptions::from_cookie`], with the entries, a mirror
    /// goes on from here. `None` before the mirror was whole for the first time, and after it was
    /// found to be wrong.
    pub fn cookie(&self) -> Option<Cookie> {
        self.cookie
    }

    /// The revision that it is at.
    pub fn rev(&self) -> Revision {
        self.rev
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry at `path`.
    pub fn get(&self, path: &Path) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// All entries, in path order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Path, &Entry)> + ExactSizeIterator {
        self.entries.iter()
    }

    /// The entries at and under `top`, in path order.
    pub fn under(&self, top: &Path) -> impl Iterator<Item = (&Path, &Entry)> {
        let (from, top) = (top.clone(), top.clone());
        self.entries.range(from..).take_while(move |(path, _)| top.contains(path))
    }

    /// All entries as puts, in path order, as they are saved.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Change> + '_ {
        self.entries.iter().map(|(path, entry)| put(path, entry))
    }

    /// What differs between `before` and this: one for each path, in path order. Costs as
    /// [`Snapshot::since`].
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

    /// What takes `before` to this: puts and deletes, in path order. What both share in memory is
    /// not looked at, so that it costs about what differs.
    pub fn since(&self, before: &Snapshot) -> Vec<Change> {
        let rev = self.rev;
        let change = |item| match item {
            DiffItem::Add(path, entry) => put(path, entry),
            DiffItem::Update { new: (path, entry), .. } => put(path, entry),
            DiffItem::Remove(path, _) => Change { path: path.clone(), rev, act: Act::Delete },
        };
        before.entries.diff(&self.entries).map(change).collect()
    }

    /// Those of the changes behind this that trim an entry which is not in `known`, or, as the
    /// broker says, others that the mirror never had. Revisions do not say which are in it: another
    /// history may have others at the same.
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
            // Without values no change breaks a rule.
            let _ = copy.apply(change, &paths, None);
        }
        gaps
    }
}

/// `{"rev","cookie","entries"}`, with the entries as lines of `export`.
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

/// What came of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to tell: it was not for this mirror, or came before, or is only a part.
    Nothing,
    /// A refresh has begun.
    Refreshing {
        /// The way that is taken.
        kind: RefreshKind,
        /// Why.
        why: Reason,
    },
    /// The mirror is whole, and the snapshot a new one.
    Fresh {
        /// What takes the copy of before to this one.
        changes: Vec<Change>,
    },
    /// The mirror went on, and the snapshot is a new one.
    Delta {
        /// The revision before.
        since: Revision,
        /// What lies in the view.
        changes: Vec<Change>,
    },
    /// The mirror went on, and nothing changed.
    Synced {
        /// Whether digests were compared.
        verified: bool,
    },
    /// It is not what it should be: it has to be started again from nothing.
    Corrupt {
        /// The broker's digest.
        expected: Digest,
        /// The mirror's.
        found: Digest,
    },
    /// A frame broke a rule, named here: it has to be started again from nothing.
    Broken(&'static str),
}

/// A mirror: the copy that is shown, and the one that is being made.
///
/// Starts waiting. Waiting -> refreshing at `refresh`; refreshing -> fresh at `fresh`; fresh takes
/// deltas and syncs. Any -> waiting when the connection is lost, or it has to be started again.
#[derive(Clone, Debug)]
pub struct State {
    view: View,
    key: Option<DigestKey>,
    shown: Copy,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Frames are not for this mirror: it is not subscribed, or what comes is from before it
    /// was started again.
    Waiting,
    /// Entries go into the staged copy; deltas of the connection are not for it.
    Refreshing(Staged),
    /// What is shown is the view of the tree at its revision.
    Fresh,
}

#[derive(Clone, Debug)]
struct Staged {
    copy: Copy,
    kind: RefreshKind,
    /// With [`RefreshKind::Delta`], what came: it takes the shown copy to the staged one.
    changes: Vec<Change>,
    /// The highest revision of them.
    highest: Revision,
    /// How many came.
    received: u64,
}

/// Entries and their digest. Cloning costs O(1).
#[derive(Clone, Debug, Default)]
struct Copy {
    snapshot: Snapshot,
    digest: Digest,
}

impl State {
    /// A mirror of `view`, which holds nothing, or what was `saved` of an earlier one.
    pub fn new(view: View, saved: Option<Snapshot>) -> State {
        let snapshot = saved.unwrap_or_default();
        let shown = Copy { snapshot, digest: Digest::default() };
        State { view, key: None, shown, phase: Phase::Waiting }
    }

    /// What it sees.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// What is shown.
    pub fn snapshot(&self) -> &Snapshot {
        &self.shown.snapshot
    }

    /// Whether what is shown is the view of the tree, as far as this connection has told.
    pub fn is_fresh(&self) -> bool {
        matches!(self.phase, Phase::Fresh)
    }

    /// The digest of what is shown, under the key of [`State::handle_key`]. Without meaning where
    /// the view has a tail, for which there is none.
    pub fn digest(&self) -> Digest {
        self.shown.digest
    }

    /// `welcome` told the key of the digests. Cost: nothing when it is the one of before, otherwise
    /// one hash for each entry.
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

    /// The connection was lost: what was staged is thrown away.
    pub fn handle_lost(&mut self) {
        self.phase = Phase::Waiting;
    }

    /// The mirror is to be started again from nothing. What is shown stays, without its cookie:
    /// nobody can say what it is a copy of.
    pub fn handle_distrust(&mut self) {
        self.phase = Phase::Waiting;
        self.shown.snapshot.cookie = None;
    }

    /// `refresh`: throws away what was staged, and stages anew.
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

    /// How many changes have come of the refresh that is under way; 0 without one.
    pub fn received(&self) -> u64 {
        if let Phase::Refreshing(staged) = &self.phase { staged.received } else { 0 }
    }

    /// `entries`: a piece of the refresh.
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

    /// `fresh`: the staged copy is whole, and is shown when it is what it should be. `epoch` is the
    /// connection's.
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

    /// A whole `delta`, all its parts: applied altogether or not at all.
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
            // What is not above the mirror's revision, the mirror has: a folded delta may begin
            // below it.
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

    /// `sync` names this mirror: nothing changed up to `rev`, and this is what it must be.
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

    /// A piece or the end of a refresh, and none is under way: where the mirror waits it is from
    /// before it was started again.
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
    /// A delta is the same for all mirrors of a connection: one without values leaves them out.
    fn seen(&self, change: &Change) -> Change {
        let mut change = change.clone();
        if let (false, Act::Put(value)) = (self.values, &mut change.act) {
            *value = None;
        }
        change
    }
}

/// Whether a change can touch what the view sees.
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

    /// Applies a change. False: this very put was there already, as a broker says one again that a
    /// sweep has met in two of its rounds. Another value at the same revision is another put of the
    /// same transaction.
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
                // Everything goes when the drop is at or above the base.
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

    /// The entries of the log up to and including `to`, and what is under them; other children
    /// of the log may lie between them.
    fn trimmed(&self, log: &Path, to: LogKey) -> Vec<Path> {
        let first = LogKey { rev: Revision::ZERO, index: 0 };
        let ends = (log.child(&first.to_string()), log.child(&to.to_string()));
        // A path that has no room for a key has no log entries under it.
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
