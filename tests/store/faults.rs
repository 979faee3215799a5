//! The disk is full, or fails: what was not stored is not acknowledged and does not come back. The
//! store reports that it is read-only, and recovers by itself when the disk works again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use onetree::store::files::{self, FileOptions, FileStore, OpenError, OpenedStore};
use onetree::store::{Store, StoreError};
use onetree_core::{Author, Request, State, Time};
use onetree_protocol::frame::Do;
use onetree_protocol::{MediaType, Value};

use super::rng::Rng;
use super::simulated::{EIO, ENOSPC, Fault, Keep, Op, Simulated};
use super::work::{Whole, Worker, keep, open, options, path, settings, wait};

type Kind = (&'static str, fn(&Op) -> bool);

const KINDS: [Kind; 6] = [
    ("create", |op| matches!(op, Op::Create { .. })),
    ("write", |op| matches!(op, Op::Write { .. })),
    ("sync", |op| matches!(op, Op::Sync { .. })),
    ("rename", |op| matches!(op, Op::Rename { .. })),
    ("remove", |op| matches!(op, Op::Remove { .. })),
    ("sync of the names", |op| matches!(op, Op::SyncNames)),
];

fn begin(interval: bool, seed: u64) -> (Simulated, FileStore, Worker) {
    let storage = Simulated::default();
    let OpenedStore { store, state, .. } = open(&storage, interval).unwrap();
    (storage, store, Worker::new(state, Rng::new(seed)))
}

fn is_read_only(store: &FileStore) -> bool {
    store.condition().read_only.load(Ordering::Relaxed)
}

/// Waits until `so` is true.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn assert_found(image: &Simulated, right: &Whole, when: &str) {
    let opened = open(image, false).unwrap_or_else(|error| panic!("{when}: {error}"));
    let found = Whole::of(&opened.state);
    assert!(found == *right, "{when}: {} was found, not {}", found.rev(), right.rev());
}

#[test]
fn one_failure_of_anything_refuses_at_most_one_batch_which_never_comes_back() {
    let mut rng = Rng::any();
    let mut refused_by = [0; KINDS.len()];
    for (kind, (what, is)) in KINDS.into_iter().enumerate() {
        for after in 0..30 {
            let errno = if rng.chance(50) { ENOSPC } else { EIO };
            let (storage, mut store, mut worker) = begin(false, rng.below(usize::MAX) as u64);
            storage.fail(Some(Fault { what: is, after, times: 1, errno }));
            let mut refused = 0;
            while worker.state.rev().get() < 60 {
                let Err(error) = keep(&mut store, &mut worker) else { continue };
                refused += 1;
                let when = format!("after {what} {after} had failed: {error}");
                assert!(!is_read_only(&store), "{when}: it could be mended at once");
                let right = Whole::of(&worker.state);
                assert_eq!(error.first, right.rev() + 1, "{when}");
                assert_found(&storage.crash(Keep::Nothing), &right, &when);
                assert_found(&storage.crash(Keep::Some(&mut rng)), &right, &when);
                assert_found(&storage.crash(Keep::Everything), &right, &when);
                assert_found(&storage.kill(), &right, &when);
            }
            let when = format!("at the end, {what} {after} had failed");
            assert_found(&storage.crash(Keep::Nothing), &Whole::of(&worker.state), &when);
            assert!(refused <= 1, "{when}: {refused} batches were refused");
            refused_by[kind] += refused;
        }
    }
    println!(
        "refused batches: {:?}",
        KINDS.map(|(what, _)| what).iter().zip(refused_by).collect::<Vec<_>>()
    );
    // A file that cannot be removed does no harm.
    assert!(refused_by[4] == 0 && refused_by[..4].iter().all(|count| *count > 0), "{refused_by:?}");
}

