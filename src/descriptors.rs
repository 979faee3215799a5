//! How many file descriptors the process may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// So many, if it may raise its limit to that: it may have only 1,024 until it asks for more.
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
