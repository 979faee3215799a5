//! A mirror as the application uses it: a live copy of a part of the tree.

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

/// The options of a mirror.
#[derive(Debug, Default)]
#[must_use = "it is for `Client::mirror`"]
pub struct MirrorOptions {
    pub(crate) sub: SubOptions,
    pub(crate) saved: Option<Snapshot>,
    pub(crate) keep: Option<Keep>,
}

impl MirrorOptions {
    /// A mirror that starts from nothing, is kept up to date, and has no signals.
    pub fn new() -> MirrorOptions {
        MirrorOptions::default()
    }

    /// Starts the mirror with a copy that was saved: the cookie and the entries of one
    /// [`Snapshot`]. If the cookie is ahead of the entries, the mirror lacks changes until digests
    /// are compared.
    ///
    /// You can save both as text. [`json::cookie`](onetree_protocol::json::cookie) writes the
    /// cookie and [`json::change_line`](onetree_protocol::json::change_line) each entry.
    /// [`json::parse_cookie`](onetree_protocol::json::parse_cookie) and
    /// [`json::parse_change_line`](onetree_protocol::json::parse_change_line) read them. All four
    /// are in [`crate::protocol`].
    pub fn from_cookie(
        mut self,
        cookie: Cookie,
        entries: impl IntoIterator<Item = Change>,
    ) -> Self {
        self.saved = Some(Snapshot::saved(cookie, entries));
        self
    }

    /// Starts the mirror with a snapshot, as [`MirrorOptions::from_cookie`] does.
    pub fn from_snapshot(mut self, saved: Snapshot) -> MirrorOptions {
        self.saved = Some(saved);
        self
    }

    /// Keeps the mirror in the file at `path`, and starts with the copy that is in the file. The
    /// whole file is read before this returns, on the calling thread.
    ///
    /// The mirror is saved at most once a second while changes come, and once more when the mirror
    /// ends. [`Mirror::close`] and [`crate::Client::close`] wait for the last save. See
    /// [`Mirror::keep_error`] for errors.
    ///
    /// What is saved is never ahead of what your application was shown:
    ///
    /// - An event of [`Mirror::changes`] counts as shown when you ask for the next one.
    /// - If there never was a [`Changes`], everything that the mirror shows counts as shown.
    /// - Once all [`Changes`] have been dropped, what the last of them was shown counts. If you
    ///   then call [`Mirror::get`] or [`Mirror::snapshot`], everything that the mirror shows counts
    ///   again.
    ///
    /// Suppose that events feed a store of your own, such as a database. Your store is ahead of the
    /// file when the process is killed. An entry that was put after the last save and deleted
    /// before the next start is then in your store and in no event. So let your store begin with
    /// what the first [`Event::Fresh`](crate::Event::Fresh) leaves, whatever the store had before:
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
    /// Or do without the file. Save the cookie of [`Changes::snapshot`] in one step with your own
    /// data, and give both to [`MirrorOptions::from_cookie`]. Then the events report everything
    /// that your store lacks. Sometimes the snapshot has no cookie, until the next
    /// [`Event::Fresh`](crate::Event::Fresh). Until then the cookie that you saved before remains
    /// valid.
    ///
    /// # Errors
    /// If another mirror is kept in the file, or the file cannot be read or is not one that was
    /// saved.
    pub fn keep(mut self, path: impl AsRef<FilePath>) -> Result<MirrorOptions, KeepError> {
        let keep = Keep::open(path)?;
        self.saved = keep.load()?;
        self.keep = Some(keep);
        Ok(self)
    }

    /// Also receives signals.
    pub fn signals(mut self) -> MirrorOptions {
        self.sub.signals = true;
        self
    }

    /// Receives at most one delta in this time; changes are folded meanwhile. The interval is
    /// counted in whole milliseconds, at least one.
    pub fn every(mut self, interval: Duration) -> MirrorOptions {
        self.sub.every_ms = u32::try_from(millis(interval)).unwrap_or(u32::MAX);
        self
    }

