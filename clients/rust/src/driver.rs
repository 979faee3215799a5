//! The task that connects a session with a socket and a clock.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use onetree_protocol::frame::ClientFrame;
use onetree_protocol::{Epoch, Revision};
use rand::Rng;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::errors::{ConnectError, Error, GONE, PANICKED};
use crate::event::{Event, Status};
use crate::mirror;
use crate::options::{Hook, Options};
use crate::session::{Effect, Reply, Session, SubOptions};
use crate::shared::Shared;
use crate::transport::{Link, Target, Turn};

/// How many commands are taken before the socket has its turn.
const BATCH: usize = 256;
/// What is overdue waits until nothing has come for this long.
const QUIET: Duration = Duration::from_millis(1);
/// How long what is overdue waits at most for a socket that always has something.
const BUSY: Duration = Duration::from_secs(1);

/// The broker's history, from its last `welcome`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct History {
    pub(crate) epoch: Epoch,
    /// The highest revision at which the application was told that a write is done.
    pub(crate) done: Revision,
}

/// What the application asks of the driver.
#[derive(Debug)]
pub(crate) enum Command {
    Request {
        frame: ClientFrame,
        of: Option<Epoch>,
        reply: oneshot::Sender<Result<Reply, Error>>,
        permit: OwnedSemaphorePermit,
    },
    Mirror {
        sub: u32,
        state: Box<mirror::State>,
        options: SubOptions,
        shared: Arc<Shared>,
    },
    DropMirror(u32),
    Resync {
        sub: u32,
        done: oneshot::Sender<()>,
    },
    Sync,
    Verify {
        sub: u32,
        reply: oneshot::Sender<Result<Reply, Error>>,
    },
    Close {
        bye: bool,
        done: oneshot::Sender<()>,
    },
}

/// An attempt to connect; its result has the token that the application's function gave.
type Connecting =
    Pin<Box<dyn Future<Output = Result<(Link, Option<String>), ConnectError>> + Send>>;

struct Driver {
    options: Options,
    target: Target,
    start: Instant,
    /// Since when something is overdue.
    due: Option<Duration>,
    session: Session,
    link: Option<Link>,
    connecting: Option<Connecting>,
    commands: mpsc::UnboundedReceiver<Command>,
    room: Arc<Semaphore>,
    status: watch::Sender<Status>,
    history: watch::Sender<Option<History>>,
    last_ticket: u64,
    /// Who waits for a reply, and the room that the request takes in the queue until it is
    /// forgotten.
    waiting: HashMap<u64, Waiting>,
    mirrors: HashMap<u32, Arc<Shared>>,
    closed: Vec<oneshot::Sender<()>>,
    /// The closing of the last connection.
    ending: Option<JoinHandle<()>>,
}

