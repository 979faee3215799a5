//! The connection to the broker.

use std::convert::Infallible;
use std::env;
use std::future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use indicatif::ProgressBar;
use onetree::Config;
use onetree_client::{
    Action, Client, ConnectError, Done, Error, Event, Found, List, MirrorOptions, Options, Path,
    Reconnect, Refusal, Sent, Snapshot, Status, Value, View, Write,
};
use onetree_protocol::limits::Limits;

use super::Common;
use super::connection::Connection;
use super::exit::{FAULT, Failure, REFUSED, UNREACHABLE, USAGE};
use super::progress;

/// How this program identifies itself in the broker's log.
const AGENT: &str = concat!("onetree-cli/", env!("CARGO_PKG_VERSION"));

/// The environment variable with the broker's URL.
const VARIABLE: &str = "ONETREE_URL";

/// Returns the URL of the broker if the command line has none: the one from the environment, or the
/// address where a broker with the built-in settings listens.
pub(crate) fn url() -> String {
    // A value that is not text is no URL either.
    env::var_os(VARIABLE).map_or_else(default_url, |url| url.to_string_lossy().into_owned())
}

fn default_url() -> String {
    format!("ws://{}", Config::default().listen)
}

/// Returns the help of `--url`.
pub(crate) fn url_help() -> String {
    let said = env::var_os(VARIABLE).unwrap_or_default();
    let said = said.to_string_lossy();
    format!("The broker to talk to [env: {VARIABLE}={said}] [default: {}]", default_url())
}

/// A connection to the broker. It reconnects by itself when it is lost. Only if the first attempt
/// fails does the command end, unless the command waits for a broker.
pub(crate) struct Link {
    /// The client.
    pub(crate) client: Client,
    /// Whether the output is for a program.
    json: bool,
    /// How long a command that ends by itself goes on without a connection.
    pub(crate) patience: Duration,
    /// How often the connection was lost, as far as [`Link::tell`] reported it.
    losses: AtomicU32,
}

/// The form of a broker's URL.
const A_URL: &str = "a URL is ws://HOST:PORT";

/// How long a request waits for its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a command that has all other answers waits for the answer to its goodbye. A session
/// whose goodbye is lost ends by itself, after its grace period.
pub(crate) const GOODBYE: Duration = Duration::from_secs(2);

fn options(common: &Common) -> Options {
    let options = Options::new(&common.url).label("cli").agent(AGENT);
    // Reconnect quickly: a user waits at a terminal.
    options.request_timeout(PATIENCE).backoff(Duration::from_millis(100), Duration::from_secs(5))
}

impl Link {
    /// Connects.
    pub(crate) async fn open(common: &Common) -> Result<Link, Failure> {
        let client = Client::connect(options(common)).await;
        Ok(Link::new(common, client.map_err(|error| not_connected(&error))?))
    }

    /// Begins to connect. The broker need not be there yet.
    pub(crate) fn start(common: &Common) -> Result<Link, Failure> {
        let client = Client::start(options(common).reconnect(Reconnect::Always));
        Ok(Link::new(common, client.map_err(|error| not_connected(&error))?))
    }

    fn new(common: &Common, client: Client) -> Link {
        Link { client, json: common.json, patience: PATIENCE, losses: AtomicU32::new(0) }
    }

    /// Returns what the broker allows this connection.
    pub(crate) fn limits(&self) -> Result<Limits, Failure> {
        match self.client.status() {
            Status::Online(connection) => Ok(connection.limits),
            _ => Err(lost("the connection was lost")),
        }
    }

    /// Writes, and waits for the answer.
    pub(crate) async fn write(&self, write: impl Into<Write>) -> Result<Done, Failure> {
        self.client.write(write).await.map_err(unwritten)
    }

    /// Sends a signal.
    pub(crate) async fn signal(&self, path: &Path, value: Value) -> Result<(), Failure> {
        self.client.signal(path.clone(), value).await.map_err(unwritten)
    }

