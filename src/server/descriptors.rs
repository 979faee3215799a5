//! File descriptors: each socket takes one, and what else the broker does must find some left.

use super::HANDSHAKES;
use crate::descriptors::limit;

/// Descriptors that no connection takes: the sockets in their HTTP part, and as many for the files
/// of the tree, the runtime and the streams of the process, which are some twenty.
const KEPT: usize = 2 * HANDSHAKES;

/// As many of these connections as there are descriptors for: where the process gets too few, it is
/// better that some cannot connect than that nobody can write.
pub(super) fn bound(connections: usize) -> usize {
    let wanted = connections.saturating_add(KEPT);
    let limit = limit(wanted);
    if limit >= wanted {
        return connections;
    }
    let fit = limit.saturating_sub(KEPT).max(1);
    tracing::warn!(
        connections,
        descriptors = limit,
        "the system gives too few file descriptors: {fit} clients may connect at once; raise the hard \
         limit to {wanted} (ulimit -n, LimitNOFILE), or set fewer connections"
    );
    fit
}
