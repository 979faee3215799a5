//! A live copy of a part of the tree.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use onetree_protocol::frame::{Mode, Sub};
use onetree_protocol::{Change, Cookie, Depth, LogKey, Path, Revision, View};
use tokio::sync::oneshot;

use crate::changes::Changes;
use crate::client::Client;
use crate::driver::Command;
use crate::errors::Error;
use crate::event::Verdict;
use crate::keep::{Keep, KeepError};
use crate::mirror::{Entry, Snapshot};
use crate::request::{Found, List, millis};
use crate::session::{Reply, SubOptions};
use crate::shared::{Position, Shared};

/// How a mirror is kept.
#[derive(Debug, Default)]
#[must_use = "it is for `Client::mirror`"]
pub struct MirrorOptions {
    pub(crate) sub: SubOptions,
    pub(crate) saved: Option<Snapshot>,
    pub(crate) keep: Option<Keep>,
}

impl MirrorOptions {
    /// From nothing, kept up to date, without signals.
    pub fn new() -> MirrorOptions {
        MirrorOptions::default()
    }

    /// Goes on from a copy that was saved: a [`Snapshot`]'s cookie and entries. The two must be of
    /// one snapshot; a cookie that is ahead of its entries loses changes until the first digest.
    /// Saved as text, which [`json::cookie`](onetree_protocol::json::cookie) makes of the one and
    /// [`json::change_line`](onetree_protocol::json::change_line) of each of the others, they are
    /// read by [`json::parse_cookie`](onetree_protocol::json::parse_cookie) and
    /// [`json::parse_change_line`](onetree_protocol::json::parse_change_line), all four of
    /// [`crate::protocol`].
    pub fn from_cookie(
        mut self,
        cookie: Cookie,
        entries: impl IntoIterator<Item = Change>,
    ) -> Self {
        self.saved = Some(Snapshot::saved(cookie, entries));
        self
    }

    /// As [`MirrorOptions::from_cookie`], with both in one.
    pub fn from_snapshot(mut self, saved: Snapshot) -> MirrorOptions {
        self.saved = Some(saved);
        self
    }

    /// Keeps the mirror in the file at `path`, and goes on from what is there: all of it is read
    /// before this returns, on the thread that asks. It is saved at most once a second while
    /// changes come, and once more when the mirror ends, for which [`Mirror::close`] and
    /// [`crate::Client::close`] wait. What is saved is never ahead of what the application was
    /// shown: an event of [`Mirror::changes`] counts as shown when the next one is asked for;
    /// without [`Changes`], all that the mirror shows counts. Once all [`Changes`] have been
    /// dropped, what the last of them was shown counts, until [`Mirror::get`] or
    /// [`Mirror::snapshot`] is called: from then on it is as without. See [`Mirror::keep_error`].
    ///
    /// A store of the application's own that events feed is ahead of the file when the process is
    /// killed, and what was deleted meanwhile and the file never had is in no event. So it begins
    /// with what the first [`Event::Fresh`](crate::Event::Fresh) leaves, whatever it had:
    ///
    /// ```no_run
    /// # use std::collections::BTreeMap;
    /// # use onetree_client::{Entry, Event, Mirror, Path};
    /// async fn follow(mirror: &Mirror, store: &mut BTreeMap<Path, Entry>) {
    ///     let mut changes = mirror.changes();
    ///     let mut begun = false;
    ///     while let Some(event) = changes.next().await {
    ///         if begun {
    ///             for change in changes.differences() {
    ///                 match change.new {
    ///                     Some(entry) => store.insert(change.path, entry),
    ///                     None => store.remove(&change.path),
    ///                 };
    ///             }
    ///         } else if let Event::Fresh { .. } = event {
    ///             let now = changes.snapshot();
    ///             let all = now.iter().map(|(path, entry)| (path.clone(), entry.clone()));
    ///             *store = all.collect();
    ///             begun = true;
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// Or it keeps no file, saves the cookie of [`Changes::snapshot`] in one step with its own
    /// data, and gives both to [`MirrorOptions::from_cookie`]: then events tell all that it lacks.
    /// Where there is no cookie, until the next [`Event::Fresh`](crate::Event::Fresh), the one that
    /// it saved before holds.
    ///
    /// # Errors
    /// When another mirror is kept there, or the file cannot be read or is not one that was saved.
    pub fn keep(mut self, path: impl AsRef<FilePath>) -> Result<MirrorOptions, KeepError> {
        let keep = Keep::open(path)?;
        self.saved = keep.load()?;
        self.keep = Some(keep);
        Ok(self)
    }

    /// Also signals.
    pub fn signals(mut self) -> MirrorOptions {
        self.sub.signals = true;
        self
    }

    /// At most one delta in this time, folded; in whole milliseconds, at least one.
    pub fn every(mut self, interval: Duration) -> MirrorOptions {
        self.sub.every_ms = u32::try_from(millis(interval)).unwrap_or(u32::MAX);
        self
    }

