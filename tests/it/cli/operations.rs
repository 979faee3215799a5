//! `check`, `backup`, `restore` and `import`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::import::shown;
use super::{Broker, Running, error, eventually, export, interrupt, program, said, said_ok, text};
use crate::directory::Directory;

/// Returns the JSON output of a command that works without a broker.
#[track_caller]
pub(super) fn told(args: &[&str]) -> Value {
    let output = program(&[args, &["--json"]].concat()).output().unwrap();
    serde_json::from_str(&said(&output)).unwrap()
}

/// Returns how such a command failed.
#[track_caller]
pub(super) fn failed(args: &[&str]) -> (i32, Value) {
    error(&program(&[args, &["--json"]].concat()).output().unwrap())
}

/// Makes the directory of a broker that has ended, and its backup.
pub(super) fn backed_up(directory: &Directory) -> (PathBuf, PathBuf) {
    let (data, backup) = (directory.file("data"), directory.file("backup"));
    let mut broker = Broker::on(&data, &[]);
    broker.ok(&["put", "/kept", "1"]);
    assert_eq!(interrupt(&mut broker.child), 0);
    told(&["backup", "--data", text(&data), text(&backup)]);
    (data, backup)
}

/// Returns the names in a directory.
pub(super) fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn who_waits_for_the_disk_sees_how_far_it_is() {
    let directory = Directory::new("progress");
    let (data, backup) = backed_up(&directory);
    let [copy, restored, salvaged] =
        ["copy", "restored", "salvaged"].map(|name| directory.file(name));
    let once = &["B read ["][..];
    let twice = &["B read [", "B read again ["][..];
    for (args, parts) in [
        (&["check", "--data", text(&data)][..], once),
        (&["backup", "--data", text(&data), text(&copy)], twice),
        (&["restore", "--data", text(&restored), text(&backup)], twice),
        (&["restore", "--data", text(&salvaged), "--salvage", text(&data)], twice),
    ] {
        let shown = shown(program(args));
        assert!(parts.iter().all(|part| shown.contains(part)), "{args:?}: {shown:?}");
    }
    // A program needs no progress bar.
    let shown = shown(program(&["check", "--data", text(&data), "--json"]));
    assert!(shown.starts_with('{'), "{shown:?}");
}

#[test]
fn check_says_what_a_directory_holds() {
    let directory = Directory::new("check");
    let data = directory.file("data");
    let check = ["check", "--data", text(&data)];
    let (exit, error) = failed(&check);
    assert_eq!((exit, &error["code"]), (2, &json!("no-data")), "{error}");
    assert!(!data.exists(), "it makes no directory");
    fs::create_dir(&data).unwrap();
    let (exit, error) = failed(&check);
    assert_eq!((exit, &error["code"]), (2, &json!("no-data")), "{error}");
    assert_eq!(
        fs::read_dir(&data).unwrap().count(),
        0,
        "it writes nothing into one that is no broker's"
    );

    let mut broker = Broker::on(&data, &[]);
    for n in 0..20 {
        broker.ok(&["put", &format!("/n/{n}"), "1"]);
    }
    broker.ok(&["rm", "/n/7"]);
    let (exit, error) = failed(&check);
    assert_eq!((exit, &error["code"]), (2, &json!("in-use")), "{error}");
    let pid = broker.child.id().to_string();
    assert!(error["message"].as_str().unwrap().contains(&pid), "{error}");
    let rev = broker.rev("/n/19");
    assert_eq!(interrupt(&mut broker.child), 0);

    let report = told(&check);
    assert_eq!((&report["entries"], &report["rev"]), (&json!(19), &json!(rev + 1)), "{report}");
    assert_eq!((&report["replayed"], &report["torn"]), (&json!(rev + 1), &Value::Null));
    assert_eq!(told(&check), report, "it changes nothing");
    for command in ["check", "serve --check"] {
        let mut command = program(&command.split(' ').collect::<Vec<_>>());
        said_ok(&command.env("ONETREE_DATA", &data).output().unwrap());
    }
    let people = said(&program(&check).output().unwrap());
    assert!(people.contains("is whole") && people.contains("entries   19"), "{people}");
}

