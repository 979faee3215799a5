//! What a broker says.

use crate::change::Change;
use crate::code::Code;
use crate::digest::{Digest, DigestKey};
use crate::limits::Limits;
use crate::name::Name;
use crate::path::Path;
use crate::revision::{Epoch, Revision};
use crate::value::Value;
use crate::view::Fingerprint;

/// Any frame of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is documented at its own type")]
pub enum ServerFrame {
    Welcome(Welcome),
    Ok(Ok),
    Error(ErrorFrame),
    Refresh(Refresh),
    Entries(Entries),
    Fresh(Fresh),
    Delta(Delta),
    Signal(Signal),
    Sync(Sync),
    Done(Done),
    Found(Found),
    Bye(Goodbye),
}

/// `welcome`: the reply to `hello`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Of the request.
    pub id: u32,
    /// The session; say it in the next `hello` to come back to it.
    pub session: Name,
    /// Whether the session of `hello` was still there.
    pub resumed: bool,
    /// The history.
    pub epoch: Epoch,
    /// The present revision.
    pub rev: Revision,
    /// A `sync` comes at least this often, milliseconds.
    pub heartbeat_ms: u32,
    /// The key of all digests on this connection.
    pub digest_key: DigestKey,
    /// What this connection may do.
    pub limits: Limits,
}

/// `ok`: accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ok {
    /// Of the request.
    pub id: u32,
}

/// `error`: refused, or something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorFrame {
    /// Of the request; `None` when the frame had no readable `id`, or nothing was asked.
    pub id: Option<u32>,
    /// What is wrong and what to do next.
    pub code: Code,
    /// For people.
    pub message: String,
    /// The path that it is about.
    pub path: Option<Path>,
    /// The revision that is there instead.
    pub rev: Option<Revision>,
    /// The subscription that it is about.
    pub sub: Option<u32>,
    /// When to try again, milliseconds.
    pub retry_ms: Option<u32>,
}

impl ErrorFrame {
    /// An error with its code and message, nothing else.
    pub fn new(id: Option<u32>, code: Code, message: impl Into<String>) -> ErrorFrame {
        ErrorFrame {
            id,
            code,
            message: message.into(),
            path: None,
            rev: None,
            sub: None,
            retry_ms: None,
        }
    }
}

/// `refresh`: the mirror is now brought to the present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// Which subscription.
    pub sub: u32,
    /// The way that is taken.
    pub kind: RefreshKind,
    /// Why this way.
    pub why: Reason,
    /// The revision that it starts from; only with [`RefreshKind::Delta`].
    pub from: Option<Revision>,
}

/// The way a refresh takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshKind {
    /// From nothing: what `entries` do not name is not in the view.
    Full,
    /// From the cookie: what changed since.
    Delta,
    /// From the client's copy: what differs.
    Repair,
}

impl RefreshKind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            RefreshKind::Full => "full",
            RefreshKind::Delta => "delta",
            RefreshKind::Repair => "repair",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(text: &str) -> Option<RefreshKind> {
        [RefreshKind::Full, RefreshKind::Delta, RefreshKind::Repair]
            .into_iter()
            .find(|k| k.as_str() == text)
    }
}

/// Why a refresh takes its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There was no cookie.
    NoCookie,
    /// The cookie is good.
    Cookie,
    /// The cookie is of another history.
    Epoch,
    /// The cookie is from before the horizon.
    Horizon,
    /// The cookie is of another view.
    View,
    /// The cookie is from a revision that the tree has not reached.
    Future,
    /// The client asked for it.
    Resync,
    /// The horizon passed the mirror while it was being refreshed.
    Outrun,
}

impl Reason {
    const ALL: [Reason; 8] = [
        Reason::NoCookie,
        Reason::Cookie,
        Reason::Epoch,
        Reason::Horizon,
        Reason::View,
        Reason::Future,
        Reason::Resync,
        Reason::Outrun,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::NoCookie => "no-cookie",
            Reason::Cookie => "cookie",
            Reason::Epoch => "epoch",
            Reason::Horizon => "horizon",
            Reason::View => "view",
            Reason::Future => "future",
            Reason::Resync => "resync",
            Reason::Outrun => "outrun",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(text: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|r| r.as_str() == text)
    }
}

/// `entries`: a piece of a refresh. Applied in order, after those before it; shown at `fresh`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries {
    /// Which subscription.
    pub sub: u32,
    /// In the order they are to be applied.
    pub changes: Vec<Change>,
}

/// `fresh`: the mirror is whole, and is its view of the tree at `rev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// Which subscription.
    pub sub: u32,
    /// The revision that the mirror is at.
    pub rev: Revision,
    /// The view's part of the cookie.
    pub view: Fingerprint,
    /// What the mirror's digest must be; absent where the view has none.
    pub digest: Option<Digest>,
}

/// `delta`: from one revision to a later one, for every fresh mirror of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The revision that mirrors are at afterwards.
    pub rev: Revision,
    /// When several commits are folded into one: the revision it starts from.
    pub since: Option<Revision>,
    /// For this subscription alone (`every_ms`); such a subscription takes no other deltas.
    pub sub: Option<u32>,
    /// More parts of the same delta follow; nothing is applied before the one without `part`.
    pub part: bool,
    /// In the order they are to be applied.
    pub changes: Vec<Change>,
}

/// `signal`: a message that is never stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Where.
    pub path: Path,
    /// What.
    pub value: Value,
}

/// `sync`: nothing of the named mirrors changed up to `rev`; they are there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// Of the request, when a client asked.
    pub id: Option<u32>,
    /// The present.
    pub rev: Revision,
    /// The subscriptions that it is for, each with the digest that its mirror must have; `None`
    /// where the view has none (a `tail`), or it would cost too much at a heartbeat.
    pub digests: Vec<(u32, Option<Digest>)>,
}

/// `done`: the write is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Of the request.
    pub id: u32,
    /// The commit; the present revision when there was nothing to do.
    pub rev: Revision,
    /// Whether it survives power loss.
    pub durable: bool,
    /// The paths that were assigned, one for each append, in their order.
    pub paths: Vec<Path>,
}

/// `found`: the reply to `get` and `list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Of the request.
    pub id: u32,
    /// The revision that all of it is read at.
    pub rev: Revision,
    /// What is there: [`crate::Act::Put`] only.
    pub entries: Vec<Change>,
    /// Whether there is more behind the last one.
    pub more: bool,
}

/// `bye`: the broker closes the connection; come back after `retry_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goodbye {
    /// Why.
    pub code: Code,
    /// When to come back, milliseconds.
    pub retry_ms: Option<u32>,
    /// For people.
    pub message: String,
}
