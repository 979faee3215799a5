//! What a tree is told at its start: its history, its bounds, what its logs keep.

use alloc::vec::Vec;

use onetree_protocol::{DigestKey, Epoch, Pattern};

/// A moment: milliseconds since the Unix epoch. It always comes from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// Later than all others: "never".
    pub const NEVER: Time = Time(u64::MAX);

    /// So many milliseconds later.
    pub fn plus(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms))
    }

    /// So many milliseconds earlier.
    pub fn minus(self, ms: u64) -> Time {
        Time(self.0.saturating_sub(ms))
    }
}

/// Everything that a [`crate::State`] is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The history that revisions count in.
    pub epoch: Epoch,
    /// The key of the digests, random per start.
    pub digest_key: DigestKey,
    /// How large it may grow.
    pub bounds: Bounds,
    /// What logs keep; the first rule whose pattern matches a log's path counts.
    pub retention: Vec<Retention>,
}

/// How large a tree and its memory of the past may grow.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Live entries.
    pub entries: u64,
    /// Bytes of all paths and values.
    pub bytes: u64,
    /// Changes of one commit; below 65,536, which a log key can count.
    pub commit_changes: u32,
    /// Conditions of one commit.
    pub commit_conditions: u32,
    /// Tombstones, and marks of drops and trims: beyond, the horizon moves up.
    pub tombstones: u64,
    /// Bytes of memory of the same, roughly: those of each path, and 384 for each. Beyond, the
    /// horizon moves up.
    pub tombstone_bytes: u64,
    /// Age of a tombstone, milliseconds: beyond, the horizon moves up.
    pub tombstone_ms: u64,
    /// Answers remembered for each client that numbers its writes.
    pub dedup_answers: u32,
    /// Bytes of memory of the answers remembered for one client, roughly. Its last answer is always
    /// kept.
    pub dedup_client_bytes: u64,
    /// The same of all clients together: beyond, the clients that have been silent longest are
    /// forgotten, all but one.
    pub dedup_bytes: u64,
    /// Clients that are remembered.
    pub dedup_clients: u32,
    /// For how long a client is remembered after its last write, milliseconds.
    pub dedup_ms: u64,
    /// For how long a session outlives its connection, milliseconds.
    pub grace_ms: u64,
    /// Sessions, attached or in their grace.
    pub sessions: u32,
}

impl Default for Bounds {
    /// What the tests and the benchmarks start from; a broker's come from `broker.toml`.
    fn default() -> Bounds {
        Bounds {
            entries: 10_000_000,
            bytes: 8 << 30,
            commit_changes: 10_000,
            commit_conditions: 1_024,
            tombstones: 1_000_000,
            tombstone_bytes: 512 << 20,
            tombstone_ms: 24 * 3_600_000,
            dedup_answers: 1_024,
            dedup_client_bytes: 1 << 20,
            dedup_bytes: 256 << 20,
            dedup_clients: 10_000,
            dedup_ms: 24 * 3_600_000,
            grace_ms: 30_000,
            sessions: 100_000,
        }
    }
}

/// A bound is enforced when it is passed by an eighth, and then exactly: so that one small commit
/// serves many writes.
pub(crate) fn stretched(bound: u64) -> u64 {
    bound.saturating_add(bound / 8)
}

/// What a log keeps. A bound that is absent does not count.
#[derive(Clone, Debug)]
pub struct Retention {
    /// Of the log's path, from the root.
    pub pattern: Pattern,
    /// Entries, without what is under them.
    pub keep: Option<u64>,
    /// Age of an entry, milliseconds.
    pub max_age_ms: Option<u64>,
    /// Bytes of paths and values, from the oldest entry to the newest, with what is under them.
    /// Looked at when the log gets an entry or one of its entries is written again.
    pub max_bytes: Option<u64>,
}
