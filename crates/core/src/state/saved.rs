//! A state in the form in which a store saves it, and the state that is loaded from that.

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

/// The head of a saved state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The revision of the last commit in the saved state.
    pub rev: Revision,
    /// The time of that commit.
    pub time: Time,
    /// The oldest revision from which deletes are remembered.
    pub horizon: Revision,
    /// No client that wrote after this revision has been forgotten; `None` if this was not saved.
    pub forgotten: Option<Revision>,
}

/// One slot of the tree: an entry or the tombstone of one, and the marks at its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedSlot {
    /// The slot's path.
    pub path: Path,
    /// The commit that put or deleted the entry; [`Revision::ZERO`] if there are only marks.
    pub rev: Revision,
    /// The time of that commit.
    pub time: Time,
    /// The value; `None` for a tombstone.
    pub value: Option<Value>,
    /// What only few slots have.
    pub marks: Option<SavedMarks>,
}

/// What only few slots have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedMarks {
    /// When the entry expires.
    pub expires: Option<Time>,
    /// The session that owns the entry.
    pub owner: Option<Name>,
    /// The last drop at this path; [`Revision::ZERO`]: none is remembered.
    pub dropped: Revision,
    /// The last trim of the log at this path: its revision, and the last key that went.
    pub trimmed: Option<(Revision, LogKey)>,
}

/// A client that numbers its writes, and the answers to it that are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedClient {
    /// The client's name.
    pub name: Name,
    /// The highest number that the client has used.
    pub last: u64,
    /// When the client last wrote.
    pub time: Time,
    /// The remembered answers, by number.
    pub answers: Vec<(u64, Arc<Result<Answer, Refusal>>)>,
}

impl Checkpoint {
    /// Returns the head of the saved state.
    pub fn head(&self) -> Head {
        let Committed { rev, time, horizon, forgotten, .. } = self.0;
        Head { rev, time, horizon, forgotten: Some(forgotten) }
    }

    /// Returns the digest of the entries, under the key of the settings.
    pub fn digest(&self) -> Digest {
        self.0.tree.summary().digest()
    }

    /// Returns the number of slots.
    pub fn slots_len(&self) -> usize {
        self.0.tree.len()
    }

    /// Returns the slots, in path order.
    pub fn slots(&self) -> impl Iterator<Item = SavedSlot> + '_ {
        self.0.tree.iter().map(Slot::saved)
    }

    /// Returns the number of clients.
    pub fn clients_len(&self) -> usize {
        self.0.clients.len()
    }

    /// Returns the clients, in the order of their names.
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
    /// Makes a state from what was saved: `slots` in path order, `clients` in the order of their
    /// names. Everything that can be derived (the digest of each entry, the indexes by age and
    /// owner, the logs that have a rule) is made anew, with the present settings. O(n).
    ///
    /// The places where deletes were compacted are not saved. After loading, each range says that
    /// it may have lost something up to the horizon, which is true.
    ///
    /// If `head` does not say how late the forgotten clients wrote, a limit for that is derived
    /// from the clients that are remembered.
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
            // A write that changed nothing was answered with the revision before its commit, so
            // take the next one. If the last write was refused, all that is known is that its
            // commit is not later than the saved state.
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
        // Clients are forgotten in the order of their last write. So a forgotten client wrote no
        // later than the remembered client that wrote first, and earlier than any that wrote after
        // that one.
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