    /// Reads one entry, if it exists.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<onetree_client::Change>, Failure> {
        self.client.get(path.clone()).await.map_err(failed)
    }

    /// Reads a page.
    pub(crate) async fn list(&self, list: List) -> Result<Found, Failure> {
        self.client.list(list).await.map_err(failed)
    }

    /// Reads everything that `view` sees, at one revision. `bar` counts the entries as they arrive.
    pub(crate) async fn once(&self, view: View, bar: &ProgressBar) -> Result<Snapshot, Failure> {
        let mirror = self.client.mirror(view, MirrorOptions::new().once());
        let mut changes = mirror.changes();
        let mut ticks = tokio::time::interval(progress::TICK);
        let mut connection = Connection::default();
        loop {
            tokio::select! {
                event = changes.next() => match event {
                    Some(Event::Ended { error: Some(error) }) => return Err(failed(error)),
                    Some(Event::Offline { error, retry_in }) => {
                        let error = error.to_string();
                        bar.suspend(|| connection.offline(&error, retry_in).aside(self.json));
                    }
                    Some(Event::Online { resumed }) => {
                        bar.suspend(|| connection.online(resumed).aside(self.json));
                    }
                    Some(_) => {}
                    None => return Ok(mirror.snapshot()),
                },
                _ = ticks.tick() => bar.set_position(mirror.received()),
                why = connection.missing(self.patience) => return Err(lost(why)),
            }
        }
    }

    /// Reports what happens to the connection, while the caller waits for something else. The
    /// reports do not disturb `bar`.
    pub(crate) async fn tell(&self, bar: &ProgressBar) -> Infallible {
        let mut statuses = self.client.statuses();
        let mut connection = Connection::default();
        let _now = statuses.next().await;
        while let Some(status) = statuses.next().await {
            let news = match status {
                Status::Online(now) => connection.online(now.resumed),
                Status::Offline { error, retry_in } => {
                    if connection.is_online() {
                        self.losses.fetch_add(1, Ordering::Relaxed);
                    }
                    connection.offline(&error.to_string(), Some(retry_in))
                }
                // What the command waits for fails too, and says why.
                Status::Connecting | Status::Ended { .. } => continue,
            };
            bar.suspend(|| news.aside(self.json));
        }
        future::pending().await
    }

    /// Returns how often [`Link::tell`] reported that the connection was lost.
    pub(crate) fn losses(&self) -> u32 {
        self.losses.load(Ordering::Relaxed)
    }

    /// Waits until the session is lost, and its ephemeral entries with it. Returns why.
    pub(crate) async fn hold(&self) -> Failure {
        let mut statuses = self.client.statuses();
        let mut connection = Connection::default();
        let _now = statuses.next().await;
        while let Some(status) = statuses.next().await {
            match status {
                Status::Ended { error: Some(error) } => return not_connected(&error),
                Status::Online(now) if !now.resumed => {
                    return lost("the session was lost, and its ephemeral entries with it");
                }
                Status::Online(_) => {
                    connection.online(true).and("; the entry was kept").aside(self.json);
                }
                Status::Offline { error, retry_in } => connection
                    .offline(&error.to_string(), Some(retry_in))
                    .and("; the entry may be gone by then")
                    .aside(self.json),
                _ => {}
            }
        }
        lost("the client has ended")
    }

    /// Ends the session. Returns as soon as the broker has answered, or does not answer in time.
    pub(crate) async fn close(self) {
        let _ = tokio::time::timeout(GOODBYE, self.client.close()).await;
    }
}

/// The error of a write or a signal. If it was sent and not answered, it may have happened. To the
/// broker a new command is a new client, so trying again could do it a second time.
pub(crate) fn unwritten(error: Error) -> Failure {
    let sent = match &error {
        Error::Timeout { sent, .. } => *sent == Sent::Write,
        Error::Closed { sent, .. } => *sent == Some(Sent::Write),
        Error::Lost => true,
        Error::Refused(_) | Error::QueueFull | Error::MirrorClosed => false,
    };
    match failed(error) {
        failure if sent => {
            let next =
                "it may have happened: look before you try again, which would do it once more";
            failure.next(next).with("sent", true)
        }
        failure => failure,
    }
}

/// The error of a read, or of a write that was never sent.
pub(crate) fn failed(error: Error) -> Failure {
    match error {
        Error::Refused(refusal) => refused(&refusal),
        Error::Closed { why: Some(error), .. } => not_connected(&error),
        Error::Timeout { .. } | Error::Lost => lost(error.to_string()),
        Error::QueueFull | Error::Closed { why: None, .. } | Error::MirrorClosed => {
            Failure::fault(error.to_string())
        }
    }
}

fn refused(refusal: &Refusal) -> Failure {
    Failure::refused(refusal.code, &refusal.message).at(refusal.path.clone(), refusal.rev)
}

