//! What can happen to a broker's directory: unfinished restores, backups beside it, missing files,
//! a lock that is removed.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use onetree::store::files::{self, Disk};
use onetree_core::{Author, Bounds, Request, Settings, State, Time};
use onetree_protocol::frame::Do;
use onetree_protocol::{DigestKey, Epoch, Path as TreePath};
use serde_json::{Value, json};

use super::operations::{backed_up, failed, names, told};
use super::{Broker, interrupt, program, said, text};
use crate::directory::Directory;

/// Returns the content of the files in a directory that only a broker changes.
fn content(data: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = names(data)
        .into_iter()
        .filter(|name| name.ends_with(".onetree"))
        .map(|name| (name.clone(), fs::read(data.join(&name)).unwrap()))
        .collect();
    files.sort();
    files
}

/// The directory may be a mount point, which cannot be renamed.
#[test]
fn a_restore_moves_nothing_but_what_is_ours() {
    let directory = Directory::new("foreign");
    let (data, backup) = backed_up(&directory);
    fs::create_dir(data.join("mounted")).unwrap();
    fs::create_dir(data.join("other.tmp")).unwrap();
    fs::write(data.join("mounted").join("file"), "theirs").unwrap();
    fs::write(data.join("notes.txt"), "theirs").unwrap();
    fs::write(data.join("tree.tmp"), "ours").unwrap();
    for name in ["notes.tmp", "notes.onetree"] {
        fs::write(data.join(name), "theirs").unwrap();
    }
    let done = told(&["restore", "--data", text(&data), "--force", text(&backup)]);
    let aside = PathBuf::from(done["aside"].as_str().unwrap());
    assert!(data.join("mounted").join("file").exists() && data.join("notes.txt").exists());
    assert!(data.join("notes.tmp").exists() && data.join("notes.onetree").exists());
    assert!(data.join("other.tmp").exists() && !data.join("tree.tmp").exists());
    let mut moved = names(&aside);
    moved.sort();
    let [history, log, tree] = &moved[..] else { panic!("{moved:?}") };
    assert!(history == "history.onetree" && log.starts_with("log-") && tree == "tree.tmp");
    assert!(Broker::on(&data, &[]).ok(&["get", "/kept"]).contains('1'));
}

/// The state that a restore leaves that is killed when it has moved the first file.
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
            if !moved && command.contains(&"--salvage") {
                continue;
            }
            let (exit, error) = failed(command);
            assert_eq!((exit, &error["code"]), (2, &json!("unfinished")), "{command:?}: {error}");
            let next = error["next"].as_str().unwrap();
            assert!(next.contains("restore --data") && next.contains("before-restore-"), "{next}");
            assert!(next.contains("--salvage") && next.contains("do not mix"), "{next}");
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

