//! What is read from damaged files: everything that is intact, and nothing that never existed.

use std::fmt::Debug;

use onetree::store::files::{self, OpenError, Salvaged};
use onetree_core::{Author, Request, State, Time};
use onetree_protocol::Value;
use onetree_protocol::frame::Do;

use super::rng::Rng;
use super::simulated::{Keep, Simulated};
use super::work::{Run, Whole, open, path, settings, work};

/// The distance between changed bytes: no multiple of the eight that things are aligned to.
const STEP: usize = 13;

/// A batch of the worker changes fewer entries than this.
const BATCH_CHANGES: usize = 16;

/// Asserts that each entry that was found existed in this form at some moment.
pub(crate) fn assert_each_was(run: &Run, found: &Whole, when: &dyn Debug) {
    for slot in found.slots.iter().filter(|slot| slot.value.is_some()) {
        let was = run.moments.iter().any(|moment| {
            let same = |one: &onetree_core::SavedSlot| {
                (&one.path, one.rev, &one.value) == (&slot.path, slot.rev, &slot.value)
            };
            moment.whole.slots.iter().any(same)
        });
        assert!(was, "{when:?}: {} at revision {} never was", slot.path, slot.rev);
    }
}

fn flipped(image: &Simulated, name: &str, at: usize, bit: usize) -> Simulated {
    let flipped = image.kill();
    let mut content = flipped.content(name);
    content[at] ^= 1 << bit;
    flipped.put(name, content);
    flipped
}

#[test]
fn a_flipped_bit_costs_one_batch_of_the_log() {
    let mut rng = Rng::any();
    let (run, _store) = work(Rng::new(rng.below(usize::MAX) as u64), 150, false);
    let [.., before_last, last] = &run.moments[..] else { panic!("there are many") };
    let right = &last.whole;
    let image = run.storage.crash(Keep::Everything);
    let (mut salvaged, mut lossless) = (0, 0);
    for (name, length) in image.files() {
        for at in (rng.below(STEP)..length).step_by(STEP) {
            let bit = rng.below(8);
            let when = format!("bit {bit} of byte {at} of {length} of {name}");
            let flipped = flipped(&image, &name, at, bit);
            if !matches!(open(&flipped.kill(), false), Err(OpenError::Damaged(_))) {
                continue;
            }
            let Salvaged { state, lost } = files::salvage(&flipped, settings(7)).unwrap();
            let found = Whole::of(&state);
            assert_each_was(&run, &found, &when);
            assert_eq!(flipped.count(), 0, "{when}: something was changed");
            salvaged += 1;
            let missing = right.slots.iter().filter(|slot| !found.slots.contains(slot)).count();
            if lost.is_empty() {
                lossless += 1;
                assert_eq!((missing, &found.digest), (0, &right.digest), "{when}");
            }
            if name.starts_with("log-") {
                let least = before_last.whole.rev();
                assert!(found.rev() >= least, "{when}: up to {} of {least}", found.rev());
                assert!(missing < BATCH_CHANGES, "{when}: {missing} are missing: {lost:?}");
            }
        }
    }
    println!("{salvaged} salvaged, {lossless} of them whole");
    assert!(salvaged > 50 && lossless > 5, "{salvaged} {lossless}: too few to say anything");
}

/// Nothing is lost without a report, whatever is missing.
#[test]
fn what_is_gone_is_said_to_be_lost() {
    let mut rng = Rng::any();
    let (run, _store) = work(Rng::new(rng.below(usize::MAX) as u64), 150, false);
    let right = &run.moments.last().unwrap().whole;
    let image = run.storage.crash(Keep::Everything);
    let mut losses = 0;
    for (name, length) in image.files() {
        let gone = image.kill();
        gone.take(&name);
        let zeros = image.kill();
        zeros.put(&name, vec![0; length]);
        let cut = image.kill();
        cut.put(&name, image.content(&name)[..20].to_vec());
        for (how, image) in [("gone", gone), ("zeros", zeros), ("cut", cut)] {
            let Salvaged { state, lost } = files::salvage(&image, settings(7)).unwrap();
            let found = Whole::of(&state);
            assert_each_was(&run, &found, &(&name, how));
            if found.slots != right.slots {
                losses += 1;
                assert!(!lost.is_empty(), "{name} is {how}: nobody says so");
            }
        }
    }
    assert!(losses >= 3, "{losses}: too few to say anything");
    // A log that has just been begun shows that there was something before it, of which nothing is
    // left.
    let only = image.kill();
    for (name, _) in image.files().into_iter().filter(|(name, _)| !name.starts_with("history")) {
        only.take(&name);
    }
    let (name, _) = image.files().into_iter().rfind(|(name, _)| name.starts_with("log-")).unwrap();
    only.put(&name, image.content(&name)[..64].to_vec());
    assert!(matches!(files::salvage(&only, settings(7)), Err(OpenError::Damaged(_))));
}

