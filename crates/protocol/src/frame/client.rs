//! The frames that a client sends. Every frame carries an `id` that the client chooses, and gets
//! one reply with that `id`. (A signal may do without.)

use crate::cookie::Cookie;
use crate::log::LogKey;
use crate::name::Name;
use crate::path::Path;
use crate::revision::Revision;
use crate::value::Value;
use crate::view::{Depth, View};

/// Any frame of a client. The two large ones, which are rare, are boxed: a frame is moved several
/// times, and each move copies as many bytes as the largest variant has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is documented at its own type")]
pub enum ClientFrame {
    Hello(Box<Hello>),
    Auth(Auth),
    Sub(Box<Sub>),
    Unsub(Unsub),
    Resync(Resync),
    Sync(SyncRequest),
    Put(Put),
    Append(Append),
    Delete(Delete),
    Drop(DropTree),
    Trim(Trim),
    Signal(SendSignal),
    Txn(Txn),
    Get(Get),
    List(List),
    Bye(Bye),
}

impl ClientFrame {
    /// Returns the `id` that the reply will carry. Only a signal may have none.
    pub fn id(&self) -> Option<u32> {
        match self {
            ClientFrame::Hello(f) => Some(f.id),
            ClientFrame::Auth(f) => Some(f.id),
            ClientFrame::Sub(f) => Some(f.id),
            ClientFrame::Unsub(f) => Some(f.id),
            ClientFrame::Resync(f) => Some(f.id),
            ClientFrame::Sync(f) => Some(f.id),
            ClientFrame::Put(f) => Some(f.id),
            ClientFrame::Append(f) => Some(f.id),
            ClientFrame::Delete(f) => Some(f.id),
            ClientFrame::Drop(f) => Some(f.id),
            ClientFrame::Trim(f) => Some(f.id),
            ClientFrame::Signal(f) => f.id,
            ClientFrame::Txn(f) => Some(f.id),
            ClientFrame::Get(f) => Some(f.id),
            ClientFrame::List(f) => Some(f.id),
            ClientFrame::Bye(f) => Some(f.id),
        }
    }
}

/// `hello`: opens a connection. It is the first frame, and is sent once. Reply: `welcome`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The `id` that the reply will carry.
    pub id: u32,
    /// The client's identity, which stays the same when it reconnects. `seq` counts this client's
    /// writes.
    pub client: Option<Name>,
    /// The session of an earlier `welcome`, which the client wants to resume.
    pub session: Option<Name>,
    /// Proves who the principal is. A broker that has no tokens configured ignores it.
    pub token: Option<String>,
    /// The client's program, for the broker's log: `onetree-js/0.1.0`.
    pub agent: Option<String>,
    /// The highest revision that this client has ever seen.
    pub seen: Option<Revision>,
    /// All subscriptions at once, so that a reconnect is one round trip. Each also gets its own
    /// reply.
    pub subs: Vec<Sub>,
    /// Present if the client will send writes again and none of its writes was answered: the
    /// highest revision that the client had seen when it sent the first of them.
    pub since: Option<Revision>,
}

/// `auth`: presents a new token. Reply: `ok`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// The `id` that the reply will carry.
    pub id: u32,
    /// The token.
    pub token: String,
}

/// `sub`: begins a subscription. Reply: `ok`, then `refresh`, `entries`…, `fresh`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sub {
    /// The `id` that the reply will carry.
    pub id: u32,
    /// The client's number for the subscription, unique on its connection.
    pub sub: u32,
    /// What the subscription sees. On the wire the parts of the view are fields of the frame
    /// itself: `path`, `depth`, `match`, `tail`, `values`.
    pub view: View,
    /// Where the client's mirror stands, if it has one.
    pub cookie: Option<Cookie>,
    /// Whether the subscription ends at `fresh`.
    pub mode: Mode,
    /// Whether signals in the view are delivered.
    pub signals: bool,
    /// The shortest time between two deltas, in milliseconds; changes in between are folded. 0:
    /// every delta is sent as it comes.
    pub every_ms: u32,
    /// Whether the client still has a copy, although its cookie may not be usable (for repair).
    pub copy: bool,
}

/// Whether a subscription ends at `fresh`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It stays and gets deltas (`stay`; refreshAndPersist of RFC 4533).
    #[default]
    Stay,
    /// It ends (`once`; refreshOnly of RFC 4533).
    Once,
}

/// `unsub`: ends a subscription. Reply: `ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsub {
    /// The `id` that the reply will carry.
    pub id: u32,
    /// The number of the subscription.
    pub sub: u32,
}

/// `resync`: starts a subscription again from nothing. Reply: `ok`, then the same as after `sub`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resync {
    /// The `id` that the reply will carry.
    pub id: u32,
    /// The number of the subscription.
    pub sub: u32,
}

/// `sync`: asks for the digests of all subscriptions now. Reply: `sync` with this `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncRequest {
    /// The `id` that the reply will carry.
    pub id: u32,
    /// Whether the reply also has the digests that take long to count. The reply waits for them.
    pub all: bool,
}

/// The condition of a write; on the wire `"if":{"rev":790}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// For an entry: its revision, or 0 if it must be absent. For `drop`: the highest revision in
    /// the subtree.
    pub rev: Revision,
}

