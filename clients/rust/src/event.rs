//! What a client tells the application: events of mirrors, and the state of the connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use onetree_protocol::frame::{Reason, RefreshKind};
use onetree_protocol::limits::Limits;
use onetree_protocol::{Act, Change, Digest, Epoch, Name, Path, Revision, Value};
use serde::{Serialize, Serializer};

use crate::errors::{ConnectError, Error};

/// Something that happened to a mirror. Serialized (serde), an event has its name in `event`,
/// beside its fields. An error is `{"code","message"}`, and a time is `retry_ms`.
///
/// If you apply the changes of each [`Event::Fresh`] and [`Event::Delta`], in order, to an empty
/// map (or to the copy that the mirror was started with), you have the mirror. The changes of one
/// event belong together: the copy has no meaning between two changes of one event.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A refresh of the mirror has begun. The mirror shows what it had until [`Event::Fresh`].
    Refreshing {
        /// How the mirror is refreshed: from nothing, or by what has changed.
        kind: RefreshKind,
        /// Why it is refreshed in this way.
        why: Reason,
    },
    /// The mirror is whole: it is its view of the tree at `rev`.
    Fresh {
        /// The revision.
        rev: Revision,
        /// What differs from what the mirror showed before.
        changes: Arc<[Change]>,
    },
    /// The mirror went from one revision to a later one.
    Delta {
        /// The revision before.
        since: Revision,
        /// The revision now.
        rev: Revision,
        /// What has changed, as far as it is in the view.
        changes: Arc<[Change]>,
    },
    /// A signal: a message that is never stored.
    Signal {
        /// The path of the signal.
        path: Path,
        /// The value of the signal.
        #[serde(flatten)]
        value: Value,
    },
    /// Nothing has changed in the view up to `rev`, and the mirror is at `rev` now.
    Synced {
        /// The revision.
        rev: Revision,
        /// Whether the broker sent a digest and it is equal to the mirror's.
        verified: bool,
    },
    /// The mirror's digest differs from the broker's. The mirror is now refreshed from nothing.
    Corrupt {
        /// The broker's digest.
        expected: Digest,
        /// The mirror's.
        found: Digest,
    },
    /// The broker sent frames in an order that the protocol does not allow. The mirror is now
    /// refreshed from nothing.
    Broken {
        /// The rule that was broken.
        why: &'static str,
    },
    /// The mirror was started from nothing several times, which did not help. The mirror waits
    /// before it is started again.
    Circling {
        /// How long the mirror waits.
        #[serde(rename = "retry_ms", serialize_with = "millis")]
        retry_in: Duration,
    },
    /// There is no connection. The mirror stays as it is.
    Offline {
        /// Why there is no connection.
        error: Arc<ConnectError>,
        /// How long until the next attempt to connect. `None`: there is no next attempt, the client
        /// has ended.
        #[serde(rename = "retry_ms", serialize_with = "maybe_millis")]
        retry_in: Option<Duration>,
    },
    /// There is a connection. [`Event::Refreshing`] follows.
    Online {
        /// Whether this is the same session as before, with its ephemeral entries.
        resumed: bool,
    },
    /// The mirror has ended. This is the last event, and the mirror stays as it is.
    Ended {
        /// Why; `None` if the client or the mirror was closed, the mirror was dropped, or a mirror
        /// of mode `once` is fresh.
        error: Option<Error>,
    },
}

impl Event {
    /// Returns the logs that have a gap, in path order: entries were trimmed which the reader never
    /// had. These are the logs of the trims with `gap`.
    pub fn gaps(&self) -> Vec<&Path> {
        let (Event::Fresh { changes, .. } | Event::Delta { changes, .. }) = self else {
            return Vec::new();
        };
        let gap = |change: &&Change| matches!(change.act, Act::Trim { gap: true, .. });
        let mut logs: Vec<&Path> = changes.iter().filter(gap).map(|log| &log.path).collect();
        logs.sort_unstable();
        logs.dedup();
        logs
    }
}

/// The state of a client's connection.
#[derive(Clone, Debug)]
pub enum Status {
    /// There has been no connection yet.
    Connecting,
    /// There is a connection.
    Online(Connection),
    /// There is no connection now; the client tries again.
    Offline {
        /// Why there is no connection.
        error: Arc<ConnectError>,
        /// How long until the next attempt to connect.
        retry_in: Duration,
    },
    /// The client has ended.
    Ended {
        /// Why; `None` if the client was closed.
        error: Option<Arc<ConnectError>>,
    },
}

impl Status {
    /// Returns the state as a word: `connecting`, `online`, `offline` or `ended`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Status::Connecting => "connecting",
            Status::Online(_) => "online",
            Status::Offline { .. } => "offline",
            Status::Ended { .. } => "ended",
        }
    }
}

/// A connection, as the broker described it in its `welcome`.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    /// The session. This is a secret: whoever has it can take the session over.
    pub session: Name,
    /// Whether this is the same session as before, with its ephemeral entries.
    pub resumed: bool,
    /// The epoch: which history of the tree the broker has.
    pub epoch: Epoch,
    /// The broker's revision at the time of the `welcome`.
    pub rev: Revision,
    /// The broker sends something at least this often.
    pub heartbeat: Duration,
    /// The broker's limits for this connection.
    pub limits: Limits,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("resumed", &self.resumed)
            .field("epoch", &self.epoch)
            .field("rev", &self.rev)
            .field("heartbeat", &self.heartbeat)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The result of [`crate::Mirror::verify`]. Serialized (serde), a verdict has its name in
/// `verdict`, beside its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The mirror is its view of the tree at this revision.
    Same {
        /// The revision.
        rev: Revision,
    },
    /// The mirror differs from its view of the tree. It is now refreshed from nothing.
    Differs {
        /// The broker's digest.
        expected: Digest,
        /// The mirror's.
        found: Digest,
    },
    /// Nothing could be compared. There is no connection, the mirror has ended or is not fresh, its
    /// view has a `tail`, a change waits for its interval ([`crate::MirrorOptions::every`]), the
    /// mirror moved on before the answer came, or the broker could not compute the digest.
    Unknown,
}

fn millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    maybe_millis(&Some(*time), serializer)
}

fn maybe_millis<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).serialize(serializer)
}
