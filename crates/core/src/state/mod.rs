//! The writable tree, and all that it needs to go on: sessions, the memory of answers, tombstones.

mod dedup;
mod housekeep;
mod logs;
mod past;
mod replay;
mod saved;
mod session;
mod write;

use alloc::collections::BTreeSet;
use alloc::sync::Arc;

use onetree_protocol::{EntryHasher, Epoch, Path, Revision};

use crate::commit::Commit;
use crate::map::{Hint, Map};
use crate::settings::{Retention, Settings, Time};
use crate::slot::Slot;
use crate::snapshot::Snapshot;

pub use saved::{Head, SavedClient, SavedMarks, SavedSlot};
pub use session::Opened;

use dedup::{Client, Remembered};
use past::{Grave, Log, Owned};
use session::Sessions;

/// The one true tree as its owner has it: requests in, commits out.
///
/// A commit is first planned against the present state, then *replayed* onto it; a start from a
/// store replays the same commits through the same code, so it cannot come to another tree.
#[derive(Clone, Debug)]
pub struct State {
    settings: Arc<Settings>,
    hasher: EntryHasher,
    committed: Committed,
    /// Who is there now: not history, and not undone by [`State::restore`].
    sessions: Sessions,
    /// Logs that have outgrown a rule; [`State::housekeep`] trims them.
    outgrown: BTreeSet<Path>,
}

/// What the commits so far have made: persistent maps, so that a copy is O(1).
#[derive(Clone, Debug)]
struct Committed {
    rev: Revision,
    time: Time,
    horizon: Revision,
    tree: Map<Slot>,
    graves: Map<Grave>,
    owned: Map<Owned>,
    logs: Map<Log>,
    clients: Map<Client>,
    answers: Map<Remembered>,
    /// No client is forgotten that wrote after this revision.
    forgotten: Revision,
}

/// A state to go back to, see [`State::checkpoint`].
#[derive(Clone, Debug)]
pub struct Checkpoint(Committed);

impl State {
    /// An empty tree, before its first commit.
    pub fn new(settings: Settings) -> State {
        State {
            hasher: EntryHasher::new(settings.digest_key),
            settings: Arc::new(settings),
            committed: Committed {
                rev: Revision::ZERO,
                time: Time(0),
                horizon: Revision::ZERO,
                tree: Map::new(),
                graves: Map::new(),
                owned: Map::new(),
                logs: Map::new(),
                clients: Map::new(),
                answers: Map::new(),
                forgotten: Revision::ZERO,
            },
            sessions: Sessions::default(),
            outgrown: BTreeSet::new(),
        }
    }

    /// The tree as it is now, for everyone to read. O(1).
    pub fn snapshot(&self) -> Snapshot {
        let Committed { rev, horizon, tree, .. } = &self.committed;
        Snapshot::new(&self.settings, *rev, *horizon, tree.clone())
    }

    /// The present revision.
    pub fn rev(&self) -> Revision {
        self.committed.rev
    }

    /// The rules of retention, of which the first that matches a log is for it.
    pub fn retention(&self) -> &[Retention] {
        &self.settings.retention
    }

    /// How many logs are kept an eye on, because a rule of retention is for them. O(1).
    pub fn logs(&self) -> usize {
        self.committed.logs.len()
    }

    /// What was committed so far, to go back to when a store fails. O(1).
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint(self.committed.clone())
    }

    /// Goes back to a checkpoint: the commits since then never happened. Sessions stay as they
    /// are: they are not history. What was due and was done by itself is due again.
    pub fn restore(&mut self, checkpoint: Checkpoint) {
        self.committed = checkpoint.0;
        // A session whose end was among these commits is forgotten already, and owns again.
        self.admit_owners(Time(0));
        self.outgrown.extend(self.committed.logs.iter().map(|log| log.path.clone()));
    }

    /// Begins another history with the same content, whose commits come behind `above`. Mirrors of
    /// the old one are refreshed.
    pub fn begin_epoch(&mut self, epoch: Epoch, above: Revision) {
        let settings = Settings::clone(&self.settings);
        self.settings = Arc::new(Settings { epoch, ..settings });
        self.committed.rev = self.committed.rev.max(above);
        self.committed.horizon = self.committed.rev;
    }

    /// Applies a commit that this history has made before, at a start from a store. The state is
    /// afterwards what it was when the commit was made.
    ///
    /// # Panics
    /// When the commit is not above the present revision: the history is not one.
    pub fn replay(&mut self, commit: &Commit) {
        assert!(commit.rev > self.committed.rev, "revision {} comes twice", commit.rev);
        self.apply(commit, Hint::default());
    }
}
