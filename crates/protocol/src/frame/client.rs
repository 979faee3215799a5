//! What a client says. Every frame carries an `id` that the client chose, and gets one reply with
//! it.

use crate::cookie::Cookie;
use crate::log::LogKey;
use crate::name::Name;
use crate::path::Path;
use crate::revision::Revision;
use crate::value::Value;
use crate::view::{Depth, View};

/// Any frame of a client. The two that come seldom and are large stand elsewhere: a frame goes
/// through several hands, and each copies all that the largest takes.
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
    /// The `id` that the reply will carry; only a signal may do without.
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

/// `hello`: opens a connection; the first frame, once. Reply: `welcome`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Of the reply.
    pub id: u32,
    /// Who the client is over its reconnects: scopes `seq`.
    pub client: Option<Name>,
    /// The session of an earlier `welcome`, to come back to.
    pub session: Option<Name>,
    /// What shows who the principal is; ignored by a broker that has no tokens configured.
    pub token: Option<String>,
    /// The program, for the broker's log: `onetree-js/0.1.0`.
    pub agent: Option<String>,
    /// The highest revision that this client ever saw.
    pub seen: Option<Revision>,
    /// All subscriptions at once, so that a reconnect is one round trip. Their own replies come
    /// too.
    pub subs: Vec<Sub>,
    /// Where writes come again of which none was answered: the highest revision that the client had
    /// seen when it sent the first of them.
    pub since: Option<Revision>,
}

/// `auth`: a new token. Reply: `ok`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Of the reply.
    pub id: u32,
    /// The token.
    pub token: String,
}

/// `sub`: subscribes. Reply: `ok`, then `refresh`, `entries`…, `fresh`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sub {
    /// Of the reply.
    pub id: u32,
    /// The client's number for the subscription, unique on its connection.
    pub sub: u32,
    /// What it sees. On the wire its parts stand in the frame itself: `path`, `depth`, `match`,
    /// `tail`, `values`.
    pub view: View,
    /// Where its mirror stands.
    pub cookie: Option<Cookie>,
    /// Whether the subscription ends at `fresh`.
    pub mode: Mode,
    /// Whether signals in the view are delivered.
    pub signals: bool,
    /// At most one delta in so many milliseconds, folded. 0: each as it comes.
    pub every_ms: u32,
    /// Whether the client still has a copy, although its cookie may not be usable (repair).
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
    /// Of the reply.
    pub id: u32,
    /// Which.
    pub sub: u32,
}

/// `resync`: starts a subscription again, from nothing. Reply: `ok`, then as after `sub`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resync {
    /// Of the reply.
    pub id: u32,
    /// Which.
    pub sub: u32,
}

/// `sync`: asks for the digests of all subscriptions now. Reply: `sync` with this `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncRequest {
    /// Of the reply.
    pub id: u32,
    /// Also the digests that take long to count: the reply waits for them.
    pub all: bool,
}

/// What must be so for a write to happen; on the wire `"if":{"rev":790}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The entry's revision, 0 for absent; with `drop`: the highest revision in the subtree.
    pub rev: Revision,
}

/// `put`: the entry is now this. Reply: `done`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Of the reply.
    pub id: u32,
    /// Makes a retry safe: 1, 2, 3… per `client`, over all its writes.
    pub seq: Option<u64>,
    /// Where.
    pub path: Path,
    /// What.
    pub value: Value,
    /// What must be so.
    pub expect: Option<Expect>,
    /// How long it lives, milliseconds; for ever without.
    pub ttl_ms: Option<u64>,
    /// Whether it dies with the session.
    pub ephemeral: bool,
}

/// `append`: a new entry of the log at `path`. Reply: `done` with the path that was assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Of the reply.
    pub id: u32,
    /// As in [`Put`].
    pub seq: Option<u64>,
    /// The log.
    pub path: Path,
    /// What.
    pub value: Value,
    /// As in [`Put`].
    pub ttl_ms: Option<u64>,
    /// As in [`Put`].
    pub ephemeral: bool,
}

