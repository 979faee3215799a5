//! The one task that owns the writable tree: one enum of everything that can happen, one match.
//!
//! # Layout
//!
//! - [`Event`]: everything that can happen to the tree
//! - [`Owner`]: takes events in batches: apply, store, publish, answer, fan out
//! - [`Shared`]: what the other tasks read
//! - [`Mailbox`]: what a connection gets from other tasks

mod event;
mod mailbox;
mod shared;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use onetree_core::{Answer, Checkpoint, Commit, Outcome, Refusal, Snapshot, State, Time};
use onetree_protocol::{Code, Name};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::clock;
use crate::store::Store;

pub(crate) use event::{Event, Opening, Write};
pub(crate) use mailbox::{Mailbox, Order, Reply};
pub(crate) use shared::Shared;

/// Events that are taken at once, and stored with one call. At 2 us each a batch is applied in
/// about as long as the disk takes for one sync, so that neither waits for the other for long.
const BATCH_EVENTS: usize = 1024;

/// Events that wait for the owner: two batches, so that the next is there when one is done. Who
/// comes later waits in its connection, which then reads no further requests.
pub(crate) const QUEUED_EVENTS: usize = 2 * BATCH_EVENTS;

/// Housekeeping commits that one batch makes by itself, at most: writers wait meanwhile.
const CHORES: usize = 16;

/// Housekeeping that was due and came to nothing, or whose store has failed, rests for so long: it
/// would be due at once otherwise, over and over.
const CHORES_REST: Duration = Duration::from_millis(100);

/// Is told of each commit, with the tree right after it.
pub type OnCommit = dyn Fn(&Commit, &Snapshot) + Send + Sync;

/// Things that tests and embedders look at.
#[derive(Clone, Default)]
pub struct Hooks {
    /// Called by the owner task with each commit and the tree right after it, in order, after it
    /// was stored and before anyone can see it. Must not wait.
    pub on_commit: Option<Arc<OnCommit>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on_commit = if self.on_commit.is_some() { "set" } else { "none" };
        f.debug_struct("Hooks").field("on_commit", &on_commit).finish()
    }
}

/// The task that owns the tree.
pub(crate) struct Owner<S> {
    state: State,
    store: S,
    shared: Arc<Shared>,
    hooks: Hooks,
    /// The connection that each attached session has.
    attached: HashMap<Name, Arc<Mailbox>>,
    /// No housekeeping before this, see [`CHORES_REST`].
    rest_until: Option<Instant>,
}

/// What a batch has come to, before it is stored.
#[derive(Default)]
struct Batch {
    commits: Vec<Arc<Commit>>,
    /// The tree right after each commit; only for [`Hooks::on_commit`].
    trees: Vec<Snapshot>,
    answers: Vec<(Write, Result<Answer, Refusal>)>,
    /// What waits until the batch is stored: departures, which end what the batch may still need.
    afterwards: Vec<Event>,
    stop: bool,
}

impl<S: Store> Owner<S> {
    pub(crate) fn new(state: State, store: S, shared: Arc<Shared>, hooks: Hooks) -> Owner<S> {
        Owner { state, store, shared, hooks, attached: HashMap::new(), rest_until: None }
    }