#[test]
fn check_names_what_is_damaged() {
    let directory = Directory::new("damage");
    let data = directory.file("data");
    let mut broker = Broker::on(&data, &[]);
    for n in 0..5 {
        broker.ok(&["put", &format!("/n/{n}"), "1"]);
    }
    assert_eq!(interrupt(&mut broker.child), 0);
    let log = data.join(names(&data).into_iter().find(|name| name.starts_with("log-")).unwrap());
    let mut bytes = fs::read(&log).unwrap();
    // Within the first batch, behind its header.
    bytes[64 + 24 + 2] ^= 1;
    fs::write(&log, bytes).unwrap();
    for command in [&["check", "--data", text(&data)][..], &["backup", "--data", text(&data), "b"]]
    {
        let mut command = program(&[command, &["--json"]].concat());
        let (exit, error) = error(&command.current_dir(&directory.0).output().unwrap());
        assert_eq!((exit, &error["code"]), (6, &json!("damaged")), "{error}");
        assert_eq!((&error["file"], &error["offset"]), (&json!(text(&log)), &json!(64)), "{error}");
        assert!(error["next"].as_str().unwrap().contains("onetree restore"), "{error}");
    }
    let (exit, error) = failed(&["serve", "--data", text(&data), "--listen", "127.0.0.1:0"]);
    assert_eq!((exit, &error["offset"]), (6, &json!(64)), "{error}");
    assert!(error["message"].as_str().unwrap().contains(text(&log)), "{error}");

    // Everything that is damaged is reported, not only the first defect.
    let history = data.join("history.onetree");
    let mut bytes = fs::read(&history).unwrap();
    bytes[20] ^= 1;
    fs::write(&history, bytes).unwrap();
    let (exit, error) = failed(&["check", "--data", text(&data)]);
    assert_eq!((exit, &error["code"]), (6, &json!("damaged")), "{error}");
    assert_eq!(error["file"], text(&history), "{error}");
    let also = error["also"].as_array().unwrap();
    assert_eq!((also.len(), &also[0]["file"]), (1, &json!(text(&log))), "{error}");
    assert_eq!(also[0]["offset"], 64, "{error}");
    let people = program(&["check", "--data", text(&data)]).output().unwrap();
    let people = String::from_utf8_lossy(&people.stderr).into_owned();
    assert!(people.lines().any(|line| line.starts_with("  also: ") && line.contains(text(&log))));
    assert!(people.contains(text(&history)), "{people}");
}

#[test]
fn restore_salvages_what_is_whole_of_a_damaged_directory() {
    let directory = Directory::new("salvage");
    let data = directory.file("data");
    let mut broker = Broker::on(&data, &[]);
    for n in 0..5 {
        broker.ok(&["put", &format!("/n/{n}"), "1"]);
    }
    broker.ok(&["append", "/log", "kept with its key"]);
    let log = broker.ok(&["export", "/log"]);
    assert_eq!(interrupt(&mut broker.child), 0);
    let name = names(&data).into_iter().find(|name| name.starts_with("log-")).unwrap();
    let mut bytes = fs::read(data.join(&name)).unwrap();
    bytes[64 + 24 + 2] ^= 1;
    fs::write(data.join(&name), bytes).unwrap();
    let (_, error) = failed(&["check", "--data", text(&data)]);
    assert!(error["next"].as_str().unwrap().contains("--salvage"), "{error}");

    let to = directory.file("to");
    let (exit, error) = failed(&["restore", "--data", text(&to), text(&data)]);
    assert_eq!(
        (exit, &error["code"]),
        (6, &json!("damaged")),
        "only when it is asked for: {error}"
    );
    let done = told(&["restore", "--data", text(&to), "--salvage", text(&data)]);
    assert_eq!(done["entries"], 5, "{done}");
    let place = json!([{ "file": text(&data.join(&name)), "offset": 64 }]);
    assert_eq!(done["lost"], place, "{done}");
    let broker = Broker::on(&to, &[]);
    let left: Vec<Value> = export(&broker, "/n");
    assert_eq!(left.len(), 4, "all but the one whose batch is broken: {left:?}");
    let key = |line: &str| serde_json::from_str::<Value>(line).unwrap()["path"].clone();
    assert_eq!(key(&broker.ok(&["export", "/log"])), key(&log));

    // Over itself; and people are told what is lost.
    let mut again =
        program(&["restore", "--data", text(&data), "--force", "--salvage", text(&data)]);
    let people = said(&again.output().unwrap());
    assert!(people.contains("lost: ") && people.contains(&name), "{people}");
    assert!(people.contains("revision 1 is lost"), "{people}");
    // Nothing of what is intact is lost.
    let third = directory.file("third");
    let done = told(&["restore", "--data", text(&third), "--salvage", text(&data)]);
    assert_eq!((&done["entries"], &done["lost"]), (&json!(5), &json!([])), "{done}");
}

