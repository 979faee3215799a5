//! File descriptors: each socket takes one, and what else the broker does must find some left.

use super::HANDSHAKES;

/// Descriptors that no connection takes: the sockets in their HTTP part, and as many for the files of the
/// tree, the runtime and the streams of the process, which are some twenty.
const KEPT: usize = 2 * HANDSHAKES;

/// As many of these connections as there are descriptors for. The process may have only 1,024 of them until it
/// asks for more, so that is done first; where it gets too few, it is better that some cannot connect than
/// that nobody can write.
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

/// How many descriptors the process may have: so many, if it may raise its limit to that.
#[cfg(unix)]
fn limit(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let wanted = wanted as u64;
    let now = limit.current.unwrap_or(u64::MAX);
    let most = limit.maximum.unwrap_or(u64::MAX).min(wanted);
    let raised =
        now < most && setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..limit }).is_ok();
    let limit = if raised { most } else { now };
    limit.min(wanted) as usize
}

/// Elsewhere sockets are not bounded so.
#[cfg(not(unix))]
fn limit(wanted: usize) -> usize {
    wanted
}
