//! The application's side of a connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use onetree_protocol::frame::{Auth, ClientFrame, Get, SendSignal};
use onetree_protocol::{Change, Code, Epoch, LogKey, Path, Value, View};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot, watch};

use crate::driver::{self, Command, History};
use crate::errors::{ConnectError, Error, GONE, Refusal, Sent};
use crate::event::Status;
use crate::keep::keeper;
use crate::live::{Mirror, MirrorOptions};
use crate::mirror;
use crate::options::Options;
use crate::request::{
    Append, Delete, Done, DropTree, Found, List, Put, Trim, Txn, Write, cost, of_history, once_sent,
};
use crate::session::{self, Reply};
use crate::shared::Shared;
use crate::status::Statuses;
use crate::transport;

/// A client of one broker. Clones are handles to the same one, for any number of tasks; when the
/// last one is dropped, mirrors included, it closes as [`Client::close`] does, but nobody waits for
/// that: a `main` that ends then takes the runtime along, with what was asked and not sent yet, and
/// with the last save of what is kept. So `client.close().await` comes first.
#[derive(Clone, Debug)]
#[must_use = "a client closes when it is dropped"]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// What it runs on, wherever it is used.
    runtime: Handle,
    commands: mpsc::UnboundedSender<Command>,
    room: Arc<Semaphore>,
    queue_bytes: u32,
    request_timeout: Duration,
    status: watch::Receiver<Status>,
    /// What was asked is about this one, however long it waits.
    history: watch::Receiver<Option<History>>,
    last_sub: AtomicU32,
    mirrors: Mutex<Vec<Weak<Shared>>>,
    /// Of the mirrors those that somebody keeps still.
    kept: Mutex<Vec<Arc<Shared>>>,
}

impl Client {
    /// Connects, and waits for the broker's `welcome`.
    ///
    /// # Errors
    /// With [`crate::Reconnect::Always`] only what retrying does not help against, otherwise
    /// whatever the first attempt fails with.
    ///
    /// # Panics
    /// As [`Client::start`].
    pub async fn connect(options: Options) -> Result<Client, ConnectError> {
        let client = Client::start(options)?;
        match client.until(|status| matches!(status, Status::Online(_))).await {
            Ok(_) => Ok(client),
            Err(Error::Closed { why: Some(why), .. }) => Err(ConnectError::clone(&why)),
            Err(_) => Err(ConnectError::Lost(GONE.to_owned())),
        }
    }

