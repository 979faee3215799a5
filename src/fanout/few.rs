//! Decides when frames go to so few connections that they are written at once.

/// The most frames that the handing task writes itself, one after the other: 150 to 200 us. If
/// there are more, the connections write them, on all processors, but each frame waits until its
/// connection's task is awake.
const MOST: usize = 128;

/// When more commits or signals than this are handed over together, there is a stream, and the task
/// has no time to write in place of the connections. Each item of a stream may go to few
/// connections, but only because all get something different.
const TOGETHER: usize = 16;

/// How many more frames of what is handed over together may be written at once.
#[derive(Debug)]
pub(super) struct Few {
    left: usize,
}

impl Few {
    /// Begins for this many commits or signals that are handed over together.
    pub(super) fn of(together: usize) -> Few {
        Few { left: if together <= TOGETHER { MOST } else { 0 } }
    }

    /// Whether this many frames are few enough; if so, they are counted. `many` is not called in a
    /// stream.
    pub(super) fn are(&mut self, many: impl FnOnce() -> usize) -> bool {
        if self.left == 0 {
            return false;
        }
        let left = self.left.checked_sub(many());
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}
