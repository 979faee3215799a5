//! The logs of which entries went that a reader never had.

use std::collections::BTreeMap;

use onetree_protocol::frame::RefreshKind;
use onetree_protocol::{Act, Change, Path};

use crate::event::Event;
use crate::mirror::Snapshot;

/// So many trims are remembered of logs of which there is nothing.
pub(crate) const TRIMS: usize = 1024;

/// Gaps, for one who knows what a mirror was once and is told of nothing since.
#[derive(Debug)]
pub(crate) struct Gaps {
    /// What he knows.
    from: Snapshot,
    /// Whether the last refresh began from nothing.
    full: bool,
    /// Trims of entries that he never saw: he is told that there was something.
    trims: BTreeMap<Path, Change>,
    /// When there are so many of them, those that are for nobody are forgotten.
    most: usize,
}

impl Gaps {
    pub(crate) fn new(from: Snapshot) -> Gaps {
        Gaps { from, full: false, trims: BTreeMap::new(), most: TRIMS }
    }

    /// The next event that happened, which took the mirror from `before` to `now`.
    pub(crate) fn fold(&mut self, event: &Event, before: &Snapshot, now: &Snapshot) {
        match event {
            Event::Refreshing { kind, .. } => self.full = *kind != RefreshKind::Delta,
            Event::Fresh { changes, .. } => {
                if self.full {
                    // What it brings is there, whatever was trimmed before.
                    self.trims.clear();
                }
                self.note(changes, before, now);
            }
            Event::Delta { changes, .. } => self.note(changes, before, now),
            _ => {}
        }
    }

    /// They as trims with `gap`, one for each log.
    pub(crate) fn trims(&self) -> impl Iterator<Item = Change> {
        self.trims.values().cloned()
    }

    fn note(&mut self, changes: &[Change], before: &Snapshot, now: &Snapshot) {
        if !changes.iter().any(|change| matches!(change.act, Act::Trim { .. })) {
            return;
        }
        for trim in before.gaps(&self.from, changes) {
            let mut trim = trim.clone();
            if let Act::Trim { gap, .. } = &mut trim.act {
                *gap = true;
            }
            self.trims.insert(trim.path.clone(), trim);
        }
        if self.trims.len() >= self.most {
            self.forget(now);
        }
    }

    /// Of a log that came and went the application knows nothing, and is told nothing: otherwise
    /// such logs would add up for as long as nothing is read.
    fn forget(&mut self, now: &Snapshot) {
        let from = &self.from;
        let is_there = |log: &Path| [from, now].iter().any(|it| it.under(log).next().is_some());
        self.trims.retain(|log, _| is_there(log));
        self.most = TRIMS.max(2 * self.trims.len());
    }
}
