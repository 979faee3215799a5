//! `import`: writes JSON Lines, as `export` prints them, into the tree.

mod moved;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::PathBuf;

use clap::Args;
use indicatif::ProgressBar;
use onetree::config::unknown;
use onetree_client::{Append, Client, Put};
use onetree_protocol::{Act, Change, LogKey, Path, Value, json};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::mpsc;

use super::Common;
use super::acknowledge::{self, Acknowledging, Sent, To};
use super::connect::{self, Link};
use super::exit::{Failure, USAGE};
use super::input;
use super::lines;
use super::output::{self, Output};
use super::progress;
use super::stop::Stop;
use moved::{Moved, Place};

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  onetree import everything.jsonl
  # From one broker to another
  onetree export /config --url ws://a:7400 | onetree import --url ws://b:7400
  # Print {\"path\":…,\"rev\":…} for each line when it is acknowledged
  onetree import everything.jsonl --json

Each line has the keys of a line of export; \"rev\" is optional, and blank lines are skipped. A \
file of watch --state can be imported, too. Each value is put at its path; everything else in the \
tree stays. Revisions are new. Expiry times and sessions are not part of an export.

Log entries cannot be put, because the broker assigns their keys. They are appended to their log \
in the order of the lines, and get new keys, so a second import appends them again. Entries under \
a log entry move with it. If the log entry itself does not exist any more, import appends an \
entry and removes it again to get its key. For this the lines must be in the order of an export; \
otherwise they are refused.

Lines are sent without waiting for each answer: when one is refused, some after it may have been \
written. After Ctrl-C the command says how many lines were acknowledged. To get a whole tree back \
with its keys, use onetree restore.";

/// The bytes of lines that are sent together.
const BATCH_BYTES: usize = 64 * 1024;

/// The most batches that wait to be sent.
const WAITING: usize = 4;

/// Write the entries of an export: JSON Lines with "path" and a value
#[derive(Args)]
pub(crate) struct Import {
    /// The file to read; -: standard input
    #[arg(default_value = "-")]
    file: PathBuf,
}

/// Lines that were read together.
struct Batch {
    entries: Vec<Entry>,
    bytes: u64,
}

/// The content of a line.
struct Entry {
    line: u64,
    path: Path,
    value: Value,
}

impl Import {
    /// Runs the import.
    pub(crate) async fn run(&self, common: &Common, output: &mut Output) -> Result<(), Failure> {
        let (from, total) = self.open()?;
        let link = Link::open(common).await?;
        let mut stop = Stop::listen()?;
        // In JSON a character of text takes at most six bytes, and a byte in base64 takes less.
        let limit = u64::from(link.limits()?.value_bytes) * 6 + 64 * 1024;
        let (to, batches) = mpsc::channel(WAITING);
        let reader = Reader {
            from: BufReader::with_capacity(BATCH_BYTES, from),
            limit,
            line: 0,
            entries: 0,
            expected: None,
        };
        std::thread::spawn(move || reader.run(&to));
        if input::is_stdin(&self.file) && io::stdin().is_terminal() {
            output::aside("reading JSON Lines from standard input, up to Ctrl-D");
        }
        let bar = match total {
            Some(total) => progress::bytes(!common.json, total)?,
            None => progress::count(!common.json, "lines")?,
        };
        let (sent, on_their_way) = acknowledge::channel();
        let sending = send(&link.client, batches, sent, &bar);
        let acknowledging = Acknowledging::new(common, output, &bar);
        let n = acknowledging.all(&link, sending, on_their_way, &mut stop).await?;
        link.close().await;
        if common.json { Ok(()) } else { output.line(&acknowledge::entries(n)) }
    }