/// `put`: sets the entry at a path. Reply: `done`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// The `id` that the reply will carry.
    pub id: u32,
    /// Makes a retry safe: 1, 2, 3… for each `client`, over all its writes.
    pub seq: Option<u64>,
    /// The entry's path.
    pub path: Path,
    /// The entry's new value.
    pub value: Value,
    /// The condition for the write.
    pub expect: Option<Expect>,
    /// How long the entry lives, in milliseconds; without this, for ever.
    pub ttl_ms: Option<u64>,
    /// Whether the entry is deleted when the session ends.
    pub ephemeral: bool,
}

/// `append`: adds a new entry to the log at `path`. Reply: `done` with the path that was assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The `id` that the reply will carry.
    pub id: u32,
    /// See [`Put`].
    pub seq: Option<u64>,
    /// The log.
    pub path: Path,
    /// The entry's value.
    pub value: Value,
    /// See [`Put`].
    pub ttl_ms: Option<u64>,
    /// See [`Put`].
    pub ephemeral: bool,
}

/// `delete`: deletes an entry. Reply: `done`. To delete what is not there is no error and makes no
/// commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// The `id` that the reply will carry.
    pub id: u32,
    /// See [`Put`].
    pub seq: Option<u64>,
    /// The entry's path.
    pub path: Path,
    /// The condition for the write.
    pub expect: Option<Expect>,
}

/// `drop`: removes everything at and under `path`. Reply: `done`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropTree {
    /// The `id` that the reply will carry.
    pub id: u32,
    /// See [`Put`].
    pub seq: Option<u64>,
    /// The top of the subtree.
    pub path: Path,
    /// The condition for the write: the highest revision in the subtree.
    pub expect: Option<Expect>,
}

/// `trim`: removes the log's entries up to and including `to`. Reply: `done`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trim {
    /// The `id` that the reply will carry.
    pub id: u32,
    /// See [`Put`].
    pub seq: Option<u64>,
    /// The log.
    pub path: Path,
    /// The last entry to remove.
    pub to: LogKey,
}

/// `signal`: a message for the present subscribers, never stored. Reply: `ok`, if the signal has an
/// `id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendSignal {
    /// The `id` that the reply will carry; `None`: there is no reply, unless the signal is refused.
    pub id: Option<u32>,
    /// The topic of the signal.
    pub path: Path,
    /// The content of the signal.
    pub value: Value,
}

/// `txn`: does all of its changes or none. Reply: `done`, or `error` with the first condition that
/// failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// The `id` that the reply will carry.
    pub id: u32,
    /// See [`Put`].
    pub seq: Option<u64>,
    /// The conditions (`if` on the wire).
    pub conditions: Vec<Condition>,
    /// The changes, in this order (`do` on the wire).
    pub changes: Vec<Do>,
}

/// One condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The entry at `path` has this revision; 0: there is no entry. `{"path":…,"rev":…}`
    Entry {
        /// The entry's path.
        path: Path,
        /// The expected revision.
        rev: Revision,
    },
    /// The highest revision of anything that ever happened at or under `path` is at most this.
    /// `{"tree":…,"rev":…}`
    Tree {
        /// The top of the subtree.
        path: Path,
        /// The highest revision allowed.
        rev: Revision,
    },
}

/// One step of a transaction; on the wire `{"do":"put",…}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Do {
    /// See [`Put`].
    Put {
        /// The entry's path.
        path: Path,
        /// The entry's new value.
        value: Value,
        /// How long the entry lives, in milliseconds.
        ttl_ms: Option<u64>,
        /// Whether the entry is deleted when the session ends.
        ephemeral: bool,
    },
    /// See [`Append`].
    Append {
        /// The log.
        path: Path,
        /// The entry's value.
        value: Value,
        /// How long the entry lives, in milliseconds.
        ttl_ms: Option<u64>,
        /// Whether the entry is deleted when the session ends.
        ephemeral: bool,
    },
    /// See [`Delete`].
    Delete {
        /// The entry's path.
        path: Path,
    },
    /// See [`DropTree`].
    Drop {
        /// The top of the subtree.
        path: Path,
    },
    /// See [`Trim`].
    Trim {
        /// The log.
        path: Path,
        /// The last entry to remove.
        to: LogKey,
    },
}

/// `get`: reads paths, all at one revision. Reply: `found`; paths without an entry are missing
/// there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Get {
    /// The `id` that the reply will carry.
    pub id: u32,
    /// The paths to read.
    pub paths: Vec<Path>,
}

/// `list`: a page of the entries under `path`, at one revision. Reply: `found`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The `id` that the reply will carry.
    pub id: u32,
    /// The top of the subtree.
    pub path: Path,
    /// `children`: direct children only; `tree`: everything. The top itself is part of both.
    pub depth: Depth,
    /// Only paths behind this one.
    pub after: Option<Path>,
    /// Only paths before this one.
    pub before: Option<Path>,
    /// The most entries; the broker may send fewer and say that there are more. 0: as many as fit.
    pub limit: u32,
    /// Whether the page goes from the last path to the first. For a log: the newest entry first.
    pub reverse: bool,
    /// Whether the reply has values.
    pub values: bool,
}

/// `bye`: ends the session now, without grace. Reply: `ok`, then the connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bye {
    /// The `id` that the reply will carry.
    pub id: u32,
}
