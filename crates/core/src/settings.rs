//! The settings that a tree is given at its start: its history, its bounds, what its logs keep.

use alloc::vec::Vec;

use onetree_protocol::{DigestKey, Epoch, Pattern};

/// A moment, in milliseconds since the Unix epoch. The tree gets it from outside and reads no
/// clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// Later than all other moments: "never".
    pub const NEVER: Time = Time(u64::MAX);

    /// Returns the moment `ms` milliseconds later.
    pub fn plus(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms))
    }

    /// Returns the moment `ms` milliseconds earlier.
    pub fn minus(self, ms: u64) -> Time {
        Time(self.0.saturating_sub(ms))
    }
}

/// Everything that a [`crate::State`] is given at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The epoch: the history that the revisions count in.
    pub epoch: Epoch,
    /// The key of the digests, random for each start of the broker.
    pub digest_key: DigestKey,
    /// How large the tree may grow.
    pub bounds: Bounds,
    /// What logs keep. For each log the first rule whose pattern matches its path applies.
    pub retention: Vec<Retention>,
}

/// How large a tree and its memory of the past may grow.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most live entries.
    pub entries: u64,
    /// The most bytes of all paths and values.
    pub bytes: u64,
    /// The most changes of one commit. It must be below 65,536, because a log key counts them in 16
    /// bits.
    pub commit_changes: u32,
    /// The most conditions of one commit.
    pub commit_conditions: u32,
    /// The most tombstones and marks of drops and trims. Beyond that the horizon moves up.
    pub tombstones: u64,
    /// The most bytes of memory that these take, approximately: the bytes of each path, and 384 for
    /// each tombstone or mark. Beyond that the horizon moves up.
    pub tombstone_bytes: u64,
    /// The greatest age of a tombstone, in milliseconds. Beyond that the horizon moves up.
    pub tombstone_ms: u64,
    /// The most answers that are remembered for each client that numbers its writes.
    pub dedup_answers: u32,
    /// The most bytes of memory, approximately, that the answers remembered for one client take.
    /// Its last answer is always kept.
    pub dedup_client_bytes: u64,
    /// The most bytes that the answers of all clients together take. Beyond that the clients that
    /// have been silent longest are forgotten, all but one.
    pub dedup_bytes: u64,
    /// The most clients that are remembered.
    pub dedup_clients: u32,
    /// How long a client is remembered after its last write, in milliseconds.
    pub dedup_ms: u64,
    /// How long a session outlives its connection, in milliseconds.
    pub grace_ms: u64,
    /// The most sessions, attached or in their grace.
    pub sessions: u32,
}

impl Default for Bounds {
    /// The bounds that the tests and the benchmarks start from. A broker's bounds come from
    /// `broker.toml`.
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

/// Returns the size at which `bound` begins to be enforced, an eighth above it. Enforcement then
/// goes down to the bound exactly, so that one small commit serves many writes.
pub(crate) fn stretched(bound: u64) -> u64 {
    bound.saturating_add(bound / 8)
}

/// What a log keeps. A bound that is absent does not apply.
#[derive(Clone, Debug)]
pub struct Retention {
    /// Matches the log's path, from the root.
    pub pattern: Pattern,
    /// The most entries, not counting what is under them.
    pub keep: Option<u64>,
    /// The greatest age of an entry, in milliseconds.
    pub max_age_ms: Option<u64>,
    /// The most bytes of paths and values, from the oldest entry to the newest, including what is
    /// under each. Checked when the log gets an entry, or when one of its entries is written again.
    pub max_bytes: Option<u64>,
}
