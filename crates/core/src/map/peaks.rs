//! Peaks: one number for each item or child of a node. They are stored side by side, so that a
//! search for high revisions reads only a few cache lines of a node.
//!
//! Without them a search reads a cache line of each item in a leaf to find the one that changed.
//! Those are 24 of the 33 lines that it takes to find one change in a large map.

use super::marks::MOST;

/// The peaks of a node's items or children. Those behind the last item or child mean nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Peaks([u64; MOST]);

impl Peaks {
    pub(super) fn of(peaks: impl IntoIterator<Item = u64>) -> Self {
        let mut all = [0; MOST];
        // Peaks that do not fit are in a node that is about to be split.
        all.iter_mut().zip(peaks).for_each(|(place, peak)| *place = peak);
        Self(all)
    }

    pub(super) fn first(&self, len: usize) -> &[u64] {
        &self.0[..len]
    }

    pub(super) fn set(&mut self, at: usize, peak: u64) {
        self.0[at] = peak;
    }

    /// Notes that an item with this peak was inserted at `at`, and that there are `len` items now.
    pub(super) fn insert(&mut self, at: usize, len: usize, peak: u64) {
        self.0.copy_within(at..len - 1, at + 1);
        self.0[at] = peak;
    }

    /// Notes that the item at `at` was removed and `len` items are left.
    pub(super) fn remove(&mut self, at: usize, len: usize) {
        self.0.copy_within(at + 1..=len, at);
    }

    /// Reads the cache line that this peak lies in.
    pub(super) fn touch(&self, at: usize) {
        core::hint::black_box(self.0[at]);
    }

    /// Reads something of each cache line that `len` peaks take.
    pub(super) fn touch_all(&self, len: usize) {
        (0..len).step_by(8).for_each(|at| self.touch(at));
    }
}
