//! A commit: changes accepted together, as they are stored and replayed.

use alloc::sync::Arc;
use alloc::vec::Vec;

use onetree_protocol::{Act, Change, LogKey, Name, Path, Revision, Value};

use crate::request::{Answer, Refusal};
use crate::settings::Time;

/// One or more effects accepted together. It holds all that the next state depends on: replaying
/// the commits in order makes the same tree, wherever and whenever that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its place in the one total order.
    pub rev: Revision,
    /// When it was accepted; never earlier than the commit before it.
    pub time: Time,
    /// What it does, in this order.
    pub effects: Vec<Effect>,
    /// The numbered write that it answers.
    pub origin: Option<Origin>,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What to say to the author once `commit` is stored.
    pub answer: Result<Answer, Refusal>,
    /// The commit that was made; `None` when nothing was to be stored.
    pub commit: Option<Arc<Commit>>,
}

/// One thing that a commit does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The entry is now this.
    Put {
        /// Where.
        path: Path,
        /// What.
        value: Value,
        /// When it dies.
        expires: Option<Time>,
        /// The session that it dies with.
        owner: Option<Name>,
    },
    /// The entry is gone.
    Delete {
        /// Where.
        path: Path,
    },
    /// Everything at and under the path is gone.
    Drop {
        /// The top.
        path: Path,
    },
    /// A log's entries up to and including a key are gone, with what is under them.
    Trim {
        /// The log.
        path: Path,
        /// The last that is gone.
        to: LogKey,
    },
    /// Deletes up to this revision are no longer remembered: it is the horizon. No subscriber
    /// sees this.
    Compact {
        /// The new horizon.
        horizon: Revision,
    },
    /// The numbered writes of this client are no longer remembered. No subscriber sees this.
    Forget {
        /// Who.
        client: Name,
    },
}

/// The numbered write that a commit answers: remembered, so that a retry gets the same answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Who wrote.
    pub client: Name,
    /// The number of the write.
    pub seq: u64,
    /// What was answered.
    pub answer: Arc<Result<Answer, Refusal>>,
}

impl Commit {
    /// What subscribers see of it, in order; nothing where it only answers or forgets. Cost: one
    /// reference count for each path and value.
    pub fn changes(&self) -> Vec<Change> {
        let act = |effect: &Effect| match effect {
            Effect::Put { path, value, .. } => Some((path.clone(), Act::Put(Some(value.clone())))),
            Effect::Delete { path } => Some((path.clone(), Act::Delete)),
            Effect::Drop { path } => Some((path.clone(), Act::Drop)),
            // Who is live had every entry that goes: there is no gap.
            Effect::Trim { path, to } => Some((path.clone(), Act::Trim { to: *to, gap: false })),
            Effect::Compact { .. } | Effect::Forget { .. } => None,
        };
        let change = |(path, act)| Change { path, rev: self.rev, act };
        self.effects.iter().filter_map(act).map(change).collect()
    }
}
