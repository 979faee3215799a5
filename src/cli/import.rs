//! `import`: JSON Lines as `export` prints them, into the tree.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use clap::Args;
use indicatif::ProgressBar;
use onetree_client::{Append, Client, Put, Write};
use onetree_protocol::json::{self, JsonError};
use onetree_protocol::{Act, Change, LogKey, Path, Value};
use serde_json::Map;
use tokio::sync::mpsc;

use super::Common;
use super::acknowledge::{self, Acknowledging, Sent};
use super::connect::{self, Link};
use super::exit::{Failure, USAGE};
use super::lines;
use super::output::Output;
use super::progress;

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  onetree import everything.jsonl
  # From one broker to another
  onetree export /config --url ws://a:7400 | onetree import --url ws://b:7400
  # One {\"path\":…,\"rev\":…} for each line as it is acknowledged
  onetree import everything.jsonl --json

Each line is put at its path; what else is in the tree stays. An entry of a log cannot be put, for
the broker gives out the keys of logs: it is appended to its log, in the order of the lines, and has
another key than before (and is there twice after a second import). Revisions are new ones; when an
entry dies, and the session that it dies with, is in no export. The lines are on their way while
answers come: when one is refused, some behind it may have been taken. To get back a whole tree with
its keys: onetree restore";

/// Bytes of lines that are sent at once.
const BATCH_BYTES: usize = 64 * 1024;

/// Batches that wait to be sent.
const WAITING: usize = 4;

/// Put the entries of an export: JSON Lines with "path" and a value
#[derive(Args)]
pub(crate) struct Import {
    /// What to read; -: standard input
    #[arg(default_value = "-")]
    file: PathBuf,
}

/// Lines that were read together.
struct Batch {
    entries: Vec<(Path, Value)>,
    bytes: u64,
}

impl Import {
    /// Imports.
    pub(crate) async fn run(&self, common: &Common, output: &mut Output) -> Result<(), Failure> {
        let (from, total) = self.open()?;
        let link = Link::open(common).await?;
        // A character of a text takes at most six bytes in JSON, an octet less in base64.
        let limit = u64::from(link.limits()?.value_bytes) * 6 + 64 * 1024;
        let (to, batches) = mpsc::channel(WAITING);
        let reader = Reader { from: BufReader::with_capacity(BATCH_BYTES, from), limit, line: 0 };
        std::thread::spawn(move || reader.run(&to));
        let bar = match total {
            Some(total) => progress::bytes(!common.json, total)?,
            None => progress::count(!common.json, "lines")?,
        };
        let (sent, on_their_way) = acknowledge::channel();
        let sending = send(&link.client, batches, sent, &bar);
        let n = Acknowledging::new(common, output, &bar).all(sending, on_their_way).await?;
        link.close().await;
        if common.json { Ok(()) } else { output.line(&format!("{n} entries")) }
    }

    /// What to read, and how many bytes that is, where that is known.
    fn open(&self) -> Result<(Box<dyn Read + Send>, Option<u64>), Failure> {
        if self.file.as_os_str() == "-" {
            return Ok((Box::new(io::stdin()), lines::stdin_bytes()));
        }
        let file = File::open(&self.file).map_err(|error| {
            let message = format!("cannot read {}: {error}", self.file.display());
            Failure::new(USAGE, "input", message)
                .next("give a file that onetree export has made, or - for standard input")
        })?;
        let total = file.metadata().ok().filter(std::fs::Metadata::is_file);
        Ok((Box::new(file), total.map(|metadata| metadata.len())))
    }
}

/// Sends every line; what was sent is in `sent`, in order, also when this ends early.
async fn send(
    client: &Client,
    mut batches: mpsc::Receiver<Result<Batch, Failure>>,
    sent: mpsc::Sender<Sent>,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    while let Some(batch) = batches.recv().await {
        let Batch { entries, bytes } = batch?;
        if bar.length().is_some() {
            bar.inc(bytes);
        }
        for (path, value) in entries {
            let log = LogKey::of(&path).and_then(|_| path.parent());
            let (write, path): (Write, _) = match log {
                Some(log) => (Append::new(log, value).into(), None),
                None => (Put::new(path.clone(), value).into(), Some(path)),
            };
            let pending = client.enqueue(write).await.map_err(connect::failed)?;
            if sent.send(Sent { pending, path }).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Reads a line. Its revision is of no use here, so it may be left away.
fn entry(line: &str) -> Result<Change, JsonError> {
    json::parse_change_line(line).or_else(|error| {
        let fields = serde_json::from_str::<Map<String, serde_json::Value>>(line);
        match (fields, line.trim_start().strip_prefix('{')) {
            (Ok(fields), Some(rest)) if !fields.is_empty() && !fields.contains_key("rev") => {
                json::parse_change_line(&format!("{{\"rev\":0,{rest}"))
            }
            _ => Err(error),
        }
    })
}

/// Reads lines, in a thread of its own.
struct Reader<R> {
    from: BufReader<R>,
    /// The longest line, bytes.
    limit: u64,
    /// The line that was read last.
    line: u64,
}

impl<R: Read> Reader<R> {
    fn run(mut self, to: &mpsc::Sender<Result<Batch, Failure>>) {
        loop {
            let (batch, failure) = self.batch();
            let last = failure.is_some() || batch.entries.is_empty();
            // Nobody listens any more when the command has ended.
            let heard = to.blocking_send(Ok(batch)).is_ok();
            if let (Some(failure), true) = (failure, heard) {
                let _ = to.blocking_send(Err(failure));
            }
            if last || !heard {
                return;
            }
        }
    }

    /// The next lines, up to the first that is wrong; none at the end.
    fn batch(&mut self) -> (Batch, Option<Failure>) {
        let mut batch = Batch { entries: Vec::new(), bytes: 0 };
        while batch.bytes < BATCH_BYTES as u64 {
            match self.next() {
                Ok(Some((path, value, bytes))) => {
                    batch.entries.push((path, value));
                    batch.bytes += bytes;
                }
                Ok(None) => break,
                Err(failure) => return (batch, Some(failure)),
            }
        }
        (batch, None)
    }

    fn next(&mut self) -> Result<Option<(Path, Value, u64)>, Failure> {
        self.line += 1;
        let mut line = Vec::new();
        let read = (&mut self.from).take(self.limit + 1).read_until(b'\n', &mut line);
        let bytes =
            read.map_err(|error| self.wrong("input", &format!("cannot be read: {error}")))?;
        if bytes == 0 {
            return Ok(None);
        }
        if bytes as u64 > self.limit {
            let why = "is longer than any entry that the broker takes";
            return Err(self.wrong("value-too-large", why));
        }
        let text = std::str::from_utf8(line.strip_suffix(b"\n").unwrap_or(&line))
            .map_err(|_| self.wrong("bad-line", "is not UTF-8"))?;
        let change = entry(text)
            .map_err(|error| self.wrong("bad-line", &format!("is no entry: {error}")))?;
        match change.act {
            Act::Put(Some(value)) => Ok(Some((change.path, value, bytes as u64))),
            _ => Err(self.wrong("bad-line", "is no entry: it has no value")),
        }
    }

    fn wrong(&self, code: &'static str, why: &str) -> Failure {
        Failure::new(USAGE, code, format!("line {} {why}", self.line))
            .next("correct it; a line is what onetree export prints: {\"path\":…,\"json\":…}")
            .with("line", self.line)
    }
}
