//! A bit of a file is flipped: the start reports it, with the file and the place, or the bit did
//! not matter. It never leads to another state.

use std::collections::BTreeMap;
use std::time::Duration;

use onetree::store::Store;
use onetree::store::files::{Damage, OpenError};

use super::rng::Rng;
use super::simulated::{EIO, ENOSPC, Fault, Keep, Op, Simulated};
use super::work::{Whole, Worker, keep, open, wait, work};

/// The distance between changed bytes: no multiple of the eight that things are aligned to.
const STEP: usize = 13;

/// The results of the starts with one flipped bit.
#[derive(Debug, Default)]
struct Said {
    refused: u32,
    harmless: u32,
}

/// Flips a bit at many places of each file. Returns the results by the kind of the file.
fn flip_all(image: &Simulated, right: &Whole, rng: &mut Rng) -> BTreeMap<String, Said> {
    let mut said: BTreeMap<String, Said> = BTreeMap::new();
    for (name, length) in image.files() {
        let kind = name.split(['-', '.']).next().unwrap().to_owned();
        let said = said.entry(kind).or_default();
        for at in (rng.below(STEP)..length).step_by(STEP) {
            let bit = rng.below(8);
            let when = format!("bit {bit} of byte {at} of {length} of {name}");
            let flipped = image.kill();
            let mut content = flipped.content(&name);
            content[at] ^= 1 << bit;
            flipped.put(&name, content);
            match open(&flipped, false) {
                Ok(opened) => {
                    said.harmless += 1;
                    let found = Whole::of(&opened.state);
                    assert!(
                        found == *right,
                        "{when}: revision {} was found, and {} was there",
                        found.rev(),
                        right.rev()
                    );
                }
                Err(OpenError::Damaged(Damage { file, offset, .. })) => {
                    said.refused += 1;
                    assert_eq!(file, name, "{when}");
                    assert!(offset <= at as u64, "{when}: it is said to be at {offset}");
                    assert_eq!(flipped.count(), 0, "{when}: something was changed");
                }
                // This may be so: a file of a later version cannot be checked.
                Err(OpenError::Newer { file, .. }) => {
                    said.refused += 1;
                    assert_eq!((file, at / 4), (name.clone(), 2), "{when}");
                }
                Err(error) => panic!("{when}: {error}"),
            }
        }
    }
    said
}

/// Asserts that enough flipped bits were noticed in each kind of file.
fn assert_noticed(said: &BTreeMap<String, Said>) {
    println!("{said:?}");
    for kind in ["log", "tree", "history"] {
        assert!(said[kind].refused > 1, "{kind}: {said:?}");
    }
}

#[test]
fn a_flipped_bit_is_damage_or_does_not_count() {
    let mut rng = Rng::any();
    let seed = rng.below(usize::MAX) as u64;
    let (run, store) = work(Rng::new(seed), 150, false);
    let right = &run.moments.last().unwrap().whole;
    // The power fails a moment later: the seal of the last batch has reached the disk.
    let image = run.storage.crash(Keep::Everything);
    drop(store);
    assert_noticed(&flip_all(&image, right, &mut rng));
}

#[test]
fn after_a_good_end_a_flipped_bit_in_the_last_batch_is_damage() {
    let mut rng = Rng::any();
    let seed = rng.below(usize::MAX) as u64;
    let (run, mut store) = work(Rng::new(seed), 150, false);
    wait(store.close()).unwrap();
    let image = run.storage.crash(Keep::Nothing);
    assert_noticed(&flip_all(&image, &run.moments.last().unwrap().whole, &mut rng));
}

/// As when the disk, or whoever made a copy, has lost the end of the file: what is left is intact.
#[test]
fn after_a_good_end_a_log_without_its_end_is_damage() {
    let (run, mut store) = work(Rng::any(), 150, false);
    wait(store.close()).unwrap();
    let image = run.storage.crash(Keep::Nothing);
    let logs = image.files().into_iter().map(|(name, _)| name);
    let name = logs.filter(|name| name.starts_with("log-")).max().unwrap();
    let mut content = image.content(&name);
    // The last batch has no commits: it says that nothing comes behind it.
    let mark: [u8; 4] = content[64..68].try_into().unwrap();
    let end = content.iter().rposition(|byte| *byte != 0).unwrap();
    let at = (64..=end).rfind(|at| content[*at..].starts_with(&mark)).unwrap();
    content[at..].fill(0);
    image.put(&name, content);
    let damaged = open(&image, false).map(|opened| opened.report);
    let Err(OpenError::Damaged(Damage { file, offset, .. })) = damaged else {
        panic!("nobody has noticed: {damaged:?}");
    };
    assert_eq!((file, offset), (name, at as u64));
}

