//! Error codes, and what to do about each.

/// What a peer should do about a [`Code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Try the same again after a while.
    Retry,
    /// Start the subscription again from nothing.
    Resync,
    /// Get another token.
    Reauth,
    /// Change the request: the same request fails again.
    Fix,
    /// Give up.
    Stop,
}

impl Action {
    /// Returns the word in `spec/codes.json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Retry => "retry",
            Action::Resync => "resync",
            Action::Reauth => "reauth",
            Action::Fix => "fix",
            Action::Stop => "stop",
        }
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $action:ident, $close:expr;)+) => {
        /// Everything that can go wrong between a client and a broker. `spec/codes.json` is the
        /// same table for all languages; a test checks that they are equal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$name),+];

            /// Returns the word on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)+ }
            }

            /// Returns what the peer should do about it.
            pub fn action(self) -> Action {
                match self { $(Code::$name => Action::$action,)+ }
            }

            /// Returns the WebSocket close code (RFC 6455, 4000-4999), if this code ends a
            /// connection.
            pub fn close(self) -> Option<u16> {
                match self { $(Code::$name => $close,)+ }
            }

            /// Returns the meaning of the code, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

codes! {
    /// The frame is not one: not JSON or MessagePack, a duplicate key, a lone surrogate, a field of
    /// the wrong type.
    BadFrame = "bad-frame", Fix, Some(4400);
    /// The frame's `op` is not known.
    UnknownOp = "unknown-op", Fix, None;
    /// The message is larger than `limits.frame_bytes`.
    FrameTooLarge = "frame-too-large", Fix, Some(4413);
    /// The first frame was not `hello`, or `hello` came twice.
    HelloExpected = "hello-expected", Fix, Some(4401);
    /// No `hello` came in time after the connection was opened.
    HelloTimeout = "hello-timeout", Retry, Some(4408);
    /// Nothing came for two intervals, not even an answer to a ping.
    Silent = "silent", Retry, Some(4409);
    /// The path breaks a rule of paths.
    BadPath = "bad-path", Fix, None;
    /// A pattern of the subscription breaks a rule of patterns.
    BadPattern = "bad-pattern", Fix, None;
    /// A field has a value that it cannot have.
    BadField = "bad-field", Fix, None;
    /// The value is not what its media type says.
    BadValue = "bad-value", Fix, None;
    /// The value is larger than `limits.value_bytes`.
    ValueTooLarge = "value-too-large", Fix, None;
    /// A precondition does not hold; `path` and `rev` say which and what is there.
    Conflict = "conflict", Retry, None;
    /// The path has the form of a log key that the broker has not given out.
    LogKey = "log-key", Fix, None;
    /// The transaction has more changes or conditions than a commit may have.
    TooManyChanges = "too-many-changes", Fix, None;
    /// The connection has as many subscriptions as `limits.subscriptions` allows, or as large ones
    /// as the broker does.
    TooManySubscriptions = "too-many-subscriptions", Fix, None;
    /// The subscription's number is in use on this connection.
    SubInUse = "sub-in-use", Fix, None;
    /// The connection has no subscription of that number.
    NoSuchSub = "no-such-sub", Fix, None;
    /// More requests wait for their reply than `limits.in_flight` allows.
    TooManyInFlight = "too-many-in-flight", Retry, None;
    /// The broker has as many connections as it allows.
    TooManyConnections = "too-many-connections", Retry, Some(4429);
    /// The broker keeps as many sessions as it allows.
    TooManySessions = "too-many-sessions", Retry, Some(4430);
    /// The tree holds as many entries or bytes as the broker allows.
    TreeFull = "tree-full", Retry, None;
    /// The write was accepted before, but its answer is no longer remembered; it is not executed
    /// again.
    OutcomeUnknown = "outcome-unknown", Stop, None;
    /// The write's `seq` skips one, or comes without a `client`.
    SeqGap = "seq-gap", Fix, None;
    /// The subscription cannot be served from where it stands.
    ResyncRequired = "resync-required", Resync, None;
    /// The request is understood and not offered by this broker.
    Unsupported = "unsupported", Stop, None;
    /// The token is missing, wrong or expired.
    Unauthorized = "unauthorized", Reauth, Some(4403);
    /// The write could not be stored and did not happen.
    Unavailable = "unavailable", Retry, None;
    /// The broker takes no writes for now, because its disk is full or fails.
    ReadOnly = "read-only", Retry, None;
    /// Another connection has taken over the session.
    SessionTaken = "session-taken", Stop, Some(4410);
    /// The broker shuts down; come back after `retry_ms`.
    ShuttingDown = "shutting-down", Retry, Some(4503);
    /// A fault of the broker.
    Internal = "internal", Retry, Some(4500);
}

impl Code {
    /// Reads the word on the wire.
    pub fn parse(text: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.as_str() == text)
    }

    /// Returns the code that belongs to a WebSocket close code.
    pub fn from_close(close: u16) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.close() == Some(close))
    }

    /// Returns whether a numbered write that is refused with this code uses up its `seq`. If so,
    /// the refusal makes a commit, and a retry of the write gets the same refusal.
    /// `spec/codes.json` lists the same.
    pub fn uses_seq(self) -> bool {
        matches!(self, Code::Conflict | Code::LogKey | Code::TreeFull)
    }

    /// Returns whether a client should reconnect by itself after the connection was closed with
    /// this code.
    pub fn reconnect(self) -> bool {
        matches!(self.action(), Action::Retry | Action::Resync)
    }
}
