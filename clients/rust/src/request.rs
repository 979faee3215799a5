//! What can be asked of a broker: writes and reads.

use std::time::Duration;

use onetree_protocol::frame::{self, ClientFrame, Condition, Do, Expect};
use onetree_protocol::{Change, Code, Depth, LogKey, Path, Revision, Value};
use serde::Serialize;

use crate::errors::{Error, Refusal, Sent};

/// Any write, to be given to [`crate::Client::submit`]: made from a [`Put`], [`Append`],
/// [`Delete`], [`DropTree`], [`Trim`] or [`Txn`], or from a frame of the protocol, whose numbers
/// the client sets.
#[derive(Clone, Debug)]
#[must_use = "nothing is written until it is given to a client"]
pub struct Write(pub(crate) ClientFrame);

/// `put`: the entry is now this.
#[derive(Clone, Debug)]
#[must_use = "nothing is written until it is given to a client"]
pub struct Put(frame::Put);

impl Put {
    /// Puts `value` at `path`.
    pub fn new(path: Path, value: Value) -> Put {
        let (id, seq, expect, ttl_ms) = (0, None, None, None);
        Put(frame::Put { id, seq, path, value, expect, ttl_ms, ephemeral: false })
    }

    /// Only when the entry is at this revision; [`Revision::ZERO`]: only when there is none.
    pub fn if_rev(mut self, rev: Revision) -> Put {
        self.0.expect = Some(Expect { rev });
        self
    }

    /// The entry lives this long, in whole milliseconds.
    pub fn ttl(mut self, ttl: Duration) -> Put {
        self.0.ttl_ms = Some(millis(ttl));
        self
    }

    /// The entry dies with the session: when the client closes, or has been without a connection
    /// for longer than the broker's grace, 30 seconds where its `session_grace_ms` says nothing
    /// else. It is not put again when a session was lost: that is the application's to do, at an
    /// `Online` that did not resume.
    ///
    /// Where it happened, but in a session that was over before the client heard of it, the answer
    /// is [`Code::OutcomeUnknown`]: it is not there any more.
    ///
    /// With [`Put::if_rev`] of [`Revision::ZERO`] it is a lock, or says who leads; [`Done::rev`] is
    /// its fencing token: who has it later has a higher one. Whoever is offline must have stepped
    /// down when the grace is over, of which nobody tells him, and which is counted from when the
    /// broker lost the connection: the client may notice that as much later as the heartbeat of
    /// [`Connection`](crate::Connection) and 10 seconds.
    pub fn ephemeral(mut self) -> Put {
        self.0.ephemeral = true;
        self
    }
}

/// `append`: a new entry of a log, whose key the broker assigns; [`Done::paths`] has it.
#[derive(Clone, Debug)]
#[must_use = "nothing is written until it is given to a client"]
pub struct Append(frame::Append);

impl Append {
    /// Appends `value` to the log at `path`.
    pub fn new(path: Path, value: Value) -> Append {
        Append(frame::Append { id: 0, seq: None, path, value, ttl_ms: None, ephemeral: false })
    }

    /// As [`Put::ttl`].
    pub fn ttl(mut self, ttl: Duration) -> Append {
        self.0.ttl_ms = Some(millis(ttl));
        self
    }

    /// As [`Put::ephemeral`].
    pub fn ephemeral(mut self) -> Append {
        self.0.ephemeral = true;
        self
    }
}

/// `delete`: the entry is gone; of nothing is no error.
#[derive(Clone, Debug)]
#[must_use = "nothing is written until it is given to a client"]
pub struct Delete(frame::Delete);

impl Delete {
    /// Deletes the entry at `path`.
    pub fn new(path: Path) -> Delete {
        Delete(frame::Delete { id: 0, seq: None, path, expect: None })
    }

    /// Only when the entry is at this revision.
    pub fn if_rev(mut self, rev: Revision) -> Delete {
        self.0.expect = Some(Expect { rev });
        self
    }
}

/// `drop`: everything at and under a path is gone.
#[derive(Clone, Debug)]
#[must_use = "nothing is written until it is given to a client"]
pub struct DropTree(frame::DropTree);

impl DropTree {
    /// Drops everything at and under `path`.
    pub fn new(path: Path) -> DropTree {
        DropTree(frame::DropTree { id: 0, seq: None, path, expect: None })
    }

    /// Only when nothing at or under the path has changed after this revision.
    pub fn if_rev(mut self, rev: Revision) -> DropTree {
        self.0.expect = Some(Expect { rev });
        self
    }
}

/// `trim`: a log's entries up to and including a key are gone.
#[derive(Clone, Debug)]
#[must_use = "nothing is written until it is given to a client"]
pub struct Trim(frame::Trim);

impl Trim {
    /// Trims the log at `path` up to and including `to`.
    pub fn new(path: Path, to: LogKey) -> Trim {
        Trim(frame::Trim { id: 0, seq: None, path, to })
    }
}

/// `txn`: several changes as one commit, all or nothing, when all conditions hold.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is written until it is given to a client"]
pub struct Txn(frame::Txn);

