//! How many are served at once.

/// So many frames, at most, are written by who hands them over, one after the other: 150 to 200 us.
/// More are written by those who get them, on all processors, and each waits until it is awake.
const MOST: usize = 128;

/// Where more commits or signals than these are handed over together there is a stream, and no time
/// to write for others: what each gets is much smaller only because they all get something else.
const TOGETHER: usize = 16;

/// What may still be written at once, of what is handed over together.
#[derive(Debug)]
pub(super) struct Few {
    left: usize,
}

impl Few {
    /// Of so many commits or signals that are handed over together.
    pub(super) fn of(together: usize) -> Few {
        Few { left: if together <= TOGETHER { MOST } else { 0 } }
    }

    /// Whether so many are few; then they count. In a stream nobody asks how many they are.
    pub(super) fn are(&mut self, many: impl FnOnce() -> usize) -> bool {
        if self.left == 0 {
            return false;
        }
        let left = self.left.checked_sub(many());
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}
