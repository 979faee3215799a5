//! One WebSocket connection, which is a task of its own.

use std::collections::VecDeque;
use std::mem::take;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use onetree_core::{Author, Feed, FeedLimits};
use onetree_protocol::frame::{ErrorFrame, Signal};
use onetree_protocol::{Code, Codec, Name, Revision, ServerFrame};
use tokio::net::TcpStream;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Server;
use super::ending::Ending;
use super::in_flight::InFlight;
use super::reader::{Read, Reader};
use super::timers::Timers;
use super::writer::Writer;
use crate::broker::{Event, Mailbox, Order, WRITES_TOGETHER, Write};
use crate::fanout::{Outbox, Subscriber};

/// About how large a frame of a refresh is, bytes: many of them fit into what is written ahead, and
/// each is small enough to be made between two live deltas (about 20 us).
const REFRESH_FRAME_BYTES: usize = 8 * 1024;

/// How long a connection goes on while other connections on its thread wait. A client that sends
/// without pause always has the next request ready, and would keep the thread for itself.
pub(super) const TURN: Duration = Duration::from_millis(2);

/// How many slots one step of a refresh looks at: about a millisecond at most, even if the view
/// skips what is below each of them. A piece that finds something is full much sooner.
const TURN_SLOTS: usize = 1_000;

/// How many bytes of a connection's requests the owner has, while the store saves the tree, before
/// no more is read of it. On a slow disk commits then wait until more of the tree is written, five
/// bytes of it for each of theirs (see ADR 8): behind 2 MiB of a client that writes much, all
/// others waited for 100 ms and more.
const BESIDE_A_SAVE_BYTES: usize = 128 * 1024;

/// How many messages are handled before anything is written: their replies then go out in one
/// write.
const READ_BATCH: usize = WRITES_TOGETHER;

/// The most bytes that the scratch buffer of a connection keeps: most replies are smaller, the
/// welcome is not.
const KEPT_SCRATCH_BYTES: usize = 256;

/// A connection that has just been upgraded.
pub(super) struct Arrival {
    pub(super) socket: TcpStream,
    /// What was read behind the request.
    pub(super) read: Bytes,
    pub(super) peer: SocketAddr,
    /// The `user-agent` of the request.
    pub(super) agent: Option<String>,
    pub(super) codec: Codec,
    /// Its permit as a connection; `None`: there is no room for it.
    pub(super) place: Option<OwnedSemaphorePermit>,
    /// Its permit as a socket.
    pub(super) socket_place: Option<OwnedSemaphorePermit>,
}

/// One WebSocket connection.
///
/// It opens with `hello` (`opening`), lives (`requests` in, `output` out) and ends (`closing`). One
/// task does all of that, except for what other tasks write while it rests ([`Outbox::rest`]). It
/// never waits for only one thing, except for the client's answer to the close.
pub(super) struct Connection {
    pub(super) server: Arc<Server>,
    pub(super) peer: SocketAddr,
    pub(super) since: Instant,
    pub(super) agent: Option<String>,
    pub(super) codec: Codec,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) subscriber: Arc<Subscriber>,
    pub(super) author: Arc<Author>,
    pub(super) session: Option<Name>,
    pub(super) feed: Feed,
    /// How many of its subscriptions are counted among all.
    pub(super) counted: usize,
    /// An event that the owner's queue had no room for; nothing is read until it has.
    pub(super) waiting: Option<HandOver>,
    /// Writes and signals of the messages that are being handled, see [`Connection::pass_on`].
    pub(super) writes: Vec<Write>,
    pub(super) signals: Vec<Signal>,
    /// Whether what was handled last may have taken longer than it takes to look at the clock.
    pub(super) long: bool,
    /// A frame on its way from the codec to the writer.
    scratch: Vec<u8>,
    pub(super) in_flight: InFlight,
    /// The `sync` requests that have not been answered.
    pub(super) asked: VecDeque<Asked>,
    /// The revision that the first of them waits for, if it has not settled.
    pub(super) unsettled: Option<Revision>,
    /// The `id` of the client's `bye`.
    pub(super) leaving: Option<u32>,
    /// How many invalid frames came in a row.
    pub(super) bad_frames: u32,
    /// The codes that were logged, each once.
    pub(super) logged: Vec<&'static str>,
    /// Whether the feed has something to do apart from intervals.
    pub(super) catching_up: bool,
    /// The turn that the feed waits for, because its last one took long. Until then the connection
    /// does everything else.
    pub(super) next_turn: Option<NextTurn>,
    /// Whether other tasks may write in its place, see [`Outbox::rest`].
    resting: bool,
    pub(super) hold: Hold,
    pub(super) timers: Timers,
    // Last, so that the permits are given back when the socket is closed.
    place: Option<OwnedSemaphorePermit>,
    _socket_place: Option<OwnedSemaphorePermit>,
}

