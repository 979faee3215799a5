//! What may be spent on finding out who sees something.

use std::collections::{HashMap, HashSet};

/// Steps that a change may take in the long run, of those without patterns or with few, and again
/// of those with many: some 20 us each. A group or a pattern's segment that is looked at is one.
const STEPS_A_CHANGE: usize = 2_000;

/// Steps that may be taken at once, of each: some 10 ms, by changes that come after others which
/// did not need theirs.
const STEPS_AT_ONCE: usize = 1_000_000;

/// Steps of each that are earned by a commit that somebody is handed: to find many who see it is no
/// waste. As long as the handing over takes: so many views or matching patterns a connection may
/// have to be found by.
const STEPS_A_COMMIT_HANDED: usize = 16;

/// Steps after which what they have found is handed over: about a millisecond.
const STEPS_A_RUN: usize = STEPS_AT_ONCE / 8;

/// The groups of a base, by what it takes to find out whether they see something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    /// Those without patterns.
    Plain,
    /// Those with few segments of patterns.
    Light,
    /// Those with many.
    Heavy,
}

/// What may still be taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    /// Of those without patterns or with few.
    pub(super) light: usize,
    heavy: usize,
}

impl Steps {
    pub(super) const FULL: Steps = Steps { light: STEPS_AT_ONCE, heavy: STEPS_AT_ONCE };
    pub(super) const ANY: Steps = Steps { light: usize::MAX, heavy: usize::MAX };

    pub(super) const fn of_each(steps: usize) -> Steps {
        Steps { light: steps, heavy: steps }
    }
}

/// Finds out who sees something, for as long as it may.
///
/// A connection may have 1,024 views and 16,384 segments of patterns, a commit 10,000 changes, and
/// there is no end of either: what each may have does not bound the product, and nobody else's
/// write is taken meanwhile. So where no steps are left, it stays open who sees something of what
/// was not looked at yet. Views with many patterns go without an answer first, those without
/// patterns last.
#[derive(Debug)]
pub(super) struct Lookup {
    left: Steps,
    /// Taken since something was handed over.
    taken: usize,
    /// Bases at which it stayed open, from a tier on.
    open: HashMap<String, Tier>,
    /// Paths under which it stayed open of all bases.
    open_below: HashSet<String>,
}

impl Lookup {
    /// With so many steps left of an earlier one.
    pub(super) fn with(left: Steps) -> Lookup {
        Lookup { left, taken: 0, open: HashMap::new(), open_below: HashSet::new() }
    }

    /// What is left for a later one.
    pub(super) fn left(&self) -> Steps {
        self.left
    }

    /// One more change is looked up.
    pub(super) fn change(&mut self) {
        self.earn(STEPS_A_CHANGE);
    }

    /// So many commits were handed over, each counted for each connection that has got it.
    pub(super) fn handed(&mut self, commits: usize) {
        self.taken = 0;
        self.earn(STEPS_A_COMMIT_HANDED * commits);
    }

    fn earn(&mut self, steps: usize) {
        for left in [&mut self.left.light, &mut self.left.heavy] {
            *left = STEPS_AT_ONCE.min(*left + steps);
        }
    }

    /// Whether so much was looked up since the last handing over that what was found should go out
    /// now: handing over earns steps, and subscribers that are found quickly must not get their
    /// commits one by one because others took many steps.
    pub(super) fn is_long(&self) -> bool {
        self.taken >= STEPS_A_RUN
    }

    /// Takes so many steps. False: there are not as many left. They stay: who needs more than a
    /// change gives would otherwise never have them again.
    pub(super) fn take(&mut self, tier: Tier, steps: usize) -> bool {
        let left = match tier {
            Tier::Plain | Tier::Light => &mut self.left.light,
            Tier::Heavy => &mut self.left.heavy,
        };
        let Some(rest) = left.checked_sub(steps) else { return false };
        *left = rest;
        self.taken += steps;
        true
    }

    /// The tier from which on it stays open at a base, if it does.
    pub(super) fn open_from(&self, base: &str) -> Option<Tier> {
        if self.open.is_empty() { None } else { self.open.get(base).copied() }
    }

    /// From a tier on it stays open at a base.
    pub(super) fn leave_open(&mut self, base: &str, from: Tier) {
        self.open.insert(base.to_owned(), from);
    }

    /// Whether it stays open of all bases under a path.
    pub(super) fn is_open_below(&self, path: &str) -> bool {
        !self.open_below.is_empty() && self.open_below.contains(path)
    }

    pub(super) fn leave_open_below(&mut self, path: &str) {
        self.open_below.insert(path.to_owned());
    }
}
