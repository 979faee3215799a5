//! `/v1/stats`: the state of the broker in numbers.

use std::sync::atomic::Ordering;

use onetree_protocol::Path;
use serde::Serialize;

use super::Server;
use crate::broker::Latency;

/// The state of the broker in numbers. `docs/http.md` defines the fields, and clients rely on their
/// names.
#[derive(Debug, Serialize)]
pub(super) struct Stats {
    version: &'static str,
    uptime_ms: u64,
    epoch: String,
    revision: u64,
    horizon: u64,
    entries: u64,
    bytes: u64,
    connections: usize,
    sessions: usize,
    subscriptions: usize,
    commits: u64,
    deliveries: u64,
    commit_latency: CommitLatency,
    queue: usize,
    queue_limit: usize,
    memory_bytes: Option<u64>,
    read_only: bool,
    storing_ms: u64,
}

#[derive(Debug, Serialize)]
struct CommitLatency {
    over_ms: u64,
    commits: u64,
    p50_us: Option<u64>,
    p99_us: Option<u64>,
}

/// Returns the present numbers. This costs a look at a snapshot, at some counters and at one small
/// file of the system: a few microseconds.
pub(super) fn stats(server: &Server) -> Stats {
    let shared = &server.shared;
    let snapshot = shared.settled();
    let summary = snapshot.summary(&Path::root());
    let counters = &shared.counters;
    let recent = counters.latency.recent();
    let queue_limit = server.events.max_capacity();
    Stats {
        version: env!("CARGO_PKG_VERSION"),
        uptime_ms: server.started.elapsed().as_millis() as u64,
        epoch: snapshot.epoch().to_string(),
        revision: snapshot.rev().get(),
        horizon: snapshot.horizon().get(),
        entries: summary.live,
        bytes: summary.bytes,
        connections: server.mailboxes.len(),
        sessions: counters.sessions.load(Ordering::Relaxed),
        subscriptions: counters.subscriptions.load(Ordering::Relaxed),
        commits: counters.commits.load(Ordering::Relaxed),
        deliveries: counters.deliveries.load(Ordering::Relaxed),
        commit_latency: CommitLatency {
            over_ms: Latency::WINDOW.as_millis() as u64,
            commits: recent.map_or(0, |recent| recent.count),
            p50_us: recent.map(|recent| recent.p50_us),
            p99_us: recent.map(|recent| recent.p99_us),
        },
        queue: queue_limit - server.events.capacity(),
        queue_limit,
        memory_bytes: resident(),
        read_only: shared.store.read_only.load(Ordering::Relaxed),
        storing_ms: shared.storing().unwrap_or_default().as_millis() as u64,
    }
}

/// Returns the resident memory of this process, where the system reports it: on Linux.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
