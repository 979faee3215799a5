//! Copies of a store that are incomplete: a file is shorter, one is missing, two have each other's
//! names. No crash does that, and none of it is taken for a crash.

use onetree::store::Store;
use onetree::store::files::{self, Damage, OpenError, Salvaged};

use super::rng::Rng;
use super::simulated::{Keep, Simulated};
use super::work::{Whole, Worker, keep, open, settings, wait, work};

/// Returns what is damaged. Everything that is not found must be reported as lost.
fn damage(image: &Simulated, right: &Whole, when: &str) -> Option<Damage> {
    let checked = files::check(&image.kill(), settings(7));
    let Salvaged { state, lost } = files::salvage(&image.kill(), settings(7)).unwrap();
    if Whole::of(&state).slots != right.slots {
        assert!(!lost.is_empty(), "{when}: nobody says what is lost");
    }
    match checked {
        Ok((state, _)) => {
            assert_eq!(Whole::of(&state), *right, "{when}: something is missing");
            None
        }
        Err(OpenError::Damaged(damage)) => Some(damage),
        Err(error) => panic!("{when}: {error}"),
    }
}

fn logs(image: &Simulated) -> Vec<(String, usize)> {
    image.files().into_iter().filter(|(name, _)| name.starts_with("log-")).collect()
}

/// Even if the cut is between two batches.
#[test]
fn a_log_that_is_shorter_than_it_was_is_damage() {
    for ended in [true, false] {
        let (run, mut store) = work(Rng::any(), 150, false);
        if ended {
            wait(store.close()).unwrap();
        }
        let image = run.storage.crash(if ended { Keep::Nothing } else { Keep::Everything });
        let right = &run.moments.last().unwrap().whole;
        let (name, length) = logs(&image).pop().unwrap();
        let content = image.content(&name);
        let used = content.iter().rposition(|byte| *byte != 0).unwrap();
        let used = (used + 1).next_multiple_of(8);
        let mut noticed = 0;
        for at in (0..used).chain([used, length]) {
            let cut = image.kill();
            cut.put(&name, content[..at].to_vec());
            let when = format!("{name}: {at} of {used} of {length}, ended: {ended}");
            let damage = damage(&cut, right, &when);
            assert_eq!(damage.is_some(), at < used, "{when}: {damage:?}");
            noticed += usize::from(damage.is_some());
        }
        assert!(noticed > 100, "{noticed}: too few to say anything");
    }
}

#[test]
fn a_copy_without_its_tree_is_not_whole() {
    let (run, _store) = work(Rng::any(), 150, false);
    let last = run.moments.last().unwrap();
    let state = open(&run.storage.crash(Keep::Everything), false).unwrap().state;
    for backup in [true, false] {
        let image = Simulated::default();
        let epoch = settings(1).epoch;
        files::save(&image, epoch, &settings(1), &state.checkpoint(), backup).unwrap();
        assert_eq!(damage(&image, &last.whole, "all of it"), None);
        for (name, _) in image.files().into_iter().filter(|(name, _)| name.starts_with("tree-")) {
            image.take(&name);
        }
        let error = files::check(&image, settings(7)).expect_err("it is missing");
        let told = match &error {
            OpenError::HalfBackup { .. } => backup,
            OpenError::Damaged(damage) => !backup && damage.why.contains("tree is missing"),
            _ => false,
        };
        assert!(told, "{error}");
        // No empty tree is made of it either.
        let salvaged = files::salvage(&image, settings(7)).err().expect("nothing is there");
        assert_eq!(salvaged.to_string(), error.to_string());
        // A process that is killed while it makes one.
        let making = Simulated::default();
        files::save(&making, epoch, &settings(1), &state.checkpoint(), backup).unwrap();
        let half = Simulated::default();
        for op in making.ops() {
            half.replay(&op);
            let has = |start| half.files().iter().any(|(name, _)| name.starts_with(start));
            if backup && (has("tree-") || has("tree.")) {
                let opened = open(&half.kill(), false);
                assert!(opened.is_err(), "a broker starts on {:?}", half.files());
            }
        }
    }
}

