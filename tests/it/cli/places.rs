//! Things in the way where a broker makes its files: a directory that may not be read, or something
//! that is not a file.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread;

use serde_json::json;

use super::operations::backed_up;
use super::{Broker, PATIENCE, error, program, text};
use crate::directory::Directory;

const NOBODY: u32 = 65_534;

/// Returns the result of a command, which must not wait for ever.
#[track_caller]
fn ended(mut command: Command) -> Output {
    let (to, told) = mpsc::channel();
    let child = command.spawn().unwrap();
    let kill = child.id().to_string();
    thread::spawn(move || to.send(child.wait_with_output().unwrap()));
    told.recv_timeout(PATIENCE / 2).unwrap_or_else(|_| {
        // Nothing else would end it.
        let _ = Command::new("kill").args(["-KILL", &kill]).status();
        panic!("{command:?} does not end");
    })
}

/// Makes a directory readable again when this is dropped, so that it can be removed.
struct Sight<'a>(&'a Path);

impl Drop for Sight<'_> {
    fn drop(&mut self) {
        let _ = fs::set_permissions(self.0, fs::Permissions::from_mode(0o755));
    }
}

/// As in a directory where everybody may put something, but only its user may list what others have
/// put there.
#[test]
fn a_directory_is_made_also_where_its_user_may_not_look() {
    let directory = Directory::new("blind");
    let above = directory.file("above");
    fs::create_dir(&above).unwrap();
    fs::set_permissions(&above, fs::Permissions::from_mode(0o333)).unwrap();
    let _sight = Sight(&above);
    let is_root = fs::metadata(&directory.0).unwrap().uid() == 0;
    let alone = |args: &[&str]| {
        let mut command = program(args);
        if is_root {
            // Nothing is forbidden to root.
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    // Not every root may become another user, and not every user can reach the build directory.
    let mut probe = alone(&["completions", "bash"]);
    if !probe.current_dir(&above).output().is_ok_and(|output| output.status.success()) {
        eprintln!("nothing was tested: nobody cannot run what was built here");
        return;
    }
    let data = above.join("data");
    let broker = Broker::of(alone(&["serve", "--listen", "127.0.0.1:0", "--data", text(&data)]));
    broker.ok(&["put", "/a", "1"]);
    assert!(data.join("history.onetree").exists());
}

/// Nothing waits for a reader of the pipe.
#[test]
fn a_lock_that_is_no_file_is_told_of() {
    let directory = Directory::new("fifo");
    let (data, backup) = backed_up(&directory);
    let lock = data.join("lock");
    fs::remove_file(&lock).unwrap();
    assert!(Command::new("mkfifo").arg(&lock).status().unwrap().success());
    for command in [
        &["serve", "--json", "--data", text(&data), "--listen", "127.0.0.1:0"][..],
        &["restore", "--json", "--data", text(&data), "--force", text(&backup)],
    ] {
        for read in [false, true] {
            // A pipe that somebody has open can be opened by others.
            let _reader = read.then(|| fs::File::options().read(true).write(true).open(&lock));
            let (exit, error) = error(&ended(program(command)));
            assert_eq!((exit, &error["code"]), (2, &json!("no-data")), "{command:?}: {error}");
            let message = error["message"].as_str().unwrap();
            assert!(message.ends_with("lock is no file"), "{message}");
        }
    }
}

/// The same for a pipe in the place of one of the broker's files.
#[test]
fn what_is_no_file_holds_nobody() {
    let directory = Directory::new("fifos");
    let (data, _) = backed_up(&directory);
    for name in ["new.tmp", "tree.tmp"] {
        let _ = fs::remove_file(data.join(name));
        assert!(Command::new("mkfifo").arg(data.join(name)).status().unwrap().success());
    }
    let command = program(&["serve", "--listen", "127.0.0.1:0", "--data", text(&data)]);
    let (to, told) = mpsc::channel();
    thread::spawn(move || to.send(Broker::of(command)));
    let broker = told.recv_timeout(PATIENCE).expect("it waits for who reads");
    assert!(broker.ok(&["get", "/kept"]).contains('1'));
}
