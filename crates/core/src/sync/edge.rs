//! Where the tail of a log begins.

use core::cmp::Ordering;

use onetree_protocol::{LogKey, Path, Revision};

use crate::snapshot::Snapshot;

/// The edge of a log's tail: the last key that a `tail` view leaves out.
///
/// The edge is found by counting entries from the end of the log, in as many steps as that takes.
/// It is then kept, because counting costs as much as reading. A count may continue over newer
/// snapshots. It continues from where it stopped, so entries that were appended in the meantime are
/// in the tail in addition to those counted.
#[derive(Debug)]
pub(super) struct Edge {
    log: Path,
    stage: Stage,
    /// The revision of the snapshot last looked at.
    rev: Revision,
    /// How many slots were looked at to find the edge, less the slots that were read since. While
    /// this is above 0 the edge is kept for newer snapshots too, and the log also shows the entries
    /// that were appended since.
    worth: usize,
}

/// Begins as `Counting`, or as `Found` if the log has no more than the tail's number of entries.
/// `Counting` -> `Found`.
#[derive(Debug)]
enum Stage {
    /// `more` entries still fit into the tail; everything from the path `before` on is counted.
    Counting { more: usize, before: Option<Path> },
    /// The last key that the tail leaves out.
    Found(Option<LogKey>),
}

impl Edge {
    /// Returns the edge of `log` in the snapshot `now`: `known` if it is of this log and still
    /// good, otherwise a new one.
    pub(super) fn of(known: Option<Edge>, log: &Path, tail: usize, now: &Snapshot) -> Edge {
        let rev = now.rev();
        if let Some(edge) = known.filter(|edge| edge.log == *log) {
            let counting = matches!(edge.stage, Stage::Counting { .. });
            if counting || edge.worth > 0 || edge.rev == rev {
                return edge;
            }
        }
        let within = now.summary(log);
        let stage = if within.live.min(within.logged) <= tail as u64 {
            Stage::Found(None)
        } else {
            Stage::Counting { more: tail, before: None }
        };
        Edge { log: log.clone(), stage, rev, worth: 0 }
    }

    /// Returns the last key that the tail leaves out, among those above `since`. The outer `None`:
    /// `left` slots were not enough to find it; call again with more. The slots that were looked at
    /// are subtracted from `left`.
    pub(super) fn hidden(
        &mut self,
        now: &Snapshot,
        since: Revision,
        left: &mut usize,
    ) -> Option<Option<LogKey>> {
        let (more, before) = match &mut self.stage {
            Stage::Found(hidden) => return Some(*hidden),
            Stage::Counting { more, before } => (more, before),
        };
        self.rev = now.rev();
        let counted = before.clone();
        let place = |path: &Path| match (self.log.place(path), &counted) {
            (Ordering::Equal, Some(counted)) if path >= counted => Ordering::Greater,
            (place, _) => place,
        };
        let mut last = None;
        let mut found = Some(None);
        for slot in now.tree().range(place).rev() {
            if *left == 0 {
                found = None;
                break;
            }
            (*left, self.worth) = (*left - 1, self.worth + 1);
            last = Some(&slot.path);
            let direct = slot.is_live() && slot.path.parent_str() == Some(self.log.as_str());
            let Some(key) = LogKey::of(&slot.path).filter(|_| direct) else { continue };
            if key.rev <= since {
                break;
            }
            if *more == 0 {
                found = Some(Some(key));
                break;
            }
            *more -= 1;
        }
        match found {
            Some(hidden) => self.stage = Stage::Found(hidden),
            None => *before = last.cloned().or(counted),
        }
        found
    }

    /// Notes that the walk has read a slot.
    pub(super) fn read(&mut self) {
        if matches!(self.stage, Stage::Found(_)) {
            self.worth = self.worth.saturating_sub(1);
        }
    }
}