/// The error when the broker went away.
pub(crate) fn lost(message: impl Into<String>) -> Failure {
    Failure::new(UNREACHABLE, "lost", message).next("try again in a moment")
}

/// The error when there is no connection.
pub(crate) fn not_connected(error: &ConnectError) -> Failure {
    let (exit, code, next) = match error {
        ConnectError::Refused(refusal) => return refused(refusal),
        ConnectError::Url { .. } => (USAGE, "usage", A_URL),
        // A page, such as the console.
        ConnectError::Http { address, status: status @ 200..=399, .. } => {
            let message = format!("{address} answers {status}, not as a broker's WebSocket does");
            return Failure::new(UNREACHABLE, "not-a-broker", message).next(A_URL);
        }
        ConnectError::Unreachable { .. } => {
            let next =
                "start a broker (onetree serve), or give another --url (ws://HOST:7400, say)";
            (UNREACHABLE, "unreachable", next)
        }
        // The answer may be that of a proxy, or of another server.
        ConnectError::Http { .. } | ConnectError::NotABroker { .. } => match error.action() {
            Action::Retry => (UNREACHABLE, error.word(), "try again later"),
            Action::Reauth => (REFUSED, error.word(), "give a --url that wants no token"),
            _ => (UNREACHABLE, error.word(), "give the --url of a broker"),
        },
        ConnectError::Lost(_) | ConnectError::Silent(_) => {
            (UNREACHABLE, "lost", "try again in a moment")
        }
        ConnectError::Token(_) => (UNREACHABLE, "token", "try again in a moment"),
        ConnectError::Protocol(_) => {
            (FAULT, "protocol", "look whether the broker is of another version, and report it")
        }
    };
    Failure::new(exit, code, error.to_string()).next(next)
}

#[cfg(test)]
mod tests {
    use onetree::Broker;
    use onetree::store::MemoryStore;

    use super::*;

    #[test]
    fn who_may_have_written_is_not_told_to_try_again() {
        let after = Duration::from_secs(30);
        let told = |sent| format!("{:?}", unwritten(Error::Timeout { after, sent }));
        assert!(told(Sent::Write).contains("look before you try again"), "{}", told(Sent::Write));
        assert!(told(Sent::Never).contains("try again in a moment"), "{}", told(Sent::Never));
        let closed = unwritten(Error::Closed { why: None, sent: Some(Sent::Write) });
        assert!(format!("{closed:?}").contains("look before you try again"));
        assert!(format!("{:?}", unwritten(Error::Lost)).contains("look before"));
    }

    #[test]
    fn an_answer_of_http_has_the_word_of_the_client() {
        for (status, exit, next) in [
            (401, REFUSED, "token"),
            (403, UNREACHABLE, "--url"),
            (404, UNREACHABLE, "--url"),
            (429, UNREACHABLE, "try again"),
            (500, UNREACHABLE, "try again"),
            (502, UNREACHABLE, "try again"),
            (503, UNREACHABLE, "try again"),
            (504, UNREACHABLE, "try again"),
        ] {
            let (address, message) = ("there".to_owned(), "no".to_owned());
            let error = ConnectError::Http { address, status, message, retry_in: None };
            let told = format!("{:?}", not_connected(&error));
            let begins = format!("exit: {exit}, code: {:?}", error.word());
            assert!(told.contains(&begins) && told.contains(next), "{status}: {told}");
        }
    }

    #[tokio::test]
    async fn who_reads_once_does_not_wait_for_ever() {
        let listen = "127.0.0.1:0".parse().unwrap();
        let config = Config { listen, ..Config::default() };
        let running = Broker::start(config, MemoryStore::new()).await.unwrap();
        let common = Common { url: running.url(), json: false };
        let mut link = Link::open(&common).await.unwrap();
        link.patience = Duration::from_millis(500);
        let bar = ProgressBar::hidden();
        let all = || link.once(View::tree(Path::root()), &bar);
        all().await.unwrap();
        running.shutdown().await;
        let waited = tokio::time::timeout(Duration::from_secs(20), all()).await;
        let Err(failure) = waited.expect("it waits for ever") else { panic!("read from nobody") };
        let told = format!("{failure:?}");
        assert!(told.contains("exit: 5") && told.contains("no connection for 500ms"), "{told}");
    }
}
