//! What becomes of many writes, each from a line: their answers, in the order of the lines.

use std::convert::Infallible;

use indicatif::ProgressBar;
use onetree_client::{Done, Error, Path, Pending};
use tokio::sync::{mpsc, oneshot};

use super::Common;
use super::connect::{self, GOODBYE, Link};
use super::exit::{Failure, INTERRUPTED};
use super::output::{Output, plural};
use super::stop::Stop;

/// Writes on their way at once. What waits is bounded by the client's queue, in bytes; this bounds
/// the answers that wait to be looked at.
const IN_FLIGHT: usize = 4096;

/// What becomes of it nobody knows.
const UNANSWERED: &str = "has no answer to what it sent last, which may have been taken";

/// The write of a line, on its way.
pub(crate) struct Sent {
    /// Its number, from 1.
    pub(crate) line: u64,
    /// Its answer.
    pub(crate) pending: Pending<Done>,
    /// Where it goes.
    pub(crate) to: To,
}

/// Where a write goes.
pub(crate) enum To {
    /// To this path.
    At(Path),
    /// The broker says, and so somebody may want to hear.
    Assigned(Option<oneshot::Sender<Path>>),
}

/// For writes on their way, in order.
pub(crate) fn channel() -> (mpsc::Sender<Sent>, mpsc::Receiver<Sent>) {
    mpsc::channel(IN_FLIGHT)
}

/// What becomes of the lines.
pub(crate) struct Acknowledging<'a> {
    common: &'a Common,
    output: &'a mut Output,
    bar: &'a ProgressBar,
    acknowledged: u64,
    /// The line of the last that was.
    line: u64,
}

impl<'a> Acknowledging<'a> {
    /// None yet. `bar` counts bytes that are sent, or lines that are acknowledged.
    pub(crate) fn new(common: &'a Common, output: &'a mut Output, bar: &'a ProgressBar) -> Self {
        Acknowledging { common, output, bar, acknowledged: 0, line: 0 }
    }

    /// Takes the answers to what `sending` sends over `link`, up to the first error of either;
    /// gives how many there were. Asked to end, it sends no more, and waits a little for the
    /// answers to what was sent.
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
            // Not each line is one to write: who goes on does so behind this one.
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
                // Who sends needs it only where something is under it.
                let _ = hears.send(assigned(&done)?.clone());
            }
        }
        Ok(())
    }

    /// The next write that was sent; flushes before it waits for one.
    async fn next(&mut self, sent: &mut mpsc::Receiver<Sent>) -> Result<Option<Sent>, Failure> {
        if let Ok(sent) = sent.try_recv() {
            return Ok(Some(sent));
        }
        self.output.flush()?;
        Ok(sent.recv().await)
    }
}

/// How many there were, for people.
pub(crate) fn entries(n: u64) -> String {
    format!("{n} {}", plural(n, "entry", "entries"))
}

/// Who sends is asked to end; `and` it did so.
fn interrupted(and: &str) -> Failure {
    Failure::new(INTERRUPTED, "interrupted", format!("it was asked to end, and {and}"))
}

/// The write of a line failed.
pub(crate) fn refused(error: Error, line: u64) -> Failure {
    connect::unwritten(error).and(&format!(" (line {line})")).with("line", line)
}

/// The path that an append was given.
pub(crate) fn assigned(done: &Done) -> Result<&Path, Failure> {
    done.paths.first().ok_or_else(|| Failure::fault("the broker did not say what it assigned"))
}
