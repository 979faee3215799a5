//! How a client connects.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use onetree_protocol::Codec;

/// How a client connects: where to, as whom, and how patiently.
#[derive(Clone)]
#[must_use = "they are for `Client::connect` and `Client::start`"]
pub struct Options {
    pub(crate) url: String,
    pub(crate) codec: Codec,
    pub(crate) label: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) hook: Option<Hook>,
    pub(crate) agent: String,
    pub(crate) reconnect: Reconnect,
    pub(crate) request_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) queue_bytes: u32,
    pub(crate) backoff_base: Duration,
    pub(crate) backoff_cap: Duration,
}

/// When a client connects again by itself. An error whose action is not to retry always ends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reconnect {
    /// Never: a connection that is lost ends the client.
    Never,
    /// When a connection is lost; but when the first one fails, so does [`crate::Client::connect`].
    #[default]
    AfterFirst,
    /// Always, also while the broker has never been there yet.
    Always,
}

impl Options {
    /// The broker at `url`: `ws://host:port`, with `/v1/sync` as the path when there is none.
    pub fn new(url: impl Into<String>) -> Options {
        Options {
            url: url.into(),
            codec: Codec::MsgPack,
            label: None,
            token: None,
            hook: None,
            agent: concat!("onetree-rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            reconnect: Reconnect::default(),
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            queue_bytes: 16 << 20,
            backoff_base: Duration::from_millis(100),
            backoff_cap: Duration::from_secs(20),
        }
    }

    /// How frames stand in messages: MessagePack unless told.
    pub fn codec(mut self, codec: Codec) -> Options {
        self.codec = codec;
        self
    }

    /// What the client's name begins with, for the broker's log: 1 to 31 of `A-Z a-z 0-9 _ -`;
    /// [`crate::Client::start`] refuses another. 128 random bits follow in any case, because a name
    /// that another process has used would give this one the answers to that one's writes.
    pub fn label(mut self, label: impl Into<String>) -> Options {
        self.label = Some(label.into());
        self
    }

    /// What shows who the principal is. None unless told. See [`crate::Client::auth`] for a later
    /// one, [`Options::token_from`] for tokens that expire.
    pub fn token(mut self, token: impl Into<String>) -> Options {
        (self.token, self.hook) = (Some(token.into()), None);
        self
    }

    /// Where tokens come from: `hook` is asked before each attempt to connect, for as long as
    /// [`Options::connect_timeout`] allows, and once more at once when the broker refuses the
    /// token; when it refuses that one too, before a connection has lasted ten seconds, the client
    /// ends. An error or a panic of `hook` is an attempt that failed, and tried again as such.
    pub fn token_from<F, T>(mut self, hook: F) -> Options
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<String, Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let hook = move || -> Asking { Box::pin(hook()) };
        (self.token, self.hook) = (None, Some(Hook(Arc::new(hook))));
        self
    }

    /// The program, for the broker's log; `onetree-rust/<version>` unless told.
    pub fn agent(mut self, agent: impl Into<String>) -> Options {
        self.agent = agent.into();
        self
    }

    /// When to connect again by itself.
    pub fn reconnect(mut self, reconnect: Reconnect) -> Options {
        self.reconnect = reconnect;
        self
    }

    /// How long a request waits for its answer, the time without a connection included: 30 seconds
    /// unless told. Where it has to wait for room in the queue before, that may take as long again.
    pub fn request_timeout(mut self, timeout: Duration) -> Options {
        self.request_timeout = timeout;
        self
    }

    /// How long one attempt to connect may take until the broker's `welcome`, with the time that
    /// [`Options::token_from`] takes: 10 seconds unless told.
    pub fn connect_timeout(mut self, timeout: Duration) -> Options {
        self.connect_timeout = timeout;
        self
    }

    /// How many bytes of requests may wait, sent or not, each counted as 512, 128 for each step,
    /// condition and path in it, and its values: 16 MiB unless told. What comes then waits for
    /// room.
    pub fn queue_bytes(mut self, bytes: u32) -> Options {
        self.queue_bytes = bytes.max(1);
        self
    }

    /// The waits between attempts to connect: random, up to `base`, then twice that and so on up to
    /// `cap`. 100 ms and 20 s unless told.
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Options {
        self.backoff_base = base;
        self.backoff_cap = cap.max(base);
        self
    }
}

impl fmt::Debug for Options {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("url", &shown(&self.url))
            .field("codec", &self.codec)
            .field("label", &self.label)
            .field("hook", &self.hook)
            .field("agent", &self.agent)
            .field("reconnect", &self.reconnect)
            .field("request_timeout", &self.request_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("queue_bytes", &self.queue_bytes)
            .field("backoff_base", &self.backoff_base)
            .field("backoff_cap", &self.backoff_cap)
            .finish_non_exhaustive()
    }
}

/// A URL as it may stand in a log: without what comes before an `@`, which may be a password.
pub(crate) fn shown(url: &str) -> String {
    let Some((secret, rest)) = url.rsplit_once('@') else { return url.to_owned() };
    let scheme = secret.find("://").map_or("", |at| &secret[..at + 3]);
    format!("{scheme}…@{rest}")
}

type Asking = Pin<Box<dyn Future<Output = Result<String, Box<dyn Error + Send + Sync>>> + Send>>;

/// The application's function that gives tokens.
#[derive(Clone)]
pub(crate) struct Hook(Arc<dyn Fn() -> Asking + Send + Sync>);

impl Hook {
    pub(crate) fn ask(&self) -> Asking {
        (self.0)()
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a function")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Session;
    use crate::transport::Target;

    #[test]
    fn what_is_secret_is_not_printed() {
        for url in ["ws://me:sesame@localhost", "http://me:ses/sesame@there/"] {
            let options = Options::new(url).token("sesame").label("door");
            let session = Session::new(options.clone(), [1; 32]);
            let target = Target::parse(url).map(|_| ());
            let printed = format!("{options:?} {session:?} {target:?}");
            assert!(printed.contains("door") && !printed.contains("sesame"), "{printed}");
        }
        assert_eq!(shown("ws://localhost:7400/v1/sync"), "ws://localhost:7400/v1/sync");
        assert_eq!(shown("ws://me:sesame@localhost"), "ws://…@localhost");
        assert_eq!(shown("me@there"), "…@there");
    }
}
