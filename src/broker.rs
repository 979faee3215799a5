//! The one task that owns the writable tree. It has one enum of everything that can happen, and one
//! match.
//!
//! # Layout
//!
//! - [`Event`]: everything that can happen to the tree
//! - [`Owner`]: takes events in batches: apply, store, publish, answer, fan out
//! - [`Shared`]: what the other tasks read
//! - [`Mailbox`]: what other tasks pass to a connection
//! - `batch`: the results of events until they are stored; `presence`: which sessions are attached,
//!   and who says goodbye; `graveyard`: frees trees that are no longer needed
//! - `trims`: logs what retention trims
//! - `counters`, `latency`: what is counted for monitoring

mod batch;
mod counters;
mod event;
mod graveyard;
mod latency;
mod mailbox;
mod presence;
mod shared;
mod trims;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use onetree_core::{Commit, Outcome, Refusal, Snapshot, State, Time};
use onetree_protocol::{Code, Path};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::clock::{Clock, Reading, SystemClock};
use crate::store::{EndError, Store, StoreError};
use batch::{BATCH_EVENTS, Batch, Storing};
use presence::{Presence, see_off};
use trims::{Trims, trimmed};

pub(crate) use event::{Event, Opening, TURN_EVENTS, Write};
pub(crate) use latency::Latency;
pub(crate) use mailbox::{Mailbox, Order, Reply};
pub(crate) use shared::Shared;

/// The most writes of a connection that reach the owner as one event: those that were read
/// together.
pub(crate) const WRITES_TOGETHER: usize = State::FETCHED;

/// How many events are taken from the queue at once.
const EVENTS_AT_ONCE: usize = 64;

/// How many events may wait for the owner: several batches, so that the next is there when one is
/// done. Later events wait in their connections, which then read no further requests.
pub(crate) const QUEUED_EVENTS: usize = BATCH_EVENTS / 4;

/// How long the owner fans out before it lets other tasks have the thread. A batch whose
/// subscribers are found quickly takes less, and its frames go out together.
const PUBLISH_TIME: Duration = Duration::from_millis(10);

/// The most housekeeping commits that one batch adds by itself, because writers wait meanwhile.
const CHORES: usize = 16;

/// How long a batch makes housekeeping commits: when hundreds of thousands of entries expire, that
/// goes on beside the writes, not before them.
const CHORES_TIME: Duration = Duration::from_millis(2);

/// The pause between housekeeping batches without any write: their deltas must reach the
/// subscribers meanwhile. Without the pause, subscribers waited half as long again while 200,000
/// entries expired.
const CHORES_APART: Duration = Duration::from_micros(500);

/// The pause after housekeeping that was due and did nothing, or whose store has failed: otherwise
/// it would be due again at once, over and over.
const CHORES_REST: Duration = Duration::from_millis(100);

/// While the store fails, how often it is asked whether it wants to save the tree, which may be
/// smaller than the log that fills its disk.
const STORE_LOOK: Duration = Duration::from_secs(1);

/// A function that is called with each commit, and with the tree right after it.
pub type OnCommit = dyn Fn(&Commit, &Snapshot) + Send + Sync;

/// Hooks for tests and for programs that embed a broker.
#[derive(Clone, Default)]
pub struct Hooks {
    /// Called by the owner task with each commit and the tree right after it, in order, after the
    /// commit was stored and before anyone can see it. It must not block.
    pub on_commit: Option<Arc<OnCommit>>,
    /// Replaces the system's clock as the source of the tree's time.
    pub clock: Option<Arc<SystemClock>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on_commit = if self.on_commit.is_some() { "set" } else { "none" };
        let clock = if self.clock.is_some() { "set" } else { "none" };
        f.debug_struct("Hooks").field("on_commit", &on_commit).field("clock", &clock).finish()
    }
}

/// The task that owns the tree.
pub(crate) struct Owner<S> {
    state: State,
    clock: Clock,
    store: S,
    shared: Arc<Shared>,
    hooks: Hooks,
    presence: Presence,
    trims: Trims,
    /// No housekeeping before this time, see [`CHORES_REST`].
    rest_until: Option<Instant>,
    /// Whether the last batch with commits could not be stored.
    failing: bool,
}

