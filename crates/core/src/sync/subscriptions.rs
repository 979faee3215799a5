//! All subscriptions of one connection, by their numbers.

use alloc::vec::Vec;

use onetree_protocol::View;

use super::subscription::{Cursor, Subscription};

/// The subscriptions of one connection, in the order of their numbers.
///
/// They are in a list, which takes a third less memory than a map when they arrive in that order.
/// Insertion and removal move the subscriptions behind the place: a connection has a thousand at
/// most, so that costs less than a microsecond.
///
/// Totals over all subscriptions are kept up to date, so that a question about the whole connection
/// is answered in constant time.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    list: Vec<(u32, Subscription)>,
    tally: Tally,
    /// Bytes of the base paths and patterns of all subscriptions.
    view_bytes: usize,
    /// Segments of the patterns of all subscriptions.
    pattern_segments: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    moving: usize,
    holding: usize,
    needing: usize,
    paced: usize,
}

impl Tally {
    fn of(sub: &Subscription) -> Tally {
        Tally {
            moving: sub.is_moving().into(),
            holding: sub.holds_live().into(),
            needing: sub.needs_hold().into(),
            paced: matches!(sub.cursor, Cursor::Paced { .. }).into(),
        }
    }

    fn add(&mut self, one: Tally) {
        self.moving += one.moving;
        self.holding += one.holding;
        self.needing += one.needing;
        self.paced += one.paced;
    }

    fn remove(&mut self, one: Tally) {
        self.moving -= one.moving;
        self.holding -= one.holding;
        self.needing -= one.needing;
        self.paced -= one.paced;
    }
}

/// Returns the bytes of a view's base path and patterns: the parts of a view whose size a client
/// chooses.
pub(super) fn view_bytes(view: &View) -> usize {
    let patterns = view.patterns.iter().map(|pattern| pattern.as_str().len());
    view.base.as_str().len() + patterns.sum::<usize>()
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns the bytes of all base paths and patterns.
    pub(super) fn view_bytes(&self) -> usize {
        self.view_bytes
    }

    /// Returns the segments of all patterns.
    pub(super) fn pattern_segments(&self) -> usize {
        self.pattern_segments
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.place(id).is_ok()
    }

    pub(super) fn get(&self, id: u32) -> Option<&Subscription> {
        self.place(id).ok().map(|place| &self.list[place].1)
    }

    /// Inserts a subscription. Does nothing if the number is in use.
    pub(super) fn insert(&mut self, id: u32, sub: Subscription) {
        let Err(place) = self.place(id) else { return };
        if self.list.len() == self.list.capacity() {
            // Grow by a quarter instead of doubling: unused capacity costs memory too.
            self.list.reserve_exact(self.list.len() / 4 + 1);
        }
        self.tally.add(Tally::of(&sub));
        self.view_bytes += view_bytes(&sub.view);
        self.pattern_segments += sub.view.pattern_segments();
        self.list.insert(place, (id, sub));
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Subscription> {
        let place = self.place(id).ok()?;
        let (_, sub) = self.list.remove(place);
        self.tally.remove(Tally::of(&sub));
        self.view_bytes -= view_bytes(&sub.view);
        self.pattern_segments -= sub.view.pattern_segments();
        if self.list.len() < self.list.capacity() / 4 {
            self.list.shrink_to(2 * self.list.len());
        }
        Some(sub)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Subscription)> {
        self.list.iter().map(|(id, sub)| (*id, sub))
    }

    /// Calls `work` with one subscription and updates the totals; `None` if there is no such
    /// subscription.
    pub(super) fn with<R>(
        &mut self,
        id: u32,
        work: impl FnOnce(&mut Subscription) -> R,
    ) -> Option<R> {
        let place = self.place(id).ok()?;
        let sub = &mut self.list[place].1;
        self.tally.remove(Tally::of(sub));
        let result = work(sub);
        self.tally.add(Tally::of(sub));
        Some(result)
    }

    /// Calls `work` with each subscription and updates the totals.
    pub(super) fn each(&mut self, mut work: impl FnMut(u32, &mut Subscription)) {
        self.tally = Tally::default();
        for (id, sub) in &mut self.list {
            work(*id, sub);
            self.tally.add(Tally::of(sub));
        }
    }

    /// Returns the number of the next subscription behind `turn` that has work to do. After the
    /// last subscription comes the first.
    pub(super) fn next_moving(&self, turn: u32) -> Option<u32> {
        if self.tally.moving == 0 {
            return None;
        }
        let behind = self.list.partition_point(|(id, _)| *id <= turn);
        let (before, behind) = self.list.split_at(behind);
        let moving = |(_, sub): &&(u32, Subscription)| sub.is_moving();
        let next = behind.iter().find(moving).or_else(|| before.iter().find(moving));
        next.map(|(id, _)| *id)
    }

    pub(super) fn any_moving(&self) -> bool {
        self.tally.moving > 0
    }

    pub(super) fn any_holds_live(&self) -> bool {
        self.tally.holding > 0
    }

    pub(super) fn any_needs_hold(&self) -> bool {
        self.tally.needing > 0
    }

    pub(super) fn any_paced(&self) -> bool {
        self.tally.paced > 0
    }

    fn place(&self, id: u32) -> Result<usize, usize> {
        self.list.binary_search_by_key(&id, |(id, _)| *id)
    }
}