#[test]
fn a_backup_is_one_revision_while_clients_write() {
    let directory = Directory::new("backup");
    let data = directory.file("data");
    // So small that files are removed while they are read.
    let settings = ["log_file_bytes=16384", "save_after_bytes=16384"];
    let broker = Broker::on(&data, &settings);
    // The same entries again and again: the tree stays small, and is saved all the time.
    let busy = ["bench", "--with", "put", "--publishers", "2", "--duration", "60s"];
    let busy = Running::start(broker.command(&busy));
    let mut command = broker.command(&["append", "/log", "--lines", "--json"]);
    let mut writer = command.stdin(Stdio::piped()).spawn().unwrap();
    let (mut stdin, stdout) = (writer.stdin.take().unwrap(), writer.stdout.take().unwrap());
    let acknowledged = Arc::new(AtomicU64::new(0));
    let counted = acknowledged.clone();
    let counting = thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            line.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let end = Arc::new(AtomicU64::new(u64::MAX));
    let ends = end.clone();
    let writing = thread::spawn(move || {
        for n in 1.. {
            if n > ends.load(Ordering::Relaxed) {
                return;
            }
            writeln!(stdin, "{n}").unwrap();
            if n % 20 == 0 {
                thread::sleep(Duration::from_millis(10));
            }
        }
    });

    let mut made = Vec::new();
    for n in 0..10 {
        let before = acknowledged.load(Ordering::Relaxed);
        eventually(|| acknowledged.load(Ordering::Relaxed) > before);
        let to = directory.file(&format!("backup-{n}"));
        let least = acknowledged.load(Ordering::Relaxed);
        let report = told(&["backup", "--data", text(&data), text(&to)]);
        made.push((to, least, report));
    }
    end.store(0, Ordering::Relaxed);
    writing.join().unwrap();
    assert!(writer.wait().unwrap().success());
    counting.join().unwrap();
    assert!(names(&data).iter().any(|name| name.starts_with("tree-")), "it was never saved");

    drop(busy);
    let all = export(&broker, "/log");
    for (to, least, report) in made {
        let checked = told(&["check", "--data", text(&to)]);
        for field in ["entries", "rev", "epoch"] {
            assert_eq!(checked[field], report[field], "{checked}");
        }
        let again = directory.file("again");
        told(&["restore", "--data", text(&again), text(&to)]);
        let restored = export(&Broker::on(&again, &settings), "/log");
        fs::remove_dir_all(&again).unwrap();
        assert!(restored.len() as u64 >= least, "{} of {least}", restored.len());
        assert!(restored[..] == all[..restored.len()], "it is no earlier tree");
        let (exit, error) = failed(&["backup", "--data", text(&data), text(&to)]);
        assert_eq!((exit, &error["code"]), (2, &json!("not-empty")), "{error}");
    }
}

