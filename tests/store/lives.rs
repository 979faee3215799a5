//! One tree through many lives of the broker, each of which ends in a different way: properly,
//! killed, or with a power failure, while the disk works, fails once, or fails for good.

use std::sync::atomic::Ordering;

use onetree::store::Store;
use onetree::store::files::OpenedStore;

use super::rng::Rng;
use super::simulated::{EIO, ENOSPC, Fault, Keep, Op, Simulated};
use super::work::{Whole, Worker, keep, open, wait};

/// Which operations fail.
const FAULTS: [fn(&Op) -> bool; 4] = [
    |op| matches!(op, Op::Write { .. }),
    |op| matches!(op, Op::Sync { .. }),
    |op| matches!(op, Op::Create { .. } | Op::Rename { .. }),
    |_| true,
];

#[test]
fn through_many_lives_nothing_acknowledged_is_lost_and_the_history_is_one() {
    let mut rng = Rng::any();
    let (mut ends, mut back, mut failed, mut refused) = ([0; 5], 0, 0, 0);
    for _ in 0..8 {
        let mut storage = Simulated::default();
        let mut epoch = None;
        // What was acknowledged, and what may have been stored although it was refused.
        let (mut acked, mut maybe): (Option<Whole>, Option<Whole>) = (None, None);
        for life in 0..40 {
            let OpenedStore { mut store, state, report } =
                open(&storage, false).unwrap_or_else(|error| panic!("life {life}: {error}"));
            let found = Whole::of(&state);
            if let Some(acked) = &acked {
                let right = found == *acked || maybe.as_ref() == Some(&found);
                let there = found.rev();
                assert!(right, "life {life}: {there} was found, {} acknowledged", acked.rev());
                back += u32::from(found != *acked);
            }
            assert_eq!(*epoch.get_or_insert(report.epoch), report.epoch, "life {life}");
            if rng.chance(60) {
                let times = *rng.pick(&[1, 2, 5, usize::MAX]);
                let errno = *rng.pick(&[ENOSPC, EIO]);
                let after = rng.below(60);
                storage.fail(Some(Fault { what: *rng.pick(&FAULTS), after, times, errno }));
            }
            let mut worker = Worker::new(state, Rng::new(rng.below(usize::MAX) as u64));
            maybe = None;
            for _ in 0..rng.below(40) {
                let kept = keep(&mut store, &mut worker).is_ok();
                refused += u32::from(!kept);
                let mended = !store.condition().read_only.load(Ordering::Relaxed);
                if kept || mended {
                    maybe = None;
                } else {
                    // What is refused while the store is read-only was not even tried.
                    maybe.get_or_insert_with(|| Whole::saved(&worker.asked));
                }
            }
            acked = Some(Whole::of(&worker.state));
            failed += storage.failed();
            let end = rng.below(ends.len());
            ends[end] += 1;
            let next = match end {
                0 => storage.crash(Keep::Nothing),
                1 => storage.crash(Keep::Everything),
                2 => storage.crash(Keep::Some(&mut rng)),
                3 => storage.kill(),
                _ => {
                    // The disk may still fail.
                    let _ = wait(store.close());
                    storage.crash(Keep::Nothing)
                }
            };
            storage = next;
        }
    }
    println!("ends: {ends:?}, {failed} failures, {refused} refused, {back} came back");
    assert!(failed > 20 && refused > 20, "{failed} failures, {refused} refused");
}