impl Txn {
    /// Nothing yet.
    pub fn new() -> Txn {
        Txn::default()
    }

    /// Only when the entry at `path` is at this revision; [`Revision::ZERO`]: there is none.
    pub fn if_rev(self, path: Path, rev: Revision) -> Txn {
        self.when(Condition::Entry { path, rev })
    }

    /// Only when nothing at or under `path` has changed after this revision.
    pub fn if_tree(self, path: Path, rev: Revision) -> Txn {
        self.when(Condition::Tree { path, rev })
    }

    /// One more condition.
    pub fn when(mut self, condition: Condition) -> Txn {
        self.0.conditions.push(condition);
        self
    }

    /// Puts `value` at `path`.
    pub fn put(self, path: Path, value: Value) -> Txn {
        self.then(Do::Put { path, value, ttl_ms: None, ephemeral: false })
    }

    /// Appends `value` to the log at `path`.
    pub fn append(self, path: Path, value: Value) -> Txn {
        self.then(Do::Append { path, value, ttl_ms: None, ephemeral: false })
    }

    /// Deletes the entry at `path`.
    pub fn delete(self, path: Path) -> Txn {
        self.then(Do::Delete { path })
    }

    /// Drops everything at and under `path`.
    pub fn drop_tree(self, path: Path) -> Txn {
        self.then(Do::Drop { path })
    }

    /// Trims the log at `path` up to and including `to`.
    pub fn trim(self, path: Path, to: LogKey) -> Txn {
        self.then(Do::Trim { path, to })
    }

    /// One more [`Step`](crate::Step); they happen in this order.
    pub fn then(mut self, step: Do) -> Txn {
        self.0.changes.push(step);
        self
    }
}

/// `list`: a page of the entries at and under a path.
#[derive(Clone, Debug)]
#[must_use = "nothing is read until it is given to a client"]
pub struct List(pub(crate) frame::List);

impl List {
    /// Everything at and under `path`, in path order, as much as fits into one answer.
    pub fn new(path: Path) -> List {
        List(frame::List {
            id: 0,
            path,
            depth: Depth::Tree,
            after: None,
            before: None,
            limit: 0,
            reverse: false,
            values: true,
        })
    }

    /// How deep below the path.
    pub fn depth(mut self, depth: Depth) -> List {
        self.0.depth = depth;
        self
    }

    /// Only paths behind this one.
    pub fn after(mut self, path: Path) -> List {
        self.0.after = Some(path);
        self
    }

    /// Only paths before this one.
    pub fn before(mut self, path: Path) -> List {
        self.0.before = Some(path);
        self
    }

    /// At most so many entries; the broker may send fewer, and says that there is more.
    pub fn limit(mut self, entries: u32) -> List {
        self.0.limit = entries;
        self
    }

    /// From the last path to the first: the newest of a log first.
    pub fn reverse(mut self) -> List {
        self.0.reverse = true;
        self
    }

    /// Paths and revisions alone.
    pub fn without_values(mut self) -> List {
        self.0.values = false;
        self
    }
}

impl From<frame::List> for List {
    fn from(frame: frame::List) -> List {
        List(frame)
    }
}

/// A write was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// The commit; the present revision when there was nothing to do.
    pub rev: Revision,
    /// Whether it survives power loss.
    pub durable: bool,
    /// The paths that were assigned, one for each append, in their order.
    pub paths: Vec<Path>,
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The revision that all of it was read at.
    pub rev: Revision,
    /// The entries: [`onetree_protocol::Act::Put`] only.
    pub entries: Vec<Change>,
    /// Whether there is more behind the last one.
    pub more: bool,
}

macro_rules! writes {
    ($($name:ident => $frame:ident),+) => {
        $(impl From<$name> for Write {
            fn from(write: $name) -> Write {
                Write(ClientFrame::$frame(write.0))
            }
        }

        impl From<frame::$name> for Write {
            fn from(frame: frame::$name) -> Write {
                Write(ClientFrame::$frame(frame))
            }
        })+
    };
}

impl TryFrom<ClientFrame> for Write {
    type Error = Error;

    /// `unknown-op` of a frame that is no write.
    fn try_from(frame: ClientFrame) -> Result<Write, Error> {
        let refused = || Error::Refused(Refusal::new(Code::UnknownOp, "the frame is no write"));
        is_write(&frame).then_some(Write(frame)).ok_or_else(refused)
    }
}

writes! { Put => Put, Append => Append, Delete => Delete, DropTree => Drop, Trim => Trim, Txn => Txn }

/// Whole milliseconds, at least one where there is any time at all.
pub(crate) fn millis(duration: Duration) -> u64 {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if duration.is_zero() { 0 } else { millis.max(1) }
}