/// Whether the connection's refreshes may hold a snapshot.
///
/// Starts as `No`. `No` -> `Until` when a refresh begins and the broker has a permit left; `Until`
/// -> `Spent` when its time is over; `Spent` -> `Until` when a refresh would not end otherwise; any
/// -> `No` when there is nothing left to refresh.
#[derive(Default)]
pub(super) enum Hold {
    #[default]
    No,
    Until {
        at: Instant,
        _permit: OwnedSemaphorePermit,
    },
    Spent,
}

/// An event on its way into the owner's queue. It keeps its place among those that wait for room
/// there, whatever the connection does meanwhile.
pub(super) type HandOver = Pin<Box<dyn Future<Output = Result<(), SendError<Event>>> + Send>>;

/// A permit on its way, see [`one_turn_more`]. It keeps its place as a [`HandOver`] does.
type NextTurn = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

/// A `sync` request.
pub(super) struct Asked {
    pub(super) id: u32,
    /// What was published when it came: somebody may have been told of that, and it is not told of
    /// less.
    pub(super) at: Revision,
    /// Also the digests that take long.
    pub(super) all: bool,
}

/// Runs the life of a connection. A panic ends the connection like anything else, so that its
/// subscriptions and its permit are given back. The panic itself has been written to standard
/// error.
fn or_internal(life: impl Future<Output = Ending>) -> impl Future<Output = Ending> {
    // Not `async`: that would reserve memory for `life` twice in each connection.
    let fault = |_| Ending::refused(Code::Internal, "the broker has a fault");
    AssertUnwindSafe(life).catch_unwind().map(move |ended| ended.unwrap_or_else(fault))
}

/// Waits for ever. When the task gets here it had nothing else to do, so it has given way to
/// others. If it has a feed that may `rest`, other tasks write in its place meanwhile.
async fn wait(waited: &mut bool, resting: &mut bool, outbox: &Outbox, rest: Option<&Feed>) {
    *waited = true;
    if let Some(above) = rest.and_then(Feed::live_above) {
        *resting = outbox.rest(above);
    }
    std::future::pending().await
}

/// Takes a permit to continue; then tasks that have just been woken have their turn.
async fn one_turn_more(turns: Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    let turn = turns.acquire_owned().await;
    tokio::task::yield_now().await;
    // The semaphore is never closed.
    turn.ok()
}

/// Serves a connection from its arrival, if it arrives, until its end.
///
/// The futures of arriving, opening and closing are boxed while they last: as a part of the task,
/// they would take 3 KiB from each connection that just lives.
pub(super) async fn serve(
    server: Arc<Server>,
    arriving: Pin<Box<impl Future<Output = Option<Arrival>>>>,
) {
    let mut connection = match arriving.await {
        Some(arrival) => Connection::new(server, arrival),
        None => return,
    };
    let ending = if connection.place.is_none() {
        Ending::full()
    } else {
        connection.enter();
        or_internal(async {
            match Box::pin(connection.open()).await {
                Ok(()) => connection.live().await,
                Err(ending) => ending,
            }
        })
        .await
    };
    Box::pin(connection.close(ending)).await;
}

/// The most bytes that a digest takes in a `sync` frame: a number of ten digits, a count of
/// sixteen, a sum of thirty-two, and what is between.
const DIGEST_BYTES: usize = 72;

