//! The files of a run with random changes, small and large: a start refuses them with an error, or
//! finds a tree that existed; and what is salvaged of those that it refuses are entries that
//! existed.
//!
//! `ONETREE_FUZZ_SECONDS=60 cargo test --release --test store recover` runs for a minute;
//! `ONETREE_SEED` repeats a run.

use std::time::{Duration, Instant};

use onetree::store::files::{self, OpenError, Salvaged};

use super::rng::Rng;
use super::salvage::assert_each_was;
use super::simulated::Simulated;
use super::work::{Run, Whole, open, settings, work};

/// The number of images without ONETREE_FUZZ_SECONDS.
const IMAGES: u32 = 2_000;

/// Changes one of the files. Returns a description.
fn change(image: &Simulated, rng: &mut Rng) -> String {
    let files = image.files();
    let (name, length) = rng.pick(&files).clone();
    let mut content = image.content(&name);
    let at = rng.below(length.max(1));
    let size = 1 + rng.below(100);
    let how = match rng.below(8) {
        0 if length > 0 => {
            content[at] = rng.below(256) as u8;
            "a byte"
        }
        1 => {
            content.truncate(at);
            "its end"
        }
        2 => {
            let noise = (0..size).map(|_| rng.below(256) as u8);
            content.splice(at..(at + size).min(length), noise);
            "a piece"
        }
        3 if length > 0 => {
            // A piece from elsewhere in the file, which is valid by itself.
            let from = rng.below(length);
            let piece = content[from..(from + size).min(length)].to_vec();
            content.splice(at..(at + piece.len()).min(length), piece);
            "a piece of its own"
        }
        4 => {
            content.splice(at..(at + size).min(length), std::iter::repeat_n(0, size));
            "zeros"
        }
        5 => {
            image.take(&name);
            return format!("{name} is gone");
        }
        6 => {
            let (other, _) = rng.pick(&files).clone();
            image.put(&other, content);
            return format!("{other} is {name}");
        }
        _ => {
            content.drain(at..(at + size).min(length));
            "a piece less"
        }
    };
    image.put(&name, content);
    format!("{how} of {name} at {at}")
}

#[test]
fn recover() {
    let seconds: Option<u64> =
        std::env::var("ONETREE_FUZZ_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    let mut rng = Rng::any();
    let begun = Instant::now();
    let (mut images, mut found, mut refused, mut nothing) = (0, 0, 0, 0);
    let goes_on = |images: u32| match seconds {
        Some(seconds) => begun.elapsed() < Duration::from_secs(seconds),
        None => images < IMAGES,
    };
    while goes_on(images) {
        let (run, store) = work(Rng::new(rng.below(1 << 30) as u64), 60, false);
        drop(store);
        for _ in 0..100 {
            images += 1;
            let image = run.storage.kill();
            let changes: Vec<String> =
                (0..1 + rng.below(3)).map(|_| change(&image, &mut rng)).collect();
            let before = image.kill();
            match open(&image, false) {
                Ok(opened) => {
                    found += 1;
                    let (state, report) = files::check(&before, settings(7)).unwrap();
                    let (was, found) = (Whole::of(&state), Whole::of(&opened.state));
                    assert_was(&run, &was, &changes);
                    // A new history begins with a revision of its own.
                    let same = (&was.slots, &was.clients) == (&found.slots, &found.clients);
                    assert!(same && (was == found || report.lost.is_some()), "{changes:?}");
                }
                Err(OpenError::Io { file, error }) => panic!("{changes:?}: {file}: {error}"),
                Err(OpenError::Damaged(_)) => {
                    refused += 1;
                    match files::salvage(&image, settings(7)) {
                        Ok(Salvaged { state, .. }) => {
                            assert_each_was(&run, &Whole::of(&state), &changes);
                        }
                        // Nothing is intact.
                        Err(OpenError::Damaged(_)) => nothing += 1,
                        Err(error) => panic!("{changes:?}: {error}"),
                    }
                }
                Err(
                    OpenError::Newer { .. }
                    | OpenError::Backup { .. }
                    | OpenError::HalfBackup { .. }
                    | OpenError::Unfinished { .. },
                ) => refused += 1,
            }
        }
    }
    println!("{images} images: a tree in {found}, refused {refused}, nothing in {nothing}");
    assert!(
        found > images / 50 && refused > images / 5 && nothing < refused / 10,
        "{found} {refused} {nothing}: too few to say anything"
    );
}

/// Asserts that this tree existed at some moment. An empty tree is the one at the beginning.
fn assert_was(run: &Run, found: &Whole, changes: &[String]) {
    assert!(
        run.moments.iter().any(|moment| moment.whole == *found),
        "{changes:?}: a tree at revision {} that never was",
        found.rev()
    );
}
