//! Limits the time that is spent on finding out who sees a change.

use std::collections::{HashMap, HashSet};

/// The steps that a change may take in the long run, once for groups without patterns or with few
/// segments of patterns, and again for groups with many: about 20 us each. Looking at a group or at
/// a segment of a pattern is one step.
const STEPS_A_CHANGE: usize = 2_000;

/// The steps of each kind that may be taken at once, about 10 ms: a change can use what earlier
/// changes did not need.
const STEPS_AT_ONCE: usize = 1_000_000;

/// The steps of each kind that are earned whenever a commit is handed to a subscriber, because
/// finding many subscribers is not a waste. They take about as long as the handing over does. So a
/// connection may be found through this many views or matching patterns at no loss.
const STEPS_A_COMMIT_HANDED: usize = 16;

/// The number of steps after which the results so far are handed over: about a millisecond.
const STEPS_A_RUN: usize = STEPS_AT_ONCE / 8;

/// The groups of a base, divided by how much it takes to find out whether they see a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    /// Groups without patterns.
    Plain,
    /// Groups with few segments of patterns.
    Light,
    /// Groups with many segments of patterns.
    Heavy,
}

/// The steps that may still be taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    /// For groups without patterns or with few segments of patterns.
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

/// Finds out who sees a change, within a limit.
///
/// A connection may have 1,024 views and 16,384 segments of patterns, and a commit may have 10,000
/// changes. There is no limit to the number of connections or commits, so limits for each of them
/// do not bound the product, and no other write is taken meanwhile. So when too few steps are left,
/// it stays open whether the groups that were not looked at see the change. Views with many
/// patterns are left open first, views without patterns last.
#[derive(Debug)]
pub(super) struct Lookup {
    left: Steps,
    /// The steps taken since the last handing over.
    taken: usize,
    /// The bases whose groups stay open, from this tier on.
    open: HashMap<String, Tier>,
    /// The paths under which all bases stay open.
    open_below: HashSet<String>,
}

impl Lookup {
    /// Begins with the steps that an earlier lookup has left.
    pub(super) fn with(left: Steps) -> Lookup {
        Lookup { left, taken: 0, open: HashMap::new(), open_below: HashSet::new() }
    }

    /// Returns the steps that are left for a later lookup.
    pub(super) fn left(&self) -> Steps {
        self.left
    }

    /// Earns the steps of one more change.
    pub(super) fn change(&mut self) {
        self.earn(STEPS_A_CHANGE);
    }

    /// Earns the steps for commits that were handed over. Each commit counts once for each
    /// connection that has received it.
    pub(super) fn handed(&mut self, commits: usize) {
        self.taken = 0;
        self.earn(STEPS_A_COMMIT_HANDED * commits);
    }

    fn earn(&mut self, steps: usize) {
        for left in [&mut self.left.light, &mut self.left.heavy] {
            *left = STEPS_AT_ONCE.min(*left + steps);
        }
    }

    /// Whether the lookup has taken so many steps since the last handing over that the results
    /// should be handed over now. Handing over earns steps. But it is not done more often than
    /// this, because subscribers that are found quickly must not receive their commits one by one
    /// only because others take many steps.
    pub(super) fn is_long(&self) -> bool {
        self.taken >= STEPS_A_RUN
    }

    /// Takes this many steps. Returns false when too few are left; then none is taken, because a
    /// lookup that needs more steps than one change earns could otherwise never save up enough.
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

    /// Returns the tier from which on the groups of a base stay open, if any do.
    pub(super) fn open_from(&self, base: &str) -> Option<Tier> {
        if self.open.is_empty() { None } else { self.open.get(base).copied() }
    }

    /// Notes that the groups of a base stay open, from a tier on.
    pub(super) fn leave_open(&mut self, base: &str, from: Tier) {
        self.open.insert(base.to_owned(), from);
    }

    /// Whether all bases under a path stay open.
    pub(super) fn is_open_below(&self, path: &str) -> bool {
        !self.open_below.is_empty() && self.open_below.contains(path)
    }

    pub(super) fn leave_open_below(&mut self, path: &str) {
        self.open_below.insert(path.to_owned());
    }
}
