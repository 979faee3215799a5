//! The requests of a client: writes and reads.

use std::time::Duration;

use onetree_protocol::frame::{self, ClientFrame, Condition, Do, Expect};
use onetree_protocol::{Change, Code, Depth, LogKey, Path, Revision, Value};
use serde::Serialize;

use crate::errors::{Error, Refusal, Sent};

/// Any write, for [`crate::Client::write`], `enqueue` and `submit`. Make it from a [`Put`],
/// [`Append`], [`Delete`], [`DropTree`], [`Trim`] or [`Txn`], or from a frame of the protocol. The
/// client sets the numbers (`id` and `seq`) of such a frame.
#[derive(Clone, Debug)]
#[must_use = "nothing is written until it is given to a client"]
pub struct Write(pub(crate) ClientFrame);

/// `put`: sets the value at a path.
#[derive(Clone, Debug)]
#[must_use = "nothing is written until it is given to a client"]
pub struct Put(frame::Put);

impl Put {
    /// Puts `value` at `path`.
    pub fn new(path: Path, value: Value) -> Put {
        let (id, seq, expect, ttl_ms) = (0, None, None, None);
        Put(frame::Put { id, seq, path, value, expect, ttl_ms, ephemeral: false })
    }

    /// Puts only if the entry is at revision `rev`. [`Revision::ZERO`] means: only if there is no
    /// entry.
    pub fn if_rev(mut self, rev: Revision) -> Put {
        self.0.expect = Some(Expect { rev });
        self
    }

    /// Sets how long the entry lives, in whole milliseconds. Then the broker deletes it.
    pub fn ttl(mut self, ttl: Duration) -> Put {
        self.0.ttl_ms = Some(millis(ttl));
        self
    }

    /// Binds the entry to the session. The broker deletes the entry when the session is over: when
    /// the client closes, or when there was no connection for longer than the broker's grace (30
    /// seconds, unless its `session_grace_ms` says something else). The client does not put the
    /// entry again when a session was lost. The application may do that, at an `Online` that is not
    /// `resumed`.
    ///
    /// If the put happened, but its session was over before the answer came, the put fails with
    /// [`Code::OutcomeUnknown`]: the entry is gone.
    ///
    /// With [`Put::if_rev`] of [`Revision::ZERO`] such an entry is a lock, or elects a leader.
    /// [`Done::rev`] is the fencing token: each later holder has a higher one. A holder that is
    /// offline must step down before the grace is over, and nobody tells the holder when that is.
    /// The grace begins when the broker loses the connection. The client may notice the loss later,
    /// by as much as the heartbeat of [`Connection`](crate::Connection) plus 10 seconds.
    pub fn ephemeral(mut self) -> Put {
        self.0.ephemeral = true;
        self
    }
}

/// `append`: adds an entry to a log. The broker assigns its key; [`Done::paths`] has the path.
#[derive(Clone, Debug)]
#[must_use = "nothing is written until it is given to a client"]
pub struct Append(frame::Append);

impl Append {
    /// Appends `value` to the log at `path`.
    pub fn new(path: Path, value: Value) -> Append {
        Append(frame::Append { id: 0, seq: None, path, value, ttl_ms: None, ephemeral: false })
    }

    /// Sets how long the entry lives, as [`Put::ttl`] does.
    pub fn ttl(mut self, ttl: Duration) -> Append {
        self.0.ttl_ms = Some(millis(ttl));
        self
    }

    /// Binds the entry to the session, as [`Put::ephemeral`] does.
    pub fn ephemeral(mut self) -> Append {
        self.0.ephemeral = true;
        self
    }
}

/// `delete`: deletes the entry at a path. It is no error if there is none.
#[derive(Clone, Debug)]
#[must_use = "nothing is written until it is given to a client"]
pub struct Delete(frame::Delete);

impl Delete {
    /// Deletes the entry at `path`.
    pub fn new(path: Path) -> Delete {
        Delete(frame::Delete { id: 0, seq: None, path, expect: None })
    }

    /// Deletes only if the entry is at revision `rev`.
    pub fn if_rev(mut self, rev: Revision) -> Delete {
        self.0.expect = Some(Expect { rev });
        self
    }
}

/// `drop`: deletes everything at and under a path.
#[derive(Clone, Debug)]
#[must_use = "nothing is written until it is given to a client"]
pub struct DropTree(frame::DropTree);

impl DropTree {
    /// Deletes everything at and under `path`.
    pub fn new(path: Path) -> DropTree {
        DropTree(frame::DropTree { id: 0, seq: None, path, expect: None })
    }

    /// Deletes only if nothing at or under the path has changed after revision `rev`.
    pub fn if_rev(mut self, rev: Revision) -> DropTree {
        self.0.expect = Some(Expect { rev });
        self
    }
}

/// `trim`: deletes the entries of a log up to and including a key.
#[derive(Clone, Debug)]
#[must_use = "nothing is written until it is given to a client"]
pub struct Trim(frame::Trim);

