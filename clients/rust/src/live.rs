//! A live copy of a part of the tree.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use onetree_protocol::frame::Mode;
use onetree_protocol::{Change, Cookie, Path, Revision, View};
use tokio::sync::{oneshot, watch};

use crate::changes::{Changes, Feed};
use crate::client::Client;
use crate::driver::Command;
use crate::errors::Error;
use crate::event::{Event, Verdict};
use crate::mirror::{Entry, Snapshot};
use crate::session::{Reply, SubOptions};

/// How a mirror is kept.
#[derive(Clone, Debug, Default)]
pub struct MirrorOptions {
    pub(crate) sub: SubOptions,
    pub(crate) saved: Option<Snapshot>,
}

impl MirrorOptions {
    /// From nothing, kept up to date, without signals.
    pub fn new() -> MirrorOptions {
        MirrorOptions::default()
    }

    /// Goes on from a copy that was saved: a [`Snapshot`]'s cookie and entries. The two must be of
    /// one snapshot; a cookie that is ahead of its entries loses changes until the first digest.
    pub fn from(mut self, cookie: Cookie, entries: impl IntoIterator<Item = Change>) -> Self {
        self.saved = Some(Snapshot::saved(cookie, entries));
        self
    }

    /// Also signals.
    pub fn signals(mut self) -> MirrorOptions {
        self.sub.signals = true;
        self
    }

    /// At most one delta in this time, folded; in whole milliseconds.
    pub fn every(mut self, interval: Duration) -> MirrorOptions {
        self.sub.every_ms = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
        self
    }

    /// It ends when it is fresh, instead of being kept up to date.
    pub fn once(mut self) -> MirrorOptions {
        self.sub.mode = Mode::Once;
        self
    }
}

/// A live copy of a part of the tree, which the client keeps right: at every moment it is its view
/// of the tree at [`Mirror::rev`], exactly. It ends when it is dropped.
#[derive(Debug)]
pub struct Mirror {
    client: Client,
    shared: Arc<Shared>,
}

/// What the driver writes and the application reads.
#[derive(Debug)]
pub(crate) struct Shared {
    sub: u32,
    view: View,
    initial: Snapshot,
    inner: Mutex<Inner>,
    position: watch::Sender<Position>,
    received: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    snapshot: Snapshot,
    /// Whether it was ever whole.
    whole: bool,
    ended: Option<Event>,
    feeds: Vec<Weak<Feed>>,
}

#[derive(Clone, Debug)]
struct Position {
    rev: Revision,
    fresh: bool,
    ended: Option<Option<Error>>,
}

impl Shared {
    pub(crate) fn new(sub: u32, view: View, saved: Option<Snapshot>) -> Arc<Shared> {
        let initial = saved.unwrap_or_default();
        let snapshot = initial.clone();
        let position = Position { rev: snapshot.rev(), fresh: false, ended: None };
        let inner = Inner { snapshot, whole: false, ended: None, feeds: Vec::new() };
        let (inner, position) = (Mutex::new(inner), watch::Sender::new(position));
        Arc::new(Shared { sub, view, initial, inner, position, received: AtomicU64::new(0) })
    }

    /// What it was started with.
    pub(crate) fn initial(&self) -> Snapshot {
        self.initial.clone()
    }

    /// The mirror went on.
    pub(crate) fn publish(&self, event: Option<Event>, snapshot: Snapshot, fresh: bool) {
        let mut inner = self.lock();
        inner.whole |= matches!(event, Some(Event::Fresh { .. }));
        let ended = match &event {
            Some(Event::Ended { error }) => {
                inner.ended.clone_from(&event);
                Some(error.clone())
            }
            _ => None,
        };
        inner.feeds.retain(|feed| match feed.upgrade() {
            Some(feed) => {
                feed.push(event.clone(), &snapshot);
                true
            }
            None => false,
        });
        self.position.send_replace(Position { rev: snapshot.rev(), fresh, ended });
        inner.snapshot = snapshot;
    }

