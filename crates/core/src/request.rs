//! A request to write, and what is answered.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use onetree_protocol::frame::{
    Append, Condition, Delete, Do, DropTree, ErrorFrame, Expect, Put, Trim, Txn,
};
use onetree_protocol::{Code, Name, Path, Revision};

/// Who writes.
#[derive(Clone, Debug, Default)]
pub struct Author {
    /// The client's identity over its reconnects: what `seq` counts in.
    pub client: Option<Name>,
    /// The session that owns what is ephemeral.
    pub session: Option<Name>,
    /// Where it sends writes again of which none was answered: a revision before the first of them.
    pub since: Option<Revision>,
}

/// A write: all of its changes, if all of its conditions hold; otherwise nothing.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Its number among the writes of its client.
    pub seq: Option<u64>,
    /// What must be so before it.
    pub conditions: Vec<Condition>,
    /// What it does, in this order.
    pub changes: Vec<Do>,
}

/// A write that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its commit; the present revision when there was nothing to do.
    pub rev: Revision,
    /// The paths that were assigned, one for each append.
    pub paths: Vec<Path>,
}

/// A request that was refused; nothing of it happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What is wrong and what to do next.
    pub code: Code,
    /// For people.
    pub message: String,
    /// What it is about.
    pub path: Option<Path>,
    /// The revision that is there instead.
    pub rev: Option<Revision>,
}

impl Refusal {
    /// A refusal with its code and message, nothing else.
    pub fn new(code: Code, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), path: None, rev: None }
    }

    pub(crate) fn at(code: Code, path: &Path, message: impl Into<String>) -> Refusal {
        Refusal { path: Some(path.clone()), ..Refusal::new(code, message) }
    }
}

/// Without the request and the subscription that it answers.
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
