//! What a mirror shows: the driver writes it, and the application reads it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use onetree_protocol::{Epoch, Path, Revision, View};
use tokio::sync::{Notify, watch};

use crate::changes::{Changes, Feed, Place};
use crate::errors::Error;
use crate::event::Event;
use crate::gaps::Gaps;
use crate::keep::KeepError;
use crate::mirror::Snapshot;

/// What a mirror shows, and the revision that it is at.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) sub: u32,
    pub(crate) view: View,
    initial: Snapshot,
    inner: Mutex<Inner>,
    pub(crate) position: watch::Sender<Position>,
    pub(crate) received: AtomicU64,
    /// Wakes the keeper: something was shown, or the mirror has ended.
    pub(crate) moved: Arc<Notify>,
    /// Whether nothing more will be shown.
    pub(crate) finished: AtomicBool,
    /// Whether the mirror is still being kept in a file.
    pub(crate) kept: watch::Sender<bool>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) snapshot: Snapshot,
    /// The gaps for a reader who begins after the mirror was whole.
    gaps: Gaps,
    /// Whether the mirror was ever whole.
    whole: bool,
    /// Why there is no connection, while there is none.
    offline: Option<Event>,
    ended: Option<Event>,
    feeds: Vec<Weak<Feed>>,
    /// How far each reader has come; `None` if the mirror is not kept.
    places: Option<Vec<Arc<Place>>>,
    pub(crate) keep_error: Option<KeepError>,
}

#[derive(Clone, Debug)]
pub(crate) struct Position {
    pub(crate) rev: Revision,
    pub(crate) epoch: Option<Epoch>,
    pub(crate) fresh: bool,
    pub(crate) ended: Option<Option<Error>>,
}

impl Shared {
    pub(crate) fn new(sub: u32, view: View, saved: Option<Snapshot>, kept: bool) -> Arc<Shared> {
        let initial = saved.unwrap_or_default();
        let snapshot = initial.clone();
        let inner = Inner {
            snapshot,
            gaps: Gaps::new(initial.clone()),
            whole: false,
            offline: None,
            ended: None,
            feeds: Vec::new(),
            places: kept.then(Vec::new),
            keep_error: None,
        };
        Arc::new(Shared {
            sub,
            view,
            position: watch::Sender::new(Position::of(&initial, false, None)),
            initial,
            inner: Mutex::new(inner),
            received: AtomicU64::new(0),
            moved: Arc::default(),
            finished: AtomicBool::new(false),
            kept: watch::Sender::new(kept),
        })
    }

    /// Returns what the mirror shows now.
    pub(crate) fn last(&self) -> Snapshot {
        self.lock().snapshot.clone()
    }

    pub(crate) fn base(&self) -> &Path {
        &self.view.base
    }

    /// Returns the history that the mirror shows, unless the mirror has ended. It may be another
    /// history than the broker's; then the mirror will go on to the broker's.
    pub(crate) fn history(&self) -> Option<Epoch> {
        let inner = self.lock();
        let cookie = inner.snapshot.cookie().filter(|_| inner.ended.is_none())?;
        Some(cookie.epoch)
    }

    /// Returns the copy that the mirror was started with.
    pub(crate) fn initial(&self) -> Snapshot {
        self.initial.clone()
    }

    /// The driver reports an event, or only a new revision, and what the mirror shows now.
    pub(crate) fn publish(&self, event: Option<Event>, snapshot: Snapshot, fresh: bool) {
        self.go_on(&mut self.lock(), event, snapshot, fresh);
    }

    /// The application has closed or dropped the mirror. Those who still read its events get
    /// `Ended`.
    pub(crate) fn end(&self) {
        let mut inner = self.lock();
        let last = inner.snapshot.clone();
        self.go_on(&mut inner, Some(Event::Ended { error: None }), last, false);
        drop(inner);
        self.finish();
    }

    fn go_on(&self, inner: &mut Inner, event: Option<Event>, snapshot: Snapshot, fresh: bool) {
        // What was on its way when the mirror ended comes too late.
        if inner.ended.is_some() {
            return;
        }
        if let Some(event) = &event {
            inner.gaps.fold(event, &inner.snapshot, &snapshot);
        }
        let mut ended = None;
        match &event {
            Some(Event::Fresh { .. }) => inner.whole = true,
            Some(Event::Offline { .. }) => inner.offline.clone_from(&event),
            Some(Event::Online { .. }) => inner.offline = None,
            Some(Event::Ended { error }) => {
                inner.ended.clone_from(&event);
                ended = Some(error.clone());
            }
            _ => {}
        }
        inner.feeds.retain(|feed| match feed.upgrade() {
            Some(feed) => {
                feed.push(event.clone(), &snapshot);
                true
            }
            None => false,
        });
        self.position.send_replace(Position::of(&snapshot, fresh, ended));
        inner.snapshot = snapshot;
        if inner.places.is_some() {
            self.moved.notify_one();
        }
    }