struct Waiting {
    reply: Option<oneshot::Sender<Result<Reply, Error>>>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Runs until the client has ended. Whoever waits for something gets an answer, even if the task is
/// dropped. `room` is that of the queue, and `history` is that of the last `welcome`.
pub(crate) fn run(
    options: Options,
    target: Target,
    commands: mpsc::UnboundedReceiver<Command>,
    room: Arc<Semaphore>,
    status: watch::Sender<Status>,
    history: watch::Sender<Option<History>>,
) -> impl Future<Output = ()> {
    let mut seed = [0; 32];
    rand::rng().fill_bytes(&mut seed);
    // Made here and not at the first poll, which may never come.
    let driver = Driver {
        session: Session::new(options.clone(), seed),
        options,
        target,
        start: Instant::now(),
        due: None,
        link: None,
        connecting: None,
        commands,
        room,
        status,
        history,
        last_ticket: 0,
        waiting: HashMap::new(),
        mirrors: HashMap::new(),
        closed: Vec::new(),
        ending: None,
    };
    driver.run()
}

impl Driver {
    async fn run(mut self) {
        let mut handles = true;
        while !self.session.is_over() {
            for _ in 0..BATCH {
                match self.commands.try_recv() {
                    Ok(command) => self.command(command),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => {
                        if std::mem::take(&mut handles) {
                            self.close(true);
                        }
                        break;
                    }
                }
            }
            // With a connection, the clock has its turn behind the socket.
            if self.link.is_none() {
                self.handle_time();
            }
            self.effects();
            if self.session.is_over() {
                break;
            }
            self.wait(handles).await;
        }
        self.commands.close();
        self.effects();
        while let Some(command) = self.commands.recv().await {
            self.command(command);
            self.effects();
        }
        if let Some(ending) = self.ending.take() {
            // The connection is over, whether this succeeds or not.
            let _ = ending.await;
        }
        for done in self.closed.drain(..) {
            // An error means that nobody waits for the end any more.
            let _ = done.send(());
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Waits until there is something to do, and does it if it came from outside.
    async fn wait(&mut self, handles: bool) {
        // Without a deadline, wait for a day, which is as good as for ever.
        let never = Duration::from_secs(86_400);
        let (now, next) = (self.now(), self.session.next_timeout());
        self.due = next.filter(|at| *at <= now).map(|_| self.due.unwrap_or(now));
        if self.due.is_some_and(|since| now.saturating_sub(since) >= BUSY) {
            return self.handle_time();
        }
        // What is overdue is not done at once: the runtime looks at its sockets before it ends a
        // sleep.
        let next = next.map(|at| at.max(now + QUIET));
        let deadline = next.and_then(|at| self.start.checked_add(at));
        let deadline = deadline.unwrap_or_else(|| Instant::now() + never);
        let link = self.link.as_mut();
        let session = &mut self.session;
        let connecting = self.connecting.as_mut();
        tokio::select! {
            // The socket goes before the clock: what has arrived is not late.
            biased;
            turn = async { match link {
                Some(link) => link.turn(session).await,
                None => std::future::pending().await,
            } } => self.handle_turn(turn),
            result = async { match connecting {
                Some(connecting) => connecting.await,
                None => std::future::pending().await,
            } } => self.handle_connected(result),
            command = self.commands.recv(), if handles => {
                if let Some(command) = command {
                    self.command(command);
                }
            }
            // Only if it was overdue before this wait, too: the runtime wakes a process that was
            // stopped without a look at its sockets. So the next wait looks once more.
            () = tokio::time::sleep_until(deadline) => if self.due.is_some() {
                self.handle_time();
            },
        }
    }

    fn handle_time(&mut self) {
        self.due = None;
        self.session.handle_timeout(self.now());
    }

    fn handle_turn(&mut self, turn: Turn) {
        let now = self.now();
        match turn {
            Turn::Effects => self.session.settle_close(now),
            Turn::Alive => self.session.handle_heard(now),
            Turn::Message(bytes) => match self.options.codec.decode_server(&bytes) {
                Ok(frame) => self.session.handle_frame(now, frame),
                Err(error) => {
                    self.drop_link();
                    let why = format!("a frame cannot be read: {error}");
                    self.session.handle_closed(now, ConnectError::Protocol(why));
                }
            },
            Turn::Closed(error) => {
                self.link = None;
                self.session.handle_closed(now, error);
            }
        }
    }

    fn handle_connected(&mut self, result: Result<(Link, Option<String>), ConnectError>) {
        self.connecting = None;
        let now = self.now();
        match result {
            Ok((link, token)) => {
                self.link = Some(link);
                if let Some(token) = token {
                    self.session.set_token(token);
                }
                self.session.handle_open(now);
            }
            Err(error) => self.session.handle_closed(now, error),
        }
    }

    fn command(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Request { frame, of, reply, permit } => {
                let ticket = self.ticket(reply, Some(permit));
                self.session.request(now, ticket, frame, of);
            }
            Command::Mirror { sub, state, options, shared } => {
                self.mirrors.insert(sub, shared);
                self.session.mirror(sub, *state, options);
            }
            Command::DropMirror(sub) => {
                self.session.drop_mirror(sub);
                self.mirrors.remove(&sub);
            }
            Command::Resync { sub, done } => {
                self.session.resync(sub);
                self.effects();
                // An error means that nobody waits for it any more.
                let _ = done.send(());
            }
            Command::Sync => self.session.want_sync(),
            Command::Verify { sub, reply } => {
                let ticket = self.ticket(reply, None);
                self.session.verify(now, ticket, sub);
            }
            Command::Close { bye, done } => {
                self.closed.push(done);
                self.close(bye);
            }
        }
    }

    fn close(&mut self, bye: bool) {
        let now = self.now();
        self.session.close(now, bye);
    }

    fn ticket(
        &mut self,
        reply: oneshot::Sender<Result<Reply, Error>>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> u64 {
        self.last_ticket += 1;
        let waiting = Waiting { reply: Some(reply), _permit: permit };
        self.waiting.insert(self.last_ticket, waiting);
        self.last_ticket
    }

    fn effects(&mut self) {
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                Effect::Connect => {
                    let connecting = connect(self.options.clone(), self.target.clone());
                    self.connecting = Some(Box::pin(connecting));
                }
                Effect::Disconnect => self.drop_link(),
                Effect::Reply { ticket, result } => {
                    if let Ok(Reply::Done(done)) = &result {
                        self.note_done(done.rev);
                    }
                    let waiting = self.waiting.get_mut(&ticket);
                    if let Some(reply) = waiting.and_then(|waiting| waiting.reply.take()) {
                        // An error means that nobody waits for the reply any more.
                        let _ = reply.send(result);
                    }
                }
                Effect::Release { ticket } => drop(self.waiting.remove(&ticket)),
                Effect::Mirror { sub, event, snapshot, fresh } => {
                    if let Some(shared) = self.mirrors.get(&sub) {
                        shared.publish(event, snapshot, fresh);
                    }
                }
                Effect::Received { sub, changes } => {
                    if let Some(shared) = self.mirrors.get(&sub) {
                        shared.receive(changes);
                    }
                }
                Effect::Status(status) => {
                    if let Status::Online(connection) = &status {
                        self.note_history(connection.epoch);
                    }
                    self.status.send_replace(status);
                }
            }
        }
    }

