//! What a broker's directory goes through: restores that do not come to their end.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::operations::{backed_up, failed, names, told};
use super::{Broker, text};
use crate::directory::Directory;

/// What a directory holds that nobody else changes.
fn content(data: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = names(data)
        .into_iter()
        .filter(|name| name.ends_with(".onetree"))
        .map(|name| (name.clone(), fs::read(data.join(&name)).unwrap()))
        .collect();
    files.sort();
    files
}

/// It may be where another disk is mounted, which has no other name.
#[test]
fn a_restore_moves_nothing_but_what_is_ours() {
    let directory = Directory::new("foreign");
    let (data, backup) = backed_up(&directory);
    fs::create_dir(data.join("mounted")).unwrap();
    fs::create_dir(data.join("other.tmp")).unwrap();
    fs::write(data.join("mounted").join("file"), "theirs").unwrap();
    fs::write(data.join("notes.txt"), "theirs").unwrap();
    fs::write(data.join("tree.tmp"), "ours").unwrap();
    let done = told(&["restore", "--data", text(&data), "--force", text(&backup)]);
    let aside = PathBuf::from(done["aside"].as_str().unwrap());
    assert!(data.join("mounted").join("file").exists() && data.join("notes.txt").exists());
    assert!(data.join("other.tmp").exists() && !data.join("tree.tmp").exists());
    let mut moved = names(&aside);
    moved.sort();
    let [history, log, tree] = &moved[..] else { panic!("{moved:?}") };
    assert!(history == "history.onetree" && log.starts_with("log-") && tree == "tree.tmp");
    assert!(Broker::on(&data, &[]).ok(&["get", "/kept"]).contains('1'));
}

/// The state that one leaves that is killed when it has moved the first file.
#[test]
fn a_restore_that_was_killed_is_told_of_and_can_be_run_again() {
    let directory = Directory::new("killed");
    let (data, backup) = backed_up(&directory);
    let rev = told(&["check", "--data", text(&data)])["rev"].as_u64().unwrap();
    let aside = data.join("before-restore-1");
    for directory in [&aside, &data.join("restore.tmp")] {
        fs::create_dir(directory).unwrap();
    }
    fs::rename(data.join("history.onetree"), aside.join("history.onetree")).unwrap();
    let before = content(&data);
    let to = directory.file("to");
    let log = names(&data).into_iter().find(|name| name.starts_with("log-")).unwrap();
    for moved in [false, true] {
        if moved {
            fs::rename(data.join(&log), aside.join(&log)).unwrap();
        }
        for command in [
            &["serve", "--data", text(&data), "--listen", "127.0.0.1:0"][..],
            &["check", "--data", text(&data)],
            &["backup", "--data", text(&data), text(&to)],
            &["restore", "--data", text(&to), "--salvage", text(&data)],
        ] {
            let (exit, error) = failed(command);
            assert_eq!((exit, &error["code"]), (2, &json!("unfinished")), "{command:?}: {error}");
            let next = error["next"].as_str().unwrap();
            assert!(next.contains("restore --data") && next.contains("before-restore-"), "{next}");
        }
    }
    fs::rename(aside.join(&log), data.join(&log)).unwrap();
    assert!(content(&data) == before && !to.exists());
    fs::rename(data.join(&log), aside.join(&log)).unwrap();
    let done = told(&["restore", "--data", text(&data), text(&backup)]);
    assert!(done["rev"].as_u64().unwrap() >= rev + (1 << 40), "{done}");
    assert_eq!(names(&aside).len(), 2);
    assert!(Broker::on(&data, &[]).ok(&["get", "/kept"]).contains('1'));
}
