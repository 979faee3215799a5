//! What a client tells the application.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use onetree_protocol::frame::{Reason, RefreshKind};
use onetree_protocol::limits::Limits;
use onetree_protocol::{Act, Change, Digest, Epoch, Name, Path, Revision, Value};
use serde::{Serialize, Serializer};

use crate::errors::{ConnectError, Error};

/// Something happened to a mirror. Serialized (serde) it is its name in `event`, and its fields; an
/// error is `{"code","message"}`, a time `retry_ms`.
///
/// Who applies the changes of each [`Event::Fresh`] and [`Event::Delta`], in order, to an empty map
/// (or to what the mirror was started with) has the mirror. Within one event the changes belong
/// together: what they make of the copy halfway through is nothing that ever was.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The mirror is being brought to the present; it shows what it had until [`Event::Fresh`].
    Refreshing {
        /// The way that is taken.
        kind: RefreshKind,
        /// Why this way.
        why: Reason,
    },
    /// The mirror is whole: it is its view of the tree at `rev`.
    Fresh {
        /// The revision.
        rev: Revision,
        /// What differs from what the mirror was before.
        changes: Arc<[Change]>,
    },
    /// The mirror went from one revision to a later one.
    Delta {
        /// The revision before.
        since: Revision,
        /// The revision now.
        rev: Revision,
        /// What is different, as far as it lies in the view.
        changes: Arc<[Change]>,
    },
    /// A message that is never stored.
    Signal {
        /// Where.
        path: Path,
        /// What.
        #[serde(flatten)]
        value: Value,
    },
    /// Nothing changed up to `rev`, and the mirror is there now.
    Synced {
        /// The revision.
        rev: Revision,
        /// Whether the broker's digest was there to compare with, and is the mirror's.
        verified: bool,
    },
    /// The mirror was not what it should be; it is now refreshed from nothing.
    Corrupt {
        /// The broker's digest.
        expected: Digest,
        /// The mirror's.
        found: Digest,
    },
    /// The broker sent what no right order of frames contains; the mirror is now refreshed from
    /// nothing.
    Broken {
        /// The rule that was broken.
        why: &'static str,
    },
    /// Starting from nothing again and again did not help: the mirror waits before the next time.
    Circling {
        /// How long.
        #[serde(rename = "retry_ms", serialize_with = "millis")]
        retry_in: Duration,
    },
    /// There is no connection: the mirror stays what it was.
    Offline {
        /// Why.
        error: Arc<ConnectError>,
        /// When the next attempt is made; `None`: never, the client has ended.
        #[serde(rename = "retry_ms", serialize_with = "maybe_millis")]
        retry_in: Option<Duration>,
    },
    /// There is a connection; [`Event::Refreshing`] follows.
    Online {
        /// Whether the session is the one of before, with its ephemeral entries.
        resumed: bool,
    },
    /// The last event: the mirror stays what it was, for ever.
    Ended {
        /// Why; `None` when it was to end: the client or the mirror was closed, the mirror was
        /// dropped, or one of mode `once` is fresh.
        error: Option<Error>,
    },
}

impl Event {
    /// The logs that have lost entries which the reader never had, in path order: those of a trim
    /// with `gap`.
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

/// How a client stands.
#[derive(Clone, Debug)]
pub enum Status {
    /// There has been no connection yet.
    Connecting,
    /// There is a connection.
    Online(Connection),
    /// There is none for now.
    Offline {
        /// Why.
        error: Arc<ConnectError>,
        /// When the next attempt is made.
        retry_in: Duration,
    },
    /// The client has ended.
    Ended {
        /// Why; `None` when it was closed.
        error: Option<Arc<ConnectError>>,
    },
}

impl Status {
    /// `connecting`, `online`, `offline` or `ended`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Status::Connecting => "connecting",
            Status::Online(_) => "online",
            Status::Offline { .. } => "offline",
            Status::Ended { .. } => "ended",
        }
    }
}

/// What the broker said in `welcome`.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    /// The session; a secret: who has it can take the session over.
    pub session: Name,
    /// Whether it is the session of before, with its ephemeral entries.
    pub resumed: bool,
    /// The history.
    pub epoch: Epoch,
    /// The revision that was the present then.
    pub rev: Revision,
    /// How often the broker says something at least.
    pub heartbeat: Duration,
    /// What the connection may do.
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

/// What came of comparing a mirror with the tree. Serialized (serde) it is its name in `verdict`,
/// and its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The mirror is its view of the tree at this revision.
    Same {
        /// The revision.
        rev: Revision,
    },
    /// It is not, and is now refreshed from nothing.
    Differs {
        /// The broker's digest.
        expected: Digest,
        /// The mirror's.
        found: Digest,
    },
    /// There was nothing to compare: the view has a `tail`, its digest would cost the broker too
    /// much, or the mirror was not fresh, or between two intervals.
    Unknown,
}

fn millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    maybe_millis(&Some(*time), serializer)
}

fn maybe_millis<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).serialize(serializer)
}
