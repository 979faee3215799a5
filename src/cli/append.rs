//! `append`: new entries of a log.

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
  # The broker assigns the key; the path is printed
  onetree append /chat/rust/log 'hello'
  # Each line of standard input one entry, as fast as the broker takes them
  tail -F app.log | onetree append /logs/app --lines
  # JSON Lines: what is no JSON ends it
  onetree append /events --lines --type application/json < events.jsonl
  # One {\"path\":…,\"rev\":…} for each as it is acknowledged
  onetree append /logs/app --lines --json < app.log
  # Entries that live a day
  onetree append /events '{\"door\":\"open\"}' --ttl 24h

When the broker goes away, that is told, and lines wait for it, also those that are still to come;
one that has waited for 30 s ends the command (exit code 5), which says how many were acknowledged.";

/// Append to a log; prints the path that the broker assigned, and the revision; of lines, how many
#[derive(Args)]
pub(crate) struct Append {
    /// The log
    path: Path,

    #[command(flatten)]
    value: ValueArgs,

    /// Each line of standard input is one entry: text, whatever it looks like, unless --type says
    /// otherwise; without its \n, a \r before that is kept
    #[arg(long, conflicts_with = "value")]
    lines: bool,

    /// Gone after so long: 250ms, 30s, 5m, 12h, 7d
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

    /// Sends every line; what was sent is in `sent`, in order, also when this ends early.
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
                // Where it is asked to end, what was written is known to have been.
                let Ok(place) = sent.reserve().await else { return Ok(()) };
                let pending = client.enqueue(self.entry(value)).await.map_err(connect::failed)?;
                line += 1;
                place.send(Sent { line, pending, to: To::Assigned(None) });
            }
        }
        Ok(())
    }
}
