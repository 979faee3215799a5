//! The members of a group.

use std::collections::HashMap;
use std::sync::Arc;

use super::subscriber::Subscriber;

/// Up to this many members are searched one by one, which takes about 30 ns; most groups are that
/// small. In larger groups the place of each member is known, so that ten thousand members that
/// leave at once do not each search through all.
const SEARCHED: usize = 32;

/// The members as a list, which takes 8 bytes for each.
#[derive(Debug, Default)]
pub(super) struct Members {
    list: Vec<Arc<Subscriber>>,
    /// What only few groups need.
    rare: Option<Box<Rare>>,
}

#[derive(Debug, Default)]
struct Rare {
    /// The index of each member in the list; empty while the list is short.
    places: HashMap<u64, u32>,
    /// For members that have several subscriptions with this interest: how many beyond the first.
    more: HashMap<u64, u32>,
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.places.is_empty() && self.more.is_empty()
    }
}

impl Members {
    /// Returns every member once.
    pub(super) fn list(&self) -> &[Arc<Subscriber>] {
        &self.list
    }

    /// Adds a subscription. A subscriber that is a member already is counted once more.
    pub(super) fn insert(&mut self, subscriber: &Arc<Subscriber>) {
        let id = subscriber.id;
        if self.place(id).is_some() {
            *self.rare().more.entry(id).or_default() += 1;
            return;
        }
        let place = self.list.len() as u32;
        self.list.push(subscriber.clone());
        if !self.is_searched() {
            self.rare().places.insert(id, place);
        } else if self.list.len() > SEARCHED {
            let places = self.list.iter().map(|one| one.id).zip(0..).collect();
            self.rare().places = places;
        }
    }

    /// Removes one subscription of a subscriber. It stays a member while it has others.
    pub(super) fn remove(&mut self, subscriber: &Subscriber) {
        let id = subscriber.id;
        let Some(place) = self.place(id) else { return };
        if let Some(rare) = &mut self.rare
            && let Some(more) = rare.more.get_mut(&id)
        {
            *more -= 1;
            if *more == 0 {
                rare.more.remove(&id);
                self.rare.take_if(|rare| rare.is_empty());
            }
            return;
        }
        self.list.swap_remove(place);
        if !self.is_searched() {
            let moved = self.list.get(place).map(|moved| moved.id);
            let places = &mut self.rare().places;
            places.remove(&id);
            places.extend(moved.map(|moved| (moved, place as u32)));
        }
        if self.list.len() < self.list.capacity() / 4 {
            self.list.shrink_to(2 * self.list.len());
            // Only at half the size that is searched, so that the map is not made and dropped again
            // and again.
            if self.list.len() <= SEARCHED / 2
                && let Some(rare) = &mut self.rare
            {
                rare.places = HashMap::new();
            }
            self.rare.take_if(|rare| rare.is_empty());
        }
    }

    fn is_searched(&self) -> bool {
        self.rare.as_ref().is_none_or(|rare| rare.places.is_empty())
    }

    fn place(&self, id: u64) -> Option<usize> {
        match &self.rare {
            Some(rare) if !rare.places.is_empty() => rare.places.get(&id).map(|at| *at as usize),
            _ => self.list.iter().position(|one| one.id == id),
        }
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}
