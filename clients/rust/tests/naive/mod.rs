//! What a change does according to the protocol, implemented without regard to speed.

use onetree_client::{Act, Change, LogKey, Path};

/// Returns whether this change removes what is at `path`. A put does not: it replaces.
pub(crate) fn takes(change: &Change, path: &Path) -> bool {
    match &change.act {
        Act::Put(_) => false,
        Act::Delete => *path == change.path,
        Act::Drop => change.path.contains(path),
        Act::Trim { to, .. } => {
            let child = change.path.below(path).and_then(|mut below| below.next());
            child.and_then(LogKey::parse).is_some_and(|key| key <= *to)
        }
    }
}
