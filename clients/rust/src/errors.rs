//! What goes wrong, one type for each thing that can: connecting and a request. Both say what to
//! do next, by the [`Code`] and [`Action`] of the protocol.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use onetree_protocol::frame::ErrorFrame;
use onetree_protocol::{Action, Code, Path, Revision};

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
}

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
        write!(f, "{}: {}", self.code.as_str(), self.message)?;
        if let Some(path) = &self.path {
            write!(f, " ({path}")?;
            if let Some(rev) = self.rev {
                write!(f, " is at revision {rev}")?;
            }
            f.write_str(")")?;
        }
        Ok(())
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
    #[error("no answer within {after:?}{}", if *.sent { "; it may still happen, once" } else { "; it was never sent" })]
    Timeout {
        /// How long was waited.
        after: Duration,
        /// Whether it was sent: a write that was may still happen, as the client sends it until it is
        /// answered; one that was not never will.
        sent: bool,
    },
    /// The connection was lost before the answer to a signal came, which is not sent again.
    #[error("the connection was lost; the signal may or may not have been delivered")]
    Lost,
    /// More is waiting than [`crate::Options::queue_bytes`] allows, and it was not to be waited
    /// for.
    #[error("more requests are waiting than the queue has room for")]
    QueueFull,
    /// The client, or the mirror, has ended.
    #[error("{}{}", match .why { Some(why) => format!("the client has ended: {why}"), None => "the client is closed".to_owned() }, if *.sent { "; it may have happened" } else { "" })]
    Closed {
        /// Why it ended by itself; `None` when it was closed.
        why: Option<Arc<ConnectError>>,
        /// Whether what was asked was sent: a write that was may have happened, one that was not never
        /// will.
        sent: bool,
    },
}

impl Error {
    /// The client, or a mirror, was closed before anything was sent.
    pub(crate) const CLOSED: Error = Error::Closed { why: None, sent: false };

    /// The code, where there is one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Refused(refusal) => Some(refusal.code),
            Error::Closed { why: Some(why), .. } => why.code(),
            Error::Timeout { .. } | Error::Lost | Error::QueueFull | Error::Closed { .. } => None,
        }
    }

    /// What to do next. A write that was sent and not answered is not to be tried again as a new one,
    /// which would happen as well: [`Action::Stop`], as for [`Code::OutcomeUnknown`]. A read may be.
    pub fn action(&self) -> Action {
        match self {
            Error::Refused(refusal) => refusal.code.action(),
            Error::Timeout { sent: true, .. } | Error::Closed { sent: true, .. } => Action::Stop,
            Error::Timeout { .. } | Error::Lost | Error::QueueFull => Action::Retry,
            Error::Closed { why: Some(why), .. } => why.action(),
            Error::Closed { why: None, .. } => Action::Stop,
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
        /// The URL.
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
    /// The connection was lost.
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
