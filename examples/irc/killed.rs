//! The mirror that is killed: `onetree watch --state`, started again from its file each time.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;

use super::program;
use super::random::Random;

/// How long it lives at first, in milliseconds.
const LIFE: Range<u64> = 30..300;
/// The longest that a life may become, in milliseconds.
const LONGEST: u64 = 5000;
/// If it has not gone on from its file while others wrote, it gets this many more lives for that.
const MORE: u32 = 20;

/// A mirror at its end.
pub(crate) struct Killed {
    /// Its state file without the first line.
    pub(crate) lines: Vec<u8>,
    /// How often it was killed.
    pub(crate) kills: u64,
    /// How often it went on from its file, and came to the present.
    pub(crate) resumed: u64,
}

/// Starts it and kills it again and again, until `written` says that nobody writes any more and it
/// has gone on from its file. Then lets it come to its end.
pub(crate) async fn run(
    program: PathBuf,
    url: String,
    directory: PathBuf,
    mut random: Random,
    mut written: watch::Receiver<bool>,
) -> Result<Killed, String> {
    let (file, printed) = (directory.join("mirror.jsonl"), directory.join("printed.jsonl"));
    let (mut kills, mut resumed, mut more) = (0, 0, MORE);
    let mut life = LIFE;
    loop {
        let over = *written.borrow_and_update();
        if over && (resumed > 0 || more == 0) {
            break;
        }
        more -= u32::from(over);
        let (before, from) = (modified(&file), kept(&file)?);
        let mut child = Child(start(&program, &url, &file, &printed)?);
        tokio::select! {
            _ = written.changed(), if !over => {}
            () = sleep(Duration::from_millis(random.within(life.clone()))) => {}
        }
        if let Some(status) = child.0.try_wait().map_err(|error| error.to_string())? {
            return Err(format!("watch ended by itself: {status}"));
        }
        drop(child);
        kills += 1;
        if let Some(rev) = from {
            resumed += u64::from(went_on(&printed, rev)?);
        }
        // About half of its lives should be long enough for a save, however slow the machine is.
        life.end = match modified(&file) == before {
            true => (life.end * 2).min(LONGEST),
            false => (life.end / 2).max(LIFE.end),
        };
    }
    let state = file.display().to_string();
    program::output(&program, &url, &["watch", "/irc", "--once", "--state", &state]).await?;
    let bytes = fs::read(&file).map_err(|error| format!("{state}: {error}"))?;
    let head = bytes.iter().position(|byte| *byte == b'\n').ok_or("the file is empty")?;
    Ok(Killed { lines: bytes[head + 1..].to_vec(), kills, resumed })
}

/// Returns the revision of the file; `None` if it does not exist.
fn kept(file: &Path) -> Result<Option<u64>, String> {
    let Ok(opened) = File::open(file) else { return Ok(None) };
    let mut head = String::new();
    let read = BufReader::new(opened).read_line(&mut head);
    read.map_err(|error| format!("{}: {error}", file.display()))?;
    let head: Value = serde_json::from_str(&head).map_err(|error| format!("{head}: {error}"))?;
    Ok(head["rev"].as_u64())
}

/// Returns whether a life that began with a file of `rev` reached the present, judging by what it
/// printed. Fails if it printed what was in the file.
fn went_on(printed: &Path, rev: u64) -> Result<bool, String> {
    let bytes = fs::read(printed).map_err(|error| format!("{}: {error}", printed.display()))?;
    for line in bytes.split(|byte| *byte == b'\n') {
        // The end of its output was cut off with it.
        let Ok(line) = serde_json::from_slice::<Value>(line) else { break };
        if line["op"] == "fresh" {
            return Ok(true);
        }
        if line["op"] == "put" && line["rev"].as_u64() <= Some(rev) {
            return Err(format!("its file was of {rev}, and it printed {line}"));
        }
    }
    Ok(false)
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

fn start(program: &Path, url: &str, file: &Path, printed: &Path) -> Result<process::Child, String> {
    let printed =
        File::create(printed).map_err(|error| format!("{}: {error}", printed.display()))?;
    Command::new(program)
        .args(["watch", "/irc", "--json", "--url", url, "--state"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(printed)
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))
}

/// Killed when it is dropped.
struct Child(process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        // Either it has ended already, or it ends now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