    /// Begins to connect and returns at once; what is asked meanwhile waits for the connection.
    /// Where there is no broker at first it ends, as [`Client::connect`] fails, unless it is to
    /// connect again [`Always`](crate::Reconnect::Always). The client runs on the runtime that this
    /// is called in, and ends with it; it can be used from any thread and executor.
    ///
    /// # Errors
    /// When the URL is not one of a broker, or the label cannot be.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    pub fn start(options: Options) -> Result<Client, ConnectError> {
        if options.label.as_deref().is_some_and(|label| !session::is_label(label)) {
            let message = "label is 1 to 31 of A-Z a-z 0-9 _ -";
            return Err(ConnectError::Refused(Refusal::new(Code::BadField, message)));
        }
        let target = transport::Target::parse(&options.url)?;
        let (commands, requested) = mpsc::unbounded_channel();
        let (told, status) = watch::channel(Status::Connecting);
        let queue_bytes = options.queue_bytes.min(Semaphore::MAX_PERMITS as u32);
        let room = Arc::new(Semaphore::new(queue_bytes as usize));
        let request_timeout = options.request_timeout;
        let (begun, history) = watch::channel(None);
        let runtime = Handle::current();
        runtime.spawn(driver::run(options, target, requested, room.clone(), told, begun));
        Ok(Client {
            inner: Arc::new(Inner {
                runtime,
                commands,
                room,
                queue_bytes,
                request_timeout,
                status,
                history,
                last_sub: AtomicU32::new(0),
                mirrors: Mutex::default(),
                kept: Mutex::default(),
            }),
        })
    }

    /// How the client stands.
    pub fn status(&self) -> Status {
        self.inner.status.borrow().clone()
    }

    /// How the client stands, now and whenever that changes.
    pub fn statuses(&self) -> Statuses {
        Statuses::new(self.inner.status.clone())
    }

    /// Waits until it stands so: `client.until(|status| matches!(status, Status::Online(_)))`.
    ///
    /// # Errors
    /// [`Error::Closed`] when it has ended instead.
    pub async fn until(&self, is: impl Fn(&Status) -> bool) -> Result<Status, Error> {
        let mut statuses = self.statuses();
        while let Some(status) = statuses.next().await {
            if is(&status) {
                return Ok(status);
            }
        }
        Err(self.closed(None))
    }

    /// Puts `value` at `path`. See [`Put`] for conditions and a time to live.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn put(&self, path: Path, value: Value) -> Result<Done, Error> {
        self.write(Put::new(path, value)).await
    }

    /// Appends `value` to the log at `path`; the answer has the path that the broker assigned.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn append(&self, path: Path, value: Value) -> Result<Done, Error> {
        self.write(Append::new(path, value)).await
    }

    /// Deletes the entry at `path`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete(&self, path: Path) -> Result<Done, Error> {
        self.write(Delete::new(path)).await
    }

    /// Drops everything at and under `path`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn drop_tree(&self, path: Path) -> Result<Done, Error> {
        self.write(DropTree::new(path)).await
    }

    /// Trims the log at `path` up to and including `to`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn trim(&self, path: Path, to: LogKey) -> Result<Done, Error> {
        self.write(Trim::new(path, to)).await
    }

    /// Commits a transaction.
    ///
    /// # Errors
    /// See [`Error`]; [`Code::Conflict`] when a condition does not hold.
    pub async fn txn(&self, txn: Txn) -> Result<Done, Error> {
        self.write(txn).await
    }

    /// Writes, and waits for the answer. A write that was sent and whose answer was lost is sent
    /// again until it has one, and takes effect once. So it is with [`Client::put`] and all others:
    /// nothing is asked before the future is polled, nor where it is dropped while it waits for
    /// room in the queue; dropping it later does not take the write back.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn write(&self, write: impl Into<Write>) -> Result<Done, Error> {
        self.enqueue(write).await?.await
    }

    /// Waits for room in the queue, at most [`Options::request_timeout`], puts the write there, and
    /// returns without its answer: so one task can have thousands on their way, in their order.
    /// Nothing is asked before it is polled; what is in the queue stays there, also when the
    /// [`Pending`] is dropped.
    ///
    /// # Errors
    /// When there was no room in time, or the client has ended.
    pub async fn enqueue(&self, write: impl Into<Write>) -> Result<Pending<Done>, Error> {
        let Write(frame) = write.into();
        let of = self.history_of(&frame);
        self.ask(frame, of, done).await
    }

    /// As [`Client::enqueue`] without waiting: the write is in the queue when this returns, and
    /// stays there also when the [`Pending`] is dropped, or the answer is [`Error::QueueFull`].
    pub fn submit(&self, write: impl Into<Write>) -> Pending<Done> {
        let Write(frame) = write.into();
        let permit = self.inner.room.clone().try_acquire_many_owned(self.weight(&frame));
        let pending = permit.map_err(|error| match error {
            TryAcquireError::NoPermits => Error::QueueFull,
            TryAcquireError::Closed => self.closed(Some(Sent::Never)),
        });
        let of = self.history_of(&frame);
        match pending.and_then(|permit| self.hand_over(frame, of, permit, done)) {
            Ok(pending) => pending,
            Err(error) => Pending::failed(error, done),
        }
    }

    /// Sends a signal to those who are there; the answer says that the broker has it. Without a
    /// connection it waits for one, as a write does: one that must not come late is sent while the
    /// client is online only.
    ///
    /// # Errors
    /// See [`Error`]; it is never sent twice.
    pub async fn signal(&self, path: Path, value: Value) -> Result<(), Error> {
        let frame = ClientFrame::Signal(SendSignal { id: Some(0), path, value });
        self.ask(frame, None, ok).await?.await
    }

    /// The entry at `path`, if there is one.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, path: Path) -> Result<Option<Change>, Error> {
        Ok(self.get_many(vec![path]).await?.entries.pop())
    }

    /// The entries at `paths`, all at one revision; what is absent is missing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_many(&self, paths: Vec<Path>) -> Result<Found, Error> {
        self.ask(ClientFrame::Get(Get { id: 0, paths }), None, found).await?.await
    }

    /// A page of entries.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list(&self, list: List) -> Result<Found, Error> {
        self.ask(ClientFrame::List(list.0), None, found).await?.await
    }

    /// Tells the broker another token, for now and, when it has taken it, for later connections.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn auth(&self, token: String) -> Result<(), Error> {
        self.ask(ClientFrame::Auth(Auth { id: 0, token }), None, ok).await?.await
    }

    /// Starts a live copy of what `view` sees. Make its patterns with [`crate::Pattern::written`],
    /// which refuses `user-*`: with one that has such a segment the mirror ends at once, with
    /// [`Code::BadPattern`].
    pub fn mirror(&self, view: View, options: MirrorOptions) -> Mirror {
        let MirrorOptions { sub: options, saved, keep } = options;
        let sub = self.inner.last_sub.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let shared = Shared::new(sub, view.clone(), saved.clone(), keep.is_some());
        if let Some(keep) = keep {
            self.inner.runtime.spawn(keeper::run(shared.clone(), keep.into(), shared.initial()));
            let mut kept = self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.retain(|mirror| mirror.is_kept());
            kept.push(shared.clone());
        }
        let mut mirrors = self.inner.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        mirrors.retain(|mirror| mirror.strong_count() > 0);
        mirrors.push(Arc::downgrade(&shared));
        drop(mirrors);
        let state = Box::new(mirror::State::new(view, saved));
        let started = Command::Mirror { sub, state, options, shared: shared.clone() };
        if let Err(error) = self.send(started) {
            let event = crate::Event::Ended { error: Some(error) };
            shared.publish(Some(event), shared.initial(), false);
        }
        Mirror::new(self.clone(), shared)
    }

    /// Does what was asked before, then ends the session at once, with its ephemeral entries, and
    /// the client with it. Without a connection, also while it is still connecting, what was asked
    /// is not done: it fails with [`Error::Closed`], which says whether it was sent. Returns when
    /// that is done, or cannot be, and mirrors that are kept are saved.
    pub async fn close(self) {
        self.end(true).await;
    }

    /// As [`Client::close`], but the session lives on for its grace: the broker keeps its ephemeral
    /// entries that long.
    pub async fn leave(self) {
        self.end(false).await;
    }

    async fn end(self, bye: bool) {
        let (done, ended) = oneshot::channel();
        if self.send(Command::Close { bye, done }).is_ok() {
            // An error means that it has ended.
            let _ = ended.await;
        }
        // They stay there: somebody else may be closing as well, also when this is dropped.
        let kept = self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for mirror in kept {
            mirror.finish();
            // `Mirror::keep_error` says it.
            let _ = mirror.released().await;
        }
    }

    /// Commits a transaction that is about this history, and no other.
    pub(crate) async fn txn_of(&self, txn: Txn, of: Option<Epoch>) -> Result<Done, Error> {
        let Write(frame) = txn.into();
        self.ask(frame, of, done).await?.await
    }

    async fn ask<T>(
        &self,
        frame: ClientFrame,
        of: Option<Epoch>,
        take: fn(Reply) -> Option<T>,
    ) -> Result<Pending<T>, Error> {
        let room = self.inner.room.clone().acquire_many_owned(self.weight(&frame));
        let after = self.inner.request_timeout;
        let permit = {
            // Who asks may be on no runtime.
            let _entered = self.inner.runtime.enter();
            tokio::time::timeout(after, room)
        };
        let permit = permit.await;
        let permit = permit.map_err(|_| Error::Timeout { after, sent: Sent::Never })?;
        self.hand_over(frame, of, permit.map_err(|_| self.closed(Some(Sent::Never)))?, take)
    }

    fn hand_over<T>(
        &self,
        frame: ClientFrame,
        of: Option<Epoch>,
        permit: OwnedSemaphorePermit,
        take: fn(Reply) -> Option<T>,
    ) -> Result<Pending<T>, Error> {
        let (reply, answer) = oneshot::channel();
        let sent = once_sent(&frame);
        let asked = self.inner.commands.send(Command::Request { frame, of, reply, permit });
        asked.map_err(|_| self.closed(Some(Sent::Never)))?;
        Ok(Pending { answer, take, sent })
    }

    /// What a write is about: the history of now, or that which a mirror still shows where it names
    /// a revision.
    fn history_of(&self, frame: &ClientFrame) -> Option<Epoch> {
        let now = self.history().map(|history| history.epoch);
        let named = of_history(frame);
        if named.is_empty() {
            return now;
        }
        let mirrors = self.inner.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shown = mirrors.iter().filter_map(Weak::upgrade).filter_map(|mirror| {
            let another = mirror.history().filter(|epoch| Some(*epoch) != now)?;
            let base = mirror.base();
            named.iter().any(|path| base.contains(path) || path.contains(base)).then_some(another)
        });
        shown.next().or(now)
    }

    /// The broker's, and what was done in it.
    pub(crate) fn history(&self) -> Option<History> {
        *self.inner.history.borrow()
    }

    fn weight(&self, frame: &ClientFrame) -> u32 {
        u32::try_from(cost(frame)).unwrap_or(u32::MAX).min(self.inner.queue_bytes)
    }

    pub(crate) fn send(&self, command: Command) -> Result<(), Error> {
        self.inner.commands.send(command).map_err(|_| self.closed(None))
    }

    /// It has ended; `sent`: of a request.
    pub(crate) fn closed(&self, sent: Option<Sent>) -> Error {
        let why = match &*self.inner.status.borrow() {
            Status::Ended { error } => error.clone(),
            _ => None,
        };
        Error::Closed { why, sent }
    }
}

