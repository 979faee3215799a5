//! What may be spent on finding out who sees something.

use std::collections::HashSet;

/// Steps that a change may take in the long run, some 20 us: a pattern's segment that is compared is one. Who has
/// none sees or does not see at once, and takes none.
const STEPS_A_CHANGE: usize = 2_000;

/// Steps that may be taken at once, some 10 ms, by changes that come after others which did not need theirs.
pub(super) const STEPS_AT_ONCE: usize = 1_000_000;

/// Finds out who sees something, for as long as it may.
///
/// A connection may have 16,384 segments of patterns, a commit 10,000 changes, and there is no end of
/// either: what each may have does not bound the product, and nobody else's write is taken meanwhile. So where no
/// steps are left, it stays open which of the views with patterns at that base see the change. They
/// pay for it, and nobody else: views without patterns are as they were.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    left: usize,
    /// Bases at which it stayed open.
    open: HashSet<String>,
}

impl Lookup {
    /// With so many steps left of an earlier one.
    pub(super) fn with(left: usize) -> Lookup {
        Lookup { left, open: HashSet::new() }
    }

    /// What is left for a later one.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// One more change is looked up.
    pub(super) fn change(&mut self) {
        self.left = STEPS_AT_ONCE.min(self.left + STEPS_A_CHANGE);
    }

    /// Takes so many steps. False: there are not as many left, and none will be.
    pub(super) fn take(&mut self, steps: usize) -> bool {
        let left = self.left.checked_sub(steps);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    /// Whether it stayed open at a base: so it does from then on.
    pub(super) fn is_open(&self, base: &str) -> bool {
        !self.open.is_empty() && self.open.contains(base)
    }

    /// It stays open at a base.
    pub(super) fn leave_open(&mut self, base: &str) {
        self.open.insert(base.to_owned());
    }
}
