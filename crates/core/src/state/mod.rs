//! The writable tree and the rest of the state: sessions, remembered answers, tombstones.

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

/// The one true tree, as its single writer holds it: requests go in, commits come out.
///
/// A request is first planned against the present state; the commit that results is then *replayed*
/// onto it. A start from a store replays the same commits through the same code, so it always
/// arrives at the same tree.
#[derive(Clone, Debug)]
pub struct State {
    settings: Arc<Settings>,
    hasher: EntryHasher,
    committed: Committed,
    /// The present sessions. They are not part of the history, so [`State::restore`] does not undo
    /// them.
    sessions: Sessions,
    /// Logs that have outgrown their rule of retention; [`State::housekeep`] trims them.
    outgrown: BTreeSet<Path>,
}

/// The result of all commits so far. The maps are persistent, so a copy is O(1).
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
    /// No client that wrote after this revision has been forgotten.
    forgotten: Revision,
}

/// A state to return to, see [`State::checkpoint`].
#[derive(Clone, Debug)]
pub struct Checkpoint(Committed);

impl State {
    /// Returns an empty tree, before its first commit.
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

    /// Returns the tree as it is now, for reading. O(1).
    pub fn snapshot(&self) -> Snapshot {
        let Committed { rev, horizon, tree, .. } = &self.committed;
        Snapshot::new(&self.settings, *rev, *horizon, tree.clone())
    }

    /// Returns the present revision.
    pub fn rev(&self) -> Revision {
        self.committed.rev
    }

    /// Returns the rules of retention. The first rule that matches a log applies to it.
    pub fn retention(&self) -> &[Retention] {
        &self.settings.retention
    }

    /// Returns how many logs are tracked because a rule of retention applies to them. O(1).
    pub fn logs(&self) -> usize {
        self.committed.logs.len()
    }

    /// Returns what was committed so far, to return to if a store fails. O(1).
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint(self.committed.clone())
    }

    /// Returns to a checkpoint: the commits since then never happened.
    ///
    /// Sessions stay as they are, because they are not part of the history. Housekeeping that was
    /// done since then becomes due again.
    pub fn restore(&mut self, checkpoint: Checkpoint) {
        self.committed = checkpoint.0;
        // A session whose end was among these commits is forgotten already, but owns entries again.
        self.admit_owners(Time(0));
        self.outgrown.extend(self.committed.logs.iter().map(|log| log.path.clone()));
    }

    /// Begins another history with the same content. Its commits get revisions above `above`.
    /// Mirrors of the old history are refreshed.
    pub fn begin_epoch(&mut self, epoch: Epoch, above: Revision) {
        let settings = Settings::clone(&self.settings);
        self.settings = Arc::new(Settings { epoch, ..settings });
        self.committed.rev = self.committed.rev.max(above);
        self.committed.horizon = self.committed.rev;
    }

    /// Applies a commit that this history has made before, at a start from a store. Afterwards the
    /// state is what it was when the commit was made.
    ///
    /// # Panics
    /// If the commit is not above the present revision: then the commits are not one history.
    pub fn replay(&mut self, commit: &Commit) {
        assert!(commit.rev > self.committed.rev, "revision {} comes twice", commit.rev);
        self.apply(commit, Hint::default());
    }
}