#[test]
fn while_the_disk_fails_the_store_is_read_only_and_afterwards_it_goes_on_by_itself() {
    let mut rng = Rng::any();
    let (mut images, mut back) = (0, 0_u32);
    for (what, is) in [KINDS[0], KINDS[1], KINDS[2], KINDS[5]] {
        let (storage, mut store, mut worker) = begin(false, rng.below(usize::MAX) as u64);
        while worker.state.rev().get() < 30 {
            keep(&mut store, &mut worker).unwrap();
        }
        storage.fail(Some(Fault { what: is, after: 0, times: usize::MAX, errno: EIO }));
        // A file is only made when the one before is full.
        while keep(&mut store, &mut worker).is_ok() {}
        let (right, refused) = (Whole::of(&worker.state), Whole::saved(&worker.asked));
        assert!(refused.rev() > right.rev());
        assert!(is_read_only(&store), "{what}");
        for _ in 0..3 {
            assert!(keep(&mut store, &mut worker).is_err(), "{what}");
        }
        // The process ends before anything could be written again.
        for image in [storage.crash(Keep::Nothing), storage.crash(Keep::Everything), storage.kill()]
        {
            assert_found(&image, &right, what);
        }
        // The disk has some of what it reported as failed. If that is all of a refused batch, and
        // nothing of what took it back, then nobody can know: the batch is there, complete.
        for _ in 0..100 {
            let OpenedStore { state, .. } =
                open(&storage.crash(Keep::Some(&mut rng)), false).unwrap();
            let found = Whole::of(&state);
            images += 1;
            assert!(found == right || found == refused, "{what}: {}", found.rev());
            back += u32::from(found == refused);
        }
        std::thread::sleep(Duration::from_millis(600));
        assert!(is_read_only(&store), "{what}: it still fails");
        storage.fail(None);
        until("writable again", || !is_read_only(&store));
        for image in [storage.crash(Keep::Nothing), storage.crash(Keep::Everything), storage.kill()]
        {
            assert_found(&image, &right, what);
        }
        for _ in 0..20 {
            keep(&mut store, &mut worker).unwrap();
        }
        assert_found(&storage.crash(Keep::Nothing), &Whole::of(&worker.state), what);
    }
    println!("{images} ends while the disk failed; a refused batch came back in {back}");
}

#[test]
fn a_disk_that_fails_is_tried_less_and_less_often() {
    let (storage, mut store, mut worker) = begin(false, 17);
    storage.fail(Some(Fault { what: KINDS[0].1, after: 0, times: usize::MAX, errno: EIO }));
    while keep(&mut store, &mut worker).is_ok() {}
    let (begun, before) = (Instant::now(), storage.failed());
    while begun.elapsed() < Duration::from_millis(3200) {
        assert!(keep(&mut store, &mut worker).is_err());
        std::thread::sleep(Duration::from_millis(20));
    }
    let tries = storage.failed() - before;
    assert!((1..=3).contains(&tries), "{tries} tries");
}

/// A whole file of the log does not fit any more, but commits still do.
#[test]
fn a_disk_with_less_room_than_a_file_of_the_log_takes_what_goes_on_it() {
    let (storage, mut store, mut worker) = begin(false, 19);
    let whole: fn(&Op) -> bool = |op| matches!(op, Op::Create { bytes, .. } if *bytes >= 2048);
    storage.fail(Some(Fault { what: whole, after: 0, times: usize::MAX, errno: ENOSPC }));
    while worker.state.rev().get() < 60 {
        keep(&mut store, &mut worker).unwrap();
        assert!(!is_read_only(&store));
    }
    assert!(storage.failed() > 3, "{} whole files were refused", storage.failed());
    assert_found(&storage.crash(Keep::Nothing), &Whole::of(&worker.state), "little room");
}