    /// Returns the events of the mirror from the beginning.
    pub(crate) fn changes(&self) -> Changes {
        let mut inner = self.lock();
        let (initial, last) = (self.initial.clone(), inner.snapshot.clone());
        let fresh = Event::Fresh { rev: last.rev(), changes: inner.gaps.trims().collect() };
        let past = [inner.whole.then_some(fresh), inner.offline.clone(), inner.ended.clone()];
        let feed = Arc::new(Feed::new(initial.clone(), last, past.into_iter().flatten()));
        // A mirror that has ended gets no more events, so `go_on` no longer removes the feeds of
        // readers that have left.
        inner.feeds.retain(|feed| feed.strong_count() > 0);
        inner.feeds.push(Arc::downgrade(&feed));
        // A reader that begins after the end learns nothing that was not there when it began, so it
        // must not delay the last save.
        let goes_on = inner.ended.is_none();
        let place = inner.places.as_mut().filter(|_| goes_on).map(|all| {
            let place = Arc::new(Place::new(initial.clone(), self.moved.clone()));
            // Of the readers that have left, the last one is enough.
            all.retain(|place| Arc::strong_count(place) > 1);
            all.push(place.clone());
            place
        });
        Changes::new(feed, initial, place)
    }

    /// Locks the state because the application looks at the mirror itself. If all readers have
    /// left, everything that the mirror shows counts as shown from now on.
    pub(crate) fn look(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.lock();
        let left = |all: &Vec<Arc<Place>>| all.iter().all(|place| Arc::strong_count(place) == 1);
        if let Some(all) = inner.places.as_mut().filter(|all| !all.is_empty() && left(all)) {
            all.clear();
            self.moved.notify_one();
        }
        inner
    }

    /// Returns what the application was shown: what the slowest reader was shown; if all have left,
    /// what the last one was shown; if there is no reader, what the mirror shows.
    pub(crate) fn shown(&self) -> Snapshot {
        let inner = self.lock();
        let readers = inner.places.as_deref().unwrap_or_default();
        let epoch = inner.snapshot.cookie().map(|cookie| cookie.epoch);
        let reading = readers.iter().filter(|place| Arc::strong_count(place) > 1);
        let reached = reading.map(|place| place.get()).min_by_key(|snapshot| {
            (snapshot.cookie().map(|cookie| cookie.epoch) == epoch, snapshot.rev())
        });
        let left = || readers.last().map(|place| place.get());
        reached.or_else(left).unwrap_or_else(|| inner.snapshot.clone())
    }

    /// Returns whether the mirror has ended and the application was shown all of it.
    pub(crate) fn is_all_shown(&self) -> bool {
        let shown = self.shown();
        let inner = self.lock();
        inner.ended.is_some() && shown.entries.ptr_eq(&inner.snapshot.entries)
    }

    /// A save has ended.
    pub(crate) fn note_kept(&self, saved: Result<(), KeepError>) {
        self.lock().keep_error = saved.err();
    }

    /// Nothing more will be shown: the keeper saves once more.
    pub(crate) fn finish(&self) {
        self.finished.store(true, Ordering::Release);
        self.moved.notify_one();
    }

    pub(crate) fn is_kept(&self) -> bool {
        *self.kept.borrow()
    }

    /// Waits until the mirror is saved for the last time and its file is free.
    pub(crate) async fn released(&self) -> Result<(), KeepError> {
        // The sender is part of `self`, so it cannot go away meanwhile.
        let _ = self.kept.subscribe().wait_for(|kept| !kept).await;
        self.lock().keep_error.clone().map_or(Ok(()), Err)
    }

    /// Notes how many changes have come in the refresh that is under way.
    pub(crate) fn receive(&self, changes: u64) {
        self.received.store(changes, Ordering::Relaxed);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Position {
    fn of(snapshot: &Snapshot, fresh: bool, ended: Option<Option<Error>>) -> Position {
        let epoch = snapshot.cookie().map(|cookie| cookie.epoch);
        // A mirror that ended as it should, such as one of mode `once`, still counts as fresh if it
        // was.
        let fresh = fresh && !matches!(ended, Some(Some(_)));
        Position { rev: snapshot.rev(), epoch, fresh, ended }
    }

    /// Returns why nothing more comes; `None` if the mirror has not ended.
    pub(crate) fn over(&self) -> Option<Error> {
        let ended = self.ended.clone()?;
        Some(ended.unwrap_or(Error::MirrorClosed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_that_have_left_a_mirror_that_has_ended_are_forgotten() {
        let shared = Shared::new(1, View::tree(Path::root()), None, false);
        shared.end();
        for _ in 0..100 {
            drop(shared.changes());
        }
        assert!(shared.lock().feeds.len() < 2);
    }
}
