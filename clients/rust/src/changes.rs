//! What happens to a mirror, in order, for an application that reads it at its own pace.

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

/// So many events wait for the application, then they are folded: enough for a burst.
const EVENTS: usize = 256;
/// As [`EVENTS`], for the changes in them.
const CHANGES: usize = 16 * 1024;

/// The events of one mirror, from [`crate::Mirror::changes`].
///
/// Nothing is lost and nothing grows without bound when they are read slowly: what has not been
/// read is folded into one [`Event::Delta`] or [`Event::Fresh`], which costs no more than what
/// differs. Only signals are dropped then, and heartbeats. That there is no connection now comes
/// behind what changed: who shows whether a mirror is live goes by the last event. That the session
/// was lost is told by an [`Event::Online`] that is not `resumed`, whatever came behind it. The
/// connection, and other mirrors, never wait for a slow reader.
#[derive(Debug)]
#[must_use = "it tells nothing until it is asked"]
pub struct Changes {
    feed: Arc<Feed>,
    ready: VecDeque<Item>,
    position: Snapshot,
    /// The mirror as of the event before the last one that was taken.
    before: Snapshot,
    ended: bool,
    /// Told to who keeps the mirror.
    place: Option<Arc<Place>>,
}

/// How far a reader is: the mirror as of the last event that it is done with.
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

/// Where the driver puts events, and [`Changes`] takes them.
#[derive(Debug)]
pub(crate) struct Feed {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// What was before the reader began, folded, with the mirror behind it; comes before the queue.
    past: Option<(Behind, Snapshot)>,
    queue: VecDeque<Item>,
    /// In the events of `queue`.
    changes: usize,
    /// What comes behind the queue, folded.
    behind: Option<Behind>,
    /// The mirror as of the last event that was put in.
    last: Snapshot,
    /// Who waits for more.
    waker: Option<Waker>,
}

/// Events folded. Starts when the queue is full; ends when the application has read it.
#[derive(Debug)]
struct Behind {
    from: Snapshot,
    fresh: bool,
    gaps: Gaps,
    trouble: Option<Event>,
    link: Option<Event>,
    /// Whether another session has begun.
    lost: bool,
    ended: Option<Event>,
}

impl Changes {
    pub(crate) fn new(feed: Arc<Feed>, initial: Snapshot, place: Option<Arc<Place>>) -> Changes {
        let (position, before) = (initial.clone(), initial);
        Changes { feed, ready: VecDeque::new(), position, before, ended: false, place }
    }

    /// The next event; `None` behind [`Event::Ended`]. Nothing is lost when this is dropped before
    /// it is done.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &Context<'_>) -> Poll<Option<Event>> {
        let mut event = self.try_next();
        if event.is_none() && !self.ended {
            self.feed.lock().waker = Some(context.waker().clone());
            // What came before that wakes nobody.
            event = self.try_next();
        }
        if event.is_none() && !self.ended { Poll::Pending } else { Poll::Ready(event) }
    }

    /// The next event, when there is one now.
    pub fn try_next(&mut self) -> Option<Event> {
        if self.ready.is_empty() {
            self.ready = self.feed.take();
        }
        let next = self.ready.pop_front();
        if let Some(place) = &self.place {
            // Who asks for the next one is done with those before. A revision at which nothing
            // changed makes no event, but the cookie follows it.
            let at = if next.is_none() { self.feed.idle() } else { None };
            place.set(at.as_ref().unwrap_or(&self.position));
        }
        let (event, snapshot) = next?;
        self.before = std::mem::replace(&mut self.position, snapshot);
        self.ended |= matches!(event, Event::Ended { .. });
        Some(event)
    }

    /// The mirror as of the last event that was taken, with its cookie: what is to be saved once
    /// that event has been dealt with. [`crate::Mirror::snapshot`] may be ahead of it.
    pub fn snapshot(&mut self) -> Snapshot {
        if self.ready.is_empty()
            && let Some(last) = self.feed.idle()
        {
            // A revision at which nothing changed makes no event, but the cookie follows it.
            self.position = last;
        }
        self.position.clone()
    }

    /// What the last event that was taken has changed, with the entries of before: one for each
    /// path, in path order. Empty when that event changed nothing. Costs about what differs, and
    /// nothing where it is not asked for.
    pub fn differences(&self) -> Vec<Difference> {
        self.position.differences(&self.before)
    }
}

/// The same events, for what takes streams.
impl Stream for Changes {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll(context)
    }
}

impl Drop for Changes {
    /// Who keeps the mirror waits for this reader no more.
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let moved = place.moved.clone();
            drop(place);
            moved.notify_one();
        }
    }
}

