//! A commit: changes that were accepted together, in the form in which they are stored and
//! replayed.

use alloc::sync::Arc;
use alloc::vec::Vec;

use onetree_protocol::{Act, Change, LogKey, Name, Path, Revision, Value};

use crate::request::{Answer, Refusal};
use crate::settings::Time;

/// One or more effects that were accepted together. A commit holds everything that the next state
/// depends on: replaying the commits in order makes the same tree, wherever and whenever that is
/// done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The commit's place in the one total order.
    pub rev: Revision,
    /// When the commit was accepted; never earlier than the commit before it.
    pub time: Time,
    /// What the commit does, in this order.
    pub effects: Vec<Effect>,
    /// The numbered write that the commit answers, if it answers one.
    pub origin: Option<Origin>,
}

/// The result of a request.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What to answer the author once `commit` is stored.
    pub answer: Result<Answer, Refusal>,
    /// The commit that was made; `None` when there is nothing to store.
    pub commit: Option<Arc<Commit>>,
}

/// One thing that a commit does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The entry at `path` is now `value`.
    Put {
        /// The entry's path.
        path: Path,
        /// The entry's new value.
        value: Value,
        /// When the entry expires.
        expires: Option<Time>,
        /// The session whose end deletes the entry.
        owner: Option<Name>,
    },
    /// The entry is gone.
    Delete {
        /// The entry's path.
        path: Path,
    },
    /// Everything at and under the path is gone.
    Drop {
        /// The top of the subtree.
        path: Path,
    },
    /// A log's entries up to and including a key are gone, with everything under them.
    Trim {
        /// The log's path.
        path: Path,
        /// The last key that is gone.
        to: LogKey,
    },
    /// Deletes up to this revision are no longer remembered: it becomes the horizon. Subscribers do
    /// not see this effect.
    Compact {
        /// The new horizon.
        horizon: Revision,
    },
    /// The numbered writes of this client are no longer remembered. Subscribers do not see this
    /// effect.
    Forget {
        /// The client.
        client: Name,
    },
}

/// The numbered write that a commit answers. It is remembered, so that a retry gets the same
/// answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client that wrote.
    pub client: Name,
    /// The number of the write among those of the client.
    pub seq: u64,
    /// The answer to the write.
    pub answer: Arc<Result<Answer, Refusal>>,
}

impl Commit {
    /// Returns the changes that subscribers see, in order. Empty for a commit that only answers,
    /// compacts or forgets. Cost: one reference count for each path and value.
    pub fn changes(&self) -> Vec<Change> {
        let act = |effect: &Effect| match effect {
            Effect::Put { path, value, .. } => Some((path.clone(), Act::Put(Some(value.clone())))),
            Effect::Delete { path } => Some((path.clone(), Act::Delete)),
            Effect::Drop { path } => Some((path.clone(), Act::Drop)),
            // A live mirror had every entry that goes, so there is no gap.
            Effect::Trim { path, to } => Some((path.clone(), Act::Trim { to: *to, gap: false })),
            Effect::Compact { .. } | Effect::Forget { .. } => None,
        };
        let change = |(path, act)| Change { path, rev: self.rev, act };
        self.effects.iter().filter_map(act).map(change).collect()
    }
}
