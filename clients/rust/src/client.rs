//! The client: the application's handle to one connection.

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

/// A client of one broker. Clones are handles to the same client, and any number of tasks can use
/// them.
///
/// Call `client.close().await` at the end. When the last clone is dropped and its mirrors are
/// dropped, too, the client closes as with [`Client::close`], but nobody waits for that. If `main`
/// then returns, the runtime ends, and with it the requests that were not sent yet and the last
/// save of mirrors that are kept.
#[derive(Clone, Debug)]
#[must_use = "a client closes when it is dropped"]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The runtime of the client's tasks, whatever runtime the caller is on.
    runtime: Handle,
    commands: mpsc::UnboundedSender<Command>,
    room: Arc<Semaphore>,
    queue_bytes: u32,
    request_timeout: Duration,
    status: watch::Receiver<Status>,
    /// The history of the last `welcome`. A request is about this history, however long it waits.
    history: watch::Receiver<Option<History>>,
    last_sub: AtomicU32,
    mirrors: Mutex<Vec<Weak<Shared>>>,
    /// The mirrors that are still being kept in files.
    kept: Mutex<Vec<Arc<Shared>>>,
}

impl Client {
    /// Creates a client and waits for the broker's `welcome`.
    ///
    /// # Errors
    /// With [`crate::Reconnect::Always`], only an error against which retrying does not help.
    /// Otherwise whatever the first attempt fails with.
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

    /// Creates a client and returns at once. What you request meanwhile waits for the connection.
    /// If there is no broker at first, the client ends with the error with which
    /// [`Client::connect`] would fail, unless you set
    /// [`Reconnect::Always`](crate::Reconnect::Always). The client runs on the tokio runtime in
    /// which you call `start`, and ends with that runtime. You can use the client from any thread
    /// and executor.
    ///
    /// # Errors
    /// If the URL is not one of a broker, or the label is not allowed.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time.
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

    /// Returns the state of the connection.
    pub fn status(&self) -> Status {
        self.inner.status.borrow().clone()
    }

    /// Returns the states of the connection: the one of now, then each change.
    pub fn statuses(&self) -> Statuses {
        Statuses::new(self.inner.status.clone())
    }

    /// Waits until `is` returns true for the state of the connection, and returns that state:
    /// `client.until(|status| matches!(status, Status::Online(_)))`.
    ///
    /// # Errors
    /// [`Error::Closed`] if the client has ended without reaching such a state.
    pub async fn until(&self, is: impl Fn(&Status) -> bool) -> Result<Status, Error> {
        let mut statuses = self.statuses();
        while let Some(status) = statuses.next().await {
            if is(&status) {
                return Ok(status);
            }
        }
        Err(self.closed(None))
    }