    /// It ends when it is fresh, instead of being kept up to date.
    pub fn once(mut self) -> MirrorOptions {
        self.sub.mode = Mode::Once;
        self
    }
}

/// As the frame says, from nothing.
impl From<&Sub> for MirrorOptions {
    fn from(sub: &Sub) -> MirrorOptions {
        let Sub { mode, signals, every_ms, .. } = *sub;
        MirrorOptions { sub: SubOptions { mode, signals, every_ms }, ..MirrorOptions::default() }
    }
}

/// A live copy of a part of the tree, which the client keeps right: at every moment it is its view
/// of the tree at [`Mirror::rev`], exactly. It ends when it is dropped, and with it what it tells
/// its readers: [`Changes`] keeps no mirror alive. Nobody waits for the last save then, as
/// [`Mirror::close`] does.
#[derive(Debug)]
#[must_use = "a mirror ends when it is dropped"]
pub struct Mirror {
    client: Client,
    shared: Arc<Shared>,
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

    /// Whether it is whole and the connection is there that keeps it so. One that has ended, as one
    /// of mode `once` does, is not: it stays what it was.
    pub fn is_fresh(&self) -> bool {
        let position = self.shared.position.borrow();
        position.fresh && position.ended.is_none()
    }

    /// How many changes have come of the refresh that is under way, or came of the last one: for
    /// progress that people look at.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// The entry at `path`, as [`Mirror::snapshot`] has it.
    pub fn get(&self, path: &Path) -> Option<Entry> {
        self.shared.look().snapshot.get(path).cloned()
    }

