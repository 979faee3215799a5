//! What is counted while the broker runs.

use std::sync::atomic::{AtomicU64, AtomicUsize};

use super::latency::Latency;

/// What is counted while the broker runs, for those who ask how it goes: plain numbers that are
/// added to without an order among them. Whoever reads them reads each as it is at that moment.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Commits since the start.
    pub(crate) commits: AtomicU64,
    /// Live frames (deltas and signals) given to connections to be written, since the start. Those
    /// of a refresh and folded ones are not among them.
    pub(crate) deliveries: AtomicU64,
    /// Subscriptions of all connections, now.
    pub(crate) subscriptions: AtomicUsize,
    /// Sessions, attached or in their grace, now.
    pub(crate) sessions: AtomicUsize,
    /// How long commits took of late.
    pub(crate) latency: Latency,
}