    /// Puts `value` at `path`. See [`Put`] for a condition, a time to live and ephemeral entries.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn put(&self, path: Path, value: Value) -> Result<Done, Error> {
        self.write(Put::new(path, value)).await
    }

    /// Appends `value` to the log at `path`. [`Done::paths`] has the path that the broker assigned.
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

    /// Deletes everything at and under `path`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn drop_tree(&self, path: Path) -> Result<Done, Error> {
        self.write(DropTree::new(path)).await
    }

    /// Deletes the entries of the log at `path` up to and including `to`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn trim(&self, path: Path, to: LogKey) -> Result<Done, Error> {
        self.write(Trim::new(path, to)).await
    }

    /// Commits several writes as one, all or nothing.
    ///
    /// # Errors
    /// See [`Error`]. [`Code::Conflict`] if a condition does not hold.
    pub async fn txn(&self, txn: Txn) -> Result<Done, Error> {
        self.write(txn).await
    }

    /// Writes, and waits for the answer. If the answer is lost with the connection, the client
    /// sends the write again until it is answered. The write takes effect once.
    ///
    /// Nothing is requested before the future is polled, nor if the future is dropped while it
    /// waits for room in the queue. Dropping it later does not take the write back. The same holds
    /// for [`Client::put`] and all other requests.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn write(&self, write: impl Into<Write>) -> Result<Done, Error> {
        self.enqueue(write).await?.await
    }

    /// Puts a write into the queue and returns a [`Pending`], a future of its answer, so that one
    /// task can have thousands of writes on their way, in their order. Waits for room in the queue,
    /// at most [`Options::request_timeout`]. Nothing is requested before the future of `enqueue` is
    /// polled. A write that is in the queue stays there, even if the [`Pending`] is dropped.
    ///
    /// # Errors
    /// If there was no room in time, or the client has ended.
    pub async fn enqueue(&self, write: impl Into<Write>) -> Result<Pending<Done>, Error> {
        let Write(frame) = write.into();
        let of = self.history_of(&frame);
        self.ask(frame, of, done).await
    }

    /// Puts a write into the queue, as [`Client::enqueue`] does, but does not wait for room. The
    /// write is in the queue when `submit` returns, and stays there even if the [`Pending`] is
    /// dropped. If there is no room, the [`Pending`] fails with [`Error::QueueFull`].
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

    /// Sends a signal to the subscribers that are connected now. The answer says that the broker
    /// has the signal. Without a connection the signal waits for one, as a write does, and arrives
    /// that much later. If a signal must not come late, send it only while the client is online.
    ///
    /// # Errors
    /// See [`Error`]. A signal is never sent twice.
    pub async fn signal(&self, path: Path, value: Value) -> Result<(), Error> {
        let frame = ClientFrame::Signal(SendSignal { id: Some(0), path, value });
        self.ask(frame, None, ok).await?.await
    }

    /// Reads the entry at `path` from the broker. Returns `None` if there is no entry.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, path: Path) -> Result<Option<Change>, Error> {
        Ok(self.get_many(vec![path]).await?.entries.pop())
    }

    /// Reads the entries at `paths` from the broker, all at one revision. Paths without an entry
    /// are left out.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_many(&self, paths: Vec<Path>) -> Result<Found, Error> {
        self.ask(ClientFrame::Get(Get { id: 0, paths }), None, found).await?.await
    }

    /// Reads one page of entries from the broker. See [`List`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list(&self, list: List) -> Result<Found, Error> {
        self.ask(ClientFrame::List(list.0), None, found).await?.await
    }

    /// Gives the broker a later token. Once the broker has taken it, later connections use it, too.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn auth(&self, token: String) -> Result<(), Error> {
        self.ask(ClientFrame::Auth(Auth { id: 0, token }), None, ok).await?.await
    }

    /// Starts a live copy of what `view` sees. Make the patterns of the view with
    /// [`crate::Pattern::written`], which refuses a `*` inside a segment, as in `user-*`. A mirror
    /// whose view has such a pattern ends at once with [`Code::BadPattern`].
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

    /// Ends the client and its session, whose ephemeral entries the broker deletes at once. With a
    /// connection, earlier requests are done first. Without one, also while the client is still
    /// connecting, they are not done and fail with [`Error::Closed`], which says whether they were
    /// sent. Returns when the client has ended and the last save of each mirror that is kept has
    /// succeeded or failed.
    pub async fn close(self) {
        self.end(true).await;
    }

    /// Ends the client as [`Client::close`] does, but the session lives on for its grace: the
    /// broker keeps the client's ephemeral entries that long.
    pub async fn leave(self) {
        self.end(false).await;
    }

    async fn end(self, bye: bool) {
        let (done, ended) = oneshot::channel();
        if self.send(Command::Close { bye, done }).is_ok() {
            // An error means that the client has ended already.
            let _ = ended.await;
        }
        // The mirrors stay in the list: another clone may be closing at the same time, and this
        // future may be dropped before it is done.
        let kept = self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for mirror in kept {
            mirror.finish();
            // `Mirror::keep_error` reports the error.
            let _ = mirror.released().await;
        }
    }

    /// Commits a transaction that is about the history `of`. It is sent in no other history.
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
            // The caller may be on no runtime.
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

    /// Returns the history that a write is about. If the write names a revision and a mirror near
    /// its paths shows another history than the present one, this is the mirror's history: the
    /// application read the revision there. Otherwise it is the present history.
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

    /// Returns the broker's present history, and how far this client's writes in it are done.
    pub(crate) fn history(&self) -> Option<History> {
        *self.inner.history.borrow()
    }

    fn weight(&self, frame: &ClientFrame) -> u32 {
        u32::try_from(cost(frame)).unwrap_or(u32::MAX).min(self.inner.queue_bytes)
    }

    pub(crate) fn send(&self, command: Command) -> Result<(), Error> {
        self.inner.commands.send(command).map_err(|_| self.closed(None))
    }

    /// Returns the error for a client that has ended. `sent` is given if the error is about a
    /// request.
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

/// The answer to a request that is on its way, as a future. The request goes on whether you poll
/// this or not. Dropping it does not take the request back.
#[derive(Debug)]
#[must_use = "the answer may be an error"]
pub struct Pending<T> {
    answer: oneshot::Receiver<Result<Reply, Error>>,
    take: fn(Reply) -> Option<T>,
    /// What the error says about the request if the client's task is gone and nobody knows more.
    sent: Sent,
}

impl<T> Pending<T> {
    fn failed(error: Error, take: fn(Reply) -> Option<T>) -> Pending<T> {
        let (reply, answer) = oneshot::channel();
        // Cannot fail: the receiver is still here.
        let _ = reply.send(Err(error));
        Pending { answer, take, sent: Sent::Never }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        // The client's task is gone: nobody knows what became of the request.
        let reply = answer.unwrap_or_else(|_| {
            let why = Some(Arc::new(ConnectError::Lost(GONE.to_owned())));
            Err(Error::Closed { why, sent: Some(self.sent) })
        })?;
        Poll::Ready((self.take)(reply).ok_or_else(|| {
            // A write may have happened, so it must not be requested again.
            let message = "the broker answered something else than was asked";
            Error::Refused(Refusal::new(Code::OutcomeUnknown, message))
        }))
    }
}
