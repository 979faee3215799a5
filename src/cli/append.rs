//! `append`: appends entries to a log.

use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use onetree_client::{Append as Write, Client};
use onetree_protocol::{Path, Value};
use tokio::sync::mpsc;

use super::Common;
use super::acknowledge::{self, Acknowledging, Sent, To, assigned};
use super::connect::{self, Link};
use super::duration;
use super::exit::Failure;
use super::lines::{self, Lines};
use super::output::Output;
use super::progress;
use super::stop::Stop;
use super::value::ValueArgs;

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  # The broker assigns the key; the command prints the path
  onetree append /chat/rust/log 'hello'
  # Each line of standard input is an entry, as fast as the broker takes them
  tail -F app.log | onetree append /logs/app --lines
  # JSON Lines: a line that is not JSON ends the command
  onetree append /events --lines --type application/json < events.jsonl
  # Print {\"path\":…,\"rev\":…} for each line when it is acknowledged
  onetree append /logs/app --lines --json < app.log
  # Entries that live a day
  onetree append /events '{\"door\":\"open\"}' --ttl 24h

With --lines: when the broker goes away the command says so, and lines wait for it, also those \
that are still to be read. When one line has waited for 30 s the command ends (exit code 5), and \
says how many lines were acknowledged.";

/// Append to a log. Prints the path that the broker assigned and the revision, or with --lines the
/// number of lines
#[derive(Args)]
pub(crate) struct Append {
    /// The log
    path: Path,

    #[command(flatten)]
    value: ValueArgs,

    /// Make each line of standard input an entry. A line is text, whatever it looks like, unless
    /// --type is given. Its \n is removed; a \r before that is kept
    #[arg(long, conflicts_with = "value")]
    lines: bool,

    /// Remove the entry after this time: 250ms, 30s, 5m, 12h, 7d
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    ttl: Option<Duration>,
}

impl Append {
    /// Appends.
    pub(crate) async fn run(&self, common: &Common, output: &mut Output) -> Result<(), Failure> {
        if self.lines {
            return self.run_lines(common, output).await;
        }
        let (link, value) = self.value.read(common).await?;
        let done = link.write(self.entry(value)).await?;
        link.close().await;
        output.written(common, assigned(&done)?, done.rev)
    }

    fn entry(&self, value: Value) -> Write {
        let append = Write::new(self.path.clone(), value);
        self.ttl.into_iter().fold(append, Write::ttl)
    }

    async fn run_lines(&self, common: &Common, output: &mut Output) -> Result<(), Failure> {
        let link = Link::open(common).await?;
        let mut stop = Stop::listen()?;
        let limit = link.limits()?.value_bytes as usize;
        let lines = lines::stdin(self.value.media.clone(), limit);
        let (sent, on_their_way) = acknowledge::channel();
        let bar = match lines::stdin_bytes() {
            Some(total) => progress::bytes(!common.json, total)?,
            None => progress::count(!common.json, "lines")?,
        };
        let sending = self.send(&link.client, lines, sent, &bar);
        let acknowledging = Acknowledging::new(common, output, &bar);
        let n = acknowledging.all(&link, sending, on_their_way, &mut stop).await?;
        link.close().await;
        if common.json { Ok(()) } else { output.line(&acknowledge::entries(n)) }
    }

    /// Sends every line. Everything that was sent is in `sent`, in order, even if this ends early.
    async fn send(
        &self,
        client: &Client,
        mut lines: mpsc::Receiver<Result<Lines, Failure>>,
        sent: mpsc::Sender<Sent>,
        bar: &ProgressBar,
    ) -> Result<(), Failure> {
        let mut line = 0;
        while let Some(lines) = lines.recv().await {
            let Lines { values, bytes } = lines?;
            if bar.length().is_some() {
                bar.inc(bytes);
            }
            for value in values {
                // Reserve first: if the command is asked to end, every line that was written is
                // then also reported as sent.
                let Ok(place) = sent.reserve().await else { return Ok(()) };
                let pending = client.enqueue(self.entry(value)).await.map_err(connect::failed)?;
                line += 1;
                place.send(Sent { line, pending, to: To::Assigned(None) });
            }
        }
        Ok(())
    }
}