impl Connection {
    fn new(server: Arc<Server>, arrival: Arrival) -> Connection {
        let Arrival { socket, read, peer, agent, codec, place, socket_place } = arrival;
        let config = &server.config;
        let frame_bytes = config.frame_bytes as usize;
        let (read_half, write_half) = socket.into_split();
        let reader = Reader::new(read_half, read, frame_bytes);
        let writer = Writer::new(write_half, codec);
        let id = server.next_id();
        let (bytes, frames) = (config.outbox_bytes as usize, config.outbox_frames as usize);
        let outbox = Outbox::new(bytes, frames, writer.wire());
        let mailbox = Arc::new(Mailbox::new(id, outbox, server.shared.counters.clone()));
        let subscriber = Arc::new(Subscriber::new(id, codec, mailbox.clone()));
        let feed = Feed::new(FeedLimits {
            subscriptions: config.subscriptions_per_connection as usize,
            view_bytes: config.subscription_bytes as usize,
            pattern_segments: config.pattern_segments as usize,
            frame_bytes: REFRESH_FRAME_BYTES.min(frame_bytes / 2),
            digest_scan: config.digest_scan_entries as usize,
            digests: frame_bytes / DIGEST_BYTES,
            turn_slots: TURN_SLOTS,
        });
        let now = Instant::now();
        let timers = Timers::new(now, config);
        Connection {
            server,
            peer,
            since: now,
            agent,
            codec,
            place,
            _socket_place: socket_place,
            reader,
            writer,
            mailbox,
            subscriber,
            author: Arc::default(),
            session: None,
            feed,
            counted: 0,
            waiting: None,
            writes: Vec::new(),
            signals: Vec::new(),
            long: false,
            scratch: Vec::new(),
            in_flight: InFlight::default(),
            asked: VecDeque::new(),
            unsettled: None,
            leaving: None,
            bad_frames: 0,
            logged: Vec::new(),
            catching_up: false,
            next_turn: None,
            resting: false,
            hold: Hold::No,
            timers,
        }
    }

    /// Registers the connection: from now on it gets the server's orders.
    fn enter(&self) {
        self.server.mailboxes.insert(self.mailbox.id, self.mailbox.clone());
        if self.server.is_stopping() {
            self.mailbox.order(Order::Finish);
        }
    }

    /// Queues a frame.
    pub(super) fn send(&mut self, frame: &ServerFrame) {
        debug_assert!(!self.resting, "what others have begun to write comes first");
        self.scratch.clear();
        self.codec.encode_server_into(frame, &mut self.scratch);
        self.writer.frame(&self.scratch);
        if self.scratch.capacity() > KEPT_SCRATCH_BYTES {
            self.scratch = Vec::new();
        }
    }

    /// Queues an error. A condition that does not hold is normal for clients, so it is not logged.
    pub(super) fn send_error(&mut self, error: ErrorFrame) {
        if error.code != Code::Conflict {
            self.log_once(error.code.as_str(), &error.message);
        }
        self.send(&ServerFrame::Error(error));
    }

    /// Logs the first refusal of each kind: a client that sends nothing else cannot fill the log.
    pub(super) fn log_once(&mut self, code: &'static str, why: &str) {
        if !self.logged.contains(&code) {
            self.logged.push(code);
            let (peer, agent) = (self.peer, self.agent.as_deref().unwrap_or("-"));
            tracing::info!(code, %peer, agent, label = self.label(), why, "request refused");
        }
    }

    /// Returns the label that the client's name begins with. The 32 hex digits behind it are not
    /// logged.
    pub(super) fn label(&self) -> &str {
        let name = self.author.client.as_ref().map_or("", Name::as_str);
        match name.rsplit_once('-') {
            Some((label, bits))
                if bits.len() == 32 && bits.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
            {
                label
            }
            _ => "-",
        }
    }