    /// Opens the input. Returns it with its size in bytes, if that is known.
    fn open(&self) -> Result<(Box<dyn Read + Send>, Option<u64>), Failure> {
        if input::is_stdin(&self.file) {
            return Ok((Box::new(io::stdin()), lines::stdin_bytes()));
        }
        let file = File::open(&self.file).map_err(|error| {
            input::unreadable(&self.file, &error)
                .next("give a file that onetree export has made, or - for standard input")
        })?;
        let total = file.metadata().ok().filter(std::fs::Metadata::is_file);
        Ok((Box::new(file), total.map(|metadata| metadata.len())))
    }
}

/// Sends every line. Everything that was sent is in `sent`, in order, even if this ends early.
async fn send(
    client: &Client,
    mut batches: mpsc::Receiver<Result<Batch, Failure>>,
    sent: mpsc::Sender<Sent>,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let mut moved = Moved::default();
    while let Some(batch) = batches.recv().await {
        let Batch { entries, bytes } = batch?;
        if bar.length().is_some() {
            bar.inc(bytes);
        }
        for Entry { line, path: from, value } in entries {
            let path = loop {
                match moved.place(&from).await {
                    Place::At(path) => break path,
                    Place::Gone { entry, log } => {
                        moved.went(entry, free_key(client, log, line).await?);
                    }
                    Place::Unordered => return Err(wrong(line, "bad-line", UNORDERED)),
                    Place::Over => return Ok(()),
                }
            };
            // Reserve first: if the command is asked to end, every line that was written is then
            // also reported as sent.
            let Ok(place) = sent.reserve().await else { return Ok(()) };
            let log = LogKey::of(&path).and_then(|_| path.parent());
            let (pending, to) = match log {
                Some(log) => {
                    let pending = client.enqueue(Append::new(log, value)).await;
                    (pending, To::Assigned(Some(moved.appended(from))))
                }
                None => (client.enqueue(Put::new(path.clone(), value)).await, To::At(path)),
            };
            place.send(Sent { line, pending: pending.map_err(connect::failed)?, to });
        }
    }
    Ok(())
}

/// Returns a key of the log at `log` at which there is no entry, and never will be: the key of an
/// entry that was appended and deleted.
async fn free_key(client: &Client, log: Path, line: u64) -> Result<Path, Failure> {
    let refused = |error| acknowledge::refused(error, line);
    let done = client.append(log, Value::json("null")).await.map_err(refused)?;
    let path = acknowledge::assigned(&done)?;
    client.delete(path.clone()).await.map_err(refused)?;
    Ok(path.clone())
}

/// The error when a line is under an entry of a log that may have come before, or comes later.
const UNORDERED: &str = "is under an entry of a log, or is one, and comes in another order than in an \
                         export: which entry it belongs to is not known";

/// The keys of a line.
const KEYS: &[&str] = &["path", "rev", "type", "json", "text", "bytes"];

/// Parses a line. Its revision is not used, so it may be missing.
fn entry(line: &str) -> Result<Change, String> {
    // If the text is no object, the protocol's own parser says what is wrong.
    let keys = serde_json::from_str::<BTreeMap<String, IgnoredAny>>(line).unwrap_or_default();
    // Do not ignore unknown keys: a user may rely on one, for example on one that lets the entry
    // expire.
    if let Some(key) = keys.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(unknown(key, KEYS));
    }
    let change = match line.trim_start().strip_prefix('{') {
        Some(rest) if !keys.is_empty() && !keys.contains_key("rev") => {
            json::parse_change_line(&format!("{{\"rev\":0,{rest}"))
        }
        _ => json::parse_change_line(line),
    };
    change.map_err(|error| error.to_string())
}

/// The first line of a file of `watch --state`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    #[serde(rename = "epoch")]
    _epoch: IgnoredAny,
    #[serde(rename = "rev")]
    _rev: IgnoredAny,
    #[serde(rename = "view")]
    _view: IgnoredAny,
    /// How many lines follow.
    entries: u64,
}

/// Reads lines, on a thread of its own.
struct Reader<R> {
    from: BufReader<R>,
    /// The longest line, bytes.
    limit: u64,
    /// The number of the last line that was read.
    line: u64,
    /// How many entries were read.
    entries: u64,
    /// How many entries there are, if the first line says so.
    expected: Option<u64>,
}

