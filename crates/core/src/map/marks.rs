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

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::borrow::Borrow;
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
    pub(super) const NONE: Self = Self { place: [0; MOST], letter: [0; MOST] };

    pub(super) fn of<'a, T: Item>(keys: impl IntoIterator<Item = &'a T::Key>) -> Self
    where
        T::Key: 'a,
    {
        let mut marks = Self::NONE;
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

    /// The key at `at` is gone, `len` are left. The next one differs from the one before it where the
    /// first of two marks says.
    pub(super) fn remove(&mut self, at: usize, len: usize) {
        if at < len && (at == 0 || self.place[at + 1] <= self.place[at]) {
            (self.place[at], self.letter[at]) = (self.place[at + 1], self.letter[at + 1]);
        }
        if at + 1 < len {
            self.place.copy_within(at + 2..=len, at + 1);
            self.letter.copy_within(at + 2..=len, at + 1);
        }
    }

    fn set<T: Item>(&mut self, at: usize, before: &T::Key, key: &T::Key) {
        let (before, key) = (T::letters(before), T::letters(key));
        let place = parting(before, key);
        (self.place[at], self.letter[at]) = (place as u16, rank::<T>(key, place));
    }

    /// Where among `len` keys this one is, or would be.
    pub(super) fn find<'a, T: Item>(
        &self,
        key: &[u8],
        len: usize,
        at: impl Fn(usize) -> &'a [u8],
    ) -> Result<usize, usize> {
        if len == 0 {
            return Err(0);
        }
        let (places, letters) = (&self.place[..len], &self.letter[..len]);
        let mut guess = 0;
        // What differs only behind this place is on the far side of a key that lies above.
        let mut limit = u16::MAX;
        for (n, (&place, &letter)) in places.iter().zip(letters).enumerate().skip(1) {
            // Without a jump: which way it goes cannot be foreseen.
            let (open, above) = (place <= limit, rank::<T>(key, usize::from(place)) >= letter);
            guess = if open & above { n } else { guess };
            limit = if open { if above { u16::MAX } else { place } } else { limit };
        }
        let near = at(guess);
        let parting = parting(key, near);
        // All keys around the guess that part from one another only later lie on the same side.
        let later = |place: &&u16| usize::from(**place) > parting;
        match rank::<T>(key, parting).cmp(&rank::<T>(near, parting)) {
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

/// The letters of the separators of an inner node. The keys themselves lie anywhere; one of these is
/// where the others are, in a part of memory that is small enough to be at hand.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Letters(Box<[u8]>);

impl Letters {
    /// Where each word begins, and the last one ends, as two bytes each; then the words.
    pub(super) fn of<T: Item>(keys: &[T::Handle]) -> Self {
        if !T::SPELLED {
            return Self::default();
        }
        let words = || keys.iter().map(|key| T::letters(key.borrow()));
        let mut end = (keys.len() + 1) * 2;
        let mut all = Vec::with_capacity(end + words().map(<[u8]>::len).sum::<usize>());
        all.extend((end as u16).to_le_bytes());
        for word in words() {
            end += word.len();
            all.extend((end as u16).to_le_bytes());
        }
        words().for_each(|word| all.extend_from_slice(word));
        Self(all.into())
    }

    pub(super) fn get(&self, at: usize) -> &[u8] {
        let offset = |at: usize| usize::from(u16::from_le_bytes([self.0[at], self.0[at + 1]]));
        &self.0[offset(at * 2)..offset(at * 2 + 2)]
    }
}

/// What letters are compared by: 0 behind the last one.
#[inline]
fn rank<T: Item>(word: &[u8], place: usize) -> u8 {
    word.get(place).map_or(0, |letter| T::rank(*letter))
}

/// The first place at which two words differ; where both end, if they are equal.
#[inline]
fn parting(one: &[u8], other: &[u8]) -> usize {
    let shorter = one.len().min(other.len());
    let mut at = 0;
    // Eight bytes a step: neighbours share a long beginning.
    while at + 8 <= shorter && one[at..at + 8] == other[at..at + 8] {
        at += 8;
    }
    while at < shorter && one[at] == other[at] {
        at += 1;
    }
    at
}
