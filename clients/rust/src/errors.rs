//! What goes wrong, one type for each thing that can: connecting and a request. Both say what to do
//! next, by the [`Code`] and [`Action`] of the protocol. Every error has a word, the same in each
//! language: its code, or one of the client's own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use onetree_protocol::frame::ErrorFrame;
use onetree_protocol::{Action, Code, Path, Revision};
use serde::{Serialize, Serializer};

/// Why nothing goes on any more when the client's task was taken away.
pub(crate) const GONE: &str = "the runtime that the client ran on has ended";
/// Or has ended by itself, as it never should.
pub(crate) const PANICKED: &str = "the client's task has panicked";

/// A "no" with its code: the broker's answer, or this client's own where it knows the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong.
    pub code: Code,
    /// For people.
    pub message: String,
    /// The path that it is about.
    pub path: Option<Path>,
    /// The revision that is there instead of the one that was expected.
    pub rev: Option<Revision>,
    /// When to try again, where the broker said so.
    pub retry_in: Option<Duration>,
}

impl Refusal {
    /// A refusal of this client's own.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), path: None, rev: None, retry_in: None }
    }

    /// What it says without its code; where it is, unless the message says that.
    fn words(&self) -> String {
        let there = self.rev.map_or_else(String::new, |rev| format!(" is at revision {rev}"));
        match &self.path {
            Some(path) if !self.message.contains(path.as_str()) => {
                format!("{} ({path}{there})", self.message)
            }
            _ => self.message.clone(),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<ErrorFrame> for Refusal {
    fn from(frame: ErrorFrame) -> Refusal {
        Refusal {
            code: frame.code,
            message: frame.message,
            path: frame.path,
            rev: frame.rev,
            retry_in: frame.retry_ms.map(|ms| Duration::from_millis(ms.into())),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.words())
    }
}

/// Whether a request that has no answer was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was not, and never will be.
    Never,
    /// It was, and may be asked again: a read, or a token.
    Read,
    /// It was, and may happen, once: a write, which the client sends until it is answered, or a
    /// signal. Another one would happen as well.
    Write,
}

impl Sent {
    /// What that says of the request; `may`: that it may happen.
    fn told(self, may: &'static str) -> &'static str {
        match self {
            Sent::Never => "; it was never sent",
            Sent::Read => "",
            Sent::Write => may,
        }
    }
}

/// Why a request failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// It did not happen, and the code says what to do next. With [`Code::OutcomeUnknown`] it may
    /// have happened, once.
    #[error("{0}")]
    Refused(Refusal),
    /// There was no answer in time.
    #[error("no answer within {after:?}{}", .sent.told("; it may still happen, once"))]
    Timeout {
        /// How long was waited.
        after: Duration,
        /// Whether it was sent.
        sent: Sent,
    },
    /// The connection was lost before the answer to a signal came, which is not sent again.
    #[error("the connection was lost; the signal may or may not have been delivered")]
    Lost,
    /// More is waiting than [`crate::Options::queue_bytes`] allows, and it was not to be waited
    /// for.
    #[error("more requests are waiting than the queue has room for")]
    QueueFull,
    /// The mirror has ended because it was to: it was closed or dropped, with its client or
    /// without, or one of mode `once` is fresh.
    #[error("the mirror is closed")]
    MirrorClosed,
    /// The client has ended, for good: what is to be done next is done with another one.
    #[error("{}{}", match .why { Some(why) => format!("the client has ended: {why}"), None => "the client is closed".to_owned() }, .sent.map_or("", |sent| sent.told("; it may have happened")))]
    Closed {
        /// Why it ended by itself; `None` when it was closed.
        why: Option<Arc<ConnectError>>,
        /// Whether the request was sent; `None` where it is about none.
        sent: Option<Sent>,
    },
}

impl Error {
    /// The code, where there is one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Refused(refusal) => Some(refusal.code),
            Error::Closed { why: Some(why), .. } => why.code(),
            _ => None,
        }
    }

    /// The code, or `timeout`, `lost`, `queue-full`, `closed`, or `ended` where the client has
    /// ended by itself without one.
    pub fn word(&self) -> &'static str {
        match self {
            Error::Refused(refusal) => refusal.code.as_str(),
            Error::Timeout { .. } => "timeout",
            Error::Lost => "lost",
            Error::QueueFull => "queue-full",
            Error::Closed { why: Some(why), .. } => why.code().map_or("ended", Code::as_str),
            Error::Closed { why: None, .. } | Error::MirrorClosed => "closed",
        }
    }

    /// What to do next. A write that was sent and not answered is not to be tried again as a new
    /// one, which would happen as well: [`Action::Stop`], as for [`Code::OutcomeUnknown`]. A read
    /// may be.
    ///
    /// Of [`Error::Closed`] it is what helps against that which ended the client. Where that is to
    /// retry, a new client may do better: this one never will, and a loop that asks it again and
    /// again spins.
    pub fn action(&self) -> Action {
        match self {
            Error::Refused(refusal) => refusal.code.action(),
            Error::Timeout { sent: Sent::Write, .. }
            | Error::Closed { sent: Some(Sent::Write), .. } => Action::Stop,
            Error::Timeout { .. } | Error::Lost | Error::QueueFull => Action::Retry,
            Error::Closed { why: Some(why), .. } => why.action(),
            Error::Closed { why: None, .. } | Error::MirrorClosed => Action::Stop,
        }
    }

    /// Whether a precondition did not hold.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(Code::Conflict)
    }
}