impl<S: Store> Owner<S> {
    pub(crate) fn new(mut state: State, store: S, shared: Arc<Shared>, hooks: Hooks) -> Owner<S> {
        let system = hooks.clock.clone().unwrap_or_else(|| Arc::new(SystemTime::now));
        let mut clock = Clock::new(state.time(), system);
        // The clients whose sessions own something may come back, as if they had left now.
        state.await_owners(clock.read().now);
        let trims = Trims::new(state.retention().to_vec());
        Owner {
            state,
            clock,
            store,
            shared,
            hooks,
            presence: Presence::default(),
            trims,
            rest_until: None,
            failing: false,
        }
    }

    /// Runs until [`Event::Stop`], or until no task is left that could send an event.
    ///
    /// While one batch is being stored, the next is made: events that arrive during a sync of the
    /// disk go into the next batch.
    ///
    /// # Errors
    /// When the store was not closed properly. The store may also end by itself; then this ends
    /// too.
    pub(crate) async fn run(mut self, mut events: mpsc::Receiver<Event>) -> Result<(), EndError> {
        let mut gone = std::pin::pin!(self.store.gone());
        let mut taken = Vec::with_capacity(EVENTS_AT_ONCE);
        let mut storing: Option<Storing> = None;
        let mut next = Batch::new(self.state.checkpoint());
        loop {
            if storing.is_none() && !next.is_empty() {
                let fresh = Batch::new(self.state.checkpoint());
                let batch = std::mem::replace(&mut next, fresh);
                storing = Some(self.store(batch));
            }
            let room = next.has_room();
            let due = self.due().filter(|_| room);
            let (more, none) = (room && !taken.is_empty(), room && taken.is_empty());
            tokio::select! {
                biased;
                (batch, stored) = Storing::end(&mut storing) => {
                    if self.settle(batch, stored, &mut next).await {
                        // The next start deletes what their sessions own.
                        see_off(next.left.iter().chain(&self.presence.take_leaving()));
                        break;
                    }
                }
                () = &mut gone => break,
                () = tokio::task::yield_now(), if more => {}
                count = events.recv_many(&mut taken, EVENTS_AT_ONCE), if none => {
                    // No task is left that could send: stop.
                    if count == 0 {
                        taken.push(Event::Stop);
                    }
                }
                () = sleep_until(due) => taken.push(Event::Tick),
            }
            if room && !taken.is_empty() {
                self.take(&mut taken, &mut next);
            }
        }
        self.trims.end();
        self.store.close().await
    }

    /// Adds the first of these events to a batch, as many as one turn has room for.
    fn take(&mut self, events: &mut Vec<Event>, batch: &mut Batch) {
        batch.begun.get_or_insert_with(Instant::now);
        let now = self.now();
        for event in events.drain(..event::turn(events)) {
            batch.events += event.weight();
            self.apply(now, event, batch);
        }
        if self.rest_until.is_none_or(|until| until <= Instant::now()) {
            self.rest_until = None;
            self.housekeep(now, batch);
            // What their sessions owned is deleted before anything else that is due.
            if !self.state.is_session_over(now) {
                batch.left.append(&mut self.presence.take_leaving());
            }
        }
    }

    /// Begins to store a batch.
    fn store(&mut self, batch: Batch) -> Storing {
        let snapshot = self.state.snapshot();
        let stored: Pin<Box<dyn Future<Output = _> + Send>> = match batch.commits.is_empty() {
            true => Box::pin(std::future::ready(Ok(()))),
            false => {
                self.shared.storing_since(Some(Instant::now()));
                Box::pin(self.store.append(&batch.commits))
            }
        };
        Storing::new(batch, snapshot, stored)
    }

