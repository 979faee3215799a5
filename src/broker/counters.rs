//! Counters of the running broker.

use std::sync::atomic::{AtomicU64, AtomicUsize};

use super::latency::Latency;

/// Counters for `/v1/stats`. They are plain numbers that are updated without any order among them:
/// a reader sees each number as it is at that moment.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Commits since the start.
    pub(crate) commits: AtomicU64,
    /// Live frames (deltas and signals) given to connections to be written, since the start. The
    /// frames of refreshes and folded frames are not counted.
    pub(crate) deliveries: AtomicU64,
    /// Subscriptions of all connections, now.
    pub(crate) subscriptions: AtomicUsize,
    /// Sessions, attached or in their grace period, now.
    pub(crate) sessions: AtomicUsize,
    /// How long recent commits took.
    pub(crate) latency: Latency,
}