/// The reason why a broker cannot start is reported like the errors of all other commands, so that
/// a script can read it.
#[test]
fn serve_says_why_it_cannot_start() {
    let directory = Directory::new("cannot");
    let data = directory.file("data");
    let serve = |more: &[&str]| {
        failed(&[&["serve", "--listen", "127.0.0.1:0", "--data", text(&data)], more].concat())
    };
    let mut broker = Broker::on(&data, &[]);
    broker.ok(&["put", "/a", "1"]);
    // A second broker is told which process uses the directory.
    let (exit, error) = serve(&[]);
    assert_eq!((exit, &error["code"]), (2, &json!("in-use")), "{error}");
    let pid = broker.child.id().to_string();
    assert!(error["message"].as_str().unwrap().contains(&pid), "{error}");
    let taken = broker.url.trim_start_matches("ws://").to_owned();
    assert_eq!(interrupt(&mut broker.child), 0);

    let nothing = serve(&["--set", "durability=memory"]);
    assert_eq!((nothing.0, &nothing.1["code"]), (2, &json!("config")), "{}", nothing.1);
    assert!(nothing.1["message"].as_str().unwrap().contains(text(&data)), "{}", nothing.1);

    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let (exit, error) = failed(&["serve", "--memory", "--listen", &address]);
    assert_eq!((exit, &error["code"]), (2, &json!("listen")), "{error} {taken}");
    assert!(error["next"].as_str().unwrap().contains("end what listens there"), "{error}");
    // An address for documentation, which no machine has.
    let nowhere = ["serve", "--memory", "--allow-anonymous", "--listen", "192.0.2.1:7400"];
    let (exit, error) = failed(&nowhere);
    assert_eq!((exit, &error["code"]), (2, &json!("listen")), "{error}");
    assert!(error["next"].as_str().unwrap().contains("an address of this machine"), "{error}");

    let (exit, error) = failed(&["serve", "--memory", "--listen", "localhost:7400"]);
    assert_eq!((exit, &error["code"]), (2, &json!("usage")), "{error}");
    assert!(error["message"].as_str().unwrap().contains("an IP address"), "{error}");
    let file = directory.file("a-file");
    fs::write(&file, "").unwrap();
    for args in
        [&["serve", "--data", text(&file)][..], &["backup", "--data", text(&data), text(&file)]]
    {
        let (exit, error) = failed(args);
        assert_eq!((exit, &error["code"]), (2, &json!("no-data")), "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.ends_with("a-file is no directory"), "{error}");
    }

    let log = names(&data).into_iter().find(|name| name.starts_with("log-")).unwrap();
    let mut bytes = fs::read(data.join(&log)).unwrap();
    bytes[0] ^= 1;
    fs::write(data.join(&log), bytes).unwrap();
    let (exit, error) = serve(&[]);
    assert_eq!((exit, &error["code"]), (6, &json!("damaged")), "{error}");
    assert!(error["file"].as_str().unwrap().ends_with(&log), "{error}");
    assert_eq!(error["offset"], 0, "{error}");
    assert!(error["next"].as_str().unwrap().contains("onetree restore"), "{error}");
}

/// A broker on a backup would continue a history that the first broker continues too: mirrors could
/// not distinguish the revisions of the two.
#[test]
fn no_broker_starts_on_a_backup() {
    let directory = Directory::new("on-backup");
    let (data, backup) = (directory.file("data"), directory.file("backup"));
    let mut broker = Broker::on(&data, &[]);
    broker.ok(&["put", "/kept", "1"]);
    told(&["backup", "--data", text(&data), text(&backup)]);
    assert_eq!(interrupt(&mut broker.child), 0);
    let before = told(&["check", "--data", text(&backup)]);
    assert_eq!(before["backup"], true, "{before}");
    assert_eq!(told(&["check", "--data", text(&data)])["backup"], false);

    let (exit, error) = failed(&["serve", "--data", text(&backup), "--listen", "127.0.0.1:0"]);
    assert_eq!((exit, &error["code"]), (2, &json!("backup")), "{error}");
    let (message, next) = (error["message"].as_str().unwrap(), error["next"].as_str().unwrap());
    assert!(message.contains(text(&backup)) && message.contains("backup"), "{error}");
    assert!(next.contains("onetree restore"), "{error}");
    assert_eq!(told(&["check", "--data", text(&backup)]), before, "it is as it was");

    // A backup of a backup is a backup; what is restored from it is not.
    let (again, restored) = (directory.file("again"), directory.file("restored"));
    told(&["backup", "--data", text(&backup), text(&again)]);
    assert_eq!(told(&["check", "--data", text(&again)])["backup"], true);
    told(&["restore", "--data", text(&restored), text(&again)]);
    assert_eq!(told(&["check", "--data", text(&restored)])["backup"], false);
    assert!(Broker::on(&restored, &[]).ok(&["get", "/kept"]).contains('1'));
}

/// A command that fails leaves no directory behind: the user would have to remove it before trying
/// again, or a broker would start on it with an empty tree.
#[test]
fn a_backup_or_a_restore_that_fails_leaves_no_directory() {
    let directory = Directory::new("failed");
    let (data, backup) = backed_up(&directory);
    for from in [&data, &backup] {
        for name in names(from).iter().filter(|name| !name.starts_with("history")) {
            fs::remove_file(from.join(name)).unwrap();
        }
        let to = directory.file("to");
        for command in [
            ["backup", "--data", text(from), text(&to)],
            ["restore", "--data", text(&to), text(from)],
        ] {
            let (exit, error) = failed(&command);
            assert_eq!((exit, &error["code"]), (6, &json!("damaged")), "{error}");
            assert!(!to.exists(), "{command:?}: {:?}", names(&to));
            // A directory that existed before stays.
            fs::create_dir(&to).unwrap();
            failed(&command);
            assert!(to.exists(), "{command:?}");
            fs::remove_dir_all(&to).unwrap();
        }
    }
}

/// The error is about the directory that is to be filled, not about a broker's directory to read.
#[test]
fn where_no_directory_can_be_made_another_is_asked_for() {
    let directory = Directory::new("to-a-file");
    let (data, backup) = backed_up(&directory);
    let file = directory.file("file");
    fs::write(&file, "").unwrap();
    for args in [
        ["backup", "--data", text(&data), text(&file)],
        ["backup", "--data", text(&data), text(&file.join("below"))],
        ["restore", "--data", text(&file), text(&backup)],
    ] {
        let (exit, error) = failed(&args);
        assert_eq!((exit, &error["code"]), (2, &json!("no-data")), "{args:?}: {error}");
        assert!(error["next"].as_str().unwrap().contains("can be made"), "{args:?}: {error}");
    }
    let (_, error) = failed(&["backup", "--data", text(&file), text(&directory.file("new"))]);
    assert!(error["next"].as_str().unwrap().contains("of a broker"), "{error}");
}

/// The cut batch is not in the backup. That is reported when the backup is made, because nobody
/// checks the directory first.
#[test]
fn a_backup_says_that_the_last_batch_was_cut() {
    let directory = Directory::new("cut");
    let data = directory.file("data");
    let mut broker = Broker::on(&data, &[]);
    broker.ok(&["put", "/kept", "1"]);
    broker.child.kill().unwrap();
    broker.child.wait().unwrap();
    let name = names(&data).into_iter().find(|name| name.starts_with("log-")).unwrap();
    let log = data.join(name);
    let mut bytes = fs::read(&log).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    // The beginning of the batch where the seal is: it was never complete, and nothing proves that
    // it was.
    let at = (64..=used).rfind(|at| bytes[*at..].starts_with(&bytes[64..68])).unwrap();
    bytes[at + 4] ^= 1;
    fs::write(&log, bytes).unwrap();

    let (to, again) = (directory.file("to"), directory.file("again"));
    let place = json!({ "file": text(&log), "offset": at });
    let done = told(&["backup", "--data", text(&data), text(&to)]);
    assert_eq!((&done["torn"], &done["entries"]), (&place, &json!(1)), "{done}");
    assert_eq!(told(&["check", "--data", text(&data)])["torn"], place);
    let people = said(&program(&["backup", "--data", text(&data), text(&again)]).output().unwrap());
    assert!(people.contains(&format!("{} at {at}", text(&log))), "{people}");
    // The copy itself is intact.
    let copy = directory.file("copy");
    let done = told(&["backup", "--data", text(&to), text(&copy)]);
    assert_eq!(done["torn"], Value::Null, "{done}");
}

#[test]
fn restore_begins_a_history_that_mirrors_notice() {
    let directory = Directory::new("restore");
    let (data, backup) = (directory.file("data"), directory.file("backup"));
    let state = directory.file("mirror.jsonl");
    let watch = ["watch", "/", "--once", "--state", text(&state)];
    let restore = ["restore", "--data", text(&data), text(&backup)];
    let mirror = || {
        let text = fs::read_to_string(&state).unwrap();
        let (cookie, entries) = text.split_once('\n').unwrap();
        (serde_json::from_str::<Value>(cookie).unwrap(), entries.to_owned())
    };

    let mut broker = Broker::on(&data, &[]);
    broker.ok(&["put", "/kept", "1"]);
    broker.ok(&["put", "/changed", "1"]);
    said_ok(&broker.run(&["append", "/log", "--lines"], b"a\nb\n"));
    let then = broker.ok(&["export"]);
    told(&["backup", "--data", text(&data), text(&backup)]);
    broker.ok(&["put", "/changed", "2"]);
    broker.ok(&["put", "/later", "1"]);
    broker.ok(&watch);
    let (cookie, entries) = mirror();
    assert_eq!(entries, broker.ok(&["export"]));
    let (exit, error) = failed(&restore);
    assert_eq!((exit, &error["code"]), (2, &json!("in-use")), "{error}");
    assert_eq!(interrupt(&mut broker.child), 0);
    drop(broker);

    let (exit, error) = failed(&restore);
    assert_eq!((exit, &error["code"]), (2, &json!("not-empty")), "{error}");
    let force = [&restore[..], &["--force"]].concat();
    let report = told(&force);
    let aside = data.join("before-restore-1");
    assert_eq!(report["aside"], json!(text(&aside)));
    assert!(names(&aside).iter().any(|name| name.starts_with("log-")));
    // Without a new revision the directory is what it was.
    assert_eq!(told(&["check", "--data", text(&data)])["rev"], report["rev"]);

    let mut broker = Broker::on(&data, &[]);
    assert_eq!(broker.ok(&["export"]), then);
    broker.ok(&watch);
    let (after, entries) = mirror();
    assert_eq!(entries, then, "the mirror is what the tree is");
    assert_ne!(after["epoch"], cookie["epoch"]);
    assert_eq!(after["epoch"], report["epoch"]);
    assert!(after["rev"].as_u64().unwrap() > 1 << 40);
    broker.ok(&["put", "/later", "3"]);
    assert!(broker.rev("/later") > report["rev"].as_u64().unwrap());
    said_ok(&broker.run(&["append", "/log", "--lines"], b"c\n"));
    assert_eq!(export(&broker, "/log").last().unwrap()["text"], "c", "new keys are above the old");
    assert_eq!(interrupt(&mut broker.child), 0);

    let again = told(&force);
    assert!(again["rev"].as_u64() > report["rev"].as_u64().map(|rev| rev + (1 << 40)));
    assert_eq!(again["aside"], json!(text(&data.join("before-restore-2"))));
    assert_eq!(Broker::on(&data, &[]).ok(&["export"]), then);
    let (exit, error) = failed(&["restore", "--data", text(&data), text(&directory.file("none"))]);
    assert_eq!((exit, &error["code"]), (2, &json!("no-data")), "{error}");
}

/// Returns the lines of `export` without revisions, and without log keys.
fn values(broker: &Broker) -> Vec<Value> {
    let mut entries = export(broker, "/");
    for entry in &mut entries {
        entry["rev"].take();
        if let Some((log, _)) = entry["path"].as_str().and_then(|path| path.split_once("/log/")) {
            entry["path"] = json!(format!("{log}/log"));
        }
    }
    entries
}

#[test]
fn import_takes_what_export_prints() {
    let from = Broker::start();
    from.ok(&["put", "/a", "{\"x\": [1, 2]}"]);
    from.ok(&["put", "/a/b", "two\nlines"]);
    said_ok(&from.run(&["put", "/c", "--type", "image/png"], b"\x00\xff"));
    said_ok(&from.run(&["put", "/d"], b"{\n\"x\": 1\n}\n"));
    let lines: String = (0..3000).map(|n| format!("{n}\n")).collect();
    said_ok(&from.run(&["append", "/chat/log", "--lines"], lines.as_bytes()));
    let exported = from.ok(&["export"]);

    let to = Broker::start();
    to.ok(&["put", "/there", "1"]);
    to.ok(&["put", "/a", "0"]);
    let output = to.run(&["import", "--json"], exported.as_bytes());
    let done: Vec<Value> =
        said(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(done.len(), 3004);
    assert!(done.iter().zip(exported.lines()).all(|(done, line)| {
        let entry: Value = serde_json::from_str(line).unwrap();
        let is_log = entry["path"].as_str().unwrap().starts_with("/chat/log/");
        done["rev"].is_u64() && (is_log || done["path"] == entry["path"])
    }));
    to.ok(&["rm", "/there"]);
    assert_eq!(values(&to), values(&from));

    let directory = Directory::new("import");
    let file = directory.file("export.jsonl");
    fs::write(&file, exported.trim_end()).unwrap();
    let third = Broker::start();
    assert_eq!(third.ok(&["import", text(&file)]), "3004 entries\n");
    assert_eq!(values(&third), values(&from));
}

/// The directory is gone: what the broker writes at its end can be stored nowhere.
#[test]
fn a_broker_that_does_not_end_well_says_so() {
    let directory = Directory::new("ends-badly");
    let data = directory.file("data");
    let mut broker = Broker::on(&data, &[]);
    broker.ok(&["put", "/a", "1"]);
    fs::remove_dir_all(&data).unwrap();
    assert_eq!(interrupt(&mut broker.child), 6);
}

/// The broker was started, and so it has a proper end, even if nobody reads its output.
#[test]
fn a_broker_whose_output_nobody_takes_ends_well() {
    let directory = Directory::new("no-output");
    let data = directory.file("data");
    let weak = ["--set", "durability=\"interval\""];
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", text(&data)];
    let mut serve = program(&[&serve[..], &weak].concat());
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    serve.stdout(full());
    assert_eq!(serve.output().unwrap().status.code(), Some(6));
    let epoch = told(&["check", "--data", text(&data)])["epoch"].clone();
    serve.stdout(full());
    assert_eq!(serve.output().unwrap().status.code(), Some(6));
    assert_eq!(told(&["check", "--data", text(&data)])["epoch"], epoch);
}

#[test]
fn import_needs_no_revision() {
    let broker = Broker::start();
    said_ok(
        &broker.run(&["import"], b"{\"path\":\"/a\",\"json\":1}\n{ \"json\":2, \"path\":\"/b\"}"),
    );
    assert_eq!(broker.ok(&["get", "/b"]), "2");
    for (line, said) in
        [("{\"json\":1}", "path is missing"), ("{\"pat\":\"/a\",\"json\":1}", "'path'")]
    {
        let (exit, error) = broker.error(&["import"], line.as_bytes());
        let message = error["message"].as_str().unwrap();
        assert!(exit == 2 && message.contains(said), "{error}");
    }
}

#[test]
fn import_names_the_line_that_is_wrong() {
    let broker = Broker::with(&["value_bytes=100"]);
    let good = |n| format!("{{\"path\":\"/{n}\",\"rev\":{n},\"json\":{n}}}\n");
    for (line, exit, code) in [
        ("hello", 2, "bad-line"),
        ("{}", 2, "bad-line"),
        ("{\"path\":\"x\",\"rev\":1,\"json\":1}", 2, "bad-line"),
        ("{\"path\":\"/x\",\"rev\":1,\"json\":1} 2", 2, "bad-line"),
        ("{\"path\":\"/x\",\"rev\":1,\"delete\":true}", 2, "bad-line"),
        (&format!("{{\"path\":\"/x\",\"rev\":1,\"text\":\"{:101}\"}}", ""), 1, "value-too-large"),
        (
            &format!("{{\"path\":\"/x\",\"rev\":1,\"text\":\"{:60000}{:60000}\"}}", "", ""),
            2,
            "value-too-large",
        ),
    ] {
        let input = format!("{}{}{line}\n{}", good(1), good(2), good(4));
        let (found, error) = broker.error(&["import", "-"], input.as_bytes());
        assert_eq!((found, &error["code"]), (exit, &json!(code)), "{line:.99}: {error}");
        assert_eq!((&error["line"], &error["acknowledged"]), (&json!(3), &json!(2)), "{error}");
        assert!(error["message"].as_str().unwrap().contains("line 3"), "{error}");
        assert!(broker.rev("/2") > 0);
    }
    let (exit, error) = broker.error(&["import", "/no/such/file"], b"");
    assert_eq!((exit, &error["code"]), (2, &json!("input")));
    assert_eq!(broker.ok(&["import"]), "0 entries\n");
}
