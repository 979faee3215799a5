//! Peaks: one number for each item or child of a node, kept beside them, so that a search for what
//! is high reads a few lines of memory of a node.
//!
//! Without them it reads a line of each item in a leaf to find the one that changed: of 33 lines
//! that finding one change in a large map costs, 24.

use super::marks::MOST;

/// The peaks of a node's items or children. Those behind the last one mean nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Peaks([u64; MOST]);

impl Peaks {
    pub(super) fn of(peaks: impl IntoIterator<Item = u64>) -> Self {
        let mut all = [0; MOST];
        // What does not fit is about to be split.
        all.iter_mut().zip(peaks).for_each(|(place, peak)| *place = peak);
        Self(all)
    }

    pub(super) fn first(&self, len: usize) -> &[u64] {
        &self.0[..len]
    }

    pub(super) fn set(&mut self, at: usize, peak: u64) {
        self.0[at] = peak;
    }

    /// This is now at `at` of `len`.
    pub(super) fn insert(&mut self, at: usize, len: usize, peak: u64) {
        self.0.copy_within(at..len - 1, at + 1);
        self.0[at] = peak;
    }

    /// The one at `at` is gone, `len` are left.
    pub(super) fn remove(&mut self, at: usize, len: usize) {
        self.0.copy_within(at + 1..=len, at);
    }

    /// Reads the line of memory that this one lies in.
    pub(super) fn touch(&self, at: usize) {
        core::hint::black_box(self.0[at]);
    }

    /// Reads a bit of each line of memory that so many take.
    pub(super) fn touch_all(&self, len: usize) {
        (0..len).step_by(8).for_each(|at| self.touch(at));
    }
}