/// The values that a frame carries, and where each belongs.
pub(crate) fn values(frame: &ClientFrame) -> impl Iterator<Item = (&Path, &Value)> {
    let (one, steps): (Option<(&Path, &Value)>, &[Do]) = match frame {
        ClientFrame::Put(f) => (Some((&f.path, &f.value)), &[]),
        ClientFrame::Append(f) => (Some((&f.path, &f.value)), &[]),
        ClientFrame::Signal(f) => (Some((&f.path, &f.value)), &[]),
        ClientFrame::Txn(f) => (None, &f.changes),
        _ => (None, &[]),
    };
    one.into_iter().chain(steps.iter().filter_map(|step| match step {
        Do::Put { path, value, .. } | Do::Append { path, value, .. } => Some((path, value)),
        Do::Delete { .. } | Do::Drop { .. } | Do::Trim { .. } => None,
    }))
}

/// What a frame counts in the queue, bytes: its values, and about as much as everything around a
/// short path takes.
pub(crate) fn cost(frame: &ClientFrame) -> usize {
    const FRAME_BYTES: usize = 512;
    let steps = match frame {
        ClientFrame::Txn(f) => f.changes.len() + f.conditions.len(),
        ClientFrame::Get(f) => f.paths.len(),
        _ => 0,
    };
    FRAME_BYTES + steps * 128 + values(frame).map(|(_, value)| value.bytes.len()).sum::<usize>()
}

/// Whether a frame is a write, which has a `seq`.
pub(crate) fn is_write(frame: &ClientFrame) -> bool {
    matches!(
        frame,
        ClientFrame::Put(_)
            | ClientFrame::Append(_)
            | ClientFrame::Delete(_)
            | ClientFrame::Drop(_)
            | ClientFrame::Trim(_)
            | ClientFrame::Txn(_)
    )
}

/// Whether a frame makes an entry that the session owns.
pub(crate) fn is_ephemeral(frame: &ClientFrame) -> bool {
    match frame {
        ClientFrame::Put(f) => f.ephemeral,
        ClientFrame::Append(f) => f.ephemeral,
        ClientFrame::Txn(f) => f.changes.iter().any(|step| match step {
            Do::Put { ephemeral, .. } | Do::Append { ephemeral, .. } => *ephemeral,
            Do::Delete { .. } | Do::Drop { .. } | Do::Trim { .. } => false,
        }),
        _ => false,
    }
}

/// What a frame without an answer is, once it was sent.
pub(crate) fn once_sent(frame: &ClientFrame) -> Sent {
    match frame {
        ClientFrame::Get(_) | ClientFrame::List(_) | ClientFrame::Auth(_) => Sent::Read,
        _ => Sent::Write,
    }
}

/// Where a write names a revision, in a condition or by the key of a log: another history may have
/// something else there. That an entry is absent is about any.
pub(crate) fn of_history(frame: &ClientFrame) -> Vec<&Path> {
    let keyed = |path: &Path| path.segments().any(|name| LogKey::parse(name).is_some());
    let at = |path, expect: &Option<Expect>| {
        let named = keyed(path) || expect.is_some_and(|expect| expect.rev > Revision::ZERO);
        named.then_some(path).into_iter().collect()
    };
    match frame {
        ClientFrame::Put(f) => at(&f.path, &f.expect),
        ClientFrame::Append(f) => at(&f.path, &None),
        ClientFrame::Delete(f) => at(&f.path, &f.expect),
        ClientFrame::Drop(f) => at(&f.path, &f.expect),
        ClientFrame::Trim(f) => vec![&f.path],
        ClientFrame::Txn(f) => {
            let conditions = f.conditions.iter().filter_map(|condition| match condition {
                Condition::Entry { path, rev } | Condition::Tree { path, rev } => {
                    (*rev > Revision::ZERO).then_some(path)
                }
            });
            let steps = f.changes.iter().filter_map(|step| match step {
                Do::Put { path, .. }
                | Do::Append { path, .. }
                | Do::Delete { path }
                | Do::Drop { path } => keyed(path).then_some(path),
                Do::Trim { path, .. } => Some(path),
            });
            conditions.chain(steps).collect()
        }
        _ => Vec::new(),
    }
}

/// Gives a request's frame its `id`, and a write its `seq`.
pub(crate) fn number(frame: &mut ClientFrame, id: u32, seq: Option<u64>) {
    match frame {
        ClientFrame::Put(f) => (f.id, f.seq) = (id, seq),
        ClientFrame::Append(f) => (f.id, f.seq) = (id, seq),
        ClientFrame::Delete(f) => (f.id, f.seq) = (id, seq),
        ClientFrame::Drop(f) => (f.id, f.seq) = (id, seq),
        ClientFrame::Trim(f) => (f.id, f.seq) = (id, seq),
        ClientFrame::Txn(f) => (f.id, f.seq) = (id, seq),
        ClientFrame::Auth(f) => f.id = id,
        ClientFrame::Signal(f) => f.id = Some(id),
        ClientFrame::Get(f) => f.id = id,
        ClientFrame::List(f) => f.id = id,
        ClientFrame::Sync(f) => f.id = id,
        ClientFrame::Bye(f) => f.id = id,
        ClientFrame::Hello(f) => f.id = id,
        ClientFrame::Sub(f) => f.id = id,
        ClientFrame::Unsub(f) => f.id = id,
        ClientFrame::Resync(f) => f.id = id,
    }
}
