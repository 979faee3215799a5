//! Subscriptions: bringing mirrors to the present, and keeping them there.

mod counting;
mod digests;
mod edge;
mod feed;
mod standing;
mod subscription;
mod subscriptions;
mod sweep;
mod walk;

pub use feed::{Feed, FeedLimits, Step};
pub use standing::{Motion, Standing};
pub use subscription::Interest;
pub(crate) use walk::Walk;

use onetree_protocol::{Act, Change, LogKey, Path, Revision, View};

/// Whether a live change must be told to a mirror of `view`. A drop or a trim is told as it is:
/// applied to what the mirror holds, it takes away exactly what the view loses.
pub fn concerns(view: &View, change: &Change) -> bool {
    match &change.act {
        Act::Put(_) | Act::Delete => view.sees(&change.path),
        Act::Drop => change.path.contains(&view.base) || view.reaches(&change.path),
        Act::Trim { to, .. } => {
            trims(&change.path, *to, &view.base) || view.reaches_under(&change.path)
        }
    }
}

/// Whether a mirror of `view` that has shown `shown` missed something when `log` was trimmed: the
/// last entry that went was newer, and the view may see it, or lies in it.
pub(crate) fn is_gap(view: &View, log: &Path, to: LogKey, shown: Revision) -> bool {
    to.rev > shown && view.base.below(log).is_none_or(|below| view.sees_entries_of(below))
}

/// Whether `path` lies in one of the entries that go when `log` is trimmed.
pub(crate) fn trims(log: &Path, to: LogKey, path: &Path) -> bool {
    let entry = log.below(path).and_then(|mut segments| segments.next());
    entry.and_then(LogKey::parse).is_some_and(|key| key <= to)
}