    /// Runs until [`Event::Stop`], or until nobody is left who could send an event.
    pub(crate) async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        let mut taken = Vec::with_capacity(BATCH_EVENTS);
        loop {
            let due = self.due();
            tokio::select! {
                biased;
                count = events.recv_many(&mut taken, BATCH_EVENTS) => if count == 0 { return },
                () = sleep_until(due) => taken.push(Event::Tick),
            }
            if self.handle(taken.drain(..)).await {
                return;
            }
        }
    }

    /// One batch: apply, store, publish, answer, fan out. True when it was the last.
    ///
    /// The store is waited for; while it works the next batch could already be applied to the
    /// state (its checkpoint then has to be kept as long as this one's).
    async fn handle(&mut self, events: impl Iterator<Item = Event>) -> bool {
        let now = clock::now();
        let checkpoint = self.state.checkpoint();
        let mut batch = Batch::default();
        for event in events {
            self.apply(now, event, &mut batch);
        }
        if self.rest_until.is_none_or(|until| until <= Instant::now()) {
            self.rest_until = None;
            self.housekeep(now, &mut batch);
        }
        if !batch.commits.is_empty() {
            match self.store.append(&batch.commits).await {
                Ok(()) => {}
                Err(error) => {
                    tracing::error!(%error, "the store failed: these writes did not happen");
                    self.undo(checkpoint, &mut batch);
                }
            }
        }
        self.publish(&mut batch);
        for event in batch.afterwards {
            self.depart(now, event);
        }
        batch.stop
    }

    fn apply(&mut self, now: Time, event: Event, batch: &mut Batch) {
        match event {
            Event::Write(write) => {
                let Outcome { answer, commit } =
                    self.state.write(now, &write.author, &write.request);
                self.add(commit, batch);
                batch.answers.push((write, answer));
            }
            Event::Open(opening) => self.open(now, opening),
            departure @ (Event::Detach { .. } | Event::End { .. }) => {
                batch.afterwards.push(departure);
            }
            Event::Probe(answer) => drop(answer.send(())),
            Event::Tick => {}
            Event::Stop => batch.stop = true,
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
        if let Ok(opened) = &opened
            && let Some(before) = self.attached.insert(opened.name.clone(), mailbox)
        {
            before.order(Order::SessionTaken);
        }
        if let Err(Ok(opened)) = reply.send(opened) {
            // Its connection is gone already.
            self.attached.remove(&opened.name);
            self.state.detach_session(now, &opened.name);
        }
    }

    /// A connection is gone, or its client has said goodbye.
    fn depart(&mut self, now: Time, event: Event) {
        match event {
            Event::Detach { session, connection } => {
                let left = self.leave(&session, connection);
                if left {
                    self.state.detach_session(now, &session);
                }
            }
            Event::End { session, mailbox } => {
                let left = self.leave(&session, mailbox.id);
                if left {
                    self.state.end_session(now, &session);
                }
                mailbox.reply(Reply::Ended);
            }
            _ => {}
        }
    }

    /// The connection lets go of the session; false when another has taken it over.
    fn leave(&mut self, session: &Name, connection: u64) -> bool {
        let own = self.attached.get(session).is_some_and(|mailbox| mailbox.id == connection);
        own && self.attached.remove(session).is_some()
    }

    fn housekeep(&mut self, now: Time, batch: &mut Batch) {
        for _ in 0..CHORES {
            let Some(commit) = self.state.housekeep(now) else {
                if self.state.due().is_some_and(|due| due <= now) {
                    self.rest_until = Some(Instant::now() + CHORES_REST);
                }
                return;
            };
            self.add(Some(commit), batch);
        }
    }

    /// The batch was not stored: nothing of it has happened. That goes for its refusals and its
    /// writes of nothing as well: they may rest on a write that has been undone.
    fn undo(&mut self, checkpoint: Checkpoint, batch: &mut Batch) {
        self.state.restore(checkpoint);
        self.rest_until = Some(Instant::now() + CHORES_REST);
        batch.commits.clear();
        batch.trees.clear();
        for (_, answer) in &mut batch.answers {
            let message = "the write could not be stored and did not happen";
            *answer = Err(Refusal::new(Code::Unavailable, message));
        }
    }

    /// Shows the batch, in the order that nothing is lost by: the new tree first, so that whoever
    /// registers a view too late for the fan-out finds the commits in the tree.
    fn publish(&mut self, batch: &mut Batch) {
        if let Some(on_commit) = &self.hooks.on_commit {
            for (commit, tree) in batch.commits.iter().zip(&batch.trees) {
                on_commit(commit, tree);
            }
        }
        let snapshot = Arc::new(self.state.snapshot());
        if !batch.commits.is_empty() {
            self.shared.published.store(snapshot.clone());
        }
        let durable = self.store.durable();
        for (write, result) in batch.answers.drain(..) {
            write.mailbox.reply(Reply::Written { id: write.id, result, durable });
        }
        for commit in &batch.commits {
            self.shared.fanout.publish(commit);
        }
        if !batch.commits.is_empty() {
            self.shared.settled.store(snapshot);
        }
    }

    /// When housekeeping next has something to do.
    fn due(&self) -> Option<Instant> {
        let wait = clock::until(self.state.due()?);
        let due = Instant::now() + wait;
        Some(self.rest_until.map_or(due, |rest| rest.max(due)))
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
