//! Marks: what tells the keys of a node apart, kept beside them, so that a search reads one key.
//!
//! A key lies by itself somewhere in memory, and in a large map to fetch it costs more than all the
//! rest of a comparison. So a node keeps, for each key but its first, the place of the first letter
//! in which it differs from the key before it, and that letter. A search goes through the marks
//! alone, as if the key it seeks had all the letters between them, and comes to one key; where that
//! one and the key sought part, and the marks, then tell the right place.
//!
//! - P. Ferragina, R. Grossi, *The String B-Tree*, 1999: the blind search.
//! - P. Bumbulis, I. Bowman, *A Compact B-Tree*, 2002: the same as a scan of an array.

use core::cmp::Ordering;

use super::Item;

/// Keys that a node can have, at most.
pub(super) const MOST: usize = 32;

/// The marks of a node's keys. Those of the first key, and behind the last one, mean nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Marks {
    /// The place of the first letter in which a key differs from the one before it.
    place: [u16; MOST],
    /// That letter of this key.
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
            // What does not fit is about to be split.
            for (at, key) in (1..MOST).zip(keys) {
                before.inspect(|before| marks.set::<T>(at, before, key));
                before = Some(key);
            }
        }
        marks
    }

    /// A key is now at `at` of `len`, between these two.
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

    /// The key at `at` is gone, `len` are left. The next one differs from the one before it where
    /// the first of two marks says.
    pub(super) fn remove(&mut self, at: usize, len: usize) {
        if at < len && (at == 0 || self.place[at + 1] <= self.place[at]) {
            (self.place[at], self.letter[at]) = (self.place[at + 1], self.letter[at + 1]);
        }
        if at + 1 < len {
            self.place.copy_within(at + 2..=len, at + 1);
            self.letter.copy_within(at + 2..=len, at + 1);
        }
    }

    /// Reads a bit of each line of memory that these marks take.
    pub(super) fn touch(&self) {
        core::hint::black_box((self.place[0], self.place[MOST - 1], self.letter[MOST - 1]));
    }

    fn set<T: Item>(&mut self, at: usize, before: &T::Key, key: &T::Key) {
        let place = T::parting(before, key);
        (self.place[at], self.letter[at]) = (place as u16, T::letter(key, place));
    }

    /// Where among `len` keys this one is, or would be.
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

    /// The one key, of `len` of which there is at least one, that tells where this one is.
    pub(super) fn guess<T: Item>(&self, key: &T::Key, len: usize) -> usize {
        let (places, letters) = (&self.place[..len], &self.letter[..len]);
        let mut guess = 0;
        // What differs only behind this place is on the far side of a key that lies above.
        let mut limit = u16::MAX;
        for (n, (&place, &letter)) in places.iter().zip(letters).enumerate().skip(1) {
            // Without a jump: which way it goes cannot be foreseen.
            let (open, above) = (place <= limit, T::letter(key, usize::from(place)) >= letter);
            guess = if open & above { n } else { guess };
            limit = if open { if above { u16::MAX } else { place } } else { limit };
        }
        guess
    }

    /// Where the key is, or would be, told by the one that was guessed.
    pub(super) fn settle<T: Item>(
        &self,
        key: &T::Key,
        len: usize,
        guess: usize,
        near: &T::Key,
    ) -> Result<usize, usize> {
        let places = &self.place[..len];
        let parting = T::parting(key, near);
        // All keys around the guess that part from one another only later lie on the same side.
        let later = |place: &&u16| usize::from(**place) > parting;
        match T::letter(key, parting).cmp(&T::letter(near, parting)) {
            Ordering::Equal => Ok(guess),
            Ordering::Less => Err(guess - places[1..=guess].iter().rev().take_while(later).count()),
            Ordering::Greater => {
                Err(guess + 1 + places[guess + 1..].iter().take_while(later).count())
            }
        }
    }

    /// Whether these are the marks of the same keys.
    pub(super) fn agree(&self, other: &Self, len: usize) -> bool {
        let places = self.place.iter().zip(&other.place);
        let letters = self.letter.iter().zip(&other.letter);
        places.zip(letters).take(len).skip(1).all(|((a, b), (c, d))| a == b && c == d)
    }
}
