//! The power fails at every moment of a run, and the process is killed at every moment: what was
//! acknowledged is there, and what was not is there completely or not at all.

use onetree::store::Store;
use onetree::store::files::{self, Loss, OpenedStore, Salvaged};
use onetree_protocol::{Epoch, Revision};

use super::rng::Rng;
use super::simulated::{ENOSPC, Fault, Keep, Op, Simulated};
use super::work::{Moment, Run, Whole, Worker, keep, open, settings, wait, work};

/// The kinds of commits that occur in every run.
const KINDS: [&str; 10] = [
    "put",
    "append",
    "delete",
    "drop",
    "trim",
    "ttl",
    "ephemeral",
    "numbered",
    "refused and remembered",
    "housekeeping",
];

/// Returns what a start may find at the moment `at` of a run: the state after the last acknowledged
/// batch, or after the one that was requested then.
fn possible(run: &Run, at: usize) -> Vec<&Whole> {
    let acked = run.moments.iter().rposition(|moment| moment.acked <= at).unwrap();
    let next = run.moments.get(acked + 1).filter(|next| next.asked < at);
    [Some(&run.moments[acked]), next].into_iter().flatten().map(|moment| &moment.whole).collect()
}

fn assert_found(found: &Whole, possible: &[&Whole], when: &str) {
    let revs: Vec<u64> = possible.iter().map(|whole| whole.rev()).collect();
    let Some(whole) = possible.iter().find(|whole| whole.rev() == found.rev()) else {
        panic!("{when}: revision {} was found, {revs:?} is possible", found.rev());
    };
    assert!(
        found == *whole,
        "{when}: the state at {} is another:\n{found:#?}\n{whole:#?}",
        found.rev()
    );
}

/// Starts on what a crash has left, continues to work, has another power failure, and starts again.
fn recover(image: &Simulated, run: &Run, at: usize, when: &str) {
    let possible = possible(run, at);
    let OpenedStore { mut store, state, report } =
        open(image, false).unwrap_or_else(|error| panic!("{when}: {error}"));
    assert_found(&Whole::of(&state), &possible, when);
    if state.rev().get() > 0 {
        assert_eq!(report.epoch, run.epoch, "{when}");
    }
    let mut worker = Worker::new(state, Rng::new(at as u64));
    for _ in 0..2 {
        keep(&mut store, &mut worker).unwrap();
    }
    let again = open(&image.crash(Keep::Nothing), false);
    let again = again.unwrap_or_else(|error| panic!("{when}, the second time: {error}"));
    assert_found(&Whole::of(&again.state), &[&Whole::of(&worker.state)], when);
    assert_eq!(again.report.epoch, report.epoch, "{when}");
}

/// The promise of this name: what was acknowledged is there, whatever the moment.
#[test]
fn durable() {
    let mut rng = Rng::any();
    let seed = rng.below(usize::MAX) as u64;
    let (run, _store) = work(Rng::new(seed), 300, false);
    println!("{:?}, {} operations", run.kinds, run.storage.count());
    let world = Simulated::default();
    let (mut crashes, mut kinds) = (0, [0; 6]);
    for (n, op) in run.storage.ops().into_iter().enumerate() {
        let mut crash = |image: Simulated, at: usize, how: &str| {
            crashes += 1;
            recover(&image, &run, at, &format!("crash {how} operation {n}"));
        };
        crash(world.crash(Keep::Nothing), n, "with nothing left, before");
        if let Op::Write { file, at, bytes } = &op {
            let ends = [1, 7, bytes.len() / 2, rng.below(bytes.len()), bytes.len() - 1];
            for end in ends {
                let torn = world.kill();
                torn.replay(&Op::Write { file: *file, at: *at, bytes: bytes[..end].to_vec() });
                let how = format!("with {end} of {} bytes of", bytes.len());
                crash(torn.crash(Keep::Everything), n + 1, &how);
            }
        }
        kinds[match op {
            Op::Create { .. } => 0,
            Op::Write { .. } => 1,
            Op::Sync { .. } => 2,
            Op::Rename { .. } => 3,
            Op::Remove { .. } => 4,
            Op::SyncNames => 5,
        }] += 1;
        world.replay(&op);
        crash(world.crash(Keep::Some(&mut rng)), n + 1, "with something left, after");
        // Only the process ends: the system has everything, and the power fails only later.
        crash(world.kill(), n + 1, "of the process, after");
    }
    println!(
        "{crashes} crashes; creates, writes, syncs, renames, removes, syncs of names: {kinds:?}"
    );
    assert!(kinds.iter().all(|count| *count > 3), "{kinds:?}");
    for kind in KINDS {
        assert!(run.kinds.contains_key(kind), "no {kind}: {:?}", run.kinds);
    }
}