    /// Ends the mirror when it is fresh, instead of keeping it up to date.
    pub fn once(mut self) -> MirrorOptions {
        self.sub.mode = Mode::Once;
        self
    }
}

/// The options of a `sub` frame, for a mirror that starts from nothing.
impl From<&Sub> for MirrorOptions {
    fn from(sub: &Sub) -> MirrorOptions {
        let Sub { mode, signals, every_ms, .. } = *sub;
        MirrorOptions { sub: SubOptions { mode, signals, every_ms }, ..MirrorOptions::default() }
    }
}

/// A live copy of a part of the tree, which the client keeps right: at every moment it is its view
/// of the tree at [`Mirror::rev`], exactly.
///
/// The mirror ends when it is dropped, and then its [`Changes`] end, too: they do not keep the
/// mirror alive. [`Mirror::close`] waits for the last save of a mirror that is kept; nobody waits
/// for the last save of a mirror that is only dropped.
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

    /// Returns the view of the mirror.
    pub fn view(&self) -> &View {
        &self.shared.view
    }

    /// Returns the revision that the mirror is at.
    pub fn rev(&self) -> Revision {
        self.shared.lock().snapshot.rev()
    }

    /// Returns whether the mirror is whole and has the connection that keeps it up to date. A
    /// mirror that has ended, as one of mode `once` does, is not fresh: it stays as it is.
    pub fn is_fresh(&self) -> bool {
        let position = self.shared.position.borrow();
        position.fresh && position.ended.is_none()
    }

    /// Returns how many changes have come in the refresh that is under way, or came in the last
    /// one. Use it to show progress.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Returns the entry at `path`, as [`Mirror::snapshot`] has it.
    pub fn get(&self, path: &Path) -> Option<Entry> {
        self.shared.look().snapshot.get(path).cloned()
    }

    /// Returns the mirror as it is now, with its cookie. O(1).
    ///
    /// A write that was answered may not be in the mirror yet. To read your own write, first wait
    /// for [`Mirror::at`] with the revision of the answer. If you read [`Mirror::changes`] and
    /// save, use [`Changes::snapshot`] instead: it is never ahead of the events that you have read.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.look().snapshot.clone()
    }

    /// Returns the mirror's cookie: its epoch, its revision and its view. `None` until the mirror
    /// is whole for the first time, and from the moment it was found to be wrong until it is fresh
    /// again. To save a cookie, take it from a [`Mirror::snapshot`]: a cookie must be saved with
    /// the entries of the same moment.
    pub fn cookie(&self) -> Option<Cookie> {
        self.shared.lock().snapshot.cookie()
    }

    /// Returns the events of the mirror, in order, each once, from the beginning. If the mirror is
    /// whole already, the first event is [`Event::Fresh`](crate::Event::Fresh) with everything that
    /// differs from the copy that the mirror was started with, and with all gaps since then. If
    /// there is no connection now, [`Event::Offline`](crate::Event::Offline) comes after that.
    pub fn changes(&self) -> Changes {
        self.shared.changes()
    }

    /// Returns why the last attempt to save the mirror failed. `None` if it succeeded, or if the
    /// mirror is not kept. A failed save is tried again.
    pub fn keep_error(&self) -> Option<KeepError> {
        self.shared.lock().keep_error.clone()
    }

    /// Waits until the mirror is fresh and at revision `rev` or later. Returns the revision that
    /// the mirror is at then. To read your own write, call `mirror.at(done.rev).await?` and then
    /// [`Mirror::get`] or [`Mirror::snapshot`].
    ///
    /// A revision belongs to one history. If the broker has begun another history (the cookie has
    /// another `epoch`), a revision of the former one may be far ahead.
    ///
    /// # Errors
    /// If the mirror has ended.
    pub async fn at(&self, rev: Revision) -> Result<Revision, Error> {
        let reached = |position: &Position| position.fresh && position.rev >= rev;
        // A `sync` moves only a mirror that is fresh.
        self.fresh().await?;
        if !reached(&self.shared.position.borrow()) {
            // Without this, a write outside the view would move the mirror only at the next
            // heartbeat.
            self.client.send(Command::Sync)?;
        }
        self.wait(reached).await
    }

    /// Waits until the mirror is fresh, that is, whole. Returns the revision that the mirror is at
    /// then. For a mirror of mode `once` that has ended, it is enough that it was fresh.
    ///
    /// # Errors
    /// If the mirror has ended.
    pub async fn fresh(&self) -> Result<Revision, Error> {
        self.wait(|position| position.fresh).await
    }

    /// Waits until the mirror is fresh and at `rev`; without `rev`, at any revision after `before`.
    /// A mirror of another history than `before` counts, too.
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

    /// Waits until the mirror shows something for which `differs` is true, other than `before`.
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

    /// Reads the page of `log` before what the mirror shows of it, or before the entry `before`.
    /// The result has the entries, oldest first: `limit` of them if there are so many (0: as many
    /// as the broker likes). It also says whether there are more. The client asks the broker as
    /// often as that takes; [`Found::rev`] is the revision of the last answer. A page does not
    /// become part of the mirror: if the view has a `tail`, the mirror goes on showing only the
    /// newest entries of each log.
    ///
    /// # Errors
    /// See [`Error`].
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
        // A broker may send fewer entries than requested, and a log may have other children. So ask
        // for one entry more than `limit`: if it comes, there are more.
        while page.more && (limit == 0 || page.entries.len() <= limit) {
            let left = if limit == 0 { 0 } else { limit + 1 - page.entries.len() };
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            let mut list = List::new(log.clone()).depth(Depth::Children).limit(left).reverse();
            // The value at the log's own path is no entry of the log.
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
            // Nor is a child without a value that only has something below it.
            let there = |entry: &Change| is_entry(&entry.path) && entry.rev > Revision::ZERO;
            page.entries.extend(found.entries.into_iter().filter(there));
            if limit == 0 {
                // The broker has chosen how many to send.
                limit = page.entries.len();
            }
        }
        page.more = page.entries.len() > limit;
        page.entries.truncate(limit);
        page.entries.reverse();
        Ok(page)
    }

    /// Ends the mirror, as dropping it does. The client goes on. A mirror that is kept is saved
    /// once more; when `close` returns, another mirror can be kept in its file.
    ///
    /// # Errors
    /// If the last save failed. The file holds what it held before.
    pub async fn close(self) -> Result<(), KeepError> {
        let shared = self.shared.clone();
        drop(self);
        shared.released().await
    }

    /// Starts the mirror again from nothing, and waits until it is whole. Until then the mirror
    /// shows what it had. Returns the revision that the mirror is at then.
    ///
    /// # Errors
    /// If the mirror has ended.
    pub async fn resync(&self) -> Result<Revision, Error> {
        if let Some(error) = self.shared.position.borrow().over() {
            return Err(error);
        }
        let (done, begun) = oneshot::channel();
        self.client.send(Command::Resync { sub: self.shared.sub, done })?;
        begun.await.map_err(|_| self.client.closed(None))?;
        self.fresh().await
    }

    /// Compares the mirror with the broker's digest now. If they differ, the mirror starts again
    /// from nothing by itself. The verdict is [`Verdict::Unknown`] once the client has ended.
    ///
    /// # Errors
    /// [`Error::Timeout`] if the broker does not answer in time.
    pub async fn verify(&self) -> Result<Verdict, Error> {
        let (reply, answer) = oneshot::channel();
        // If the client has ended, nobody takes the command, and no answer comes.
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
        // An error means that the client has ended, and the mirror with it.
        let _ = self.client.send(Command::DropMirror(self.shared.sub));
    }
}