    /// All of it as it is now, with its cookie; costs O(1). A write that was answered may not be in
    /// it yet: to read your own, wait for [`Mirror::at`] with the answer's revision before. Who
    /// reads [`Mirror::changes`] and saves takes [`Changes::snapshot`] instead, which is never
    /// ahead of what was read.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.look().snapshot.clone()
    }

    /// Where it stands; `None` before it was whole for the first time. The cookie is saved with the
    /// entries of the same moment, hence taken from a [`Mirror::snapshot`].
    pub fn cookie(&self) -> Option<Cookie> {
        self.shared.lock().snapshot.cookie()
    }

    /// What happens to it, from the beginning: if it is whole already, the first event is
    /// [`Event::Fresh`](crate::Event::Fresh) with all that differs from what it was started with,
    /// and all gaps since; if there is no connection now, [`Event::Offline`](crate::Event::Offline)
    /// comes behind that.
    pub fn changes(&self) -> Changes {
        self.shared.changes()
    }

    /// Why it could not be saved the last time that this was tried; `None` when it could, and where
    /// it is not kept. It is tried again.
    pub fn keep_error(&self) -> Option<KeepError> {
        self.shared.lock().keep_error.clone()
    }

    /// Waits until it is fresh and at `rev` or later: with the revision of a write, until it shows
    /// that write, `mirror.at(done.rev).await?` and then [`Mirror::get`] or [`Mirror::snapshot`].
    /// Gives the revision that it is at then. A revision is of one history: where the
    /// broker has begun another (the `epoch` of a cookie), one of before may be far ahead.
    ///
    /// # Errors
    /// When the mirror has ended.
    pub async fn at(&self, rev: Revision) -> Result<Revision, Error> {
        let reached = |position: &Position| position.fresh && position.rev >= rev;
        // A `sync` moves fresh mirrors only.
        self.fresh().await?;
        if !reached(&self.shared.position.borrow()) {
            // Otherwise a write that the view does not see would show at the next heartbeat only.
            self.client.send(Command::Sync)?;
        }
        self.wait(reached).await
    }

    /// Waits until it is fresh; one of mode `once`: until it was. Gives the revision that it is at
    /// then.
    ///
    /// # Errors
    /// When the mirror has ended.
    pub async fn fresh(&self) -> Result<Revision, Error> {
        self.wait(|position| position.fresh).await
    }

    /// Waits until it is at `rev`, or past `before` where there is none, or of another history.
    pub(crate) async fn past(
        &self,
        before: &Snapshot,
        rev: Option<Revision>,
    ) -> Result<Revision, Error> {
        let epoch = before.cookie().map(|cookie| cookie.epoch);
        let reached = |position: &Position| {
            let there = rev.map_or(position.rev > before.rev(), |rev| position.rev >= rev);
            position.fresh && (there || position.epoch != epoch)
        };
        self.fresh().await?;
        if !reached(&self.shared.position.borrow()) {
            self.client.send(Command::Sync)?;
        }
        self.wait(reached).await
    }

    /// Waits until what it shows is not `before` any more in the eyes of `differs`.
    pub(crate) async fn changed(
        &self,
        before: &Snapshot,
        differs: impl Fn(&Snapshot) -> bool,
    ) -> Result<(), Error> {
        let mut positions = self.shared.position.subscribe();
        loop {
            if let Some(error) = positions.borrow_and_update().over() {
                return Err(error);
            }
            let now = self.shared.last();
            if !now.entries.ptr_eq(&before.entries) && differs(&now) {
                return Ok(());
            }
            positions.changed().await.map_err(|_| Error::MirrorClosed)?;
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.shared.position.borrow().ended.is_some()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    async fn wait(&self, reached: impl Fn(&Position) -> bool) -> Result<Revision, Error> {
        let mut positions = self.shared.position.subscribe();
        let position = positions.wait_for(|p| reached(p) || p.ended.is_some()).await;
        let position = position.map_err(|_| Error::MirrorClosed)?;
        match position.over() {
            Some(error) if !reached(&position) => Err(error),
            _ => Ok(position.rev),
        }
    }

    /// The page of `log` in front of what it shows of it, or in front of the entry `before`: oldest
    /// first, `limit` entries where there are so many (0: as many as the broker likes), and whether
    /// there are more. The broker is asked as often as that takes; `rev` is of its last answer. A
    /// page does not become part of the mirror, which shows only the newest of each log where its
    /// view has a `tail`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn earlier(
        &self,
        log: &Path,
        limit: u32,
        before: Option<&Path>,
    ) -> Result<Found, Error> {
        let is_entry = |path: &Path| {
            let mut below = log.below(path).into_iter().flatten();
            below.next().and_then(LogKey::parse).is_some() && below.next().is_none()
        };
        let oldest = || {
            let snapshot = self.shared.last();
            snapshot.under(log).map(|(path, _)| path).find(|path| is_entry(path)).cloned()
        };
        let mut front = before.cloned().or_else(oldest);
        let mut page = Found { rev: Revision::ZERO, entries: Vec::new(), more: true };
        let mut limit = limit as usize;
        // A broker may send fewer than asked for, and among a log's children may be others: there
        // are more when one more was seen.
        while page.more && (limit == 0 || page.entries.len() <= limit) {
            let left = if limit == 0 { 0 } else { limit + 1 - page.entries.len() };
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            let mut list = List::new(log.clone()).depth(Depth::Children).limit(left).reverse();
            // The log's own value is no entry of it.
            list = list.after(log.clone());
            if let Some(front) = front {
                list = list.before(front);
            }
            if !self.shared.view.values {
                list = list.without_values();
            }
            let found = self.client.list(list).await?;
            front = found.entries.last().map(|entry| entry.path.clone());
            (page.rev, page.more) = (found.rev, found.more && front.is_some());
            // Nor is what has no value but something below it.
            let there = |entry: &Change| is_entry(&entry.path) && entry.rev > Revision::ZERO;
            page.entries.extend(found.entries.into_iter().filter(there));
            if limit == 0 {
                // The broker has said how many it likes.
                limit = page.entries.len();
            }
        }
        page.more = page.entries.len() > limit;
        page.entries.truncate(limit);
        page.entries.reverse();
        Ok(page)
    }

    /// Ends it, as dropping it does; the client lives on. One that is kept is saved once more, and
    /// its file can be taken again when this returns.
    ///
    /// # Errors
    /// When it could not be saved: the file holds what it held before.
    pub async fn close(self) -> Result<(), KeepError> {
        let shared = self.shared.clone();
        drop(self);
        shared.released().await
    }

    /// Starts again from nothing, and waits until it is whole. What it shows stays until then.
    /// Gives the revision that it is at then.
    ///
    /// # Errors
    /// When the mirror has ended.
    pub async fn resync(&self) -> Result<Revision, Error> {
        if let Some(error) = self.shared.position.borrow().over() {
            return Err(error);
        }
        let (done, begun) = oneshot::channel();
        self.client.send(Command::Resync { sub: self.shared.sub, done })?;
        begun.await.map_err(|_| self.client.closed(None))?;
        self.fresh().await
    }

    /// Compares it with the tree now, by digest. When it differs it starts again by itself. Behind
    /// the end of the client nobody knows.
    ///
    /// # Errors
    /// [`Error::Timeout`] when the broker does not answer in time.
    pub async fn verify(&self) -> Result<Verdict, Error> {
        let (reply, answer) = oneshot::channel();
        // Behind the end nobody takes it, and there is no answer.
        let _ = self.client.send(Command::Verify { sub: self.shared.sub, reply });
        match answer.await {
            Ok(Ok(Reply::Verdict(verdict))) => Ok(verdict),
            Ok(Err(error)) => Err(error),
            Ok(_) | Err(_) => Ok(Verdict::Unknown),
        }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.shared.end();
        // When the client has ended, so has the mirror.
        let _ = self.client.send(Command::DropMirror(self.shared.sub));
    }
}
