//! The logs that have a gap for a reader: entries were trimmed which the reader never had.

use std::collections::BTreeMap;

use onetree_protocol::frame::RefreshKind;
use onetree_protocol::{Act, Change, Path};

use crate::event::Event;
use crate::mirror::Snapshot;

/// How many trims are kept before those of logs without any entries are forgotten.
pub(crate) const TRIMS: usize = 1024;

/// The gaps for a reader who knows what a mirror once was, and has read nothing since.
#[derive(Debug)]
pub(crate) struct Gaps {
    /// What the reader knows.
    from: Snapshot,
    /// Whether the last refresh began from nothing.
    full: bool,
    /// Trims of entries that the reader never saw. They tell the reader that there was something.
    trims: BTreeMap<Path, Change>,
    /// At this many trims, those of logs without any entries are forgotten.
    most: usize,
}

impl Gaps {
    pub(crate) fn new(from: Snapshot) -> Gaps {
        Gaps { from, full: false, trims: BTreeMap::new(), most: TRIMS }
    }

    /// Folds in the next event, which took the mirror from `before` to `now`.
    pub(crate) fn fold(&mut self, event: &Event, before: &Snapshot, now: &Snapshot) {
        match event {
            Event::Refreshing { kind, .. } => self.full = *kind != RefreshKind::Delta,
            Event::Fresh { changes, .. } => {
                if self.full {
                    // What the refresh brought is there, whatever was trimmed before.
                    self.trims.clear();
                }
                self.note(changes, before, now);
            }
            Event::Delta { changes, .. } => self.note(changes, before, now),
            _ => {}
        }
    }

    /// Returns the gaps as trims with `gap`, one for each log.
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

    /// Forgets the trims of logs that had nothing before and have nothing now. The application does
    /// not know these logs. Without this, such trims would accumulate for as long as nothing is
    /// read.
    fn forget(&mut self, now: &Snapshot) {
        let from = &self.from;
        let is_there = |log: &Path| [from, now].iter().any(|it| it.under(log).next().is_some());
        self.trims.retain(|log, _| is_there(log));
        self.most = TRIMS.max(2 * self.trims.len());
    }
}
