//! The frames that a broker sends.

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
    /// The `id` of the request.
    pub id: u32,
    /// The session's name. The client sends it in its next `hello` to resume the session.
    pub session: Name,
    /// Whether the session of `hello` still existed.
    pub resumed: bool,
    /// The epoch: the history that revisions count in.
    pub epoch: Epoch,
    /// The present revision.
    pub rev: Revision,
    /// The longest time between two `sync` frames, in milliseconds.
    pub heartbeat_ms: u32,
    /// The key of all digests on this connection.
    pub digest_key: DigestKey,
    /// The limits of this connection.
    pub limits: Limits,
}

/// `ok`: the request was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ok {
    /// The `id` of the request.
    pub id: u32,
}

/// `error`: a request was refused, or something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorFrame {
    /// The `id` of the request; `None` if the frame had no readable `id`, or if there was no
    /// request.
    pub id: Option<u32>,
    /// The code, which says what is wrong and what the client can do next.
    pub code: Code,
    /// An explanation for people.
    pub message: String,
    /// The path that the error is about.
    pub path: Option<Path>,
    /// The revision that was found instead of the expected one.
    pub rev: Option<Revision>,
    /// The subscription that the error is about.
    pub sub: Option<u32>,
    /// How long to wait before another attempt, in milliseconds.
    pub retry_ms: Option<u32>,
}

impl ErrorFrame {
    /// Returns an error with a code and a message and nothing else.
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

/// `refresh`: the broker begins to bring the mirror to the present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// The number of the subscription.
    pub sub: u32,
    /// How the refresh is made.
    pub kind: RefreshKind,
    /// Why it is made this way.
    pub why: Reason,
    /// The revision that the refresh starts from; only with [`RefreshKind::Delta`].
    pub from: Option<Revision>,
}

/// How a refresh is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshKind {
    /// From nothing: what `entries` do not name is not in the view.
    Full,
    /// From the cookie: `entries` say what changed since.
    Delta,
    /// From the client's copy: `entries` say what differs.
    Repair,
}

impl RefreshKind {
    /// Returns the word on the wire.
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

/// Why a refresh is made in its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There was no cookie.
    NoCookie,
    /// The cookie is good.
    Cookie,
    /// The cookie is of another epoch.
    Epoch,
    /// The cookie is from before the horizon.
    Horizon,
    /// The cookie is of another view.
    View,
    /// The cookie is from a revision that the tree has not reached.
    Future,
    /// The client asked for a resync.
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

    /// Returns the word on the wire.
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

/// `entries`: a piece of a refresh. The client applies the pieces in order and shows them at
/// `fresh`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries {
    /// The number of the subscription.
    pub sub: u32,
    /// The changes, in the order in which the client applies them.
    pub changes: Vec<Change>,
}

/// `fresh`: the mirror is whole, and equals its view of the tree at `rev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// The number of the subscription.
    pub sub: u32,
    /// The revision that the mirror is at.
    pub rev: Revision,
    /// The fingerprint of the view, for the cookie.
    pub view: Fingerprint,
    /// The digest that the mirror must have; absent if the view has none.
    pub digest: Option<Digest>,
}

/// `delta`: takes every fresh mirror of the connection from one revision to a later one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The revision that the mirrors are at afterwards.
    pub rev: Revision,
    /// If several commits are folded into one delta: the revision that the delta starts from.
    pub since: Option<Revision>,
    /// Present if the delta is for this subscription alone: because it has `every_ms`, or because
    /// it missed live deltas. A subscription with `every_ms` gets no deltas but these.
    pub sub: Option<u32>,
    /// Whether more parts of the same delta follow. Nothing is applied before the part without this
    /// flag.
    pub part: bool,
    /// The changes, in the order in which the client applies them.
    pub changes: Vec<Change>,
}

/// `signal`: a message that is never stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The topic of the signal.
    pub path: Path,
    /// The content of the signal.
    pub value: Value,
}

/// `sync`: nothing in the named mirrors changed up to `rev`; they are at `rev` now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// The `id` of the request, if a client asked.
    pub id: Option<u32>,
    /// The present revision.
    pub rev: Revision,
    /// The subscriptions that this is about, each with the digest that its mirror must have. `None`
    /// if the view has no digest (a `tail`), or if counting it would cost too much at a heartbeat.
    pub digests: Vec<(u32, Option<Digest>)>,
}

/// `done`: the write is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The `id` of the request.
    pub id: u32,
    /// The revision of the commit; the present revision when there was nothing to do.
    pub rev: Revision,
    /// Whether the commit survives power loss.
    pub durable: bool,
    /// The paths that the broker assigned, one for each append, in order.
    pub paths: Vec<Path>,
}

/// `found`: the reply to `get` and `list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The `id` of the request.
    pub id: u32,
    /// The revision at which all of this was read.
    pub rev: Revision,
    /// The entries, as [`crate::Act::Put`] only.
    pub entries: Vec<Change>,
    /// Whether there are more entries behind the last one.
    pub more: bool,
}

/// `bye`: the broker closes the connection; the client comes back after `retry_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goodbye {
    /// Why the connection closes.
    pub code: Code,
    /// When to come back, in milliseconds.
    pub retry_ms: Option<u32>,
    /// An explanation for people.
    pub message: String,
}