    async fn live(&mut self) -> Ending {
        let sleep = tokio::time::sleep_until(self.next_deadline());
        let mut sleep = std::pin::pin!(sleep);
        let server = self.server.clone();
        let mut turn = Instant::now();
        let mut waited = false;
        let mut permit = None;
        loop {
            self.rouse();
            let mut now = Instant::now();
            if take(&mut waited) {
                turn = now;
            } else if now.duration_since(turn) >= TURN {
                tokio::task::yield_now().await;
                now = Instant::now();
                turn = now;
            }
            if let Some(ending) = self.obey().or_else(|| self.handle_time(now)) {
                return ending;
            }
            let full = self.fill();
            self.count();
            if self.mailbox.take(Order::Tell) {
                self.tell();
            }
            match self.writer.flush_now() {
                Ok(true) => self.timers.heard = Instant::now(),
                Ok(false) => {}
                Err(error) => return Ending::lost(&error),
            }
            if let Some(ending) = self.is_over() {
                return ending;
            }
            // If it stopped because the room ran out, and now there is room: go on, after looking
            // at everything else. Or its turn was over, in which it found little.
            let again = full && self.writer.has_room();
            if full && self.catching_up {
                server.writing.give_way(server.shared.published.load().rev());
            }
            drop(permit.take());
            if again && now.elapsed() >= TURN && self.next_turn.is_none() {
                self.next_turn = Some(Box::pin(one_turn_more(server.turns.clone())));
            }
            let deadline = self.next_deadline();
            if sleep.deadline() != deadline {
                sleep.as_mut().reset(deadline);
            }
            let unsettled = self.unsettled.unwrap_or_default();
            let rest = Some(&self.feed).filter(|_| !again && self.may_rest());
            tokio::select! {
                biased;
                // First, so that a turn that is given to this one does not stay unused. It takes at
                // least two polls, so everything else is looked at in between.
                Some(turn) = async { Some(self.next_turn.as_mut()?.await) } => {
                    self.next_turn = None;
                    permit = turn;
                }
                message = self.reader.next(), if self.reads() => {
                    self.rouse();
                    let ending = self.handle_messages(message);
                    // Also what came before a close: it was sent, and may take effect.
                    let passed_on = self.pass_on();
                    if let Some(ending) = ending.or(passed_on.err()) {
                        return ending;
                    }
                }
                // Before the mailbox, which may be filled each time: room in the queue that is
                // given to this one must not stay unused.
                Some(handed_over) = async { Some(self.waiting.as_mut()?.await) } => {
                    self.waiting = None;
                    self.rouse();
                    if handed_over.is_err() {
                        return Ending::ownerless();
                    }
                    if let Err(ending) = self.end_session() {
                        return ending;
                    }
                }
                () = self.mailbox.filled() => {}
                ready = self.writer.writable(), if self.writer.is_blocked() => {
                    if let Err(error) = ready {
                        return Ending::lost(&error);
                    }
                }
                () = server.shared.settles(unsettled), if self.unsettled.is_some() && self.writer.has_room() => {}
                () = &mut sleep => {}
                () = tokio::task::yield_now(), if again => {}
                () = wait(&mut waited, &mut self.resting, &self.mailbox.outbox, rest) => {}
            }
        }
    }

    /// Whether the task need not be awake for live frames: it has nothing else to send, and waits
    /// for no reply.
    fn may_rest(&self) -> bool {
        self.writer.is_empty()
            && self.in_flight.len() == 0
            && self.asked.is_empty()
            && self.leaving.is_none()
            && !self.catching_up
            && self.feed.takes_live()
    }

    /// Takes note of what other tasks have written in its place.
    pub(super) fn rouse(&mut self) {
        if take(&mut self.resting) {
            let written = self.mailbox.outbox.rouse();
            self.feed.handle_live(written.rev);
            written.rest.inspect(|rest| self.writer.messages(rest));
        }
    }

