//! A commit of which subscribers see different parts.

use std::collections::HashMap;
use std::sync::Arc;

use onetree_protocol::{Change, Revision};

use super::Fanout;
use super::encode::{Draft, Made};
use super::few::Few;
use super::lookup::Lookup;
use super::marks::Marks;
use super::matched::Matched;
use super::subscriber::Subscriber;

/// Encoding a change takes as long as handing over this many frames.
const ENCODED: usize = 8;

/// A commit of which different subscribers see different parts, while it is handed over.
///
/// First this finds out what each subscriber that is in several of the groups sees altogether. Then
/// it encodes the commit for one way of seeing it after the other, and hands each to all who see
/// the commit that way. Only the frames of one way are kept at a time, besides those that wait in
/// outboxes. Other tasks may have their turn between two steps. They may do then what they may do
/// while changes are looked up, see [`Publication`](super::Publication).
pub(super) struct Ways {
    rev: Revision,
    changes: Vec<Change>,
    /// The distinct ways of seeing the commit.
    ways: Vec<Arc<Marks>>,
    /// The index of each way in `ways`.
    places: HashMap<Arc<Marks>, u32>,
    /// For several ways, the way that sees what any of them sees.
    unions: HashMap<Vec<u32>, u32>,
    /// The ways in which a subscriber sees the commit through one of its groups. The pairs of one
    /// subscriber follow one another.
    found: Vec<(Arc<Subscriber>, u32)>,
    /// The subscribers that are known completely, each with the way in which it sees the commit.
    told: Vec<(u32, Arc<Subscriber>)>,
    at_once: bool,
}

impl Ways {
    /// Begins for the subscribers that are in the groups now.
    pub(super) fn new(rev: Revision, changes: Vec<Change>, matched: &Matched) -> Ways {
        let mut ways = Ways {
            rev,
            changes,
            ways: Vec::new(),
            places: HashMap::new(),
            unions: HashMap::new(),
            found: Vec::new(),
            told: Vec::new(),
            at_once: false,
        };
        for (group, marks) in &matched.groups {
            let way = ways.places.get(marks).copied().unwrap_or_else(|| ways.add(marks.clone()));
            group.each_member(|subscriber| ways.found.push((subscriber.clone(), way)));
        }
        let key =
            |(subscriber, way): &(Arc<Subscriber>, u32)| (Arc::as_ptr(subscriber).addr(), *way);
        ways.found.sort_unstable_by_key(key);
        ways.found.dedup_by_key(|found| key(found));
        ways
    }

    /// Returns how many pairs of subscriber and way are still to be looked at.
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// Takes one more step. Returns about how long that took, measured in frames that are handed
    /// over; `None` when everything is handed over.
    pub(super) fn go_on(
        &mut self,
        fanout: &Fanout,
        few: &mut Few,
        lookup: &mut Lookup,
    ) -> Option<usize> {
        if let Some((subscriber, way)) = self.found.pop() {
            let steps = self.find(subscriber, way);
            if self.found.is_empty() {
                self.told.sort_unstable_by_key(|(way, _)| *way);
                self.at_once = few.are(|| self.told.len());
            }
            return Some(steps);
        }
        let (way, _) = *self.told.last()?;
        let marks = &self.ways[way as usize];
        let mut draft = Draft::default();
        draft.seen(self.rev, &self.changes, marks, fanout.frame_bytes);
        let (mut made, mut handed) = (Made::default(), 0);
        while let Some((_, subscriber)) = self.told.pop_if(|(next, _)| *next == way) {
            let encode = || draft.encode(subscriber.codec, fanout.envelope);
            subscriber.sink.deltas(made.frames(subscriber.codec, encode), self.at_once);
            handed += 1;
        }
        lookup.handed(handed);
        Some(handed + ENCODED * marks.count())
    }

    /// Finds out how one subscriber, of which `way` is one way, sees the commit through all of its
    /// groups.
    fn find(&mut self, subscriber: Arc<Subscriber>, way: u32) -> usize {
        let (mut way, mut steps) = (way, 1);
        let others = self.found.iter().rev().take_while(|(one, _)| Arc::ptr_eq(one, &subscriber));
        let others = others.count();
        if others > 0 {
            let rest = self.found.drain(self.found.len() - others..).map(|(_, way)| way);
            let all: Vec<u32> = [way].into_iter().chain(rest).collect();
            steps += all.len();
            way = self.unions.get(&all).copied().unwrap_or_else(|| {
                let marks = || all.iter().map(|way| &*self.ways[*way as usize]);
                steps += marks().map(Marks::ranges).sum::<usize>();
                let union = Marks::union(marks());
                let way = self.places.get(&union).copied().unwrap_or_else(|| self.add(union));
                self.unions.insert(all, way);
                way
            });
        }
        self.told.push((way, subscriber));
        steps
    }

    /// Adds a way, and returns its index.
    fn add(&mut self, marks: Marks) -> u32 {
        let (marks, way) = (Arc::new(marks), self.ways.len() as u32);
        self.ways.push(marks.clone());
        self.places.insert(marks, way);
        way
    }
}