/// Returns a run whose files are all on the disk, except the history.
fn without_a_history() -> (Run, Simulated) {
    let mut rng = Rng::any();
    let (run, _store) = work(Rng::new(rng.below(usize::MAX) as u64), 150, false);
    let image = run.storage.crash(Keep::Everything);
    image.take(files::HISTORY);
    (run, image)
}

/// Without a history it is unknown which log was the last.
#[test]
fn without_a_history_the_end_is_said_to_be_lost() {
    let (_, image) = without_a_history();
    let logs = || image.files().into_iter().filter(|(name, _)| name.starts_with("log-"));
    for more in (0..logs().count()).rev() {
        let Salvaged { lost, .. } = files::salvage(&image, settings(7)).unwrap();
        let told = lost.iter().any(|lost| lost.why.contains("what came behind revision"));
        assert!(told, "{more} more: {lost:?}");
        let (last, _) = logs().next_back().unwrap();
        image.take(&last);
    }
}

/// As when a restore was ended before it had moved much, or anything.
#[test]
fn what_an_unfinished_restore_has_not_moved_is_got_out() {
    let (run, image) = without_a_history();
    image.put(files::RESTORING, Vec::new());
    let Salvaged { state, lost } = files::salvage(&image, settings(7)).unwrap();
    assert_eq!(Whole::of(&state).slots, run.moments.last().unwrap().whole.slots);
    assert!(lost[0].file.ends_with(files::HISTORY), "{lost:?}");
    for (name, _) in image.files().into_iter().filter(|(name, _)| name.ends_with(".onetree")) {
        image.take(&name);
    }
    let nothing = files::salvage(&image, settings(7));
    assert!(matches!(nothing, Err(OpenError::Unfinished { .. })));
}

/// A saved tree of several blocks.
#[test]
fn a_broken_block_of_a_saved_tree_costs_that_block() {
    let mut state = State::new(settings(1));
    let entries = 3_000;
    for n in 0..entries {
        let value = Value::text(&"x".repeat(400));
        let put =
            Do::Put { path: path(&format!("/n/{n:05}")), value, ttl_ms: None, ephemeral: false };
        let request = Request { changes: vec![put], ..Request::default() };
        state.write(Time(1), &Author::default(), &request).answer.unwrap();
    }
    let image = Simulated::default();
    files::save(&image, settings(1).epoch, &settings(1), &state.checkpoint(), false).unwrap();
    let (tree, length) =
        image.files().into_iter().find(|(name, _)| name.starts_with("tree-")).unwrap();
    let count = |image: &Simulated| {
        let Salvaged { state, lost } = files::salvage(image, settings(7)).unwrap();
        (state.checkpoint().digest().count, lost)
    };
    assert_eq!(count(&image), (entries, Vec::new()));
    // In the middle of its blocks, where their lengths are too, and in the last.
    let second = (256 << 10) + 400..length;
    for at in second.step_by(60_011) {
        let (found, lost) = count(&flipped(&image, &tree, at, 3));
        assert!((entries * 6 / 10..entries).contains(&found), "byte {at}: {found} of {entries}");
        assert_eq!(lost.len(), 1, "{lost:?}");
    }
    // A file that ends too early.
    let cut = image.kill();
    cut.put(&tree, image.content(&tree)[..length / 2].to_vec());
    let (found, lost) = count(&cut);
    assert!((entries / 5..entries / 2).contains(&found), "{found} of {entries}");
    assert_eq!(lost.len(), 1, "{lost:?}");
}