/// Why there is no connection, or no longer one.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is not one of a broker.
    #[error("{url}: {why}")]
    Url {
        /// The URL, without a password.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The host could not be reached: it has no address, it refuses connections, it is away.
    #[error("cannot reach {address}: {message}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// The kind of the error of the operating system.
        kind: std::io::ErrorKind,
        /// Its text.
        message: String,
    },
    /// There is an HTTP server, but it does not let us in: 400 an unknown subprotocol, 403 a page
    /// that may not connect, 404 a wrong path, 503 it is full.
    #[error("{address} answers {status}{}{message}", if .message.is_empty() { "" } else { ": " })]
    Http {
        /// Host and port.
        address: String,
        /// The HTTP status code.
        status: u16,
        /// The first line of what it said.
        message: String,
        /// When to come back, where it said so.
        retry_in: Option<Duration>,
    },
    /// What listens there does not speak WebSocket, or not with the subprotocol that was asked for.
    #[error("{address} is no Onetree broker: {why}")]
    NotABroker {
        /// Host and port.
        address: String,
        /// What it did instead.
        why: String,
    },
    /// [`crate::Options::token_from`] gave no token.
    #[error("no token: {0}")]
    Token(String),
    /// The broker did not take `hello`, or ended the connection.
    #[error("{0}")]
    Refused(Refusal),
    /// The connection was lost, also because the runtime that the client ran on has ended.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// Nothing came for so long that the connection is taken for dead.
    #[error("nothing came for {0:?}")]
    Silent(Duration),
    /// The broker broke a rule of the protocol.
    #[error("the broker broke the protocol: {0}")]
    Protocol(String),
}

impl ConnectError {
    /// The code, where there is one.
    pub fn code(&self) -> Option<Code> {
        match self {
            ConnectError::Refused(refusal) => Some(refusal.code),
            ConnectError::Silent(_) => Some(Code::Silent),
            _ => None,
        }
    }

    /// The code, or `url`, `not-a-broker`, `unreachable` (also where there is no token), `lost` or
    /// `protocol`; of an answer of HTTP, what it comes to.
    pub fn word(&self) -> &'static str {
        match self {
            ConnectError::Refused(refusal) => refusal.code.as_str(),
            ConnectError::Silent(_) => Code::Silent.as_str(),
            ConnectError::Url { .. } => "url",
            ConnectError::NotABroker { .. } => "not-a-broker",
            ConnectError::Http { .. } => match self.action() {
                Action::Reauth => Code::Unauthorized.as_str(),
                Action::Retry => "unreachable",
                _ => "not-a-broker",
            },
            ConnectError::Unreachable { .. } | ConnectError::Token(_) => "unreachable",
            ConnectError::Lost(_) => "lost",
            ConnectError::Protocol(_) => "protocol",
        }
    }

    /// What to do next; this client connects again by itself when that is to retry.
    pub fn action(&self) -> Action {
        match self {
            ConnectError::Url { .. } | ConnectError::NotABroker { .. } => Action::Fix,
            ConnectError::Http { status, .. } => match status {
                401 => Action::Reauth,
                408 | 425 | 429 | 500..=599 => Action::Retry,
                _ => Action::Fix,
            },
            ConnectError::Refused(refusal) => match refusal.code.action() {
                Action::Resync => Action::Retry,
                action => action,
            },
            ConnectError::Unreachable { .. }
            | ConnectError::Token(_)
            | ConnectError::Lost(_)
            | ConnectError::Silent(_)
            | ConnectError::Protocol(_) => Action::Retry,
        }
    }

    /// When to come back, where the broker said so.
    pub fn retry_in(&self) -> Option<Duration> {
        match self {
            ConnectError::Refused(refusal) => refusal.retry_in,
            ConnectError::Http { retry_in, .. } => *retry_in,
            _ => None,
        }
    }
}

/// `{"code","message"}`: its word, and what it says to people; what a refusal is about, and what is
/// there.
#[derive(Serialize)]
struct Told<'a> {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rev: Option<Revision>,
}

macro_rules! told {
    ($($error:ident),+) => {
        $(impl Serialize for $error {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let code = self.word();
                let told = match self {
                    $error::Refused(refusal) => {
                        let (path, rev) = (refusal.path.as_ref(), refusal.rev);
                        Told { code, message: refusal.words(), path, rev }
                    }
                    _ => Told { code, message: self.to_string(), path: None, rev: None },
                };
                told.serialize(serializer)
            }
        })+
    };
}

told! { Error, ConnectError }
