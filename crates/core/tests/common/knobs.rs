//! The parameters of a simulation, and counts of what happened in it.

use std::collections::BTreeMap;

use onetree_core::Settings;

use super::{Rng, requests};

/// The parameters of a simulated world.
#[derive(Clone, Debug)]
pub(crate) struct Knobs {
    pub(crate) links: usize,
    pub(crate) subscriptions: usize,
    /// The capacity of an outbox, in bytes.
    pub(crate) outbox_bytes: usize,
    /// The bytes of a frame of a refresh: small frames make long sweeps.
    pub(crate) frame_bytes: usize,
    /// The slots that one turn of a feed may look at (`turn_slots`), and those that one `sync` may
    /// (`digest_scan`).
    pub(crate) turn_slots: usize,
    pub(crate) digest_scan: usize,
    /// The frames that may be on their way to one client.
    pub(crate) wire_frames: usize,
    /// How often in a thousand steps a connection is cut, the broker is restored from a backup, and
    /// a client's copy is damaged.
    pub(crate) cuts: usize,
    pub(crate) restores: usize,
    pub(crate) damages: usize,
    /// How many steps in a hundred are commits.
    pub(crate) writes: usize,
    /// In how many turns in a hundred a refresh may hold its snapshot.
    pub(crate) holds: usize,
    pub(crate) settings: Settings,
}

impl Knobs {
    /// A world in which nothing happens by itself.
    pub(crate) fn calm(links: usize) -> Knobs {
        let mut settings = requests::settings();
        settings.retention.clear();
        let (subscriptions, outbox_bytes, frame_bytes, wire_frames) = (9, 1 << 20, 2_000, 50);
        let (cuts, restores, damages, writes, holds) = (0, 0, 0, 0, 0);
        let (turn_slots, digest_scan) = (1_000, 100_000);
        Knobs {
            links,
            subscriptions,
            outbox_bytes,
            frame_bytes,
            turn_slots,
            digest_scan,
            wire_frames,
            cuts,
            restores,
            damages,
            writes,
            holds,
            settings,
        }
    }

    /// A world in which everything happens now and then, with parameters that depend on the seed.
    pub(crate) fn any(rng: &mut Rng) -> Knobs {
        let mut settings = requests::settings();
        settings.bounds.tombstones = *rng.pick(&[4, 60, 10_000]);
        settings.bounds.tombstone_bytes = *rng.pick(&[2_000, 1 << 20]);
        settings.bounds.tombstone_ms = *rng.pick(&[40, 2_000, 1_000_000]);
        let damages = *rng.pick(&[0, 60]);
        let digest_scan = *rng.pick(&[3, 30, 100_000]);
        // Every damage must be found by a digest in the end. For a large view that takes a count
        // that can hold its snapshot.
        let large = damages > 0 && digest_scan < 100_000;
        let holds = if large { 100 } else { *rng.pick(&[0, 50, 100]) };
        Knobs {
            links: 1 + rng.below(4),
            subscriptions: 1 + rng.below(4),
            outbox_bytes: *rng.pick(&[300, 1_000, 5_000]),
            frame_bytes: *rng.pick(&[1, 300, 2_000]),
            turn_slots: *rng.pick(&[1, 5, 1_000]),
            digest_scan,
            wire_frames: *rng.pick(&[1, 3, 20]),
            cuts: *rng.pick(&[0, 5, 20]),
            restores: *rng.pick(&[0, 6]),
            damages,
            writes: *rng.pick(&[1, 3, 10]),
            holds,
            settings,
        }
    }
}

/// How often each kind of event happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) commits: u64,
    pub(crate) live: u64,
    pub(crate) folded: u64,
    pub(crate) parts: u64,
    pub(crate) syncs: u64,
    /// Answers to a client that asked for digests that one heartbeat does not count.
    pub(crate) counted: u64,
    pub(crate) overflows: u64,
    pub(crate) compactions: u64,
    pub(crate) gaps: u64,
    pub(crate) damaged: u64,
    pub(crate) restores: u64,
    pub(crate) fresh: u64,
    pub(crate) ways: BTreeMap<&'static str, u64>,
}
