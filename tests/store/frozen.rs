//! Files of each format that ever existed: `tests/fixtures/v1`, `v2` (a history that names the last
//! log). They can be loaded for ever, whatever format is written then. An unknown format is
//! refused.
//!
//! `ONETREE_FREEZE=1` writes those of the last format if they do not exist.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use onetree::store::files::{self, Disk, OpenError};
use onetree_core::State;
use onetree_protocol::{Act, Change, Path as TreePath, json};

use super::rng::Rng;
use super::simulated::{Keep, Simulated};
use super::work::{Whole, open, options, settings, work};

const FORMATS: [&str; 2] = ["v1", "v2"];

fn folder(format: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format)
}

/// Returns what `onetree export` prints.
fn export(state: &State) -> String {
    let snapshot = state.snapshot();
    let entries = snapshot.entries(&TreePath::root()).map(|(path, rev, value)| {
        let act = Act::Put(Some(value.clone()));
        json::change_line(&Change { path: path.clone(), rev, act }) + "\n"
    });
    entries.collect()
}

/// Returns everything else that is stored: one line for each tombstone and mark, and for each
/// answer.
fn rest(whole: &Whole) -> String {
    let head = &whole.head;
    let mut text = format!("rev {} time {} horizon {}\n", head.rev, head.time.0, head.horizon);
    writeln!(text, "digest of {} entries {:032x}", whole.digest.count, whole.digest.sum).unwrap();
    for slot in &whole.slots {
        let (path, live) = (&slot.path, slot.value.is_some());
        writeln!(text, "{path} rev {} time {} live {live}", slot.rev, slot.time.0).unwrap();
        let Some(marks) = &slot.marks else { continue };
        let expires = marks.expires.map_or(0, |time| time.0);
        let owner = marks.owner.as_ref().map_or("nobody", |owner| owner.as_str());
        write!(text, "  expires {expires} owner {owner} dropped {}", marks.dropped).unwrap();
        let trimmed = marks.trimmed.map(|(rev, to)| format!(" trimmed at {rev} to {to}"));
        writeln!(text, "{}", trimmed.unwrap_or_default()).unwrap();
    }
    for client in &whole.clients {
        writeln!(text, "{} last {} time {}", client.name, client.last, client.time.0).unwrap();
        for (seq, answer) in &client.answers {
            match &**answer {
                Ok(done) => writeln!(text, "  {seq}: {} {:?}", done.rev, done.paths).unwrap(),
                Err(refusal) => {
                    let (code, path) =
                        (refusal.code.as_str(), refusal.path.as_ref().map(TreePath::as_str));
                    let rev = refusal.rev.map_or(0, |rev| rev.get());
                    writeln!(text, "  {seq}: {code} {path:?} {rev} {refusal}").unwrap();
                }
            }
        }
    }
    text
}

fn freeze(folder: &Path) {
    // A run in which everything occurs that a file can contain.
    let all = ["owner s-", "trimmed at", "expires 1", "dropped 3", "live false", "conflict"];
    let (image, state) = (1..)
        .find_map(|seed| {
            let (run, _store) = work(Rng::new(seed), 70, false);
            let image = run.storage.crash(Keep::Everything);
            let opened = open(&image.kill(), false).unwrap();
            let text = rest(&Whole::of(&opened.state));
            let logs = image.files().iter().filter(|(name, _)| name.starts_with("log")).count();
            let good = all.iter().all(|part| text.contains(part)) && logs > 1;
            (good && opened.report.saved > 0).then_some((image, opened.state))
        })
        .unwrap();
    fs::create_dir_all(folder).unwrap();
    for (name, _) in image.files().iter().filter(|(name, _)| name.ends_with(".onetree")) {
        fs::write(folder.join(name), image.content(name)).unwrap();
    }
    fs::write(folder.join("export.jsonl"), export(&state)).unwrap();
    fs::write(folder.join("rest.txt"), rest(&Whole::of(&state))).unwrap();
}

/// Returns the files, in memory, because a start writes to them.
fn frozen(format: &str) -> Simulated {
    let folder = folder(format);
    if std::env::var_os("ONETREE_FREEZE").is_some() && !folder.exists() {
        freeze(&folder);
    }
    let storage = Simulated::default();
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".onetree") {
            storage.put(&name, fs::read(folder.join(&name)).unwrap());
        }
    }
    storage
}

#[test]
fn files_of_each_format_load() {
    for format in FORMATS {
        let folder = folder(format);
        let expected = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let storage = frozen(format);
        let opened = open(&storage, false).unwrap();
        assert_eq!(export(&opened.state), expected("export.jsonl"), "{format}");
        assert_eq!(rest(&Whole::of(&opened.state)), expected("rest.txt"), "{format}");
        let report = opened.report;
        assert!(report.saved > 0 && report.replayed > 0 && !report.new_epoch, "{report:?}");
        assert_eq!(report.epoch.0, 1, "{report:?}");
        // A directory of the system gives the same result.
        let name = format!("onetree-store-{format}-{}", std::process::id());
        let copy = std::env::temp_dir().join(name);
        fs::create_dir_all(&copy).unwrap();
        for (name, _) in frozen(format).files() {
            fs::copy(folder.join(&name), copy.join(&name)).unwrap();
        }
        let disk = Arc::new(Disk::new(copy.clone()).unwrap());
        let opened = files::open(disk, settings(5), options(false)).unwrap();
        fs::remove_dir_all(&copy).unwrap();
        assert_eq!(export(&opened.state), expected("export.jsonl"), "{format}");
        assert_eq!(rest(&Whole::of(&opened.state)), expected("rest.txt"), "{format}");
    }
}

#[test]
fn a_file_of_a_newer_format_is_refused_and_the_error_names_it() {
    let kinds = [("log", 1), ("tree", 1), ("history", 2)];
    let names: Vec<String> = frozen("v2").files().into_iter().map(|(name, _)| name).collect();
    for (kind, last) in kinds {
        // Take the last log: one that the saved tree has made superfluous is not read.
        let name = names.iter().rfind(|name| name.starts_with(kind)).expect(kind);
        let storage = frozen("v2");
        let mut content = storage.content(name);
        assert_eq!(content[8..12], u32::to_le_bytes(last));
        content[8..12].copy_from_slice(&u32::to_le_bytes(last + 1));
        storage.put(name, content);
        let Err(error) = open(&storage, false) else { panic!("{name} is not refused") };
        assert!(
            matches!(&error, OpenError::Newer { file, version, known }
                if file == name && *version == u64::from(last + 1) && *known == last),
            "{error}"
        );
        assert_eq!(
            error.to_string(),
            format!(
                "{name} has format {}, and this version knows formats up to {last}; use a later one",
                last + 1
            )
        );
        assert_eq!(storage.count(), 0, "something was changed");
    }
}
