//! A state as a store saves it, and made again from that.

use alloc::sync::Arc;
use alloc::vec::Vec;

use onetree_protocol::{Digest, EntryHasher, LogKey, Name, Path, Revision, Value};

use super::dedup::{Client, Held, Remembered};
use super::past::{Grave, Owned};
use super::{Checkpoint, Committed, State};
use crate::map::{Item, Map};
use crate::request::{Answer, Refusal};
use crate::settings::{Settings, Time};
use crate::slot::{Slot, Summary};

/// What a saved state begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last commit that is in it.
    pub rev: Revision,
    /// When that was.
    pub time: Time,
    /// The oldest revision from which deletes are remembered.
    pub horizon: Revision,
    /// No client is forgotten that wrote after this revision; `None` where that was not saved.
    pub forgotten: Option<Revision>,
}

/// One slot of the tree: an entry, or the tombstone of one, and the marks at its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedSlot {
    /// Where.
    pub path: Path,
    /// The commit that put or deleted the entry; [`Revision::ZERO`] where only marks are.
    pub rev: Revision,
    /// When.
    pub time: Time,
    /// What; `None` for a tombstone.
    pub value: Option<Value>,
    /// What few slots have.
    pub marks: Option<SavedMarks>,
}

/// What few slots have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedMarks {
    /// When the entry dies.
    pub expires: Option<Time>,
    /// The session that it dies with.
    pub owner: Option<Name>,
    /// The last drop at this path; [`Revision::ZERO`]: none that is remembered.
    pub dropped: Revision,
    /// The last trim of the log at this path: its commit, and the last key that went.
    pub trimmed: Option<(Revision, LogKey)>,
}

/// A client that numbers its writes, and the answers to it that are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedClient {
    /// Who.
    pub name: Name,
    /// The highest number it has used.
    pub last: u64,
    /// When.
    pub time: Time,
    /// The answers, by number.
    pub answers: Vec<(u64, Arc<Result<Answer, Refusal>>)>,
}

impl Checkpoint {
    /// What it begins with.
    pub fn head(&self) -> Head {
        let Committed { rev, time, horizon, forgotten, .. } = self.0;
        Head { rev, time, horizon, forgotten: Some(forgotten) }
    }

    /// The digest of the entries, under the key of the settings.
    pub fn digest(&self) -> Digest {
        self.0.tree.summary().digest()
    }

    /// The number of slots.
    pub fn slots_len(&self) -> usize {
        self.0.tree.len()
    }

    /// The slots, in path order.
    pub fn slots(&self) -> impl Iterator<Item = SavedSlot> + '_ {
        self.0.tree.iter().map(Slot::saved)
    }

    /// The number of clients.
    pub fn clients_len(&self) -> usize {
        self.0.clients.len()
    }

    /// The clients, in the order of their names.
    pub fn clients(&self) -> impl Iterator<Item = SavedClient> + '_ {
        self.0.clients.iter().map(|client| {
            let own = |(name, _): &(Name, u64)| name.cmp(&client.name);
            let answers = self.0.answers.range(own);
            SavedClient {
                name: client.name.clone(),
                last: client.last,
                time: client.time,
                answers: answers.map(|known| (known.key.1, known.answer.clone())).collect(),
            }
        })
    }
}

impl State {
    /// The state that was saved: `slots` in path order, `clients` in the order of their names.
    /// What is derived (the digest of each entry, what is found by age or owner, which logs have a
    /// rule) is made anew, by the settings of now. O(n).
    ///
    /// Where deletes were compacted is not saved: afterwards each range may have lost something up
    /// to the horizon, which is true. Where `head` does not say how late the clients wrote that
    /// were forgotten, the oldest that is remembered tells how late that can have been.
    pub fn load(
        settings: Settings,
        head: Head,
        slots: impl IntoIterator<Item = SavedSlot>,
        clients: impl IntoIterator<Item = SavedClient>,
    ) -> State {
        let mut state = State::new(settings);
        let hasher = state.hasher.clone();
        let (mut graves, mut owned, mut logged) = (Vec::new(), Vec::new(), Vec::new());
        let has_rules = !state.settings.retention.is_empty();
        let slots = slots.into_iter().map(|saved| {
            let slot = Slot::from_saved(saved, &hasher);
            let grave = |rev| Grave { at: (rev, slot.path.clone()), time: slot.time };
            graves.extend(slot.deletes().map(grave));
            if let Some(owner) = slot.owner() {
                owned.push(Owned { owner: owner.clone(), path: slot.path.clone() });
            }
            if has_rules && slot.is_live() && LogKey::of(&slot.path).is_some() {
                logged.push((slot.path.clone(), slot.time));
            }
            slot
        });
        let tree = Map::from_sorted(slots, &Summary::lost(head.horizon));
        graves.sort_unstable_by(|a: &Grave, b| a.at.cmp(&b.at));
        // A delete and a drop of one commit at one path share a grave.
        graves.dedup_by(|a, b| a.at == b.at);
        owned.sort_unstable();
        let (mut known, mut answers) = (Vec::new(), Vec::new());
        for SavedClient { name, last, time, answers: saved } in clients {
            let mut held = Held::default();
            // A write that changed nothing was answered with the revision before its commit. Where
            // the last was refused, all that is known is that it is not behind the saved state.
            let rev = match saved.last().map(|(_, answer)| &**answer) {
                Some(Ok(answer)) => answer.rev.next().unwrap_or(answer.rev).min(head.rev),
                _ => head.rev,
            };
            for (seq, answer) in saved {
                let one = Remembered { key: (name.clone(), seq), answer };
                held.add(&one);
                answers.push(one);
            }
            known.push(Client { name, last, time, rev, held });
        }
        // Those that were forgotten wrote no later than the one that would be next, so before any
        // that wrote later than that one.
        let latest = || {
            let next = known.iter().map(|client| client.time).min();
            let later = known.iter().filter(|client| Some(client.time) > next);
            later.map(|client| client.rev).min().unwrap_or(head.rev)
        };
        let forgotten = head.forgotten.unwrap_or_else(latest);
        let committed = &mut state.committed;
        (committed.rev, committed.time, committed.horizon) = (head.rev, head.time, head.horizon);
        committed.forgotten = forgotten;
        committed.tree = tree;
        committed.graves = sorted(graves);
        committed.owned = sorted(owned);
        committed.answers = sorted(answers);
        committed.clients = sorted(known);
        for (path, time) in logged {
            state.appended(&path, time, true);
        }
        state
    }
}

fn sorted<T: Item>(items: Vec<T>) -> Map<T> {
    Map::from_sorted(items, &T::Summary::default())
}

impl Slot {
    fn saved(&self) -> SavedSlot {
        let marks = self.rare().map(|rare| SavedMarks {
            expires: rare.expires,
            owner: rare.owner.clone(),
            dropped: rare.dropped,
            trimmed: rare.trimmed,
        });
        let (path, value) = (self.path.clone(), self.value.clone());
        SavedSlot { path, rev: self.rev, time: self.time, value, marks }
    }

    fn from_saved(saved: SavedSlot, hasher: &EntryHasher) -> Slot {
        let SavedSlot { path, rev, time, value, marks } = saved;
        let mut slot = Slot::empty(path);
        match value {
            Some(value) => slot.set(hasher, rev, time, value),
            None => slot.bury(rev, time),
        }
        if let Some(SavedMarks { expires, owner, dropped, trimmed }) = marks {
            slot.with_rare(|rare| {
                (rare.expires, rare.owner) = (expires, owner);
                (rare.dropped, rare.trimmed) = (dropped, trimmed);
            });
        }
        slot
    }
}