/// Returns the first and the last moment of a run in interval mode whose state a start may find
/// when the power fails after `at` operations: the log was synced after the first, and the last was
/// requested.
fn span(run: &Run, ops: &[Op], at: usize) -> (usize, usize) {
    let made = ops.iter().filter_map(|op| match op {
        Op::Create { name, .. } => Some(name == "new.tmp"),
        _ => None,
    });
    let logs: Vec<bool> = made.collect();
    let synced = ops[..at].iter().rposition(|op| matches!(op, Op::Sync { file } if logs[*file]));
    let first = run.moments.iter().rposition(|moment| moment.acked <= synced.unwrap_or(0));
    let last = run.moments.iter().rposition(|moment| moment.asked <= at);
    (first.unwrap(), last.unwrap())
}

#[test]
fn in_interval_mode_a_crash_at_any_moment_leaves_whole_batches_and_begins_a_new_epoch() {
    let mut rng = Rng::any();
    let seed = rng.below(usize::MAX) as u64;
    let (run, _store) = work(Rng::new(seed), 300, true);
    let ops = run.storage.ops();
    let world = Simulated::default();
    let (mut crashes, mut lost) = (0, 0);
    for (n, op) in ops.iter().enumerate() {
        world.replay(op);
        let at = n + 1;
        let images = [
            world.crash(Keep::Nothing),
            world.crash(Keep::Some(&mut rng)),
            world.crash(Keep::Some(&mut rng)),
            world.kill(),
        ];
        for (how, image) in images.into_iter().enumerate() {
            let when = format!("crash {how} after operation {n}");
            let OpenedStore { mut store, state, report } =
                open(&image, true).unwrap_or_else(|error| panic!("{when}: {error}"));
            let found = Whole::of(&state);
            crashes += 1;
            if at <= run.begun {
                assert_eq!(found.slots.len(), 0, "{when}");
                continue;
            }
            let (first, last) = span(&run, &ops, at);
            let same = |moment: &&Moment| {
                let Moment { whole, .. } = moment;
                (&whole.slots, &whole.clients) == (&found.slots, &found.clients)
                    && whole.digest == found.digest
                    && whole.rev() + (1 << 28) == found.rev()
            };
            let there = run.moments[first..=last].iter().find(same);
            let there = there.unwrap_or_else(|| {
                panic!("{when}: {} is none of the states {first} to {last}", found.rev())
            });
            lost += usize::from(there.whole.rev() < run.moments[last].whole.rev());
            assert!(report.new_epoch && report.epoch != run.epoch, "{when}");
            let mut worker = Worker::new(state, Rng::new(n as u64));
            keep(&mut store, &mut worker).unwrap();
            wait(store.close()).unwrap();
            let again = open(&image.crash(Keep::Nothing), true).unwrap();
            assert_found(&Whole::of(&again.state), &[&Whole::of(&worker.state)], &when);
            assert_eq!(
                (again.report.epoch, again.report.new_epoch),
                (report.epoch, false),
                "{when}"
            );
        }
    }
    println!("{crashes} crashes, {lost} lost something that was not yet synced");
    assert!(lost > 20 && lost < crashes, "{lost} of {crashes}");
}

#[test]
fn a_crash_during_a_start_is_followed_by_another_start() {
    for interval in [false, true] {
        let mut rng = Rng::any();
        let seed = rng.below(usize::MAX) as u64;
        let (run, _store) = work(Rng::new(seed), 120, interval);
        let before = run.storage.crash(Keep::Everything);
        let started = before.kill();
        let first = open(&started, interval).unwrap();
        let found = Whole::of(&first.state);
        let world = before.kill();
        for (n, op) in started.ops().iter().enumerate() {
            world.replay(op);
            let images =
                [world.crash(Keep::Nothing), world.crash(Keep::Some(&mut rng)), world.kill()];
            for image in images {
                let when = format!("after operation {n} of the start, interval: {interval}");
                let again =
                    open(&image, interval).unwrap_or_else(|error| panic!("{when}: {error}"));
                let again = Whole::of(&again.state);
                assert!((&again.slots, &again.clients) == (&found.slots, &found.clients), "{when}");
                assert!(again.rev() >= run.moments.last().unwrap().whole.rev(), "{when}");
            }
        }
        assert!(started.count() > 5, "{}", started.count());
    }
}

/// Log files may be missing too, with revisions that were given: none of these is given again in
/// the same history.
#[test]
fn a_tree_without_a_history_begins_a_new_one() {
    let mut rng = Rng::any();
    let (run, mut store) = work(Rng::new(rng.below(usize::MAX) as u64), 150, false);
    wait(store.close()).unwrap();
    let image = run.storage.crash(Keep::Nothing);
    for (name, _) in image.files().iter().filter(|(name, _)| !name.starts_with("tree-")) {
        image.take(name);
    }
    let (state, report) = files::check(&image, settings(7)).unwrap();
    let tree = Whole::of(&state);
    let last = run.moments.last().unwrap().whole.rev();
    assert!((report.epoch, report.rev) == (run.epoch, tree.rev()) && tree.rev() <= last);
    assert_eq!(report.lost, Some(Loss::History));
    let Salvaged { lost, .. } = files::salvage(&image, settings(7)).unwrap();
    assert_eq!(lost.len(), 1, "{lost:?}");
    let begun = image.kill();
    let first = open(&begun, false).unwrap();
    for op in begun.ops() {
        image.replay(&op);
        for image in [image.crash(Keep::Nothing), image.crash(Keep::Some(&mut rng)), image.kill()] {
            let OpenedStore { state, report, .. } = open(&image, false).unwrap();
            let found = Whole::of(&state);
            assert!((&found.slots, &found.clients) == (&tree.slots, &tree.clients), "{op:?}");
            assert!(report.epoch != run.epoch && found.rev() > last, "{op:?}: {report:?}");
        }
    }
    assert!(first.report.new_epoch, "{:?}", first.report);
    let again = open(&begun.crash(Keep::Nothing), false).unwrap().report;
    assert_eq!((again.epoch, again.new_epoch), (first.report.epoch, false));
}