impl<R: Read> Reader<R> {
    fn run(mut self, to: &mpsc::Sender<Result<Batch, Failure>>) {
        loop {
            let (batch, end) = self.batch();
            // This fails when the command has ended.
            let heard = to.blocking_send(Ok(batch)).is_ok();
            match end {
                None if heard => {}
                Some(Err(failure)) if heard => {
                    let _ = to.blocking_send(Err(failure));
                    return;
                }
                // Stop here: a terminal's end of input is not there any more if it is read again.
                _ => return,
            }
        }
    }

    /// Returns the next lines, and the end if these are the last: all lines were read, or the next
    /// one is wrong.
    fn batch(&mut self) -> (Batch, Option<Result<(), Failure>>) {
        let mut batch = Batch { entries: Vec::new(), bytes: 0 };
        // The writer of the input may take its time, so send what has arrived.
        while batch.entries.is_empty() || (batch.bytes < BATCH_BYTES as u64 && self.has_line()) {
            match self.next() {
                Ok(Some((entry, bytes))) => {
                    batch.entries.push(entry);
                    batch.bytes += bytes;
                }
                Ok(None) => return (batch, Some(Ok(()))),
                Err(failure) => return (batch, Some(Err(failure))),
            }
        }
        (batch, None)
    }

    /// Whether a line that is not blank has arrived already.
    fn has_line(&self) -> bool {
        self.from.buffer().trim_ascii_start().contains(&b'\n')
    }

    fn next(&mut self) -> Result<Option<(Entry, u64)>, Failure> {
        let mut passed = 0;
        loop {
            self.line += 1;
            let mut line = Vec::new();
            let read = (&mut self.from).take(self.limit + 1).read_until(b'\n', &mut line);
            let bytes = read
                .map_err(|error| self.wrong("input", &format!("cannot be read: {error}")))?
                as u64;
            if bytes == 0 {
                return self.end().map(|()| None);
            }
            if bytes > self.limit {
                let why = "is longer than any entry that the broker takes";
                return Err(self.wrong("value-too-large", why));
            }
            let text = std::str::from_utf8(line.strip_suffix(b"\n").unwrap_or(&line))
                .map_err(|_| self.wrong("bad-line", "is not UTF-8"))?;
            // Some editors put a byte order mark in front of a text; it only says that the text is
            // UTF-8.
            let text = if self.line == 1 { text.trim_start_matches('\u{feff}') } else { text };
            passed += bytes;
            if text.trim_ascii().is_empty() {
                continue;
            }
            if let (1, Ok(head)) = (self.line, serde_json::from_str::<Head>(text)) {
                self.expected = Some(head.entries);
                continue;
            }
            let change = entry(text)
                .map_err(|error| self.wrong("bad-line", &format!("is no entry: {error}")))?;
            let Act::Put(Some(value)) = change.act else {
                return Err(self.wrong("bad-line", "is no entry: it has no value"));
            };
            self.entries += 1;
            return Ok(Some((Entry { line: self.line, path: change.path, value }, passed)));
        }
    }

    /// Checks the number of entries at the end of the input.
    fn end(&self) -> Result<(), Failure> {
        match self.expected {
            Some(expected) if expected != self.entries => {
                let why = format!(
                    "is the end, after {} of {expected} entries that the first line tells of",
                    self.entries
                );
                Err(self.wrong("bad-line", &why))
            }
            _ => Ok(()),
        }
    }

    fn wrong(&self, code: &'static str, why: &str) -> Failure {
        wrong(self.line, code, why)
    }
}

fn wrong(line: u64, code: &'static str, why: &str) -> Failure {
    Failure::new(USAGE, code, format!("line {line} {why}"))
        .next("correct it; a line is what onetree export prints: {\"path\":…,\"json\":…}")
        .with("line", line)
}
