//! All subscriptions of one connection, by their numbers.

use alloc::vec::Vec;

use onetree_protocol::View;

use super::subscription::{Cursor, Subscription};

/// The subscriptions of one connection, in the order of their numbers: a list, which takes a third
/// less than a map when they come in that order. One is put in or taken out by moving those behind
/// it: a connection has a thousand at most, so that costs less than a microsecond.
///
/// Counted by what all of them together come to, so that a connection is asked about that in no
/// time, however many it has.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    list: Vec<(u32, Subscription)>,
    tally: Tally,
    /// Base paths and patterns of all.
    view_bytes: usize,
    /// Segments of all patterns of all.
    pattern_segments: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    moving: usize,
    holding: usize,
    paced: usize,
}

impl Tally {
    fn of(sub: &Subscription) -> Tally {
        Tally {
            moving: sub.is_moving().into(),
            holding: sub.holds_live().into(),
            paced: matches!(sub.cursor, Cursor::Paced { .. }).into(),
        }
    }

    fn add(&mut self, one: Tally) {
        self.moving += one.moving;
        self.holding += one.holding;
        self.paced += one.paced;
    }

    fn remove(&mut self, one: Tally) {
        self.moving -= one.moving;
        self.holding -= one.holding;
        self.paced -= one.paced;
    }
}

/// The bytes of a view's base path and patterns: what grows of it without its number.
pub(super) fn view_bytes(view: &View) -> usize {
    let patterns = view.patterns.iter().map(|pattern| pattern.as_str().len());
    view.base.as_str().len() + patterns.sum::<usize>()
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// The bytes of all base paths and patterns.
    pub(super) fn view_bytes(&self) -> usize {
        self.view_bytes
    }

    /// The segments of all patterns.
    pub(super) fn pattern_segments(&self) -> usize {
        self.pattern_segments
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.place(id).is_ok()
    }

    pub(super) fn get(&self, id: u32) -> Option<&Subscription> {
        self.place(id).ok().map(|place| &self.list[place].1)
    }

    /// Puts one in; it is not there yet.
    pub(super) fn insert(&mut self, id: u32, sub: Subscription) {
        let Err(place) = self.place(id) else { return };
        if self.list.len() == self.list.capacity() {
            // By a quarter, not to twice: what is not used is memory too.
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

    /// Does something with one.
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

    /// Does something with each.
    pub(super) fn each(&mut self, mut work: impl FnMut(u32, &mut Subscription)) {
        self.tally = Tally::default();
        for (id, sub) in &mut self.list {
            work(*id, sub);
            self.tally.add(Tally::of(sub));
        }
    }

    /// The next one behind `turn` that has something to do; behind the last comes the first.
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

    pub(super) fn any_paced(&self) -> bool {
        self.tally.paced > 0
    }

    fn place(&self, id: u32) -> Result<usize, usize> {
        self.list.binary_search_by_key(&id, |(id, _)| *id)
    }
}