/// `delete`: the entry is gone. Reply: `done`; of nothing is no error and makes no commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// Of the reply.
    pub id: u32,
    /// As in [`Put`].
    pub seq: Option<u64>,
    /// Where.
    pub path: Path,
    /// What must be so.
    pub expect: Option<Expect>,
}

/// `drop`: everything at and under `path` is gone. Reply: `done`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropTree {
    /// Of the reply.
    pub id: u32,
    /// As in [`Put`].
    pub seq: Option<u64>,
    /// The top.
    pub path: Path,
    /// The highest revision in the subtree that must be so.
    pub expect: Option<Expect>,
}

/// `trim`: the log's entries up to and including `to` are gone. Reply: `done`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trim {
    /// Of the reply.
    pub id: u32,
    /// As in [`Put`].
    pub seq: Option<u64>,
    /// The log.
    pub path: Path,
    /// The last entry that goes.
    pub to: LogKey,
}

/// `signal`: for those who are there, never stored. Reply: `ok`, when one is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendSignal {
    /// Of the reply; `None`: there is none, unless it is refused.
    pub id: Option<u32>,
    /// Where.
    pub path: Path,
    /// What.
    pub value: Value,
}

/// `txn`: all of it or nothing. Reply: `done`, or `error` with the first condition that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// Of the reply.
    pub id: u32,
    /// As in [`Put`].
    pub seq: Option<u64>,
    /// What must be so (`if` on the wire).
    pub conditions: Vec<Condition>,
    /// What happens, in this order (`do` on the wire).
    pub changes: Vec<Do>,
}

/// One condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The entry at `path` has this revision; 0: there is none. `{"path":…,"rev":…}`
    Entry {
        /// Where.
        path: Path,
        /// The revision.
        rev: Revision,
    },
    /// The highest revision of anything that ever happened at or under `path` is at most this.
    /// `{"tree":…,"rev":…}`
    Tree {
        /// The top.
        path: Path,
        /// The revision.
        rev: Revision,
    },
}

/// One step of a transaction; on the wire `{"do":"put",…}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Do {
    /// As [`Put`].
    Put {
        /// Where.
        path: Path,
        /// What.
        value: Value,
        /// How long it lives, milliseconds.
        ttl_ms: Option<u64>,
        /// Whether it dies with the session.
        ephemeral: bool,
    },
    /// As [`Append`].
    Append {
        /// The log.
        path: Path,
        /// What.
        value: Value,
        /// How long it lives, milliseconds.
        ttl_ms: Option<u64>,
        /// Whether it dies with the session.
        ephemeral: bool,
    },
    /// As [`Delete`].
    Delete {
        /// Where.
        path: Path,
    },
    /// As [`DropTree`].
    Drop {
        /// The top.
        path: Path,
    },
    /// As [`Trim`].
    Trim {
        /// The log.
        path: Path,
        /// The last entry that goes.
        to: LogKey,
    },
}

/// `get`: reads paths, all at one revision. Reply: `found`; what is absent is missing there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Get {
    /// Of the reply.
    pub id: u32,
    /// Which.
    pub paths: Vec<Path>,
}

/// `list`: a page of the entries under `path`, at one revision. Reply: `found`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Of the reply.
    pub id: u32,
    /// The top.
    pub path: Path,
    /// `children`: direct children only; `tree`: everything; the top itself is part of both.
    pub depth: Depth,
    /// Only paths behind this one.
    pub after: Option<Path>,
    /// Only paths before this one.
    pub before: Option<Path>,
    /// At most so many; the broker may send fewer and say that there is more. 0: as many as fit.
    pub limit: u32,
    /// From the last path to the first: the newest of a log first.
    pub reverse: bool,
    /// Whether values come along.
    pub values: bool,
}

/// `bye`: the session ends now, without grace. Reply: `ok`, then the connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bye {
    /// Of the reply.
    pub id: u32,
}