    /// Updates the counter of all subscriptions.
    pub(super) fn count(&mut self) {
        let (before, now) = (self.counted, self.feed.len());
        if before != now {
            self.counted = now;
            // This may wrap, but the sum is right: each connection subtracts only what it has
            // added.
            let all = &self.server.shared.counters.subscriptions;
            all.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    /// Handles the message that was read, and further ones that have arrived already.
    fn handle_messages(&mut self, first: Read) -> Option<Ending> {
        let begun = Instant::now();
        self.timers.heard = begun;
        let mut message = Some(first);
        for _ in 0..READ_BATCH {
            let read = message.take()?;
            if let Some(ending) = self.handle_message(read) {
                return Some(ending);
            }
            let over = take(&mut self.long) && begun.elapsed() >= TURN;
            if !over && self.reads() {
                message = self.reader.next_now();
            }
        }
        message.and_then(|read| self.handle_message(read))
    }

    /// Whether another message is read. Not while there is no room for the reply, or while the
    /// owner has as much of this connection as one frame may hold ([`BESIDE_A_SAVE_BYTES`] while a
    /// tree is saved) or as many changes as one turn takes: then this client waits, and nobody
    /// else.
    pub(super) fn reads(&self) -> bool {
        let frame = self.server.config.frame_bytes as usize;
        let bytes = match self.server.shared.store.saving.load(Ordering::Relaxed) {
            true => frame.min(BESIDE_A_SAVE_BYTES),
            false => frame,
        };
        self.waiting.is_none()
            && self.leaving.is_none()
            && self.writer.has_room()
            && !self.in_flight.is_full(bytes)
            && !self.mailbox.has(Order::Finish)
    }

    /// Returns the ending that an order demands, if any.
    pub(super) fn obey(&self) -> Option<Ending> {
        if self.mailbox.has(Order::Cut) {
            Some(Ending::Cut)
        } else if self.mailbox.has(Order::SessionTaken) {
            Some(Ending::session_taken())
        } else {
            None
        }
    }

    /// Returns when the client last gave a sign of life.
    pub(super) fn heard(&self) -> Instant {
        self.timers.heard.max(self.reader.heard())
    }

    fn next_deadline(&self) -> Instant {
        let Timers { ping_at, heartbeat_at, feed_at, .. } = self.timers;
        let hold_at = match self.hold {
            Hold::Until { at, .. } => Some(at),
            Hold::No | Hold::Spent => None,
        };
        // While nothing can be written, or the feed waits, the end of an interval changes nothing.
        let feed_at = feed_at.filter(|_| self.writer.has_room() && self.next_turn.is_none());
        [feed_at, hold_at].into_iter().flatten().fold(ping_at.min(heartbeat_at), Instant::min)
    }

    /// Does what is due.
    fn handle_time(&mut self, now: Instant) -> Option<Ending> {
        let config = &self.server.config;
        if self.timers.heartbeat_at <= now {
            self.timers.heartbeat_at = now + Duration::from_millis(config.heartbeat_ms.into());
            self.timers.heartbeat_due = true;
        }
        let due = self.timers.ping_at;
        if due <= now {
            let interval = Duration::from_millis(config.ping_interval_ms);
            self.timers.ping_at = now + interval;
            if !self.reads() || self.writer.is_blocked() {
                // Either the broker does not listen, or the client reads nothing now, so that it
                // finds no ping and its own pings may not be read. The system checks whether such a
                // peer is still there, and its cost is bounded.
                self.timers.heard = now;
            }
            // If this is late, the broker itself was away (suspended, or its machine was), and what
            // its clients sent meanwhile has not been read. It will have been read by the next
            // ping.
            let late = now.duration_since(due) >= interval / 2;
            if !late && now.duration_since(self.heard()) >= 2 * interval {
                return Some(Ending::silent(2 * interval));
            }
            if self.writer.has_room() {
                self.writer.ping();
            }
        }
        if matches!(self.hold, Hold::Until { at, .. } if at <= now) {
            self.hold = Hold::Spent;
            if !self.writer.has_room() || self.next_turn.is_some() {
                // The client does not read, or the feed waits: make one piece more than there is
                // room for, or out of turn, so that the snapshot is released.
                self.step();
            }
        }
        None
    }

    /// Returns the ending when everything that was begun is done and nothing more will come.
    fn is_over(&self) -> Option<Ending> {
        let idle = self.in_flight.len() == 0 && self.waiting.is_none();
        if self.leaving.is_some() && self.session.is_none() && idle {
            return Some(Ending::Bye);
        }
        let finish = self.mailbox.has(Order::Finish) && idle;
        finish.then(|| Ending::shutting_down(self.server.config.shutdown_spread_ms))
    }
}

#[cfg(test)]
mod tests;