/// Its revision is above all others, and would make the logs of this history superfluous.
#[test]
fn a_tree_of_another_history_is_not_taken_for_one_of_this() {
    for ended in [true, false] {
        let (run, mut store) = work(Rng::any(), 150, false);
        if ended {
            wait(store.close()).unwrap();
        }
        let image = run.storage.crash(if ended { Keep::Nothing } else { Keep::Everything });
        let mut state = open(&image.kill(), false).unwrap().state;
        let other = settings(99);
        state.begin_epoch(other.epoch, files::next_history(state.rev().get(), files::RESTORE_GAP));
        let saved = Simulated::default();
        files::save(&saved, other.epoch, &other, &state.checkpoint(), false).unwrap();
        let tree = |(name, _): &(String, usize)| name.starts_with("tree-");
        let (name, _) = saved.files().into_iter().find(tree).unwrap();
        image.put(&name, saved.content(&name));
        let before = image.files();
        let Err(OpenError::Damaged(damage)) = open(&image, false) else {
            panic!("a broker starts on {before:?}");
        };
        assert!(damage.file == name && damage.why.contains("another history"), "{damage}");
        assert_eq!(image.files(), before);
    }
}

/// It begins at the same revision, so only its epoch distinguishes it.
#[test]
fn a_log_of_another_history_is_damage() {
    let (run, mut store) = work(Rng::any(), 150, false);
    wait(store.close()).unwrap();
    let image = run.storage.crash(Keep::Nothing);
    let files = image.files();
    let log = |(name, _): &&(String, usize)| name.starts_with("log-");
    let (last, _) = files.iter().rfind(log).unwrap();
    let right = open(&image.kill(), false).unwrap();
    // A directory that began another history at the same revision.
    let elsewhere = Simulated::default();
    let other = settings(99);
    let mut state = right.state;
    state.begin_epoch(other.epoch, files::next_history(state.rev().get(), 1));
    files::save(&elsewhere, other.epoch, &other, &state.checkpoint(), false).unwrap();
    let opened = open(&elsewhere, false).unwrap();
    let (mut theirs, mut worker) = (opened.store, Worker::new(opened.state, Rng::any()));
    keep(&mut theirs, &mut worker).unwrap();
    let names = elsewhere.files();
    let (foreign, _) = names.iter().rfind(log).unwrap();
    let mixed = image.kill();
    mixed.put(foreign, elsewhere.content(foreign));
    let before = mixed.files();
    assert!(foreign > last, "{foreign} is not behind {last}");
    let Err(OpenError::Damaged(damage)) = open(&mixed, false) else {
        panic!("a broker starts on {before:?}");
    };
    assert!(damage.file == *foreign && damage.offset == 16, "{damage}");
    assert!(damage.why.contains("another history"), "{damage}");
    assert_eq!(mixed.files(), before);
}

#[test]
fn logs_that_have_each_others_names_are_damage_of_which_nothing_is_lost() {
    let mut rng = Rng::any();
    // Right after the tree was saved, there may be only one log.
    let (run, image) = loop {
        let (run, mut store) = work(Rng::new(rng.below(usize::MAX) as u64), 150, false);
        wait(store.close()).unwrap();
        let image = run.storage.crash(Keep::Nothing);
        if logs(&image).len() > 1 {
            break (run, image);
        }
    };
    let right = &run.moments.last().unwrap().whole;
    let logs = logs(&image);
    let [.., (one, _), (other, _)] = &logs[..] else { unreachable!("there are two or more") };
    let swapped = image.kill();
    swapped.put(one, image.content(other));
    swapped.put(other, image.content(one));
    assert!(damage(&swapped, right, "swapped").is_some());
    let Salvaged { state, lost } = files::salvage(&swapped, settings(7)).unwrap();
    assert_eq!((Whole::of(&state).slots, lost), (right.slots.clone(), Vec::new()));
}

/// No revision is this high, so the file is not ours; calculations with it would overflow.
#[test]
fn a_name_that_no_file_can_have_is_passed_over() {
    let (run, _store) = work(Rng::any(), 150, false);
    let right = &run.moments.last().unwrap().whole;
    for name in ["tree-ffffffffffffffff.onetree", "log-ffffffffffffffff.onetree"] {
        let image = run.storage.crash(Keep::Everything);
        image.put(name, vec![1; 100]);
        assert_eq!(damage(&image, right, name), None);
        assert_eq!(files::damages(&image, &settings(7)), []);
        assert_eq!(Whole::of(&open(&image.kill(), false).unwrap().state), *right, "{name}");
        // Also if something else is damaged.
        let (tree, length) =
            image.files().into_iter().find(|(other, _)| other.starts_with("tree-0")).unwrap();
        image.put(&tree, image.content(&tree)[..length - 1].to_vec());
        assert_eq!(damage(&image, right, name).map(|damage| damage.file), Some(tree), "{name}");
    }
}
