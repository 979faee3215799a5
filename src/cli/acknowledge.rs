//! Follows many writes, each from one line of the input: takes their answers in the order of the
//! lines.

use std::convert::Infallible;

use indicatif::ProgressBar;
use onetree_client::{Done, Error, Path, Pending};
use tokio::sync::{mpsc, oneshot};

use super::Common;
use super::connect::{self, GOODBYE, Link};
use super::exit::{Failure, INTERRUPTED};
use super::output::{Output, plural};
use super::stop::Stop;

/// The most writes that are sent and not answered. The bytes of the writes are bounded by the
/// client's queue; this bounds how many answers wait to be looked at.
const IN_FLIGHT: usize = 4096;

/// The result of the last writes is unknown.
const UNANSWERED: &str = "has no answer to what it sent last, which may have been taken";

/// The write of a line that was sent.
pub(crate) struct Sent {
    /// The number of the line, from 1.
    pub(crate) line: u64,
    /// The answer to the write.
    pub(crate) pending: Pending<Done>,
    /// Where the write goes.
    pub(crate) to: To,
}

/// Where a write goes.
pub(crate) enum To {
    /// To this path.
    At(Path),
    /// To a path that the broker assigns. If there is a sender, it is told that path.
    Assigned(Option<oneshot::Sender<Path>>),
}

/// Makes a channel for writes that were sent, in order.
pub(crate) fn channel() -> (mpsc::Sender<Sent>, mpsc::Receiver<Sent>) {
    mpsc::channel(IN_FLIGHT)
}

/// Takes the answers to the writes of the lines.
pub(crate) struct Acknowledging<'a> {
    common: &'a Common,
    output: &'a mut Output,
    bar: &'a ProgressBar,
    acknowledged: u64,
    /// The last line that was acknowledged.
    line: u64,
}

impl<'a> Acknowledging<'a> {
    /// Begins; nothing is acknowledged yet. `bar` counts bytes that are sent if it has a length,
    /// otherwise lines that are acknowledged.
    pub(crate) fn new(common: &'a Common, output: &'a mut Output, bar: &'a ProgressBar) -> Self {
        Acknowledging { common, output, bar, acknowledged: 0, line: 0 }
    }

    /// Runs `sending`, which sends over `link`, and takes the answers to what it sends, up to the
    /// first error of either. Returns how many answers there were. When the command is asked to
    /// end, this sends no more, and waits a little for the answers to what was sent.
    pub(crate) async fn all(
        mut self,
        link: &Link,
        sending: impl Future<Output = Result<(), Failure>>,
        sent: mpsc::Receiver<Sent>,
        stop: &mut Stop,
    ) -> Result<u64, Failure> {
        let bar = self.bar;
        let (go_on, asked_to_end) = oneshot::channel::<Infallible>();
        // Sending ends by itself when nobody takes the answers any more.
        let sending = async {
            tokio::select! {
                ended = sending => ended,
                _ = asked_to_end => Err(interrupted("sent no more")),
            }
        };
        let mut both = Box::pin(async { tokio::join!(sending, self.run(sent)) });
        let ended = tokio::select! {
            (sending, acknowledged) = &mut both => acknowledged.and(sending),
            never = link.tell(bar) => match never {},
            () = stop.asked() => {
                drop(go_on);
                tokio::select! {
                    (sending, acknowledged) = &mut both => acknowledged.and(sending),
                    () = stop.asked_within(GOODBYE) => Err(interrupted(UNANSWERED)),
                }
            }
        };
        drop(both);
        bar.finish_and_clear();
        let (n, line) = (self.acknowledged, self.line);
        ended.map(|()| n).map_err(|failure| {
            let lines = plural(n, "line was", "lines were");
            // Not every line is a write, so to continue, a user must start after this line.
            let up_to = if line == n { String::new() } else { format!(", up to line {line}") };
            failure
                .and(&format!("; {n} {lines} acknowledged before{up_to}"))
                .with("acknowledged", n)
                .with("acknowledged_line", line)
        })
    }

    /// Takes the answers in order, up to the first that is an error.
    async fn run(&mut self, mut sent: mpsc::Receiver<Sent>) -> Result<(), Failure> {
        while let Some(Sent { line, pending, to }) = self.next(&mut sent).await? {
            let done = pending.await.map_err(|error| refused(error, line))?;
            (self.acknowledged, self.line) = (self.acknowledged + 1, line);
            if self.bar.length().is_none() {
                self.bar.inc(1);
            }
            let path = match &to {
                To::At(path) => path,
                To::Assigned(_) => assigned(&done)?,
            };
            if self.common.json {
                self.output.written(self.common, path, done.rev)?;
            }
            if let To::Assigned(Some(hears)) = to {
                // This fails when the sender does not need the path: it does only if something is
                // under the entry.
                let _ = hears.send(assigned(&done)?.clone());
            }
        }
        Ok(())
    }

    /// Returns the next write that was sent. Flushes the output before it waits for one.
    async fn next(&mut self, sent: &mut mpsc::Receiver<Sent>) -> Result<Option<Sent>, Failure> {
        if let Ok(sent) = sent.try_recv() {
            return Ok(Some(sent));
        }
        self.output.flush()?;
        Ok(sent.recv().await)
    }
}

/// Returns the number of entries in words.
pub(crate) fn entries(n: u64) -> String {
    format!("{n} {}", plural(n, "entry", "entries"))
}

/// The command was asked to end. `and` says what it did then.
fn interrupted(and: &str) -> Failure {
    Failure::new(INTERRUPTED, "interrupted", format!("it was asked to end, and {and}"))
}

/// The write of a line failed.
pub(crate) fn refused(error: Error, line: u64) -> Failure {
    connect::unwritten(error).and(&format!(" (line {line})")).with("line", line)
}

/// Returns the path that the broker assigned to an append.
pub(crate) fn assigned(done: &Done) -> Result<&Path, Failure> {
    done.paths.first().ok_or_else(|| Failure::fault("the broker did not say what it assigned"))
}
