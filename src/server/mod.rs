//! One port: HTTP for what is asked once, WebSocket for what stays.
//!
//! # Layout
//!
//! - [`Server`]: accepts connections, ends them all
//! - `descriptors`: how many sockets there may be
//! - `http`: routes; `place`: where a request came in; `upgrade`: from HTTP to a WebSocket;
//!   `origin`: whose pages may connect; `answer`: what comes back; `socket`: who does not read it
//!   is let go
//! - `stats`, `sessions`: how it goes, as JSON; `console`: the page that shows it
//! - `connection`: one WebSocket connection, a task of its own, and its loop; `timers`: when it
//!   does something by itself; `in_flight`: what the owner of the tree has of it
//! - `opening`, `requests`, `output`, `closing`: what it does, by the phase it is in; `ending`: why
//!   it ends
//! - `check`: what a request must keep to; `writing`: whether refreshes give way to somebody
//! - `reader`, `writer`: WebSocket messages from and to a socket; `frames`: messages from bytes

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

/// Sockets that may be in their HTTP part at once, beyond the connections. Each costs up to 16 KiB.
const HANDSHAKES: usize = 64;

/// Sockets whose first request is read at once: each takes 16 KiB meanwhile, four times what the
/// connection takes that it becomes. When a broker comes back, all its clients ask within a second.
const FIRST_REQUESTS: usize = 256;

/// So long a socket waits at most until others have asked, and so long each of those counts: it is
/// a brake, and nobody who asks slowly can make a gate of it.
const FIRST_REQUEST_WAIT: Duration = Duration::from_secs(1);
const FIRST_REQUEST_TURN: Duration = Duration::from_millis(50);

/// How long the listener rests when the system has no more sockets to give.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// How often the log is told of that: it would come 20 times a second, for as long as it lasts.
const ACCEPT_TOLD: Duration = Duration::from_secs(60);

/// When to come back to a full broker, seconds: the text of `Retry-After`.
const RETRY_SECONDS: u32 = 5;

/// What all connections share.
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: mpsc::Sender<Event>,
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    started: Instant,
    /// The open WebSocket connections, to give orders to.
    mailboxes: DashMap<u64, Arc<Mailbox>>,
    /// Whom connections tell how they stand, see `sessions`; who asks has the lock.
    inquiry: ArcSwapOption<mpsc::UnboundedSender<sessions::Described>>,
    asking: tokio::sync::Mutex<()>,
    /// Answers of `sessions` that may be in memory, being made or read.
    session_answers: Arc<Semaphore>,
    next_id: AtomicU64,
    connections: Arc<Semaphore>,
    sockets: Arc<Semaphore>,
    first_requests: Arc<Semaphore>,
    /// Snapshots that refreshes may hold.
    holds: Arc<Semaphore>,
    /// Connections that look through the tree and have found little when their turn is over: one
    /// for each thread goes on. The others wait for theirs, in order, and whoever has just been
    /// woken waits for one or two of them, not for all.
    turns: Arc<Semaphore>,
    writing: Writing,
    /// When the log was last told that a connection cannot be accepted.
    accept_told: Mutex<Option<Instant>>,
    /// The pages that may not connect of which the log has been told.
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

    /// Accepts connections of a listener until the server stops. When it has
    /// [finished](Server::finish) nobody listens any more.
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
            // Not a byte of it is read, so this cannot be slow; a socket this new takes the answer.
            let _ = socket.try_write(http::too_many().as_bytes());
            tracing::info!(code = "http-503", %peer, "connection refused: too many sockets");
            return;
        };
        // Deltas are small and one write each: waiting for more would cost 40 ms.
        let _ = socket.set_nodelay(true);
        self.tasks.spawn(http::serve(self.clone(), socket, peer, permit));
    }

    fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether the server has been told to stop.
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// No new connections; those that are open finish what they have begun, and say goodbye.
    pub(crate) async fn finish(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.cancel();
        self.order(Order::Finish);
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Every connection that is still there is closed at once.
    pub(crate) fn cut(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.cancel();
        self.order(Order::Cut);
    }

    fn order(&self, order: Order) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.order(order));
    }
}