fn done(reply: Reply) -> Option<Done> {
    if let Reply::Done(done) = reply { Some(done) } else { None }
}

fn found(reply: Reply) -> Option<Found> {
    if let Reply::Found(found) = reply { Some(found) } else { None }
}

fn ok(reply: Reply) -> Option<()> {
    matches!(reply, Reply::Ok).then_some(())
}

/// A request that is on its way: a future of its answer, whether it is polled or not. Dropping it
/// does not take the request back.
#[derive(Debug)]
#[must_use = "the answer may be an error"]
pub struct Pending<T> {
    answer: oneshot::Receiver<Result<Reply, Error>>,
    take: fn(Reply) -> Option<T>,
    /// What is said of it when nobody is there any more who knows.
    sent: Sent,
}

impl<T> Pending<T> {
    fn failed(error: Error, take: fn(Reply) -> Option<T>) -> Pending<T> {
        let (reply, answer) = oneshot::channel();
        // The other end is right here.
        let _ = reply.send(Err(error));
        Pending { answer, take, sent: Sent::Never }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        // Nobody knows what became of it.
        let reply = answer.unwrap_or_else(|_| {
            let why = Some(Arc::new(ConnectError::Lost(GONE.to_owned())));
            Err(Error::Closed { why, sent: Some(self.sent) })
        })?;
        Poll::Ready((self.take)(reply).ok_or_else(|| {
            // A write may have happened: it is not to be asked again.
            let message = "the broker answered something else than was asked";
            Error::Refused(Refusal::new(Code::OutcomeUnknown, message))
        }))
    }
}