#[test]
fn in_interval_mode_what_a_failed_sync_has_forgotten_is_written_again() {
    let mut rng = Rng::any();
    for times in [1, 3] {
        let (storage, mut store, mut worker) = begin(true, rng.below(usize::MAX) as u64);
        for _ in 0..10 {
            keep(&mut store, &mut worker).unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
        storage.fail(Some(Fault { what: KINDS[2].1, after: 0, times, errno: EIO }));
        // The commit is acknowledged, and then the sync fails.
        let _ = keep(&mut store, &mut worker);
        until("failed", || storage.failed() == times);
        let right = Whole::of(&worker.state);
        let there = || open(&storage.crash(Keep::Nothing), true).unwrap().state;
        // The store may not have noticed the failure yet: that it is writable proves nothing.
        until("written again", || Whole::of(&there()).slots == right.slots);
        until("writable again", || !is_read_only(&store));
        keep(&mut store, &mut worker).unwrap();
        wait(store.close()).unwrap();
        let there = open(&storage.crash(Keep::Nothing), true).unwrap();
        assert!(Whole::of(&there.state) == Whole::of(&worker.state), "{times}");
    }
}

#[test]
fn an_end_while_the_disk_fails_is_not_taken_for_a_good_one() {
    let (storage, mut store, mut worker) = begin(true, 7);
    // The sync fails, and that of the file which would be made to repair it. The next one would
    // succeed, and reveal nothing of what the first has lost.
    storage.fail(Some(Fault { what: KINDS[2].1, after: 0, times: 2, errno: EIO }));
    keep(&mut store, &mut worker).unwrap();
    until("failed", || is_read_only(&store));
    wait(store.close()).unwrap_err();
    assert!(open(&storage.crash(Keep::Nothing), true).unwrap().report.new_epoch);
}

/// Whatever fails at the end: the end counts as proper only if that is on the disk.
#[test]
fn an_end_that_fails_in_any_way_is_followed_by_a_start() {
    for (interval, commits) in [(false, 0), (false, 5), (true, 0), (true, 5)] {
        for (what, is) in KINDS {
            for after in 0..4 {
                let (storage, mut store, mut worker) = begin(interval, 7);
                for _ in 0..commits {
                    keep(&mut store, &mut worker).unwrap();
                }
                storage.fail(Some(Fault { what: is, after, times: 1, errno: EIO }));
                let well = wait(store.close()).is_ok();
                storage.fail(None);
                let when = format!("{what} {after} after {commits} commits, interval: {interval}");
                for image in [storage.crash(Keep::Nothing), storage.kill()] {
                    let opened = open(&image, interval).unwrap_or_else(|e| panic!("{when}: {e}"));
                    let rev = opened.state.rev().get();
                    assert!(interval || rev == worker.state.rev().get(), "{when}: {rev}");
                    assert!(!(well && opened.report.new_epoch), "{when}");
                }
            }
        }
    }
}

#[test]
fn a_tree_that_cannot_be_saved_keeps_nobody_from_writing_and_leaves_nothing_behind() {
    let (storage, mut store, mut worker) = begin(false, 11);
    let is_tree: fn(&Op) -> bool = |op| matches!(op, Op::Create { name, .. } if name == "tree.tmp");
    storage.fail(Some(Fault { what: is_tree, after: 0, times: 2, errno: ENOSPC }));
    let trees = || storage.files().into_iter().filter(|(name, _)| name.starts_with("tree")).count();
    while storage.failed() < 2 {
        keep(&mut store, &mut worker).unwrap();
        assert!(worker.state.rev().get() < 10_000, "it is tried again");
    }
    until("removed", || trees() == 0);
    while trees() == 0 {
        keep(&mut store, &mut worker).unwrap();
        assert!(worker.state.rev().get() < 20_000, "it is saved in the end");
    }
    assert_found(&storage.crash(Keep::Nothing), &Whole::of(&worker.state), "saved at last");
}

/// Each failure leaves a file of the log behind, most of it empty. These files take room like any
/// other, so the tree is saved just as early because of them.
#[test]
fn what_failures_have_left_on_the_disk_counts() {
    let (storage, mut store, mut worker) = begin(false, 13);
    let logs = || -> usize {
        let files = storage.files().into_iter().filter(|(name, _)| name.starts_with("log-"));
        files.map(|(_, bytes)| bytes).sum()
    };
    let trees = || -> Vec<String> {
        let names = storage.files().into_iter().map(|(name, _)| name);
        // Leave out the file that is being made: its sync would meet the failure.
        names.filter(|name| name.starts_with("tree-")).collect()
    };
    for _ in 0..60 {
        storage.fail(Some(Fault { what: KINDS[2].1, after: 0, times: 1, errno: EIO }));
        keep(&mut store, &mut worker).unwrap_err();
        let (before, saves) = (trees(), worker.saves);
        keep(&mut store, &mut worker).unwrap();
        if worker.saves > saves {
            // The next failure must hit the log.
            until("saved", || trees().len() == 1 && trees() != before);
        }
        assert!(logs() < 14_000, "{} bytes of logs", logs());
    }
}

/// Otherwise the save would wait until the log has grown by half as much again, which an idle
/// broker never does.
#[test]
fn a_tree_that_could_not_be_saved_is_due_when_the_disk_works_again() {
    let storage = Simulated::default();
    let options = FileOptions { save_after_bytes: 60_000, ..options(false) };
    let opened = files::open(Arc::new(storage.clone()), settings(1), options).unwrap();
    let (mut store, mut worker) = (opened.store, Worker::new(opened.state, Rng::any()));
    let tree = |op: &Op| matches!(op, Op::Create { name, .. } if name.starts_with("tree."));
    storage.fail(Some(Fault { what: tree, after: 0, times: usize::MAX, errno: ENOSPC }));
    while storage.failed() == 0 {
        keep(&mut store, &mut worker).unwrap();
    }
    // The thread that saves has told the one that writes, which does not try again at once.
    std::thread::sleep(Duration::from_millis(100));
    keep(&mut store, &mut worker).unwrap();
    assert!(!store.save_due());
    storage.fail(Some(Fault { what: |_| true, after: 0, times: usize::MAX, errno: ENOSPC }));
    while keep(&mut store, &mut worker).is_ok() {}
    assert!(is_read_only(&store));
    // A disk that is only being tried again does not count as working.
    std::thread::sleep(Duration::from_millis(300));
    assert!(!store.save_due());
    storage.fail(None);
    until("it takes writes", || !is_read_only(&store));
    assert!(store.save_due());
    until("it is saved", || {
        keep(&mut store, &mut worker).unwrap();
        storage.files().iter().any(|(name, _)| name.starts_with("tree-"))
    });
}

const ROOM: usize = 400_000;

/// Like [`open`], but no tree is saved before the log has grown by more than there is room for.
fn open_lazy(storage: &Simulated) -> Result<OpenedStore, OpenError> {
    let options =
        FileOptions { interval: None, log_file_bytes: 64 << 10, save_after_bytes: 1 << 20 };
    files::open(Arc::new(storage.clone()), settings(1), options)
}

/// Puts the same entry again.
fn put(store: &mut FileStore, state: &mut State, bytes: usize) -> Result<(), StoreError> {
    let before = state.checkpoint();
    let value = Value { media: MediaType::Octets, bytes: vec![7; bytes].into() };
    let change = Do::Put { path: path("/a"), value, ttl_ms: None, ephemeral: false };
    let request = Request { changes: vec![change], ..Request::default() };
    let commit = state.write(Time(1), &Author::default(), &request).commit.unwrap();
    wait(store.append(&[commit])).inspect_err(|_| state.restore(before))
}

/// A disk that the log has filled, while the tree is small.
fn filled_by_the_log() -> (Simulated, FileStore, State) {
    let storage = Simulated::default();
    let OpenedStore { mut store, mut state, .. } = open_lazy(&storage).unwrap();
    storage.room(ROOM);
    while put(&mut store, &mut state, 10_000).is_ok() {}
    put(&mut store, &mut state, 10).unwrap();
    (storage, store, state)
}

#[test]
fn a_disk_that_the_log_has_filled_is_emptied_by_the_tree() {
    let (storage, mut store, mut state) = filled_by_the_log();
    put(&mut store, &mut state, 10_000).unwrap_err();
    assert!(store.save_due(), "the log has more than the tree");
    store.save(state.checkpoint());
    until("there is room again", || put(&mut store, &mut state, 10_000).is_ok());
    let logs = storage.files().into_iter().filter(|(name, _)| name.starts_with("log-"));
    let left: usize = logs.map(|(_, bytes)| bytes).sum();
    assert!(left < ROOM / 2, "{left} bytes of logs");
    assert_found(&storage.crash(Keep::Nothing), &Whole::of(&state), "with room");
}

#[test]
fn a_start_on_a_disk_that_the_log_has_filled_saves_the_tree_first() {
    let (storage, store, state) = filled_by_the_log();
    let image = storage.kill();
    drop(store);
    // Room for the tree, and for no log.
    let filled: usize = image.files().iter().map(|(_, bytes)| bytes).sum();
    image.room(filled + 800);
    let OpenedStore { mut store, state: mut found, .. } = open_lazy(&image).unwrap();
    assert_eq!(Whole::of(&found), Whole::of(&state));
    put(&mut store, &mut found, 10_000).unwrap();
    assert_found(&image.crash(Keep::Nothing), &Whole::of(&found), "after the start");
}
