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

/// Returns whether a live change must be sent to a mirror of `view`.
///
/// A drop or a trim is sent unchanged, even where it reaches beyond the view: applied to what the
/// mirror holds, it removes exactly what the view loses.
pub fn concerns(view: &View, change: &Change) -> bool {
    match &change.act {
        Act::Put(_) | Act::Delete => view.sees(&change.path),
        Act::Drop => change.path.contains(&view.base) || view.reaches(&change.path),
        Act::Trim { to, .. } => {
            trims(&change.path, *to, &view.base) || view.reaches_under(&change.path)
        }
    }
}

/// Returns whether a mirror of `view`, whose client has shown revision `shown`, missed entries when
/// `log` was trimmed up to `to`: the last entry that was trimmed is newer than `shown`, and the
/// view may see it or lies in it.
pub(crate) fn is_gap(view: &View, log: &Path, to: LogKey, shown: Revision) -> bool {
    to.rev > shown && view.base.below(log).is_none_or(|below| view.sees_entries_of(below))
}

/// Returns whether `path` is, or lies under, one of the entries that a trim of `log` up to `to`
/// removes.
pub(crate) fn trims(log: &Path, to: LogKey, path: &Path) -> bool {
    let entry = log.below(path).and_then(|mut segments| segments.next());
    entry.and_then(LogKey::parse).is_some_and(|key| key <= to)
}