/// Such a backup has nothing of a tree; restoring it would make an empty one.
#[test]
fn a_backup_that_was_killed_is_told_of_and_no_tree_is_made_of_it() {
    let directory = Directory::new("half");
    let (_, backup) = backed_up(&directory);
    let to = directory.file("to");
    let tree = names(&backup).into_iter().find(|name| name.starts_with("tree-")).unwrap();
    fs::rename(backup.join(&tree), backup.join("tree.tmp")).unwrap();
    for command in [
        &["check", "--data", text(&backup)][..],
        &["restore", "--data", text(&to), text(&backup)],
        &["restore", "--data", text(&to), "--salvage", text(&backup)],
        &["serve", "--data", text(&backup), "--listen", "127.0.0.1:0"],
    ] {
        let (exit, error) = failed(command);
        assert_eq!((exit, &error["code"]), (6, &json!("damaged")), "{command:?}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("was not finished"), "{command:?}: {error}");
        assert!(error["next"].as_str().unwrap().contains("make it again"), "{command:?}: {error}");
        assert!(!to.exists(), "{command:?}");
    }
}

/// To make an empty tree and report success would be the worst result.
#[test]
fn nothing_is_made_of_a_directory_of_which_nothing_is_whole() {
    let directory = Directory::new("nothing");
    let (data, backup) = backed_up(&directory);
    let to = directory.file("to");
    // A backup has a saved tree, whose name contains a revision; its history is intact here.
    for (directory, but) in [(&data, ""), (&backup, "history.onetree")] {
        let files = names(directory).into_iter();
        for name in files.filter(|name| name.ends_with(".onetree") && name != but) {
            fs::write(directory.join(name), [7; 5_000]).unwrap();
        }
        let (exit, error) = failed(&["restore", "--data", text(&to), "--salvage", text(directory)]);
        assert_eq!((exit, &error["code"]), (6, &json!("damaged")), "{error}");
        let next = error["next"].as_str().unwrap();
        assert!(next.contains("nothing in it is whole") && !next.contains("--salvage"), "{error}");
        assert!(!to.exists());
    }
}

/// The user has no backup, and perhaps never had one.
#[test]
fn what_a_restore_that_was_killed_has_left_is_salvaged() {
    let directory = Directory::new("left");
    let (data, _) = backed_up(&directory);
    fs::create_dir(data.join("restore.tmp")).unwrap();
    fs::remove_file(data.join("history.onetree")).unwrap();
    let salvaged = told(&["restore", "--data", text(&data), "--force", "--salvage", text(&data)]);
    assert_eq!(salvaged["lost"].as_array().unwrap().len(), 1, "{salvaged}");
    assert!(Broker::on(&data, &[]).ok(&["get", "/kept"]).contains('1'));
}

/// The restore was killed before it moved anything, or after everything. Only a report helps:
/// nothing else removes these files, which take as much room as the tree.
#[test]
fn what_a_restore_has_left_is_told_of_at_a_start() {
    let directory = Directory::new("leavings");
    let (data, backup) = backed_up(&directory);
    let started = || {
        let mut broker = Broker::on(&data, &[]);
        assert_eq!(interrupt(&mut broker.child), 0);
        let mut log = String::new();
        broker.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    };
    for left in ["restore.tmp", "restore-new.tmp"] {
        fs::create_dir(data.join(left)).unwrap();
        fs::write(data.join(left).join("tree.tmp"), "much").unwrap();
        let log = started();
        let words = format!("{} is left of a restore", text(&data.join(left)));
        assert!(log.contains(&words) && log.matches("WARN").count() == 1, "{log}");
        told(&["restore", "--data", text(&data), "--force", text(&backup)]);
        assert!(!data.join(left).exists());
        let log = started();
        assert!(!log.contains("WARN"), "{log}");
    }
}

/// Returns the most memory that a command has taken, in KiB.
#[cfg(target_os = "linux")]
fn memory(args: &[&str]) -> u64 {
    let mut child = program(args).spawn().unwrap();
    let mut most = 0;
    loop {
        most = most.max(super::memory::most(child.id()).unwrap_or_default());
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success(), "{args:?}");
            return most;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// A backup runs beside a broker that also has the tree in memory.
#[cfg(target_os = "linux")]
#[test]
fn a_backup_and_a_restore_take_the_memory_of_one_tree() {
    let directory = Directory::new("memory");
    let (data, backup) = (directory.file("data"), directory.file("backup"));
    let (epoch, digest_key) = (Epoch(1), DigestKey(1));
    let bounds = Bounds::default();
    let settings = Settings { epoch, digest_key, bounds, retention: Vec::new() };
    let mut state = State::new(settings.clone());
    for n in 0..600 {
        let path = TreePath::parse(&format!("/n/{n}")).unwrap();
        let value = onetree_protocol::Value::text(&"x".repeat(100_000));
        let put = Do::Put { path, value, ttl_ms: None, ephemeral: false };
        let request = Request { changes: vec![put], ..Request::default() };
        state.write(Time(1), &Author::default(), &request);
    }
    let disk = Disk::new(data.clone()).unwrap();
    files::save(&disk, epoch, &settings, &state.checkpoint(), false).unwrap();
    // It may have taken more right before its end, when nobody looked.
    let checks = (0..3).map(|_| memory(&["check", "--data", text(&data)]));
    let once = checks.max().unwrap();
    assert!(once > 60_000, "{once}");
    let copies = [
        memory(&["backup", "--data", text(&data), text(&backup)]),
        memory(&["restore", "--data", text(&data), "--force", text(&backup)]),
    ];
    assert!(copies.iter().all(|copy| *copy < once + once / 3), "{copies:?} KiB, and once {once}");
}

/// Log files may be missing too. The revisions in them must not be given again in the same history.
#[test]
fn a_history_that_is_missing_is_told_of_and_a_new_one_begins() {
    let directory = Directory::new("no-history");
    let (_, backup) = backed_up(&directory);
    let data = directory.file("restored");
    told(&["restore", "--data", text(&data), text(&backup)]);
    let mut broker = Broker::on(&data, &[]);
    broker.ok(&["put", "/later", "1"]);
    let last = broker.rev("/later");
    assert_eq!(interrupt(&mut broker.child), 0);
    let check = ["check", "--data", text(&data)];
    let whole = told(&check);
    assert_eq!(whole["loss"], Value::Null, "{whole}");
    for name in names(&data).iter().filter(|name| !name.starts_with("tree-")) {
        fs::remove_file(data.join(name)).unwrap();
    }
    let checked = told(&check);
    assert_eq!((&checked["loss"], &checked["epoch"]), (&json!("history"), &whole["epoch"]));
    let words = "history.onetree is missing, and logs may have gone with it";
    let copy = directory.file("copy");
    let copy = ["backup", "--data", text(&data), text(&copy)];
    for command in [&check[..], &copy] {
        let people = said(&program(command).output().unwrap());
        assert!(people.contains(words), "{people}");
    }
    let mut broker = Broker::on(&data, &[]);
    broker.ok(&["put", "/other", "2"]);
    assert!(broker.rev("/other") > last);
    assert_eq!(interrupt(&mut broker.child), 0);
    let mut log = String::new();
    broker.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains(words) && log.contains("a new history begins"), "{log}");
    let after = told(&check);
    assert!(after["epoch"] != whole["epoch"] && after["loss"].is_null(), "{after}");
    assert_eq!(after["entries"], 2, "{after}");
}

/// Writes that were acknowledged before they were on the disk may be lost, whether the rest ends
/// with an intact batch or not.
#[test]
fn what_a_weak_mode_may_have_lost_is_not_said_to_be_nobodys() {
    let directory = Directory::new("weak");
    let weak = ["durability=interval", "sync_interval_ms=60000"];
    for (case, within) in [("border", 0), ("middle", 40)] {
        let data = directory.file(case);
        let mut broker = Broker::on(&data, &weak);
        for n in 0..3 {
            broker.ok(&["put", "/n", &n.to_string()]);
        }
        broker.child.kill().unwrap();
        broker.child.wait().unwrap();
        let name = names(&data).into_iter().find(|name| name.starts_with("log-")).unwrap();
        let log = data.join(name);
        let mut bytes = fs::read(&log).unwrap();
        let batch = (64..bytes.len()).rfind(|at| bytes[*at..].starts_with(&bytes[64..68])).unwrap();
        bytes[batch + within..].fill(0);
        fs::write(&log, bytes).unwrap();

        let checked = told(&["check", "--data", text(&data)]);
        assert_eq!(checked["loss"], "interval", "{case}: {checked}");
        assert_eq!(checked["torn"].is_null(), case == "border", "{checked}");
        let people = said(&program(&["check", "--data", text(&data)]).output().unwrap());
        let words = "writes acknowledged within sync_interval_ms may be lost";
        assert!(people.contains(words) && people.contains("new history"), "{people}");
        let copy = directory.file(&format!("{case}-copy"));
        let copied = program(&["backup", "--data", text(&data), text(&copy)]).output().unwrap();
        let mut broker = Broker::on(&data, &weak);
        assert_eq!(interrupt(&mut broker.child), 0);
        let mut warned = String::new();
        broker.child.stderr.take().unwrap().read_to_string(&mut warned).unwrap();
        let warning = format!("{words}; a new history begins");
        assert_eq!(warned.matches("WARN").count(), 1, "{case}: {warned}");
        assert!(warned.contains(&warning), "{case}: {warned}");
        assert_eq!(warned.contains(text(&log)), case == "middle", "{case}: {warned}");
        for said in [people, said(&copied), warned] {
            assert!(!said.contains("nobody"), "{case}: {said}");
        }
        // After a proper end nothing is lost.
        assert!(told(&["check", "--data", text(&data)])["loss"].is_null(), "{case}");
    }
}

/// A user may remove the lock file because it looks like a leftover.
#[test]
fn without_its_lock_file_a_directory_is_still_in_use() {
    let directory = Directory::new("unlocked");
    let (data, backup) = backed_up(&directory);
    let broker = Broker::on(&data, &[]);
    fs::remove_file(data.join("lock")).unwrap();
    // The second broker could not listen there.
    let taken = broker.url.trim_start_matches("ws://").to_owned();
    for command in [
        &["serve", "--data", text(&data), "--listen", &taken][..],
        &["check", "--data", text(&data)],
        &["restore", "--data", text(&data), "--force", text(&backup)],
    ] {
        let (exit, error) = failed(command);
        assert_eq!((exit, &error["code"]), (2, &json!("in-use")), "{command:?}: {error}");
    }
    assert!(!data.join("lock").exists());
    // The process with this number must not be named, because a user might kill it.
    fs::write(data.join("lock"), "1\n").unwrap();
    let (_, error) = failed(&["check", "--data", text(&data)]);
    assert_eq!(error["code"], "in-use", "{error}");
    assert!(!error["message"].as_str().unwrap().contains("process"), "{error}");
    fs::remove_file(data.join("lock")).unwrap();
    drop(broker);
    let broker = Broker::on(&data, &[]);
    let (_, error) = failed(&["check", "--data", text(&data)]);
    let words = format!("in use by process {}", broker.child.id());
    assert!(error["message"].as_str().unwrap().ends_with(&words), "{error}");
    drop(broker);
    assert!(Broker::on(&data, &[]).ok(&["get", "/kept"]).contains('1'));
}

/// Whether only its user may do anything with it.
fn is_ours_alone(path: &Path) -> bool {
    fs::metadata(path).unwrap().permissions().mode() & 0o077 == 0
}

/// The files contain the names of sessions, and whoever knows a name can take the session.
#[test]
fn what_is_made_is_for_its_user_alone() {
    let directory = Directory::new("modes");
    let data = directory.file("above").join("data");
    let small = ["log_file_bytes=4096", "save_after_bytes=32768"];
    let mut broker = Broker::on(&data, &small);
    for n in 0..40 {
        broker.ok(&["put", &format!("/{n}"), &"x".repeat(1_000)]);
    }
    assert_eq!(interrupt(&mut broker.child), 0);
    let (backup, again) = (directory.file("backup"), directory.file("again"));
    told(&["backup", "--data", text(&data), text(&backup)]);
    for _ in 0..2 {
        told(&["restore", "--data", text(&again), "--force", text(&backup)]);
    }
    let aside = again.join("before-restore-1");
    assert!(is_ours_alone(data.parent().unwrap()));
    for made in [data.clone(), backup, again, aside] {
        assert!(is_ours_alone(&made), "{}", made.display());
        assert!(!names(&made).is_empty());
        for name in names(&made) {
            assert!(is_ours_alone(&made.join(&name)), "{name} of {}", made.display());
        }
    }
    // A directory that exists keeps its mode, but files that are made in it are private.
    let open = directory.file("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    let mut broker = Broker::on(&open, &[]);
    assert_eq!(interrupt(&mut broker.child), 0);
    assert_eq!(fs::metadata(&open).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(names(&open).iter().all(|name| is_ours_alone(&open.join(name))));
}

/// A broker runs as its own user, and its administrator restores as root.
#[test]
fn what_root_makes_is_its_who_has_the_directory() {
    const NOBODY: u32 = 65_534;
    /// More than is removed in one step.
    const OURS: usize = 20 << 20;
    let directory = Directory::new("owners");
    // Only root can give files to another user.
    if fs::metadata(&directory.0).unwrap().uid() != 0 {
        return;
    }
    let (_, from) = backed_up(&directory);
    let theirs = directory.file("theirs");
    fs::create_dir(&theirs).unwrap();
    if chown(&theirs, Some(NOBODY), Some(NOBODY)).is_err() {
        // Not every root can.
        return;
    }
    let (data, copy) = (theirs.join("above").join("data"), theirs.join("copy"));
    // A link that is in the way is neither written through nor truncated, emptied or given away.
    let (ours, folder) = (directory.file("ours"), directory.file("folder"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "ours").unwrap();
    fs::write(&ours, vec![b'x'; OURS]).unwrap();
    for round in 0..2 {
        if round == 1 {
            symlink(&folder, data.join("restore.tmp")).unwrap();
        }
        told(&["restore", "--data", text(&data), "--force", text(&from)]);
        if round == 0 {
            symlink(&ours, data.join("new.tmp")).unwrap();
            symlink(&ours, data.join("tree.tmp")).unwrap();
        }
        let mut broker = Broker::on(&data, &["log_file_bytes=4096", "save_after_bytes=4096"]);
        for n in 0..10 {
            broker.ok(&["put", &format!("/{n}"), &"x".repeat(1_000)]);
        }
        assert_eq!(interrupt(&mut broker.child), 0);
    }
    told(&["backup", "--data", text(&data), text(&copy)]);
    let lock = data.join("lock");
    fs::remove_file(&lock).unwrap();
    symlink(&ours, &lock).unwrap();
    let (exit, error) = failed(&["restore", "--data", text(&data), "--force", text(&from)]);
    assert_eq!((exit, &error["code"]), (2, &json!("no-data")), "{error}");
    fs::remove_file(&lock).unwrap();
    assert_eq!(fs::metadata(&ours).unwrap().len(), OURS as u64);
    assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "ours");
    assert_eq!((fs::metadata(&ours).unwrap().uid(), fs::metadata(&folder).unwrap().uid()), (0, 0));
    let mut left = vec![theirs];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (NOBODY, NOBODY), "{}", path.display());
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}
