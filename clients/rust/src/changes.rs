//! The events of a mirror, in order, for an application that reads them at its own pace.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use onetree_protocol::Change;
use tokio::sync::Notify;

use crate::event::Event;
use crate::gaps::Gaps;
use crate::mirror::{Difference, Snapshot};

/// How many events wait for the application before further ones are folded. This is enough for a
/// burst.
const EVENTS: usize = 256;
/// As [`EVENTS`], but for the number of changes in the waiting events.
const CHANGES: usize = 16 * 1024;

/// The events of one mirror, from [`crate::Mirror::changes`].
///
/// If you read them slowly, they are folded, not dropped. Events that wait beyond a limit are
/// folded into one [`Event::Delta`] or [`Event::Fresh`], whose size is that of what differs. Only
/// signals and heartbeats are dropped. The connection and other mirrors never wait for a slow
/// reader.
///
/// Among folded events, [`Event::Offline`] comes after the changes if there is no connection now.
/// So the last event says whether the mirror is live. The loss of a session is always reported, by
/// an [`Event::Online`] that is not `resumed`, whatever came after it.
#[derive(Debug)]
#[must_use = "it tells nothing until it is asked"]
pub struct Changes {
    feed: Arc<Feed>,
    ready: VecDeque<Item>,
    position: Snapshot,
    /// The mirror before the last event that was taken.
    before: Snapshot,
    ended: bool,
    /// Tells the keeper of the mirror how far this reader has come; `None` if the mirror is not
    /// kept.
    place: Option<Arc<Place>>,
}

/// How far a reader has come: the mirror as of the last event that the reader has dealt with.
#[derive(Debug)]
pub(crate) struct Place {
    at: Mutex<Snapshot>,
    moved: Arc<Notify>,
}

impl Place {
    pub(crate) fn new(at: Snapshot, moved: Arc<Notify>) -> Place {
        Place { at: Mutex::new(at), moved }
    }

    pub(crate) fn get(&self) -> Snapshot {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, at: &Snapshot) {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).clone_from(at);
        self.moved.notify_one();
    }
}

type Item = (Event, Snapshot);

/// The queue between the driver, which adds events, and [`Changes`], which takes them.
#[derive(Debug)]
pub(crate) struct Feed {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// What happened before the reader began, folded, with the mirror after it. It comes before the
    /// queue.
    past: Option<(Behind, Snapshot)>,
    queue: VecDeque<Item>,
    /// The number of changes in the events of `queue`.
    changes: usize,
    /// What comes after the queue, folded.
    behind: Option<Behind>,
    /// The mirror as of the last event that was added.
    last: Snapshot,
    /// Wakes the reader that waits for more.
    waker: Option<Waker>,
}

/// Folded events. Folding begins when the queue is full, and ends when the application has taken
/// the queue.
#[derive(Debug)]
struct Behind {
    from: Snapshot,
    fresh: bool,
    gaps: Gaps,
    trouble: Option<Event>,
    link: Option<Event>,
    /// Whether a session was lost and another one has begun.
    lost: bool,
    ended: Option<Event>,
}

impl Changes {
    pub(crate) fn new(feed: Arc<Feed>, initial: Snapshot, place: Option<Arc<Place>>) -> Changes {
        let (position, before) = (initial.clone(), initial);
        Changes { feed, ready: VecDeque::new(), position, before, ended: false, place }
    }

