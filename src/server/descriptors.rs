//! File descriptors: each socket takes one, and enough must be left for everything else that the
//! broker does.

use super::HANDSHAKES;
use crate::descriptors::limit;

/// The descriptors that connections do not take: one for each socket in its HTTP phase, and as many
/// again for the files of the tree, the runtime and the standard streams, which take about twenty.
const KEPT: usize = 2 * HANDSHAKES;

/// Returns how many of these connections the file descriptors suffice for. If the process gets too
/// few descriptors, it is better that some clients cannot connect than that nobody can write.
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
