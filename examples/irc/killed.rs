//! The one that is killed: `onetree watch --state`, started again from its file each time.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::sleep;

use super::program;
use super::random::Random;

/// So long it lives at first, milliseconds.
const LIFE: Range<u64> = 30..300;
/// The longest that a life may become.
const LONGEST: u64 = 5000;

/// A mirror at its end.
pub(crate) struct Killed {
    /// Its state file without the first line.
    pub(crate) lines: Vec<u8>,
    /// How often it was killed.
    pub(crate) kills: u64,
    /// How often it found a file to go on from.
    pub(crate) resumed: u64,
}

/// Starts it and kills it again and again until `written` says that nobody writes any more; then
/// lets it come to its end.
pub(crate) async fn run(
    program: PathBuf,
    url: String,
    directory: PathBuf,
    mut random: Random,
    mut written: watch::Receiver<bool>,
) -> Result<Killed, String> {
    let file = directory.join("mirror.jsonl");
    let (mut kills, mut resumed) = (0, 0);
    let mut life = LIFE;
    while !*written.borrow_and_update() {
        let before = modified(&file);
        resumed += u64::from(before.is_some());
        let mut child = Child(start(&program, &url, &file)?);
        tokio::select! {
            _ = written.changed() => {}
            () = sleep(Duration::from_millis(random.within(life.clone()))) => {}
        }
        if let Some(status) = child.0.try_wait().map_err(|error| error.to_string())? {
            return Err(format!("watch ended by itself: {status}"));
        }
        drop(child);
        kills += 1;
        // About half of its lives shall be long enough to save, however slow the machine is.
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

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

fn start(program: &Path, url: &str, file: &Path) -> Result<process::Child, String> {
    Command::new(program)
        .args(["watch", "/irc", "--url", url, "--state"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))
}

/// Killed when it is dropped.
struct Child(process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        // Either it has ended, or it does now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