    /// Waits for the next event and returns it. Returns `None` after [`Event::Ended`]. Nothing is
    /// lost if the future is dropped before it is done.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &Context<'_>) -> Poll<Option<Event>> {
        let mut event = self.try_next();
        if event.is_none() && !self.ended {
            self.feed.lock().waker = Some(context.waker().clone());
            // An event that came before the waker was set has woken nobody.
            event = self.try_next();
        }
        if event.is_none() && !self.ended { Poll::Pending } else { Poll::Ready(event) }
    }

    /// Returns the next event, if there is one now.
    pub fn try_next(&mut self) -> Option<Event> {
        if self.ready.is_empty() {
            self.ready = self.feed.take();
        }
        let next = self.ready.pop_front();
        if let Some(place) = &self.place {
            // Asking for the next event means that the reader has dealt with the ones before. If
            // nothing changed at a revision, there is no event, but the cookie follows the
            // revision.
            let at = if next.is_none() { self.feed.idle() } else { None };
            place.set(at.as_ref().unwrap_or(&self.position));
        }
        let (event, snapshot) = next?;
        self.before = std::mem::replace(&mut self.position, snapshot);
        self.ended |= matches!(event, Event::Ended { .. });
        Some(event)
    }

    /// Returns the mirror as of the last event that was taken, with its cookie. This is what to
    /// save once you have dealt with that event. [`crate::Mirror::snapshot`] may be ahead of it.
    pub fn snapshot(&mut self) -> Snapshot {
        if self.ready.is_empty()
            && let Some(last) = self.feed.idle()
        {
            // If nothing changed at a revision, there is no event, but the cookie follows the
            // revision.
            self.position = last;
        }
        self.position.clone()
    }

    /// Returns what the last event that was taken has changed, with the entries before and after
    /// it: one difference for each path, in path order. Empty if that event changed nothing. Costs
    /// about as much as what differs, and nothing if you do not call it.
    pub fn differences(&self) -> Vec<Difference> {
        self.position.differences(&self.before)
    }
}

/// The same events, as a stream.
impl Stream for Changes {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll(context)
    }
}

impl Drop for Changes {
    /// The keeper of the mirror no longer waits for this reader.
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let moved = place.moved.clone();
            drop(place);
            moved.notify_one();
        }
    }
}

impl Feed {
    /// A feed for a reader who knows `initial`, of a mirror that the events in `past` have brought
    /// to `last`.
    pub(crate) fn new(
        initial: Snapshot,
        last: Snapshot,
        past: impl IntoIterator<Item = Event>,
    ) -> Feed {
        let mut folded = None;
        for event in past {
            let folded = folded.get_or_insert_with(|| Behind::new(initial.clone()));
            folded.fold(event, &initial, &last);
        }
        let past = folded.map(|folded| (folded, last.clone()));
        let (queue, changes) = (VecDeque::new(), 0);
        let inner = Inner { past, queue, changes, behind: None, last, waker: None };
        Feed { inner: Mutex::new(inner) }
    }

