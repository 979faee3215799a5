//! A request to write, and its answer.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use onetree_protocol::frame::{
    Append, Condition, Delete, Do, DropTree, ErrorFrame, Expect, Put, Trim, Txn,
};
use onetree_protocol::{Code, Name, Path, Revision};

/// The author of a write.
#[derive(Clone, Debug, Default)]
pub struct Author {
    /// The client's identity, which stays the same when it reconnects. `seq` counts this client's
    /// writes.
    pub client: Option<Name>,
    /// The session that owns the ephemeral entries of the write.
    pub session: Option<Name>,
    /// Present if the client sends writes again and none of its writes was answered: a revision
    /// from before the first of them.
    pub since: Option<Revision>,
}

/// A write. All of its changes are made if all of its conditions hold; otherwise none is.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The number of the write among those of its client.
    pub seq: Option<u64>,
    /// The conditions, checked before the first change.
    pub conditions: Vec<Condition>,
    /// The changes, in this order.
    pub changes: Vec<Do>,
}

/// The answer to a write that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The revision of the write's commit; the present revision when there was nothing to do.
    pub rev: Revision,
    /// The paths that the broker assigned, one for each append.
    pub paths: Vec<Path>,
}

/// The answer to a request that was refused; nothing of the request happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The code, which says what is wrong and what the client can do next.
    pub code: Code,
    /// An explanation for people.
    pub message: String,
    /// The path that the refusal is about.
    pub path: Option<Path>,
    /// The revision that was found instead of the expected one.
    pub rev: Option<Revision>,
}

impl Refusal {
    /// Returns a refusal with a code and a message and nothing else.
    pub fn new(code: Code, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), path: None, rev: None }
    }

    pub(crate) fn at(code: Code, path: &Path, message: impl Into<String>) -> Refusal {
        Refusal { path: Some(path.clone()), ..Refusal::new(code, message) }
    }
}

/// The frame does not name the request or the subscription that it answers: the caller adds that.
impl From<Refusal> for ErrorFrame {
    fn from(refusal: Refusal) -> ErrorFrame {
        let Refusal { code, message, path, rev } = refusal;
        ErrorFrame { path, rev, ..ErrorFrame::new(None, code, message) }
    }
}

fn entry(path: &Path, expect: Option<Expect>) -> Vec<Condition> {
    expect.map(|e| Condition::Entry { path: path.clone(), rev: e.rev }).into_iter().collect()
}

impl From<Put> for Request {
    fn from(put: Put) -> Request {
        let Put { seq, path, value, expect, ttl_ms, ephemeral, id: _ } = put;
        let conditions = entry(&path, expect);
        Request { seq, conditions, changes: vec![Do::Put { path, value, ttl_ms, ephemeral }] }
    }
}

impl From<Append> for Request {
    fn from(append: Append) -> Request {
        let Append { seq, path, value, ttl_ms, ephemeral, id: _ } = append;
        let changes = vec![Do::Append { path, value, ttl_ms, ephemeral }];
        Request { seq, conditions: Vec::new(), changes }
    }
}

impl From<Delete> for Request {
    fn from(delete: Delete) -> Request {
        let conditions = entry(&delete.path, delete.expect);
        Request { seq: delete.seq, conditions, changes: vec![Do::Delete { path: delete.path }] }
    }
}

impl From<DropTree> for Request {
    fn from(drop: DropTree) -> Request {
        let tree = |e: Expect| Condition::Tree { path: drop.path.clone(), rev: e.rev };
        let conditions = drop.expect.map(tree).into_iter().collect();
        Request { seq: drop.seq, conditions, changes: vec![Do::Drop { path: drop.path }] }
    }
}

impl From<Trim> for Request {
    fn from(trim: Trim) -> Request {
        let changes = vec![Do::Trim { path: trim.path, to: trim.to }];
        Request { seq: trim.seq, conditions: Vec::new(), changes }
    }
}

impl From<Txn> for Request {
    fn from(txn: Txn) -> Request {
        Request { seq: txn.seq, conditions: txn.conditions, changes: txn.changes }
    }
}
