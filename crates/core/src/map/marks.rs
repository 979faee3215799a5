//! Marks: where neighbouring keys of a node differ. They let a search read one key of the node
//! only.
//!
//! A key lies somewhere else in memory, and in a large map fetching it costs more than the rest of
//! a comparison. So a node keeps, for each key but its first, the place of the first letter in
//! which the key differs from the key before it, and that letter.
//!
//! A search first goes through the marks alone, and assumes that the key it seeks agrees with the
//! node's keys in all letters between the marks. This leads to one key of the node. The place where
//! that key and the sought key differ, together with the marks, then gives the right position.
//!
//! - P. Ferragina, R. Grossi, *The String B-Tree*, 1999: the blind search.
//! - P. Bumbulis, I. Bowman, *A Compact B-Tree*, 2002: the same as a scan of an array.

use core::cmp::Ordering;

use super::Item;

/// The most keys that a node can have.
pub(super) const MOST: usize = 32;

/// The marks of a node's keys. The mark of the first key, and those behind the last key, mean
/// nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Marks {
    /// The place of the first letter in which a key differs from the key before it.
    place: [u16; MOST],
    /// The letter of the key at that place.
    letter: [u8; MOST],
}

impl Marks {
    pub(super) fn of<'a, T: Item>(keys: impl IntoIterator<Item = &'a T::Key>) -> Self
    where
        T::Key: 'a,
    {
        let mut marks = Self { place: [0; MOST], letter: [0; MOST] };
        if T::SPELLED {
            let mut keys = keys.into_iter();
            let mut before = keys.next();
            // Keys that do not fit are in a node that is about to be split.
            for (at, key) in (1..MOST).zip(keys) {
                before.inspect(|before| marks.set::<T>(at, before, key));
                before = Some(key);
            }
        }
        marks
    }

    /// Notes that a key was inserted at `at`, that there are `len` keys now, and which keys are
    /// before and after it.
    pub(super) fn insert<T: Item>(
        &mut self,
        at: usize,
        len: usize,
        (before, key, after): (Option<&T::Key>, &T::Key, Option<&T::Key>),
    ) {
        if T::SPELLED {
            self.place.copy_within(at..len - 1, at + 1);
            self.letter.copy_within(at..len - 1, at + 1);
            before.inspect(|before| self.set::<T>(at, before, key));
            after.inspect(|after| self.set::<T>(at + 1, key, after));
        }
    }

    /// Notes that the key at `at` was removed and `len` keys are left. The next key now differs
    /// from the key before it at the place that comes first in the two marks.
    pub(super) fn remove(&mut self, at: usize, len: usize) {
        if at < len && (at == 0 || self.place[at + 1] <= self.place[at]) {
            (self.place[at], self.letter[at]) = (self.place[at + 1], self.letter[at + 1]);
        }
        if at + 1 < len {
            self.place.copy_within(at + 2..=len, at + 1);
            self.letter.copy_within(at + 2..=len, at + 1);
        }
    }

    /// Reads something of each cache line that these marks take.
    pub(super) fn touch(&self) {
        core::hint::black_box((self.place[0], self.place[MOST - 1], self.letter[MOST - 1]));
    }

    fn set<T: Item>(&mut self, at: usize, before: &T::Key, key: &T::Key) {
        let place = T::parting(before, key);
        (self.place[at], self.letter[at]) = (place as u16, T::letter(key, place));
    }

    /// Returns where among `len` keys this key is (`Ok`), or where it would be inserted (`Err`).
    pub(super) fn find<'a, T: Item>(
        &self,
        key: &T::Key,
        len: usize,
        at: impl Fn(usize) -> &'a T::Key,
    ) -> Result<usize, usize>
    where
        T::Key: 'a,
    {
        if len == 0 {
            return Err(0);
        }
        let guess = self.guess::<T>(key, len);
        self.settle::<T>(key, len, guess, at(guess))
    }

    /// Returns the index of the one key, of `len` (at least one), that has to be compared with
    /// `key`.
    pub(super) fn guess<T: Item>(&self, key: &T::Key, len: usize) -> usize {
        let (places, letters) = (&self.place[..len], &self.letter[..len]);
        let mut guess = 0;
        // Once `key` is below a key that differs at `limit`, skip the keys that differ only behind
        // that place: they lie on the same side as that key.
        let mut limit = u16::MAX;
        for (n, (&place, &letter)) in places.iter().zip(letters).enumerate().skip(1) {
            // Without a branch, because its direction could not be predicted.
            let (open, above) = (place <= limit, T::letter(key, usize::from(place)) >= letter);
            guess = if open & above { n } else { guess };
            limit = if open { if above { u16::MAX } else { place } } else { limit };
        }
        guess
    }

    /// Returns where the key is or would be, from a comparison with the key that was guessed.
    pub(super) fn settle<T: Item>(
        &self,
        key: &T::Key,
        len: usize,
        guess: usize,
        near: &T::Key,
    ) -> Result<usize, usize> {
        let places = &self.place[..len];
        let parting = T::parting(key, near);
        // All keys around the guess that differ from one another only behind `parting` lie on the
        // same side.
        let later = |place: &&u16| usize::from(**place) > parting;
        match T::letter(key, parting).cmp(&T::letter(near, parting)) {
            Ordering::Equal => Ok(guess),
            Ordering::Less => Err(guess - places[1..=guess].iter().rev().take_while(later).count()),
            Ordering::Greater => {
                Err(guess + 1 + places[guess + 1..].iter().take_while(later).count())
            }
        }
    }

    /// Returns whether these are the marks of the same keys.
    pub(super) fn agree(&self, other: &Self, len: usize) -> bool {
        let places = self.place.iter().zip(&other.place);
        let letters = self.letter.iter().zip(&other.letter);
        places.zip(letters).take(len).skip(1).all(|((a, b), (c, d))| a == b && c == d)
    }
}