impl Feed {
    /// A feed for one who knows `initial`, of a mirror that `past` has brought to `last`.
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

    /// Something happened; `None`: only the revision moved.
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

    /// The mirror now, when nothing waits to be taken.
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

    /// `before`, `now`: the mirror before it and behind it.
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

    /// The events that it comes to.
    fn unfold(self, now: Snapshot) -> VecDeque<Item> {
        // What comes before the change is dated before it.
        let mut before = self.from.clone();
        if matches!(self.trouble, Some(Event::Corrupt { .. } | Event::Broken { .. })) {
            before.cookie = None;
        }
        // That it is offline was so behind all of this, and is so still.
        let (offline, online) = match self.link {
            Some(Event::Offline { .. }) => (self.link, false),
            link => (None, link.is_some()),
        };
        // What went with a session does not come back with the next connection.
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

    /// The entries of `/log` that were appended at these revisions, as of `rev` in a history.
    fn log(epoch: u128, rev: u64, appended: &[u64]) -> Snapshot {
        let cookie = Cookie { epoch: Epoch(epoch), ..at(rev).cookie().unwrap() };
        let entry = |n: &u64| {
            let path = Path::parse(&format!("/log/{}", key(*n))).unwrap();
            Change { path, rev: key(*n).rev, act: Act::Put(Some(Value::text("x"))) }
        };
        Snapshot::saved(cookie, appended.iter().map(entry))
    }

    /// What one who knows `from` and does not read is told of all this, each with the mirror behind
    /// it.
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

    /// One that takes `/log` up to the key at `to`.
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
        // All that goes was there, though the key is above all of it.
        let told = folded(&known, [(delta(6), known.clone()), (trim(8, false), log(1, 8, &[]))]);
        assert!(gaps(&told).is_empty(), "{told:?}");
        // One came meanwhile and went.
        let more = log(1, 7, &[1, 2, 3, 7]);
        let told = folded(&known, [(delta(7), more.clone()), (trim(8, false), log(1, 8, &[]))]);
        assert_eq!(gaps(&told), ["/log"]);
        // It came, and stays.
        let told = folded(&known, [(delta(7), more), (trim(6, false), log(1, 8, &[7]))]);
        assert!(gaps(&told).is_empty(), "{told:?}");
        // The broker knows of others that the mirror never had.
        let told = folded(&known, [(trim(3, true), log(1, 8, &[]))]);
        assert_eq!(gaps(&told), ["/log"]);
        // What came and went in one step.
        let put = log(1, 7, &[7]).entries().next().unwrap();
        let Event::Delta { changes, .. } = trim(8, false) else { panic!("a delta") };
        let changes = [put].into_iter().chain(changes.iter().cloned()).collect();
        let both = Event::Delta { since: known.rev(), rev: at(8).rev(), changes };
        assert_eq!(gaps(&folded(&known, [(both, log(1, 8, &[]))])), ["/log"]);
    }

    #[test]
    fn what_another_history_has_brought_was_never_seen() {
        let known = log(1, 9, &[1, 2]);
        // Of this one the revisions are below those that are known.
        let other = log(2, 5, &[3]);
        let fresh = Event::Fresh { rev: other.rev(), changes: other.since(&known).into() };
        let told = folded(&known, [(fresh, other), (trim(6, false), log(2, 6, &[]))]);
        assert_eq!(gaps(&told), ["/log"]);
        // Or it has another one at the key of one that is known.
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
        // The folding begins before the mirror is distrusted, or behind that.
        for from in [&log(1, 9, &[1, 2]), &undated] {
            let told = |fresh: Snapshot| {
                let changes = fresh.since(from).into();
                let fresh = (Event::Fresh { rev: fresh.rev(), changes }, fresh);
                let gone = (trim(11, false), log(1, 11, &[]));
                let first = (Event::Online { resumed: true }, undated.clone());
                folded(from, [first, fresh, gone])
            };
            // Somebody has deleted one meanwhile; then the other one is trimmed.
            assert!(gaps(&told(log(1, 10, &[2]))).is_empty());
            // What is new is a gap.
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
        // Only the revision moves: the past is told as of then.
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
        // The broker comes back from a backup: another history.
        let back = log(2, 5, &[1, 2, 3]);
        let refreshing = Event::Refreshing { kind: RefreshKind::Full, why: Reason::Epoch };
        let fresh = Event::Fresh { rev: back.rev(), changes: back.since(&gone).into() };
        let all = [(trim(6, true), gone.clone()), (refreshing, gone), (fresh, back)];
        let told = folded(&known, all);
        let [Event::Fresh { changes, .. }] = &told[..] else { panic!("{told:?}") };
        assert!(changes.is_empty(), "{changes:?}");
    }
}
