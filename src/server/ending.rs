//! The reasons why a connection ends.

use std::io;
use std::time::Duration;

use onetree_protocol::Code;

use super::RETRY_SECONDS;
use crate::random;

/// WebSocket close codes (RFC 6455, 7.4.1).
pub(super) const NORMAL: u16 = 1000;
pub(super) const PROTOCOL: u16 = 1002;
pub(super) const NOT_UTF8: u16 = 1007;

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// The broker ends it, with a code of the protocol.
    Refused { code: Code, message: String, retry_ms: Option<u32> },
    /// The client sent something that is not WebSocket, or not its protocol: a close code of
    /// WebSocket's own.
    NotWebSocket { close: u16, message: String },
    /// The client said `bye`, and everything before it is done.
    Bye,
    /// The client closed the connection, with this code.
    Closed(Option<u16>),
    /// The socket is gone.
    Lost(String),
    /// The broker has no time left.
    Cut,
}

impl Ending {
    pub(super) fn refused(code: Code, message: impl Into<String>) -> Ending {
        Ending::Refused { code, message: message.into(), retry_ms: None }
    }

    pub(super) fn full() -> Ending {
        let message = "the broker has as many connections as it allows".to_owned();
        // One to two times the delay that HTTP clients are told, so that clients do not all come
        // back at once.
        let retry_ms = Some(RETRY_SECONDS * 1000 + random::below(RETRY_SECONDS * 1000));
        Ending::Refused { code: Code::TooManyConnections, message, retry_ms }
    }

    pub(super) fn shutting_down(spread_ms: u32) -> Ending {
        let message = "the broker shuts down".to_owned();
        let retry_ms = Some(random::below(spread_ms.saturating_add(1)));
        Ending::Refused { code: Code::ShuttingDown, message, retry_ms }
    }

    pub(super) fn session_taken() -> Ending {
        Ending::refused(Code::SessionTaken, "another connection has the session now")
    }

    pub(super) fn hello_timeout(after: Duration) -> Ending {
        Ending::refused(Code::HelloTimeout, format!("no hello within {} ms", after.as_millis()))
    }

    pub(super) fn silent(after: Duration) -> Ending {
        Ending::refused(Code::Silent, format!("nothing came for {} ms", after.as_millis()))
    }

    /// The owner of the tree is gone: it has panicked, or the broker has stopped.
    pub(super) fn ownerless() -> Ending {
        Ending::refused(Code::Internal, "the owner of the tree is gone")
    }

    pub(super) fn lost(error: &io::Error) -> Ending {
        Ending::Lost(error.to_string())
    }

    pub(super) fn protocol(message: impl Into<String>) -> Ending {
        Ending::NotWebSocket { close: PROTOCOL, message: message.into() }
    }

    pub(super) fn not_utf8() -> Ending {
        Ending::NotWebSocket { close: NOT_UTF8, message: "a text message is not UTF-8".into() }
    }
}
