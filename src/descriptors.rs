//! How many file descriptors the process may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Returns how many descriptors the process may have, at most `wanted`. Raises the soft limit up to
/// the hard limit if that is needed: the soft limit is often only 1,024.
pub(crate) fn limit(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = wanted as u64;
    let now = limit.current.unwrap_or(u64::MAX);
    let most = limit.maximum.unwrap_or(u64::MAX).min(wanted);
    let raised =
        now < most && setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..limit }).is_ok();
    let limit = if raised { most } else { now };
    limit.min(wanted) as usize
}