    /// Handles the end of storing a batch. If it was not stored, nothing of it has happened, and
    /// nothing of `next`, which was made on top of it. Returns true when the batch was the last.
    async fn settle(
        &mut self,
        storing: Storing,
        stored: Result<(), StoreError>,
        next: &mut Batch,
    ) -> bool {
        let Storing { mut batch, snapshot, .. } = storing;
        self.shared.storing_since(None);
        match stored {
            Ok(()) => {
                self.failing &= batch.commits.is_empty();
                self.trims.stored(std::mem::take(&mut batch.trims), batch.nothing_due);
                let left = snapshot.summary(&Path::root()).slots as usize;
                self.publish(&mut batch, snapshot).await;
                // All others have the new tree by now, or will have it soon.
                let gone = batch.before.slots_len().saturating_sub(left);
                graveyard::let_go(batch.before, gone);
            }
            Err(error) => {
                // Log this once: while a disk is full, it happens with each write and many times a
                // second by itself, and the log may be on that disk.
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "the store failed: these writes did not happen");
                }
                // What this batch could not delete will be deleted, but nobody knows when.
                batch.left.append(&mut self.presence.take_leaving());
                self.state.restore(batch.before.clone());
                self.rest_until = Some(Instant::now() + CHORES_REST);
                let refusal = self.refusal();
                batch.undo(&refusal);
                self.publish(&mut batch, self.state.snapshot()).await;
                next.undo(&refusal);
                next.before = self.state.checkpoint();
            }
        }
        // Also after a failure: it may be the log that fills the disk. Not at the end, because the
        // save could not finish.
        if self.store.save_due() && !batch.stop {
            // The next batch began with the state as it is stored.
            self.store.save(next.before.clone());
        }
        see_off(&batch.left);
        let now = self.now();
        for event in batch.afterwards {
            self.depart(now, event);
        }
        self.count_sessions();
        batch.stop
    }

    /// Returns the time for the tree. If the clock has jumped forward, prolongs the grace periods
    /// of sessions, because no client could come back in the time that was skipped.
    fn now(&mut self) -> Time {
        let Reading { now, skipped } = self.clock.read();
        if skipped > 0 {
            self.state.prolong_graces(skipped);
        }
        now
    }

    fn apply(&mut self, now: Time, event: Event, batch: &mut Batch) {
        match event {
            Event::Write(writes) => self.write(now, writes, batch),
            Event::Open(opening) => self.open(now, opening),
            // A probe waits too: that the owner takes it proves nothing about the store.
            later @ (Event::Detach { .. } | Event::End { .. } | Event::Probe(_)) => {
                batch.afterwards.push(later);
            }
            Event::Tick => {}
            Event::Stop => batch.stop = true,
        }
    }

    fn write(&mut self, now: Time, writes: Vec<Write>, batch: &mut Batch) {
        // Looking up a single write in advance would only search twice.
        let hints = match writes.len() {
            0 | 1 => Vec::new(),
            _ => self.state.fetch(writes.iter().map(|write| &write.request)),
        };
        for (at, write) in writes.into_iter().enumerate() {
            let Write { mailbox, id, author, request } = write;
            let hint = hints.get(at).copied().unwrap_or_default();
            let Outcome { answer, commit } = self.state.write_at(hint, now, &author, request);
            self.add(commit, batch);
            batch.answers.push((mailbox, id, answer));
        }
    }

    fn add(&self, commit: Option<Arc<Commit>>, batch: &mut Batch) {
        let Some(commit) = commit else { return };
        batch.commits.push(commit);
        if self.hooks.on_commit.is_some() {
            batch.trees.push(self.state.snapshot());
        }
    }

    fn open(&mut self, now: Time, opening: Opening) {
        let Opening { mailbox, wanted, fresh, reply } = opening;
        let opened = self.state.open_session(now, wanted.as_ref(), fresh);
        let connection = mailbox.id;
        if let Ok(opened) = &opened {
            self.presence.enter(opened.name.clone(), mailbox);
        }
        if let Err(Ok(opened)) = reply.send(opened) {
            // The connection is gone already.
            self.presence.leave(&opened.name, connection);
            self.state.detach_session(now, &opened.name);
        }
        self.count_sessions();
    }

    fn count_sessions(&self) {
        self.shared.counters.sessions.store(self.state.sessions(), Ordering::Relaxed);
    }

    /// Handles that a connection is gone, that its client has said goodbye, or a probe.
    fn depart(&mut self, now: Time, event: Event) {
        match event {
            Event::Detach { session, connection } => {
                let left = self.presence.leave(&session, connection);
                if left {
                    self.state.detach_session(now, &session);
                }
            }
            Event::End { session, mailbox } => {
                let left = self.presence.leave(&session, mailbox.id);
                if left {
                    self.state.end_session(now, &session);
                }
                if left && !self.failing {
                    self.presence.await_end(mailbox);
                } else {
                    see_off([&mailbox]);
                }
            }
            // This fails when the asking task is gone, which does no harm.
            Event::Probe(answer) => drop(answer.send(())),
            _ => {}
        }
    }

    /// Does some of what is due.
    fn housekeep(&mut self, now: Time, batch: &mut Batch) {
        let begun = Instant::now();
        for _ in 0..CHORES {
            if begun.elapsed() >= CHORES_TIME {
                return;
            }
            let before = self.entries();
            let Some(commit) = self.state.housekeep(now) else {
                batch.nothing_due = self.state.due().is_none_or(|due| due > now);
                if !batch.nothing_due {
                    self.rest_until = Some(Instant::now() + CHORES_REST);
                }
                return;
            };
            if let Some(log) = trimmed(&commit) {
                batch.trims.push((log.clone(), before.saturating_sub(self.entries())));
            }
            self.add(Some(commit), batch);
        }
    }

    fn entries(&self) -> u64 {
        self.state.snapshot().summary(&Path::root()).live
    }

    /// Returns the refusal for writes that could not be stored.
    fn refusal(&self) -> Refusal {
        match self.shared.store.read_only.load(Ordering::Relaxed) {
            true => Refusal::new(
                Code::ReadOnly,
                "the broker takes no writes: its disk is full, or fails",
            ),
            false => {
                Refusal::new(Code::Unavailable, "the write could not be stored and did not happen")
            }
        }
    }

    /// Publishes the batch in an order in which nothing is lost: the new tree comes first, so that
    /// a subscriber that registers its view too late for the fan-out finds the commits in the tree.
    async fn publish(&mut self, batch: &mut Batch, snapshot: Snapshot) {
        if let Some(on_commit) = &self.hooks.on_commit {
            for (commit, tree) in batch.commits.iter().zip(&batch.trees) {
                on_commit(commit, tree);
            }
        }
        let snapshot = Arc::new(snapshot);
        if !batch.commits.is_empty() {
            self.shared.published.store(snapshot.clone());
        }
        let durable = self.store.durable();
        // Most answers come in long runs for one connection.
        let mut answers = batch.answers.drain(..).peekable();
        while let Some((mailbox, id, result)) = answers.next() {
            let more =
                std::iter::from_fn(|| answers.next_if(|next| Arc::ptr_eq(&next.0, &mailbox)));
            let more = more.map(|(_, id, result)| (id, result));
            let all = std::iter::once((id, result)).chain(more);
            mailbox.reply(all.map(|(id, result)| Reply::Written { id, result, durable }));
        }
        drop(answers);
        if let (Some(begun), commits @ 1..) = (batch.begun, batch.commits.len()) {
            let counters = &self.shared.counters;
            counters.commits.fetch_add(commits as u64, Ordering::Relaxed);
            counters.latency.record(begun.into_std(), commits);
        }
        // While other tasks have their turn, no further event is taken and nothing else is
        // published, so everything stays in order. What other tasks may do meanwhile they may also
        // do in parallel.
        let mut publication = self.shared.fanout.publication(&batch.commits);
        let mut turn = Instant::now();
        while publication.go_on() {
            if turn.elapsed() >= PUBLISH_TIME {
                publication.pause();
                tokio::task::yield_now().await;
                turn = Instant::now();
            }
        }
        if !batch.commits.is_empty() {
            self.shared.settled.send_replace(snapshot);
        }
    }

    /// Returns when there is something to do next without an event.
    fn due(&self) -> Option<Instant> {
        let look = self.failing.then(|| Instant::now() + STORE_LOOK);
        self.chores_due().into_iter().chain(look).min()
    }

    /// Returns when housekeeping next has something to do.
    fn chores_due(&self) -> Option<Instant> {
        if self.presence.is_leaving() {
            return Some(self.rest_until.unwrap_or_else(Instant::now));
        }
        let wait = self.clock.until(self.state.due()?).max(CHORES_APART);
        let due = Instant::now() + wait;
        Some(self.rest_until.map_or(due, |rest| rest.max(due)))
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        // A sleep takes at least a millisecond, and each goodbye would wait for it.
        Some(due) if due <= Instant::now() => tokio::task::yield_now().await,
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::task::{Context, Waker};

    use onetree_core::{Author, Bounds, Request, Settings};
    use onetree_protocol::frame::Do;
    use onetree_protocol::{DigestKey, Epoch, Name, Value};
    use tokio::net::tcp::OwnedWriteHalf;
    use tokio::sync::oneshot;

    use super::*;
    use crate::config::Config;
    use crate::fanout::{Fanout, Outbox};
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn what_is_due_now_waits_for_no_timer() {
        let mut due = std::pin::pin!(sleep_until(Some(Instant::now())));
        let mut context = Context::from_waker(Waker::noop());
        // Others have their turn, and then it is time.
        assert!(due.as_mut().poll(&mut context).is_pending());
        assert!(due.as_mut().poll(&mut context).is_ready());
    }

    fn put(path: &str, ttl_ms: Option<u64>) -> Request {
        let (path, value) = (Path::parse(path).unwrap(), Value::text("x"));
        let changes = vec![Do::Put { path, value, ttl_ms, ephemeral: ttl_ms.is_none() }];
        Request { changes, ..Request::default() }
    }

    #[tokio::test]
    async fn a_goodbye_waits_for_what_the_session_owned_and_nothing_else() {
        // What expires takes a commit for each entry.
        let bounds = Bounds { commit_changes: 1, ..Config::default().bounds() };
        let (epoch, digest_key, retention) = (Epoch(1), DigestKey(1), Vec::new());
        let mut state = State::new(Settings { epoch, digest_key, bounds, retention });
        for n in 0..1_000 {
            state.write(Time(0), &Author::default(), &put(&format!("/expires/{n}"), Some(1)));
        }
        let fanout = Fanout::new(1 << 20, crate::server::ENVELOPE);
        let shared = Arc::new(Shared::new(state.snapshot(), fanout, Arc::default()));
        let (events, queue) = mpsc::channel(1);
        let owner = Owner::new(state, MemoryStore::new(), shared.clone(), Hooks::default());
        let _life = tokio::spawn(owner.run(queue));
        let outbox = Outbox::new(0, 0, Weak::<OwnedWriteHalf>::new());
        let mailbox = Arc::new(Mailbox::new(1, outbox, Arc::default()));
        let own = mailbox.clone();
        let (reply, opened) = oneshot::channel();
        let opening =
            Opening { mailbox: own.clone(), wanted: None, fresh: Name::parse("s").unwrap(), reply };
        assert!(events.send(Event::Open(opening)).await.is_ok());
        let session = opened.await.unwrap().unwrap().name;
        let author = Author { session: Some(session.clone()), ..Author::default() };
        let (author, request) = (Arc::new(author), put("/own", None));
        let write = Write { mailbox: own.clone(), id: 1, author, request };
        assert!(events.send(Event::Write(vec![write])).await.is_ok());
        assert!(events.send(Event::End { session, mailbox: own }).await.is_ok());
        let mut replies = Vec::new();
        while !matches!(replies.last(), Some(Reply::Ended)) {
            mailbox.filled().await;
            replies.append(&mut mailbox.take_replies());
        }
        assert!(matches!(replies[..], [Reply::Written { result: Ok(_), .. }, Reply::Ended]));
        let left = shared.latest();
        assert!(left.get(&Path::parse("/own").unwrap()).is_none());
        assert!(left.summary(&Path::root()).live > 0, "everything else that was due came before");
    }
}