    fn note_history(&mut self, epoch: Epoch) {
        self.history.send_if_modified(|history| {
            let another = history.is_none_or(|history| history.epoch != epoch);
            if another {
                *history = Some(History { epoch, done: Revision::ZERO });
            }
            another
        });
    }

    /// Called before the application gets the answer, so that what the application reads next is at
    /// least at `rev`.
    fn note_done(&mut self, rev: Revision) {
        self.history.send_if_modified(|history| {
            let Some(history) = history.as_mut().filter(|history| history.done < rev) else {
                return false;
            };
            history.done = rev;
            true
        });
    }

    fn drop_link(&mut self) {
        self.connecting = None;
        if let Some(link) = self.link.take() {
            self.ending = Some(tokio::spawn(link.close()));
        }
    }
}

impl Drop for Driver {
    /// If the task is gone before the client has ended, because it panicked or its runtime is gone,
    /// the client ends here.
    fn drop(&mut self) {
        self.commands.close();
        if self.session.is_over() && !self.session.has_effects() {
            // The mirrors have been told already.
            self.mirrors.clear();
        } else {
            let why = if thread::panicking() { PANICKED } else { GONE };
            let error = Some(Arc::new(ConnectError::Lost(why.to_owned())));
            self.status.send_replace(Status::Ended { error });
        }
        // Those who wait for room must learn it now: once the runtime ends, its clock ends, too.
        self.room.close();
        let why = match &*self.status.borrow() {
            Status::Ended { error } => error.clone(),
            _ => None,
        };
        while let Ok(command) = self.commands.try_recv() {
            // Those who wait for an answer notice that the sender is gone.
            if let Command::Mirror { sub, shared, .. } = command {
                self.mirrors.insert(sub, shared);
            }
        }
        let closed = Error::Closed { why, sent: None };
        for shared in self.mirrors.values() {
            let event = Event::Ended { error: Some(closed.clone()) };
            shared.publish(Some(event), shared.last(), false);
        }
    }
}

/// Makes one attempt to connect: calls the function that gives tokens, then connects to the broker.
/// Both together must take no longer than the connect timeout.
async fn connect(options: Options, target: Target) -> Result<(Link, Option<String>), ConnectError> {
    let (began, patience) = (Instant::now(), options.connect_timeout);
    let token = match options.hook {
        Some(hook) => Some(ask(hook, patience).await?),
        None => None,
    };
    let left = patience.saturating_sub(began.elapsed());
    Ok((Link::connect(target, options.codec, left).await?, token))
}

/// Calls the function that gives tokens, on a task of its own. If the function panics, it gave no
/// token.
async fn ask(hook: Hook, patience: Duration) -> Result<String, ConnectError> {
    let mut asking = JoinSet::new();
    asking.spawn(async move { hook.ask().await });
    let why = match tokio::time::timeout(patience, asking.join_next()).await {
        Ok(Some(Ok(Ok(token)))) => return Ok(token),
        Ok(Some(Ok(Err(error)))) => error.to_string(),
        Ok(Some(Err(_)) | None) => "the function that gives it panicked".to_owned(),
        Err(_) => format!("no answer within {patience:.1?}"),
    };
    Err(ConnectError::Token(why))
}
