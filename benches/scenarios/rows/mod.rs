//! The scenarios: the rows of the table in `docs/performance.md`.

mod fanout;
mod idle;
mod million;
mod paced;
mod refresh;
mod slow;
mod storm;
mod tree;
mod used;

use super::scenario::Scenario;

/// Returns all scenarios.
pub(crate) fn all() -> Vec<Scenario> {
    let mut all = fanout::scenarios();
    all.extend(paced::scenarios());
    all.extend(refresh::scenarios());
    all.extend(idle::scenarios());
    all.extend(slow::scenarios());
    all.extend(storm::scenarios());
    all.extend(million::scenarios());
    all
}