impl Trim {
    /// Deletes the entries of the log at `path` up to and including `to`.
    pub fn new(path: Path, to: LogKey) -> Trim {
        Trim(frame::Trim { id: 0, seq: None, path, to })
    }
}

/// `txn`: several writes as one commit, all or nothing, if all conditions hold.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is written until it is given to a client"]
pub struct Txn(frame::Txn);

impl Txn {
    /// A transaction without conditions and steps.
    pub fn new() -> Txn {
        Txn::default()
    }

    /// Adds a condition: the entry at `path` is at revision `rev`. [`Revision::ZERO`] means: there
    /// is none.
    pub fn if_rev(self, path: Path, rev: Revision) -> Txn {
        self.when(Condition::Entry { path, rev })
    }

    /// Adds a condition: nothing at or under `path` has changed after revision `rev`.
    pub fn if_tree(self, path: Path, rev: Revision) -> Txn {
        self.when(Condition::Tree { path, rev })
    }

    /// Adds a condition.
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

    /// Deletes everything at and under `path`.
    pub fn drop_tree(self, path: Path) -> Txn {
        self.then(Do::Drop { path })
    }

    /// Deletes the entries of the log at `path` up to and including `to`.
    pub fn trim(self, path: Path, to: LogKey) -> Txn {
        self.then(Do::Trim { path, to })
    }

    /// Adds a [`Step`](crate::Step). The steps are carried out in this order.
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
    /// Lists everything at and under `path`, in path order, as much as fits into one answer.
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

    /// Sets how deep below the path to list.
    pub fn depth(mut self, depth: Depth) -> List {
        self.0.depth = depth;
        self
    }

    /// Lists only paths after this one.
    pub fn after(mut self, path: Path) -> List {
        self.0.after = Some(path);
        self
    }

    /// Lists only paths before this one.
    pub fn before(mut self, path: Path) -> List {
        self.0.before = Some(path);
        self
    }

    /// Lists at most `entries` entries. The broker may send fewer; then [`Found::more`] is true.
    pub fn limit(mut self, entries: u32) -> List {
        self.0.limit = entries;
        self
    }

    /// Lists from the last path to the first: the newest entry of a log first.
    pub fn reverse(mut self) -> List {
        self.0.reverse = true;
        self
    }

    /// Lists paths and revisions only.
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

/// The answer to a write: it was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// The revision of the commit, or the present revision if there was nothing to do.
    pub rev: Revision,
    /// Whether the commit survives power loss.
    pub durable: bool,
    /// The paths that the broker assigned, one for each append, in the order of the appends.
    pub paths: Vec<Path>,
}

/// The answer to a read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The revision at which all entries were read.
    pub rev: Revision,
    /// The entries. Each is an [`onetree_protocol::Act::Put`].
    pub entries: Vec<Change>,
    /// Whether there are more entries after the last one.
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

    /// Refuses a frame that is no write, with `unknown-op`.
    fn try_from(frame: ClientFrame) -> Result<Write, Error> {
        let refused = || Error::Refused(Refusal::new(Code::UnknownOp, "the frame is no write"));
        is_write(&frame).then_some(Write(frame)).ok_or_else(refused)
    }
}

writes! { Put => Put, Append => Append, Delete => Delete, DropTree => Drop, Trim => Trim, Txn => Txn }

/// Converts to whole milliseconds, rounded down, but at least 1 unless the duration is zero.
pub(crate) fn millis(duration: Duration) -> u64 {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if duration.is_zero() { 0 } else { millis.max(1) }
}

/// Returns the values that a frame carries, each with its path.
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

/// Returns how many bytes a frame counts in the queue: its values, and an estimate of everything
/// else.
pub(crate) fn cost(frame: &ClientFrame) -> usize {
    const FRAME_BYTES: usize = 512;
    let steps = match frame {
        ClientFrame::Txn(f) => f.changes.len() + f.conditions.len(),
        ClientFrame::Get(f) => f.paths.len(),
        _ => 0,
    };
    FRAME_BYTES + steps * 128 + values(frame).map(|(_, value)| value.bytes.len()).sum::<usize>()
}

/// Returns whether a frame is a write. Writes have a `seq`.
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

/// Returns whether a frame makes an ephemeral entry, which belongs to the session.
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

/// Returns what is true of a frame that was sent and has no answer.
pub(crate) fn once_sent(frame: &ClientFrame) -> Sent {
    match frame {
        ClientFrame::Get(_) | ClientFrame::List(_) | ClientFrame::Auth(_) => Sent::Read,
        _ => Sent::Write,
    }
}

/// Returns the paths at which a write names a revision, in a condition or by the key of a log.
/// Another history may have something else at that revision. The condition that an entry is absent
/// (revision 0) is not listed: it names no revision.
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

/// Sets the `id` of a request's frame, and the `seq` of a write.
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
