//! Where the tail of a log begins.

use core::cmp::Ordering;

use onetree_protocol::{LogKey, Path, Revision};

use crate::snapshot::Snapshot;

/// Where the tail of a log begins: counted from the end, in as many goes as it takes, and then
/// kept, as to count costs as much as to read. What is counted over newer and newer snapshots is
/// the newest of what was there meanwhile.
#[derive(Debug)]
pub(super) struct Edge {
    log: Path,
    stage: Stage,
    /// The snapshot last looked at.
    rev: Revision,
    /// Slots looked at for it, less those read since. While there are some it stands in newer
    /// snapshots too, and the log shows what has come on top.
    worth: usize,
}

/// `Counting` -> `Found`.
#[derive(Debug)]
enum Stage {
    /// So many entries more are in the tail; the slots from `before` on are counted.
    Counting { more: usize, before: Option<Path> },
    /// The last key that the tail leaves out.
    Found(Option<LogKey>),
}

impl Edge {
    /// The edge of `log` in `now`: `known`, if that is it and is still good, or one to be counted.
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

    /// The last key that the tail leaves out, of those above `since`. The outer `None`: `left`
    /// slots were not enough to find it, go on with more. Those that were looked at are taken away.
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

    /// A slot was read.
    pub(super) fn read(&mut self) {
        if matches!(self.stage, Stage::Found(_)) {
            self.worth = self.worth.saturating_sub(1);
        }
    }
}
