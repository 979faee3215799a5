//! The errors of a client: [`Error`] of a request, and [`ConnectError`] of a connection. Both say
//! what to do next, by the [`Code`] and [`Action`] of the protocol. Each error has a word, the same
//! in each language: its code, or a word of the client's own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use onetree_protocol::frame::ErrorFrame;
use onetree_protocol::{Action, Code, Path, Revision};
use serde::{Serialize, Serializer};

/// The message if the client's task is gone because its runtime has ended.
pub(crate) const GONE: &str = "the runtime that the client ran on has ended";
/// The message if the client's task has panicked, which should never happen.
pub(crate) const PANICKED: &str = "the client's task has panicked";

/// A refusal with its code: by the broker, or by this client if it knows what the broker would
/// answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong.
    pub code: Code,
    /// An explanation for people.
    pub message: String,
    /// The path that the refusal is about.
    pub path: Option<Path>,
    /// The revision that the broker has, instead of the expected one.
    pub rev: Option<Revision>,
    /// How long to wait before the next attempt, if the broker said so.
    pub retry_in: Option<Duration>,
}

impl Refusal {
    /// A refusal by this client itself.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), path: None, rev: None, retry_in: None }
    }

    /// Returns the message without the code. Adds the path and the revision, unless the message has
    /// the path.
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
    /// The request was not sent, and never will be.
    Never,
    /// The request was sent, and you may ask again: it is a read or a token.
    Read,
    /// The request was sent, and may happen, once: it is a write, which the client sends until it
    /// is answered, or a signal. If you request it again, the new one may happen as well.
    Write,
}

impl Sent {
    /// Returns what an error's message adds about the request. `may` is the text for a request that
    /// may happen.
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
    /// The request was refused and did not happen. The code says what to do next. But with
    /// [`Code::OutcomeUnknown`] the request may have happened, once.
    #[error("{0}")]
    Refused(Refusal),
    /// No answer came in time.
    #[error("no answer within {after:?}{}", .sent.told("; it may still happen, once"))]
    Timeout {
        /// How long the client waited.
        after: Duration,
        /// Whether the request was sent.
        sent: Sent,
    },
    /// The connection was lost before the answer to a signal came. A signal is not sent again.
    #[error("the connection was lost; the signal may or may not have been delivered")]
    Lost,
    /// There is no room in the queue ([`crate::Options::queue_bytes`]), and the request was not to
    /// wait for room.
    #[error("more requests are waiting than the queue has room for")]
    QueueFull,
    /// The mirror has ended as it should: the mirror or its client was closed or dropped, or a
    /// mirror of mode `once` is fresh.
    #[error("the mirror is closed")]
    MirrorClosed,
    /// The client has ended for good. You need a new client.
    #[error("{}{}", match .why { Some(why) => format!("the client has ended: {why}"), None => "the client is closed".to_owned() }, .sent.map_or("", |sent| sent.told("; it may have happened")))]
    Closed {
        /// Why the client ended by itself; `None` if it was closed.
        why: Option<Arc<ConnectError>>,
        /// Whether the request was sent; `None` if the error is not about a request.
        sent: Option<Sent>,
    },
}

impl Error {
    /// Returns the code of the protocol, if the error has one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Refused(refusal) => Some(refusal.code),
            Error::Closed { why: Some(why), .. } => why.code(),
            _ => None,
        }
    }

    /// Returns the word of the error: its code, or `timeout`, `lost`, `queue-full` or `closed`. If
    /// the client has ended by itself for a reason without a code, the word is `ended`.
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

    /// Returns what to do next. A write that was sent and has no answer must not be requested
    /// again, because the new one would happen as well: the action is [`Action::Stop`], as for
    /// [`Code::OutcomeUnknown`]. A read may be requested again.
    ///
    /// For [`Error::Closed`], the action is what helps against the error that ended the client. If
    /// it is to retry, retry with a new client: this client never works again, and a loop that
    /// keeps asking it spins.
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

    /// Returns whether a condition did not hold.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(Code::Conflict)
    }
}

/// Why there is no connection, or why it was lost.
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
    /// The host could not be reached: it has no address, refuses connections, or does not answer.
    #[error("cannot reach {address}: {message}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// The kind of the operating system's error.
        kind: std::io::ErrorKind,
        /// The text of the operating system's error.
        message: String,
    },
    /// An HTTP server answered, but did not accept the connection. For example: 400, the
    /// subprotocol is unknown; 403, the page may not connect; 404, the path is wrong; 503, the
    /// broker is full.
    #[error("{address} answers {status}{}{message}", if .message.is_empty() { "" } else { ": " })]
    Http {
        /// Host and port.
        address: String,
        /// The HTTP status code.
        status: u16,
        /// The first line of the answer's body.
        message: String,
        /// How long to wait before the next attempt, if the server said so.
        retry_in: Option<Duration>,
    },
    /// The server does not speak WebSocket, or did not accept the subprotocol.
    #[error("{address} is no Onetree broker: {why}")]
    NotABroker {
        /// Host and port.
        address: String,
        /// What the server did instead.
        why: String,
    },
    /// The function of [`crate::Options::token_from`] gave no token.
    #[error("no token: {0}")]
    Token(String),
    /// The broker refused the `hello`, or ended the connection.
    #[error("{0}")]
    Refused(Refusal),
    /// The connection was lost, or the runtime that the client ran on has ended.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// Nothing was received for so long that the client takes the connection for dead.
    #[error("nothing came for {0:?}")]
    Silent(Duration),
    /// The broker broke a rule of the protocol.
    #[error("the broker broke the protocol: {0}")]
    Protocol(String),
}

impl ConnectError {
    /// Returns the code of the protocol, if the error has one.
    pub fn code(&self) -> Option<Code> {
        match self {
            ConnectError::Refused(refusal) => Some(refusal.code),
            ConnectError::Silent(_) => Some(Code::Silent),
            _ => None,
        }
    }

    /// Returns the word of the error: its code, or `url`, `not-a-broker`, `unreachable` (also if
    /// there is no token), `lost` or `protocol`. The word of an HTTP answer follows from its
    /// status: `unauthorized`, `unreachable` or `not-a-broker`.
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

    /// Returns what to do next. If the action is to retry, this client reconnects by itself.
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

    /// Returns how long to wait before the next attempt, if the broker said so.
    pub fn retry_in(&self) -> Option<Duration> {
        match self {
            ConnectError::Refused(refusal) => refusal.retry_in,
            ConnectError::Http { retry_in, .. } => *retry_in,
            _ => None,
        }
    }
}

/// An error as `{"code","message"}`: its word, and an explanation for people. A refusal also has
/// its path and revision, if it has them.
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
