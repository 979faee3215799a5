//! Starting and stopping a broker.

use std::future::pending;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use onetree_core::{Settings, State};
use onetree_protocol::{DigestKey, Epoch, Path};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::broker::{Event, Hooks, Owner, QUEUED_EVENTS, Shared};
use crate::config::Config;
use crate::fanout::Fanout;
use crate::listening::{self, Listening};
use crate::random::{self, NoRandomness};
use crate::server::Server;
use crate::store::files::{self, OpenError, OpenedStore, Storage};
use crate::store::{EndError, Store};

/// The least time that a store gets to close, however long the connections have taken before: slow
/// connections must not cost the store a proper end.
const STORE_ENDS: Duration = Duration::from_secs(1);

/// Starts a broker: see [`Broker::start`]. A broker that runs is a [`Running`].
#[derive(Debug)]
pub struct Broker;

/// The reasons why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Other machines could connect, and the configuration does not say that everyone may.
    #[error(
        "{0} can be reached from other machines, and this broker asks nobody who they are; to let \
         everyone who reaches it read and write, set 'allow_anonymous = true' in the configuration \
         (or ONETREE_ALLOW_ANONYMOUS=true), otherwise listen on 127.0.0.1"
    )]
    Exposed(SocketAddr),
    /// The broker cannot listen on the address.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The system gives no random bits to make the epoch and the digest key from.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The directory cannot be locked, for example because another broker uses it.
    #[error(transparent)]
    Locked(#[from] files::LockError),
    /// The files cannot be used as they are.
    #[error(transparent)]
    Files(#[from] OpenError),
}

/// The broker has stopped in a way that it should not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// The task that owns the tree has panicked: a bug in the broker.
    #[error("the task that owns the tree has panicked: the broker has stopped")]
    Panicked,
    /// The store has ended by itself, or it could not be closed properly.
    #[error(transparent)]
    Store(#[from] EndError),
}

impl Broker {
    /// Starts a broker that keeps its commits in `store`. The broker runs in tasks of the current
    /// tokio runtime.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config, store: impl Store) -> Result<Running, StartError> {
        Broker::start_with(config, store, Hooks::default()).await
    }

    /// Like [`Broker::start`], with hooks.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start_with(
        config: Config,
        store: impl Store,
        hooks: Hooks,
    ) -> Result<Running, StartError> {
        let state = State::new(settings(&config)?);
        let listening = listen(&config)?;
        Ok(Broker::go_on(config, listening, store, state, hooks))
    }

    /// Like [`Broker::start_with`], with the tree from the files of `storage`, where its commits
    /// are stored from then on. Blocks until the tree is read, which takes about a second for each
    /// million entries. Clients that connect meanwhile wait.
    ///
    /// # Errors
    /// See [`StartError`]. The files then still hold the same tree.
    pub async fn start_from(
        config: Config,
        storage: Arc<dyn Storage>,
        hooks: Hooks,
    ) -> Result<Running, StartError> {
        // Listen before the files are opened: opening the files and then not serving them would
        // leave a history without an end.
        let listening = listen(&config)?;
        let opened = files::open(storage, settings(&config)?, config.file_options())?;
        let OpenedStore { store, state, report } = opened;
        let (file, at) = report.torn.unzip();
        if let Some(lost) = report.lost {
            tracing::warn!(file, at, "{lost}; a new history begins");
        } else if file.is_some() {
            tracing::warn!(file, at, "a crash had cut the last batch, of which nobody was told");
        }
        if report.lost.is_some() || !report.new_epoch {
            let entries = state.snapshot().summary(&Path::root()).live;
            tracing::info!(rev = report.rev, entries, epoch = %report.epoch, "the tree was read");
        }
        Ok(Broker::go_on(config, listening, store, state, hooks))
    }

    /// Starts the tasks with this state, all of whose commits are in `store`.
    fn go_on(
        config: Config,
        Listening { listeners, addr }: Listening,
        store: impl Store,
        state: State,
        hooks: Hooks,
    ) -> Running {
        let fanout = Fanout::new(config.frame_bytes as usize, crate::server::ENVELOPE);
        let shared = Arc::new(Shared::new(state.snapshot(), fanout, store.condition()));
        let (events, queue) = mpsc::channel(QUEUED_EVENTS);
        let timeout = Duration::from_millis(config.shutdown_timeout_ms);
        let server = Arc::new(Server::new(config, shared.clone(), events, addr));
        let owner = tokio::spawn(Owner::new(state, store, shared, hooks).run(queue));
        let (ended, end) = watch::channel(None);
        tokio::spawn(watch_over(owner, server.clone(), ended));
        for listener in listeners {
            server.accept_from(listener);
        }
        tracing::info!(%addr, "listening");
        Running { server, end, timeout }
    }
}

/// Returns the settings of the tree, with random bits for the epoch and the digest key. The epoch
/// is used only when a new history begins.
fn settings(config: &Config) -> Result<Settings, NoRandomness> {
    Ok(Settings {
        epoch: Epoch(random::bits()?),
        digest_key: DigestKey(random::bits()?),
        bounds: config.bounds(),
        retention: config.retention_rules(),
    })
}