/// It may fail at anything that a full disk refuses.
#[test]
fn a_start_that_fails_begins_no_new_history() {
    for after in 0..40 {
        let (run, mut store) = work(Rng::new(7), 60, true);
        wait(store.close()).unwrap();
        let storage = run.storage.kill();
        let what: fn(&Op) -> bool = |op| !matches!(op, Op::SyncNames);
        storage.fail(Some(Fault { what, after, times: usize::MAX, errno: ENOSPC }));
        let failed = open(&storage, true).is_err();
        if !failed {
            assert!(after > 5, "{after}: there is more to a start");
            return;
        }
        storage.fail(None);
        for again in [storage.crash(Keep::Nothing), storage.kill()] {
            let OpenedStore { report, .. } = open(&again, true).unwrap();
            assert_eq!((report.epoch, report.new_epoch), (run.epoch, false), "after {after}");
        }
    }
    panic!("it never started");
}

/// The end of the old history was lost: the new one is begun once, however often the start fails
/// after that.
#[test]
fn a_new_history_is_begun_once() {
    let (run, _store) = work(Rng::new(7), 60, true);
    let storage = run.storage.kill();
    let is_log: fn(&Op) -> bool = |op| matches!(op, Op::Create { name, .. } if name == "new.tmp");
    let mut revs = Vec::new();
    for _ in 0..3 {
        storage.fail(Some(Fault { what: is_log, after: 0, times: usize::MAX, errno: ENOSPC }));
        assert!(open(&storage, true).is_err());
        storage.fail(None);
        revs.push(files::check(&storage, settings(9)).unwrap().1.rev);
    }
    assert!(revs[0] > 1 << 28 && revs.iter().all(|rev| *rev == revs[0]), "{revs:?}");
}

#[test]
fn a_new_history_is_possible_for_as_long_as_there_are_revisions() {
    for left in [1 << 41, 1 << 27, 5000, 100] {
        let mut storage = Simulated::default();
        let OpenedStore { mut state, .. } = open(&Simulated::default(), false).unwrap();
        let first = Revision::new(Revision::MAX.get() - left).unwrap();
        state.begin_epoch(Epoch(77), first);
        files::save(&storage, Epoch(77), &settings(77), &state.checkpoint(), false).unwrap();
        let mut last = (Epoch(77), first.get());
        for life in 0..20 {
            let OpenedStore { mut store, state, report } = open(&storage, true).unwrap();
            assert_eq!(report.new_epoch, life > 0);
            let mut worker = Worker::new(state, Rng::new(life));
            keep(&mut store, &mut worker).unwrap();
            let now = (report.epoch, worker.state.rev().get());
            assert!(now.1 > last.1, "{left}, life {life}: {now:?} after {last:?}");
            last = now;
            storage = storage.kill();
        }
    }
}

#[test]
fn a_start_that_is_cut_behind_a_life_without_a_write_leaves_what_can_be_started() {
    for interval in [false, true] {
        let (run, mut store) = work(Rng::new(7), 60, interval);
        wait(store.close()).unwrap();
        let OpenedStore { mut store, .. } = open(&run.storage, interval).unwrap();
        wait(store.close()).unwrap();
        let before = run.storage.kill();
        let started = before.kill();
        open(&started, interval).unwrap();
        let world = before.kill();
        for (n, op) in started.ops().iter().enumerate() {
            world.replay(op);
            for (what, image) in [("crash", world.crash(Keep::Nothing)), ("kill", world.kill())] {
                let opened = open(&image, interval);
                assert!(opened.is_ok(), "{what} after {n} {op:?}: {:?}", opened.err());
            }
        }
        let mut starts = false;
        for after in 0..40 {
            let storage = before.kill();
            let what: fn(&Op) -> bool = |op| !matches!(op, Op::SyncNames);
            storage.fail(Some(Fault { what, after, times: usize::MAX, errno: ENOSPC }));
            starts = open(&storage, interval).is_ok();
            storage.fail(None);
            if starts {
                break;
            }
            let opened = open(&storage.kill(), interval);
            assert!(opened.is_ok(), "full after {after}: {:?}", opened.err());
        }
        assert!(starts, "no start has come to its end");
    }
}