    /// Adds an event. `None`: only the revision moved.
    pub(crate) fn push(&self, event: Option<Event>, snapshot: &Snapshot) {
        let mut inner = self.lock();
        let before = std::mem::replace(&mut inner.last, snapshot.clone());
        let Some(event) = event else {
            let Inner { past, queue, behind, .. } = &mut *inner;
            let waits = queue.back_mut().map(|(_, at)| at);
            if let Some(at) = waits.or(past.as_mut().map(|(_, at)| at))
                && behind.is_none()
            {
                *at = snapshot.clone();
            }
            return;
        };
        let full = inner.queue.len() >= EVENTS || inner.changes >= CHANGES;
        if full && inner.behind.is_none() {
            inner.behind = Some(Behind::new(before.clone()));
        }
        if let Some(behind) = &mut inner.behind {
            behind.fold(event, &before, snapshot);
        } else {
            inner.changes += weight(&event);
            inner.queue.push_back((event, snapshot.clone()));
        }
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Returns the mirror as it is now, if no event waits to be taken.
    fn idle(&self) -> Option<Snapshot> {
        let inner = self.lock();
        let waits = inner.past.is_some() || !inner.queue.is_empty() || inner.behind.is_some();
        (!waits).then(|| inner.last.clone())
    }

    fn take(&self) -> VecDeque<Item> {
        let mut inner = self.lock();
        let (folded, at) = if let Some(past) = inner.past.take() {
            past
        } else if !inner.queue.is_empty() {
            inner.changes = 0;
            return std::mem::take(&mut inner.queue);
        } else if let Some(behind) = inner.behind.take() {
            (behind, inner.last.clone())
        } else {
            return VecDeque::new();
        };
        drop(inner);
        folded.unfold(at)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn weight(event: &Event) -> usize {
    match event {
        Event::Fresh { changes, .. } | Event::Delta { changes, .. } => changes.len(),
        _ => 0,
    }
}

impl Behind {
    fn new(from: Snapshot) -> Behind {
        let gaps = Gaps::new(from.clone());
        Behind { from, fresh: false, gaps, trouble: None, link: None, lost: false, ended: None }
    }

    /// Folds an event in. `before` and `now` are the mirror before and after the event.
    fn fold(&mut self, event: Event, before: &Snapshot, now: &Snapshot) {
        self.gaps.fold(&event, before, now);
        match &event {
            Event::Fresh { .. } => self.fresh = true,
            Event::Corrupt { .. } | Event::Broken { .. } | Event::Circling { .. } => {
                self.trouble = Some(event);
            }
            Event::Offline { .. } => self.link = Some(event),
            Event::Online { resumed } => {
                self.lost |= !resumed;
                self.link = Some(event);
            }
            Event::Ended { .. } => self.ended = Some(event),
            Event::Refreshing { .. }
            | Event::Delta { .. }
            | Event::Signal { .. }
            | Event::Synced { .. } => {}
        }
    }

    /// Returns the events that the folded ones amount to.
    fn unfold(self, now: Snapshot) -> VecDeque<Item> {
        // Events that come before the change carry the mirror as it was before the change.
        let mut before = self.from.clone();
        if matches!(self.trouble, Some(Event::Corrupt { .. } | Event::Broken { .. })) {
            before.cookie = None;
        }
        // If the last event about the connection is `Offline`, it was after all the changes, and
        // still holds.
        let (offline, online) = match self.link {
            Some(Event::Offline { .. }) => (self.link, false),
            link => (None, link.is_some()),
        };
        // What is gone with a session does not come back when the next connection is resumed.
        let resumed = !self.lost;
        let online = (online || self.lost).then_some(Event::Online { resumed });
        let told = self.trouble.into_iter().chain(online);
        let mut items: VecDeque<Item> = told.map(|event| (event, before.clone())).collect();
        let mut events = Vec::new();
        let mut changes: Vec<Change> = self.gaps.trims().collect();
        changes.extend(now.since(&self.from));
        if self.fresh {
            events.push(Event::Fresh { rev: now.rev(), changes: changes.into() });
        } else if !changes.is_empty() {
            let (since, rev) = (self.from.rev(), now.rev());
            events.push(Event::Delta { since, rev, changes: changes.into() });
        }
        events.extend(offline);
        events.extend(self.ended);
        items.extend(events.into_iter().map(|event| (event, now.clone())));
        items
    }
}

#[cfg(test)]
mod tests {
    use onetree_protocol::frame::{Reason, RefreshKind};
    use onetree_protocol::{Act, Cookie, Epoch, Fingerprint, LogKey, Path, Revision, Value};

    use super::*;
    use crate::errors::ConnectError;
    use crate::gaps::TRIMS;

    /// `/a` as of `rev`.
    fn at(rev: u64) -> Snapshot {
        let rev = Revision::new(rev).unwrap();
        let cookie =
            Cookie { epoch: Epoch(1), rev, view: Fingerprint::parse("0001020304050607").unwrap() };
        let act = Act::Put(Some(Value::text("x")));
        Snapshot::saved(cookie, [Change { path: Path::parse("/a").unwrap(), rev, act }])
    }

    fn delta(to: u64) -> Event {
        let changes = at(to).entries().collect();
        Event::Delta { since: at(to - 1).rev(), rev: at(to).rev(), changes }
    }

    #[test]
    fn a_snapshot_is_never_ahead_of_the_event_that_was_taken() {
        let feed = Arc::new(Feed::new(at(1), at(1), []));
        let mut changes = Changes::new(feed.clone(), at(1), None);
        let many = EVENTS as u64 + 10;
        for rev in 2..=many {
            feed.push(Some(delta(rev)), &at(rev));
        }
        feed.push(Some(Event::Online { resumed: true }), &at(many));
        let mut seen = at(1);
        while let Some(event) = changes.try_next() {
            if let Event::Delta { rev, .. } = event {
                assert_eq!(changes.snapshot().rev(), rev);
                let [difference] = &changes.differences()[..] else { panic!("one entry changed") };
                assert_eq!(difference.old.as_ref().unwrap().rev, seen.rev());
                assert_eq!(difference.new.as_ref().unwrap().rev, rev);
                seen = at(rev.get());
            } else {
                assert_eq!(changes.snapshot().rev(), seen.rev(), "{event:?}");
                assert!(changes.differences().is_empty());
            }
        }
        assert_eq!(seen.rev(), at(many).rev());
    }

    #[test]
    fn what_is_handed_out_counts_as_seen_when_the_next_is_asked_for() {
        let feed = Arc::new(Feed::new(at(1), at(1), []));
        let place = Arc::new(Place::new(at(1), Arc::default()));
        let mut changes = Changes::new(feed.clone(), at(1), Some(place.clone()));
        feed.push(Some(delta(2)), &at(2));
        feed.push(Some(delta(3)), &at(3));
        assert!(changes.try_next().is_some());
        assert_eq!(place.get().rev(), at(1).rev());
        assert!(changes.try_next().is_some());
        assert_eq!(place.get().rev(), at(2).rev());
        assert!(changes.try_next().is_none());
        assert_eq!(place.get().rev(), at(3).rev());
        feed.push(None, &at(4));
        assert!(changes.try_next().is_none());
        assert_eq!(place.get().rev(), at(4).rev());
    }

    fn key(n: u64) -> LogKey {
        LogKey { rev: Revision::new(n).unwrap(), index: 0 }
    }

    /// The log `/log` as of `rev` in a history, with the entries that were appended at these
    /// revisions.
    fn log(epoch: u128, rev: u64, appended: &[u64]) -> Snapshot {
        let cookie = Cookie { epoch: Epoch(epoch), ..at(rev).cookie().unwrap() };
        let entry = |n: &u64| {
            let path = Path::parse(&format!("/log/{}", key(*n))).unwrap();
            Change { path, rev: key(*n).rev, act: Act::Put(Some(Value::text("x"))) }
        };
        Snapshot::saved(cookie, appended.iter().map(entry))
    }

    /// Returns what a reader who knows `from` and does not read gets for all these events, each
    /// given with the mirror after it.
    fn folded(from: &Snapshot, all: impl IntoIterator<Item = (Event, Snapshot)>) -> Vec<Event> {
        let feed = Arc::new(Feed::new(from.clone(), from.clone(), []));
        let mut changes = Changes::new(feed.clone(), from.clone(), None);
        for _ in 0..EVENTS {
            feed.push(Some(Event::Online { resumed: true }), from);
        }
        all.into_iter().for_each(|(event, now)| feed.push(Some(event), &now));
        let told = std::iter::from_fn(|| changes.try_next());
        told.skip(EVENTS).collect()
    }

    /// A trim of `/log` up to the key at `to`.
    fn trim(to: u64, gap: bool) -> Event {
        let act = Act::Trim { to: key(to), gap };
        let change = Change { path: Path::parse("/log").unwrap(), rev: key(to).rev, act };
        Event::Delta { since: at(1).rev(), rev: key(to).rev, changes: vec![change].into() }
    }

    fn gaps(told: &[Event]) -> Vec<&str> {
        told.iter().flat_map(Event::gaps).map(Path::as_str).collect()
    }

    #[test]
    fn a_log_has_a_gap_where_what_was_never_seen_is_gone() {
        let known = log(1, 5, &[1, 2, 3]);
        // All trimmed entries were known, though the key is above them all.
        let told = folded(&known, [(delta(6), known.clone()), (trim(8, false), log(1, 8, &[]))]);
        assert!(gaps(&told).is_empty(), "{told:?}");
        // An entry came meanwhile and was trimmed.
        let more = log(1, 7, &[1, 2, 3, 7]);
        let told = folded(&known, [(delta(7), more.clone()), (trim(8, false), log(1, 8, &[]))]);
        assert_eq!(gaps(&told), ["/log"]);
        // An entry came and stays.
        let told = folded(&known, [(delta(7), more), (trim(6, false), log(1, 8, &[7]))]);
        assert!(gaps(&told).is_empty(), "{told:?}");
        // The broker knows of entries that the mirror never had.
        let told = folded(&known, [(trim(3, true), log(1, 8, &[]))]);
        assert_eq!(gaps(&told), ["/log"]);
        // An entry came and was trimmed in one step.
        let put = log(1, 7, &[7]).entries().next().unwrap();
        let Event::Delta { changes, .. } = trim(8, false) else { panic!("a delta") };
        let changes = [put].into_iter().chain(changes.iter().cloned()).collect();
        let both = Event::Delta { since: known.rev(), rev: at(8).rev(), changes };
        assert_eq!(gaps(&folded(&known, [(both, log(1, 8, &[]))])), ["/log"]);
    }

    #[test]
    fn what_another_history_has_brought_was_never_seen() {
        let known = log(1, 9, &[1, 2]);
        // The revisions of this history are below the known ones.
        let other = log(2, 5, &[3]);
        let fresh = Event::Fresh { rev: other.rev(), changes: other.since(&known).into() };
        let told = folded(&known, [(fresh, other), (trim(6, false), log(2, 6, &[]))]);
        assert_eq!(gaps(&told), ["/log"]);
        // Or this history has another entry at the key of a known one.
        let mut other = log(2, 9, &[1, 2]);
        let path = Path::parse(&format!("/log/{}", key(2))).unwrap();
        other.entries.get_mut(&path).unwrap().value = Some(Value::text("y"));
        let fresh = Event::Fresh { rev: other.rev(), changes: other.since(&known).into() };
        let told = folded(&known, [(fresh, other), (trim(10, false), log(2, 10, &[]))]);
        assert_eq!(gaps(&told), ["/log"]);
    }

    #[test]
    fn what_was_known_is_no_gap_when_the_mirror_starts_from_nothing() {
        let undated = Snapshot { cookie: None, ..log(1, 9, &[1, 2]) };
        // The folding begins before the mirror is distrusted, or after that.
        for from in [&log(1, 9, &[1, 2]), &undated] {
            let told = |fresh: Snapshot| {
                let changes = fresh.since(from).into();
                let fresh = (Event::Fresh { rev: fresh.rev(), changes }, fresh);
                let gone = (trim(11, false), log(1, 11, &[]));
                let first = (Event::Online { resumed: true }, undated.clone());
                folded(from, [first, fresh, gone])
            };
            // Somebody has deleted one entry meanwhile; then the other one is trimmed.
            assert!(gaps(&told(log(1, 10, &[2]))).is_empty());
            // A trim of a new entry is a gap.
            assert_eq!(gaps(&told(log(1, 10, &[1, 2, 10]))), ["/log"]);
        }
    }

    #[test]
    fn trims_of_logs_that_came_and_went_do_not_add_up() {
        let (known, now) = (log(1, 1, &[1]), log(1, 1, &[1]));
        let feed = Arc::new(Feed::new(known.clone(), known.clone(), []));
        let mut changes = Changes::new(feed.clone(), known, None);
        let trim = |path: &str, n: u64| {
            let act = Act::Trim { to: key(n), gap: true };
            let change = Change { path: Path::parse(path).unwrap(), rev: key(n).rev, act };
            Event::Delta { since: at(1).rev(), rev: key(n).rev, changes: vec![change].into() }
        };
        for n in 2..EVENTS as u64 + 3 {
            feed.push(Some(delta(n)), &now);
        }
        feed.push(Some(trim("/log", 300)), &now);
        for n in 0..10 * TRIMS as u64 {
            feed.push(Some(trim(&format!("/logs/{n}"), 400)), &now);
        }
        let mut told = Vec::new();
        while let Some(event) = changes.try_next() {
            if let Event::Delta { changes, .. } = event {
                told.extend(changes.iter().filter(|c| matches!(c.act, Act::Trim { .. })).cloned());
            }
        }
        assert!(told.len() <= TRIMS, "{} trims", told.len());
        assert_eq!(told[0].path.as_str(), "/log");
    }

    #[test]
    fn what_comes_before_a_reader_has_begun_to_read_is_not_folded() {
        let past = Event::Fresh { rev: at(2).rev(), changes: Arc::default() };
        let feed = Arc::new(Feed::new(Snapshot::default(), at(2), [past]));
        let mut changes = Changes::new(feed.clone(), Snapshot::default(), None);
        // Only the revision moves: the past is reported as of then.
        feed.push(None, &at(3));
        assert_eq!(changes.snapshot().rev(), Revision::ZERO);
        let path = Path::parse("/s").unwrap();
        feed.push(Some(Event::Signal { path, value: Value::text("x") }), &at(3));
        feed.push(Some(delta(4)), &at(4));
        let Some(Event::Fresh { rev, changes: told }) = changes.try_next() else { panic!("fresh") };
        assert_eq!((rev, told.len()), (at(3).rev(), 1));
        assert_eq!(changes.snapshot().rev(), rev);
        assert!(matches!(changes.try_next(), Some(Event::Signal { .. })));
        assert!(matches!(changes.try_next(), Some(Event::Delta { .. })));
        assert!(changes.try_next().is_none());
        assert_eq!(changes.snapshot().rev(), at(4).rev());
    }

    #[test]
    fn that_there_is_no_connection_is_told_last() {
        let error = Arc::new(ConnectError::Lost("x".to_owned()));
        let offline = Event::Offline { error, retry_in: None };
        let told = folded(&at(1), [(delta(2), at(2)), (offline.clone(), at(2))]);
        let [Event::Delta { .. }, Event::Offline { .. }] = &told[..] else { panic!("{told:?}") };
        let online = Event::Online { resumed: true };
        let told = folded(&at(1), [(offline, at(1)), (online, at(1)), (delta(2), at(2))]);
        let [Event::Online { .. }, Event::Delta { .. }] = &told[..] else { panic!("{told:?}") };
    }

    #[test]
    fn that_a_session_was_lost_is_told_however_often_the_next_one_was_resumed() {
        let online = |resumed| (Event::Online { resumed }, at(1));
        let error = Arc::new(ConnectError::Lost("x".to_owned()));
        let offline = |rev| (Event::Offline { error: error.clone(), retry_in: None }, at(rev));
        let lost = || vec![offline(1), online(false), offline(1), online(true)];
        let told = folded(&at(1), lost());
        assert!(matches!(told[..], [Event::Online { resumed: false }]), "{told:?}");
        let told = folded(&at(1), [lost(), vec![(delta(2), at(2)), offline(2)]].concat());
        let [Event::Online { resumed: false }, Event::Delta { .. }, Event::Offline { .. }] =
            told[..]
        else {
            panic!("{told:?}")
        };
        let told = folded(&at(1), [offline(1), online(true), offline(1), online(true)]);
        assert!(matches!(told[..], [Event::Online { resumed: true }]), "{told:?}");
        let told = folded(&at(1), [offline(1), online(true), offline(1)]);
        assert!(matches!(told[..], [Event::Offline { .. }]), "{told:?}");
    }

    #[test]
    fn what_a_refresh_from_nothing_brings_back_is_not_trimmed_by_what_was_before() {
        let (known, gone) = (log(1, 5, &[1, 2, 3]), log(1, 7, &[]));
        // The broker comes back from a backup: this is another history.
        let back = log(2, 5, &[1, 2, 3]);
        let refreshing = Event::Refreshing { kind: RefreshKind::Full, why: Reason::Epoch };
        let fresh = Event::Fresh { rev: back.rev(), changes: back.since(&gone).into() };
        let all = [(trim(6, true), gone.clone()), (refreshing, gone), (fresh, back)];
        let told = folded(&known, all);
        let [Event::Fresh { changes, .. }] = &told[..] else { panic!("{told:?}") };
        assert!(changes.is_empty(), "{changes:?}");
    }
}