/// Listens at the configured address, unless other machines could connect there and
/// `allow_anonymous` is not set.
fn listen(config: &Config) -> Result<Listening, StartError> {
    let addr = config.listen;
    if !addr.ip().is_loopback() && !config.allow_anonymous {
        return Err(StartError::Exposed(addr));
    }
    listening::listen(addr).map_err(|source| StartError::Listen { addr, source })
}

/// Waits for the end of the owner. Nothing works without the owner, so everything else ends as
/// well.
async fn watch_over(
    owner: JoinHandle<Result<(), EndError>>,
    server: Arc<Server>,
    ended: watch::Sender<Option<Result<(), Failed>>>,
) {
    let result = match owner.await {
        Ok(ended) => ended.map_err(Failed::Store),
        Err(_) => Err(Failed::Panicked),
    };
    if let Err(error) = &result {
        tracing::error!(%error, "the broker stops, and not as it should");
    }
    server.cut();
    ended.send_replace(Some(result));
}

/// A broker that runs. Dropping this value does not stop the broker.
#[derive(Clone)]
pub struct Running {
    server: Arc<Server>,
    end: watch::Receiver<Option<Result<(), Failed>>>,
    timeout: Duration,
}

impl Running {
    /// Returns the address where the broker listens.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr
    }

    /// Returns the URL for clients, `ws://host:port`.
    pub fn url(&self) -> String {
        format!("ws://{}", self.server.addr)
    }

    /// Returns the URL of the console for a browser. When the broker listens on all addresses, the
    /// URL has the loopback address, because a browser cannot open the unspecified one.
    pub fn console(&self) -> String {
        let mut addr = self.server.addr;
        if addr.ip().is_unspecified() {
            addr.set_ip(match addr {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("http://{addr}/console/")
    }

    /// Stops the broker. It accepts no new connections, answers the writes that were begun, and
    /// tells clients when to reconnect. This takes at most `shutdown_timeout_ms`; connections that
    /// are still open are then cut. After that the store has one second to close.
    pub async fn shutdown(&self) {
        self.shutdown_until(pending()).await;
    }

    /// Like [`Running::shutdown`], but cuts the connections as soon as `enough` completes. The
    /// store has its second after that.
    pub async fn shutdown_until(&self, enough: impl Future<Output = ()>) {
        let mut deadline = Instant::now() + self.timeout;
        let mut enough = pin!(async {
            enough.await;
            Instant::now()
        });
        let mut hurries = false;
        tokio::select! {
            () = self.server.finish() => {}
            () = sleep_until(deadline) => {
                tracing::warn!("shutdown took too long: connections are cut");
                self.server.cut();
            }
            now = &mut enough => {
                (deadline, hurries) = (now, true);
                self.server.cut();
            }
        }
        let stopped = async {
            // The channel is closed if the owner has ended already. It may be full for a while.
            let _ = self.server.events.send(Event::Stop).await;
            self.wait().await
        };
        let ended = timeout_at(deadline.max(Instant::now() + STORE_ENDS), stopped);
        tokio::select! {
            _ = ended => {}
            () = async { sleep_until(enough.await + STORE_ENDS).await }, if !hurries => {}
        }
    }

    /// Waits until the broker has stopped, by [`Running::shutdown`] or by itself.
    ///
    /// # Errors
    /// Returns why the broker has failed, if it has.
    pub async fn wait(&self) -> Result<(), Failed> {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Ok(())),
            Err(_) => Err(Failed::Panicked),
        }
    }

    /// Returns how the broker has stopped, or `None` while it runs.
    pub fn ended(&self) -> Option<Result<(), Failed>> {
        self.end.borrow().clone()
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "broker at {}", self.url())
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use onetree_core::Commit;

    use super::*;
    use crate::store::{MemoryStore, StoreError};

    /// This test is a unit test because no unit test starts a program: a new process holds a copy
    /// of each socket until it executes its program, and the address would stay in use.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_broker_that_has_stopped_has_left_its_address() {
        let mut config = Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::default() };
        for _ in 0..300 {
            let broker = Broker::start(config.clone(), MemoryStore::new()).await.unwrap();
            config.listen = broker.addr();
            broker.shutdown().await;
        }
    }

    /// A store that takes this long to close.
    struct Ends(Duration);

    impl Store for Ends {
        fn append(
            &mut self,
            _: &[Arc<Commit>],
        ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
            ready(Ok(()))
        }

        fn durable(&self) -> bool {
            true
        }

        fn close(&mut self) -> impl Future<Output = Result<(), EndError>> + Send + 'static {
            let takes = self.0;
            async move {
                tokio::time::sleep(takes).await;
                Ok(())
            }
        }
    }

    #[tokio::test]
    async fn a_shutdown_in_a_hurry_leaves_the_store_its_second() {
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            shutdown_timeout_ms: 60_000,
            ..Config::default()
        };
        for (takes, ended) in [(20, Some(Ok(()))), (60_000, None)] {
            for hurry in [Duration::ZERO, Duration::from_millis(100)] {
                let store = Ends(Duration::from_millis(takes));
                let broker = Broker::start(config.clone(), store).await.unwrap();
                let begun = Instant::now();
                broker.shutdown_until(tokio::time::sleep(hurry)).await;
                assert_eq!(broker.ended(), ended, "{takes} ms, {hurry:?}");
                assert!(begun.elapsed() < Duration::from_secs(30), "{takes} ms, {hurry:?}");
            }
        }
    }
}
