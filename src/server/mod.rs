//! The server: one port, for single HTTP requests and for WebSocket connections.
//!
//! # Layout
//!
//! - [`Server`]: accepts connections, and ends them all
//! - `descriptors`: how many sockets there may be
//! - HTTP: `http`: the routes; `place`: the socket that a request came from; `upgrade`: from HTTP
//!   to a WebSocket; `origin`: whose pages may connect; `answer`: HTTP answers; `socket`: drops a
//!   peer that does not read its answer
//! - `stats`, `sessions`: the state of the broker as JSON; `console`: the page that shows it
//! - `connection`: one WebSocket connection: its task and its loop; `timers`: what the connection
//!   does by itself; `in_flight`: what the owner of the tree has not answered
//! - `opening`, `requests`, `output`, `closing`: the phases and jobs of a connection; `ending`: why
//!   it ends
//! - `check`: checks of requests; `writing`: whether refreshes give way to writers
//! - `reader`, `writer`: WebSocket messages from and to a socket; `frames`: decodes messages

mod answer;
mod check;
mod closing;
mod connection;
mod console;
mod descriptors;
mod ending;
mod frames;
mod http;
mod in_flight;
mod opening;
mod origin;
mod output;
mod place;
mod reader;
mod requests;
mod sessions;
mod socket;
mod stats;
mod timers;
mod upgrade;
mod writer;
mod writing;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use writer::ENVELOPE;

use arc_swap::ArcSwapOption;
use dashmap::DashMap;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::writing::Writing;
use crate::broker::{Event, Mailbox, Order, Shared};
use crate::config::Config;

/// How many sockets may be in their HTTP phase at once, in addition to the connections. Each costs
/// up to 16 KiB.
const HANDSHAKES: usize = 64;

/// How many sockets may be reading their first request at once: each takes 16 KiB meanwhile, four
/// times what it takes as a connection. After a restart of the broker, all its clients send their
/// requests within a second.
const FIRST_REQUESTS: usize = 256;

/// How long a socket waits at most until others have sent their requests, and how long each of
/// those counts. This is only a brake: clients whose requests come slowly cannot block the others
/// with it.
const FIRST_REQUEST_WAIT: Duration = Duration::from_secs(1);
const FIRST_REQUEST_TURN: Duration = Duration::from_millis(50);

/// How long the listener waits when the system has no more sockets.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// How often a failure to accept is logged: it would be logged 20 times a second for as long as it
/// lasts.
const ACCEPT_TOLD: Duration = Duration::from_secs(60);

/// When clients come back to a full broker, seconds: the value of `Retry-After`.
const RETRY_SECONDS: u32 = 5;

/// What all connections share.
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: mpsc::Sender<Event>,
    /// The address where the server listens.
    pub(crate) addr: SocketAddr,
    started: Instant,
    /// The mailboxes of the open WebSocket connections, by their ids.
    mailboxes: DashMap<u64, Arc<Mailbox>>,
    /// Where connections send their descriptions, see `sessions`. Whoever asks holds the lock
    /// `asking`.
    inquiry: ArcSwapOption<mpsc::UnboundedSender<sessions::Described>>,
    asking: tokio::sync::Mutex<()>,
    /// How many answers of `sessions` may be in memory, while they are made or read.
    session_answers: Arc<Semaphore>,
    next_id: AtomicU64,
    connections: Arc<Semaphore>,
    sockets: Arc<Semaphore>,
    first_requests: Arc<Semaphore>,
    /// Snapshots that refreshes may hold.
    holds: Arc<Semaphore>,
    /// One more, for a refresh that may never end without it.
    last_hold: Arc<Semaphore>,
    /// Permits for connections whose turn is over after looking through the tree without finding
    /// much. As many of them continue as there are threads. The others wait in order, so a task
    /// that has just been woken waits for one or two of them, not for all.
    turns: Arc<Semaphore>,
    writing: Writing,
    /// When a failure to accept a connection was last logged.
    accept_told: Mutex<Option<Instant>>,
    /// The origins whose pages may not connect and that were logged.
    foreign_told: Mutex<Vec<String>>,
    stopping: AtomicBool,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    pub(crate) fn new(
        config: Config,
        shared: Arc<Shared>,
        events: mpsc::Sender<Event>,
        addr: SocketAddr,
    ) -> Server {
        let connections = descriptors::bound(config.connections as usize);
        Server {
            shared,
            events,
            addr,
            started: Instant::now(),
            mailboxes: DashMap::new(),
            inquiry: ArcSwapOption::empty(),
            asking: tokio::sync::Mutex::new(()),
            session_answers: Arc::new(Semaphore::new(sessions::ANSWERS)),
            next_id: AtomicU64::new(1),
            connections: Arc::new(Semaphore::new(connections)),
            sockets: Arc::new(Semaphore::new(connections + HANDSHAKES)),
            first_requests: Arc::new(Semaphore::new(FIRST_REQUESTS)),
            holds: Arc::new(Semaphore::new(config.held_snapshots as usize)),
            last_hold: Arc::new(Semaphore::new(1)),
            turns: Arc::new(Semaphore::new(Handle::current().metrics().num_workers())),
            writing: Writing::new(),
            accept_told: Mutex::default(),
            foreign_told: Mutex::default(),
            config,
            stopping: AtomicBool::new(false),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Accepts connections from a listener until the server stops. When the server has
    /// [finished](Server::finish), the listener is closed.
    pub(crate) fn accept_from(self: &Arc<Server>, listener: TcpListener) {
        self.tasks.spawn(self.clone().run(listener));
    }

    async fn run(self: Arc<Server>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok((socket, peer)) => self.accept(socket, peer),
                Err(error) => {
                    self.tell_of_accept(&error);
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    fn tell_of_accept(&self, error: &io::Error) {
        let mut told = self.accept_told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= ACCEPT_TOLD) {
            *told = Some(Instant::now());
            tracing::warn!(%error, "cannot accept a connection");
        }
    }

    fn accept(self: &Arc<Server>, socket: TcpStream, peer: SocketAddr) {
        let Ok(permit) = self.sockets.clone().try_acquire_owned() else {
            // The server reads nothing from this socket, so this cannot block; a socket this new
            // takes the whole answer.
            let _ = socket.try_write(http::too_many().as_bytes());
            tracing::info!(code = "http-503", %peer, "connection refused: too many sockets");
            return;
        };
        // Deltas are small and written with one call each: waiting for more data would cost 40 ms.
        let _ = socket.set_nodelay(true);
        self.tasks.spawn(http::serve(self.clone(), socket, peer, permit));
    }

    fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether the server has been ordered to stop.
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Stops accepting connections. Open connections finish what they have begun and say goodbye;
    /// this waits for them.
    pub(crate) async fn finish(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.cancel();
        self.order(Order::Finish);
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Closes every open connection at once.
    pub(crate) fn cut(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.cancel();
        self.order(Order::Cut);
    }

    fn order(&self, order: Order) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.order(order));
    }
}