/// No crash removes a file.
#[test]
fn a_file_that_is_missing_is_damage_or_was_not_needed() {
    let (run, _store) = work(Rng::any(), 150, false);
    let image = run.storage.crash(Keep::Everything);
    let right = Whole::of(&open(&image.kill(), false).unwrap().state);
    let files: Vec<String> = image.files().into_iter().map(|(name, _)| name).collect();
    let last = files.iter().rfind(|name| name.starts_with("log-")).unwrap();
    let mut refused = 0;
    for name in &files {
        let less = image.kill();
        less.take(name);
        match open(&less, false) {
            Ok(opened) => {
                assert_ne!(name, last, "nobody has noticed");
                assert!(Whole::of(&opened.state) == right, "without {name}");
            }
            Err(OpenError::Damaged(damage)) => {
                refused += 1;
                assert_eq!(less.count(), 0, "without {name}: something was changed");
                if name == last {
                    assert_eq!(&damage.file, last, "{damage}");
                }
            }
            Err(error) => panic!("without {name}: {error}"),
        }
    }
    assert!(refused > 1, "{refused} of {files:?}");
}

/// The last file of the log is missed as soon as a commit in it was acknowledged, whatever the
/// reason for beginning it: a start, a full file before it, a disk that had failed.
#[test]
fn the_last_file_of_the_log_is_missed_after_every_batch() {
    let (mut begun, mut worker_seed) = (0, Rng::any());
    for interval in [false, true] {
        let storage = Simulated::default();
        let opened = open(&storage, interval).unwrap();
        let (mut store, seed) = (opened.store, worker_seed.below(usize::MAX) as u64);
        let mut worker = Worker::new(opened.state, Rng::new(seed));
        let mut before = String::new();
        for n in 0..60 {
            if n == 30 {
                let what: fn(&Op) -> bool = |op| matches!(op, Op::Write { .. });
                storage.fail(Some(Fault { what, after: 0, times: 1, errno: EIO }));
            }
            if keep(&mut store, &mut worker).is_err() {
                continue;
            }
            let image = storage.kill();
            let files = image.files();
            let (last, _) = files.iter().rfind(|(name, _)| name.starts_with("log-")).unwrap();
            begun += u32::from(*last != before);
            before.clone_from(last);
            image.take(last);
            let Err(error) = open(&image, interval) else { panic!("{last} is not missed") };
            assert!(error.to_string().contains(last.as_str()), "{error}");
        }
    }
    assert!(begun > 6, "{begun} files");
}

#[test]
fn a_history_alone_is_no_empty_tree() {
    let (run, mut store) = work(Rng::any(), 150, false);
    let alone = |image: &Simulated| {
        let image = image.kill();
        for (name, _) in image.files() {
            if !name.starts_with("history") {
                image.take(&name);
            }
        }
        image
    };
    let killed = alone(&run.storage);
    assert!(matches!(open(&killed, false), Err(OpenError::Damaged(_))), "it had a tree");
    wait(store.close()).unwrap();
    let ended = alone(&run.storage);
    assert!(matches!(open(&ended, false), Err(OpenError::Damaged(_))), "it had a tree");
    assert_eq!((killed.count(), ended.count()), (0, 0), "something was changed");
    // A start that got no further does not count.
    let fresh = Simulated::default();
    let what: fn(&Op) -> bool =
        |op| matches!(op, Op::Create { name, .. } if !name.starts_with("history"));
    fresh.fail(Some(Fault { what, after: 0, times: usize::MAX, errno: ENOSPC }));
    assert!(matches!(open(&fresh, false), Err(OpenError::Io { .. })));
    assert_eq!(fresh.files().len(), 1, "{:?}", fresh.files());
    assert_eq!(open(&fresh.crash(Keep::Nothing), false).unwrap().state.rev().get(), 0);
}

/// What no store can know: if the power fails right after a batch, before its seal is on the disk,
/// a flipped bit in this one batch looks like a torn batch.
#[test]
fn only_an_unsealed_last_batch_can_be_taken_for_a_torn_one() {
    let mut rng = Rng::any();
    let seed = rng.below(usize::MAX) as u64;
    let (run, mut store) = work(Rng::new(seed), 100, false);
    let mut worker = Worker::new(open(&run.storage.kill(), false).unwrap().state, rng);
    let logs = |storage: &Simulated| {
        let mut files = storage.files();
        files.retain(|(name, _)| name.starts_with("log-"));
        files
    };
    // A batch in a file that existed before, while nothing else is in progress.
    let (before, old, image) = loop {
        std::thread::sleep(Duration::from_millis(20));
        let (before, old) = (Whole::of(&worker.state), run.storage.kill());
        keep(&mut store, &mut worker).unwrap();
        let image = run.storage.crash(Keep::Nothing);
        if logs(&image) == logs(&old) {
            break (before, old, image);
        }
    };
    let (name, _) = logs(&image).pop().expect("there is a log");
    let (was, mut content) = (old.content(&name), image.content(&name));
    let at = (0..content.len()).rev().find(|at| content[*at] != was[*at]).expect("a batch");
    content[at] ^= 1;
    image.put(&name, content);
    let opened = open(&image, false).unwrap();
    assert!(Whole::of(&opened.state) == before);
    assert!(opened.report.torn.is_some(), "it is said that something was cut");
}
