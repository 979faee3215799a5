//! The options of a client.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use onetree_protocol::Codec;

/// The options of a client: the broker's URL, the token, the timeouts.
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

/// When a client reconnects by itself. An error whose action is not to retry always ends the
/// client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reconnect {
    /// Never: the client ends when its connection is lost.
    Never,
    /// After a connection is lost. But if the first attempt fails, so does
    /// [`crate::Client::connect`].
    #[default]
    AfterFirst,
    /// Always, even if there has been no connection yet.
    Always,
}

impl Options {
    /// Options for the broker at `url`, such as `ws://host:port`. If the URL has no path, the path
    /// is `/v1/sync`.
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

    /// Sets the encoding of frames. The default is MessagePack.
    pub fn codec(mut self, codec: Codec) -> Options {
        self.codec = codec;
        self
    }

    /// Sets what the client's name begins with, for the broker's log: 1 to 31 of `A-Z a-z 0-9 _ -`.
    /// [`crate::Client::start`] refuses any other label. 128 random bits follow the label in any
    /// case: if two processes had the same name, one would get the answers to the other's writes.
    pub fn label(mut self, label: impl Into<String>) -> Options {
        self.label = Some(label.into());
        self
    }

    /// Sets the token, which tells the broker who the client is. There is none by default. See
    /// [`crate::Client::auth`] to give the broker a later token, and [`Options::token_from`] for
    /// tokens that expire.
    pub fn token(mut self, token: impl Into<String>) -> Options {
        (self.token, self.hook) = (Some(token.into()), None);
        self
    }

    /// Sets a function that gives the token. The client calls `hook` before each attempt to
    /// connect, and waits for it within [`Options::connect_timeout`]. If the broker refuses the
    /// token, the client calls `hook` once more, at once. If the broker refuses that token, too,
    /// and the client was not online for 10 seconds in between, the client ends. If `hook` fails or
    /// panics, the attempt has failed, and the client tries again.
    pub fn token_from<F, T>(mut self, hook: F) -> Options
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<String, Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let hook = move || -> Asking { Box::pin(hook()) };
        (self.token, self.hook) = (None, Some(Hook(Arc::new(hook))));
        self
    }

    /// Sets the name of the program, for the broker's log. The default is `onetree-rust/<version>`.
    pub fn agent(mut self, agent: impl Into<String>) -> Options {
        self.agent = agent.into();
        self
    }

    /// Sets when the client reconnects by itself. The default is [`Reconnect::AfterFirst`].
    pub fn reconnect(mut self, reconnect: Reconnect) -> Options {
        self.reconnect = reconnect;
        self
    }

    /// Sets how long a request waits for its answer, including the time without a connection. The
    /// default is 30 seconds. A request that must wait for room in the queue first may wait as long
    /// again.
    pub fn request_timeout(mut self, timeout: Duration) -> Options {
        self.request_timeout = timeout;
        self
    }

    /// Sets how long one attempt to connect may take until the broker's `welcome`, including the
    /// time that the function of [`Options::token_from`] takes. The default is 10 seconds.
    pub fn connect_timeout(mut self, timeout: Duration) -> Options {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how many bytes of requests may wait for their answers, whether sent or not. The default
    /// is 16 MiB. Each request counts as 512 bytes, plus 128 for each step, condition and path in
    /// it, plus its values. Further requests wait for room.
    pub fn queue_bytes(mut self, bytes: u32) -> Options {
        self.queue_bytes = bytes.max(1);
        self
    }

    /// Sets the waits between attempts to connect: a random time up to `base`, then up to twice
    /// that, and so on up to `cap`. The defaults are 100 ms and 20 s.
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Options {
        self.backoff_base = base;
        self.backoff_cap = cap.max(base);
        self
    }
}

impl fmt::Debug for Options {
    /// Leaves out the secrets.
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

/// A URL for a log: without what comes before an `@`, which may be a password.
pub(crate) fn shown(url: &str) -> String {
    let Some((secret, rest)) = url.rsplit_once('@') else { return url.to_owned() };
    let scheme = secret.find("://").map_or("", |at| &secret[..at + 3]);
    format!("{scheme}…@{rest}")
}

type Asking = Pin<Box<dyn Future<Output = Result<String, Box<dyn Error + Send + Sync>>> + Send>>;

/// The application's function that gives tokens, from [`Options::token_from`].
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
