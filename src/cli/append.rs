//! `append`: new entries of a log.

use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use onetree_client::{Append as Write, Client, Done, Error, Pending};
use onetree_protocol::{Path, Value};
use tokio::sync::mpsc;

use super::Common;
use super::connect::{self, Link};
use super::duration;
use super::exit::Failure;
use super::lines::{self, Lines};
use super::output::Output;
use super::progress;
use super::value::ValueArgs;

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  # The broker assigns the key; the path is printed
  onetree append /chat/rust/log 'hello'
  # Each line of standard input one entry, as fast as the broker takes them
  tail -F app.log | onetree append /logs/app --lines
  # One {\"path\":…,\"rev\":…} for each as it is acknowledged
  onetree append /logs/app --lines --json < app.log
  # Entries that live a day
  onetree append /events '{\"door\":\"open\"}' --ttl 24h";

/// Writes on their way at once. What waits is bounded by the client's queue, in bytes; this bounds
/// the answers that wait to be looked at.
const IN_FLIGHT: usize = 4096;

/// Append to a log; prints the path that the broker assigned, and the revision
#[derive(Args)]
pub(crate) struct Append {
    /// The log
    path: Path,

    #[command(flatten)]
    value: ValueArgs,

    /// Each line of standard input is one entry, without its line end
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
        let value = self.value.read()?;
        let link = Link::open(common).await?;
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
        let limit = link.limits()?.value_bytes as usize;
        let lines = lines::stdin(self.value.media.clone(), limit);
        let (sent, on_their_way) = mpsc::channel(IN_FLIGHT);
        let bar = match lines::stdin_bytes() {
            Some(total) => progress::bytes(!common.json, total)?,
            None => progress::count(!common.json, "lines")?,
        };
        let mut acknowledging = Acknowledging { common, output, bar: &bar, acknowledged: 0 };
        // Sending ends by itself when nobody takes the answers any more.
        let (sending, acknowledged) = tokio::join!(
            self.send(&link.client, lines, sent, &bar),
            acknowledging.run(on_their_way)
        );
        bar.finish_and_clear();
        let n = acknowledging.acknowledged;
        acknowledged.and(sending).map_err(|failure| {
            let lines = if n == 1 { "line was" } else { "lines were" };
            failure.and(&format!("; {n} {lines} acknowledged before")).with("acknowledged", n)
        })?;
        link.close().await;
        Ok(())
    }

    /// Sends every line; what was sent is in `sent`, in order, also when this ends early.
    async fn send(
        &self,
        client: &Client,
        mut lines: mpsc::Receiver<Result<Lines, Failure>>,
        sent: mpsc::Sender<Pending<Done>>,
        bar: &ProgressBar,
    ) -> Result<(), Failure> {
        while let Some(lines) = lines.recv().await {
            let Lines { values, bytes } = lines?;
            if bar.length().is_some() {
                bar.inc(bytes);
            }
            for value in values {
                let pending = client.enqueue(self.entry(value)).await.map_err(connect::failed)?;
                if sent.send(pending).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// What becomes of the lines.
struct Acknowledging<'a> {
    common: &'a Common,
    output: &'a mut Output,
    bar: &'a ProgressBar,
    acknowledged: u64,
}

impl Acknowledging<'_> {
    /// Takes the answers in order, up to the first that is an error.
    async fn run(&mut self, mut sent: mpsc::Receiver<Pending<Done>>) -> Result<(), Failure> {
        while let Some(pending) = self.next(&mut sent).await? {
            let done = pending.await.map_err(|error| self.refused(error))?;
            self.acknowledged += 1;
            if self.bar.length().is_none() {
                self.bar.inc(1);
            }
            if self.common.json {
                self.output.written(self.common, assigned(&done)?, done.rev)?;
            }
        }
        Ok(())
    }

    /// The next write that was sent; flushes before it waits for one.
    async fn next(
        &mut self,
        sent: &mut mpsc::Receiver<Pending<Done>>,
    ) -> Result<Option<Pending<Done>>, Failure> {
        if let Ok(pending) = sent.try_recv() {
            return Ok(Some(pending));
        }
        self.output.flush()?;
        Ok(sent.recv().await)
    }

    fn refused(&self, error: Error) -> Failure {
        let line = self.acknowledged + 1;
        connect::failed(error).and(&format!(" (line {line})")).with("line", line)
    }
}

/// The path that an append was given.
fn assigned(done: &Done) -> Result<&Path, Failure> {
    done.paths.first().ok_or_else(|| Failure::fault("the broker did not say what it assigned"))
}
