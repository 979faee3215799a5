//! How many are served at once.

/// So many frames, at most, are written by who hands them over, one after the other: 150 to 200 us. More are
/// written by those who get them, on all processors, and each waits until it is awake.
const MOST: usize = 128;

/// What may still be written at once, of what is handed over together.
#[derive(Debug)]
pub(super) struct Few {
    left: usize,
}

impl Few {
    pub(super) fn new() -> Few {
        Few { left: MOST }
    }

    /// Whether so many are few; then they count.
    pub(super) fn are(&mut self, many: usize) -> bool {
        let left = self.left.checked_sub(many);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}