    /// So much has come of the refresh that is under way.
    pub(crate) fn receive(&self, changes: u64) {
        self.received.store(changes, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mirror {
    pub(crate) fn new(client: Client, shared: Arc<Shared>) -> Mirror {
        Mirror { client, shared }
    }

    /// What it sees.
    pub fn view(&self) -> &View {
        &self.shared.view
    }

    /// The revision that it is at.
    pub fn rev(&self) -> Revision {
        self.shared.lock().snapshot.rev()
    }

    /// Whether it is whole and the connection is there that keeps it so.
    pub fn is_fresh(&self) -> bool {
        self.shared.position.borrow().fresh
    }

    /// How many changes have come of the refresh that is under way, or came of the last one: for
    /// progress that people look at.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// The entry at `path`.
    pub fn get(&self, path: &Path) -> Option<Entry> {
        self.shared.lock().snapshot.get(path).cloned()
    }

    /// All of it as it is now, with its cookie; costs O(1). Who reads [`Mirror::changes`] and saves
    /// takes [`Changes::snapshot`] instead, which is never ahead of what was read.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.lock().snapshot.clone()
    }

    /// Where it stands; `None` before it was whole for the first time. The cookie is saved with the
    /// entries of the same moment, hence taken from a [`Mirror::snapshot`].
    pub fn cookie(&self) -> Option<Cookie> {
        self.shared.lock().snapshot.cookie()
    }

    /// What happens to it, from the beginning: if it is whole already, the first event is
    /// [`Event::Fresh`] with all that differs from what it was started with.
    pub fn changes(&self) -> Changes {
        let mut inner = self.shared.lock();
        let (initial, last) = (self.shared.initial.clone(), inner.snapshot.clone());
        let feed = Feed::new(initial.clone(), last, inner.whole, inner.ended.clone());
        let feed = Arc::new(feed);
        inner.feeds.push(Arc::downgrade(&feed));
        Changes::new(feed, initial)
    }

    /// Waits until it is fresh and at `rev` or later: with the revision of a write, until it shows
    /// that write.
    ///
    /// # Errors
    /// When the mirror has ended.
    pub async fn at(&self, rev: Revision) -> Result<(), Error> {
        let reached = |position: &Position| position.fresh && position.rev >= rev;
        // A `sync` moves fresh mirrors only.
        self.fresh().await?;
        if !reached(&self.shared.position.borrow()) {
            // Otherwise a write that the view does not see would show at the next heartbeat only.
            self.client.send(Command::Sync)?;
        }
        self.wait(reached).await
    }

    /// Waits until it is fresh.
    ///
    /// # Errors
    /// When the mirror has ended.
    pub async fn fresh(&self) -> Result<(), Error> {
        self.wait(|position| position.fresh).await
    }

    async fn wait(&self, reached: impl Fn(&Position) -> bool) -> Result<(), Error> {
        let mut positions = self.shared.position.subscribe();
        let position = positions.wait_for(|p| reached(p) || p.ended.is_some()).await;
        match position {
            Ok(position) if reached(&position) => Ok(()),
            Ok(position) => {
                let error = position.ended.clone().flatten();
                Err(error.unwrap_or(Error::Closed { why: None }))
            }
            Err(_) => Err(Error::Closed { why: None }),
        }
    }

    /// Starts again from nothing; [`Mirror::fresh`] waits for the end of that. What it shows stays
    /// until then.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn resync(&self) -> Result<(), Error> {
        let (done, begun) = oneshot::channel();
        self.client.send(Command::Resync { sub: self.shared.sub, done })?;
        begun.await.map_err(|_| self.client.closed())
    }

    /// Compares it with the tree now, by digest. When it differs it starts again by itself.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn verify(&self) -> Result<Verdict, Error> {
        let (reply, answer) = oneshot::channel();
        self.client.send(Command::Verify { sub: self.shared.sub, reply })?;
        match answer.await.map_err(|_| self.client.closed())?? {
            Reply::Verdict(verdict) => Ok(verdict),
            _ => Ok(Verdict::Unknown),
        }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // When the client has ended, so has the mirror.
        let _ = self.client.send(Command::DropMirror(self.shared.sub));
    }
}
