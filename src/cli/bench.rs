//! `bench`: puts load on a running broker, and measures it from outside.

mod payload;
mod processor;
mod publisher;
mod report;
mod subscriber;
mod tally;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use onetree_client::{DropTree, MirrorOptions, Path, View};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Common;
use super::connect::{self, GOODBYE, Link};
use super::duration;
use super::exit::Failure;
use super::output::Output;
use super::progress;
use super::stop::Stop;
use payload::LEAST_BYTES;
use processor::{Process, Watch};
use publisher::{Publisher, Written};
use report::Report;
use subscriber::Subscriber;
use tally::Tally;

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  # One publisher as fast as it goes, one subscriber, for ten seconds
  onetree bench
  # A chat of a hundred, of whom ten write twice a second
  onetree bench --publishers 10 --subscribers 100 --rate 2 --size 120
  # Cache invalidation: each publisher writes the same entry again and again
  onetree bench --with put --publishers 50 --rate 100 --json

bench writes under /bench and removes that at the end, unless it is killed or loses its broker. \
To remove it then: onetree rm /bench --tree";

/// How long to wait for subscribers after the last write, and for the broker after the command was
/// asked to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Put load on a broker and measure it: publishers write, and each subscriber follows them all
#[derive(Args)]
pub(crate) struct Bench {
    /// Connections that write
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    publishers: u32,

    /// Connections that follow
    #[arg(long, value_name = "N", default_value_t = 1)]
    subscribers: u32,

    /// How long to write: 250ms, 30s, 5m. With --rate, bench reports the writes that were not made
    /// by then
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "10s")]
    duration: Duration,

    /// How long to write before measuring
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1s")]
    warm_up: Duration,

    /// Writes a second of each publisher, if it can make as many. Latency is measured from when
    /// each was due. 0: as fast as they are acknowledged
    #[arg(long, value_name = "N", default_value_t = 0)]
    rate: u32,

    /// Writes of each publisher that may wait for their acknowledgement
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,

    /// Size of each value in bytes, at least 20
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    size: usize,

    /// What to write: entries of a log, one entry again and again, or signals
    #[arg(long, value_enum, default_value_t = With::Append)]
    with: With,
}

/// What publishers write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum With {
    /// Each writes to a log of its own
    Append,
    /// Each writes one entry again and again; subscribers that lag see its latest value
    Put,
    /// Each sends signals; subscribers that lag lose some
    Signal,
}

impl Bench {
    /// Runs the benchmark.
    pub(crate) async fn run(&self, common: &Common, output: &mut Output) -> Result<(), Failure> {
        if self.size < LEAST_BYTES {
            let message = format!("--size is at least {LEAST_BYTES}: a clock and two numbers");
            return Err(Failure::usage(message));
        }
        let mut stop = Stop::listen()?;
        let link = tokio::select! {
            link = Link::open(common) => link?,
            () = stop.asked() => return Ok(()),
        };
        let top = top()?;
        let ending = Arc::new(AtomicBool::new(false));
        let mut measuring = Box::pin(self.measure(common, &link, &top, ending.clone()));
        let measured = tokio::select! {
            report = &mut measuring => report.map(Some),
            () = stop.asked() => {
                // Report what was measured until now. If the user asks to end again, or the broker
                // does not answer, do not wait.
                ending.store(true, Ordering::Relaxed);
                tokio::select! {
                    report = &mut measuring => report.map(Some),
                    () = stop.asked_within(PATIENCE) => Ok(None),
                }
            }
        };
        // Whatever happened, remove everything from the tree. But if no broker was found for as
        // long as a request waits, do not look for it for as long again.
        let cleaned = match &measured {
            Err(failure) if failure.is_gone() => Ok(()),
            measured => {
                let patience = match measured {
                    Ok(None) => GOODBYE,
                    _ if ending.load(Ordering::Relaxed) => PATIENCE,
                    _ => link.patience,
                };
                tokio::select! {
                    done = link.write(DropTree::new(top.clone())) => done.map(drop),
                    () = stop.asked_within(patience) => Err(connect::lost("no answer came")),
                }
            }
        };
        drop(measuring);
        link.close().await;
        let report = measured.map_err(|failure| left_over(failure, &top))?;
        report.map_or(Ok(()), |report| report.print(common, output))?;
        cleaned.map_err(|failure| left_over(failure, &top))
    }

    async fn measure(
        &self,
        common: &Common,
        control: &Link,
        top: &Path,
        ending: Arc<AtomicBool>,
    ) -> Result<Report, Failure> {
        let (ended, written) = watch::channel(None);
        let start = Instant::now();
        // Set when the warm-up begins. Nothing is written before.
        let from = Arc::new(OnceLock::new());
        let subscribers = self.subscribe(common, top, start, &from, &written).await?;
        let begin = Instant::now() + self.warm_up;
        let _ = from.set(begin - start);
        let publishers = self.publish(common, top, start, begin, &ending).await?;
        let bar = progress::time(!common.json, self.warm_up + self.duration)?;
        let broker = Process::at(&common.url);
        let watches = tokio::spawn(async move {
            tokio::time::sleep_until(begin.into()).await;
            (broker.and_then(Watch::begin), Watch::begin(Process::own()))
        });
        let mut telling = pin!(control.tell(&bar));
        let written = tokio::select! {
            written = all(publishers) => written?,
            never = &mut telling => match never {},
            () = tick(&bar, begin - self.warm_up) => unreachable!("it ticks for ever"),
        };
        let writing = begin.elapsed();
        // If the user ends the command during the warm-up, nothing was measured.
        let watches = if watches.is_finished() { watches.await.ok() } else { None };
        bar.finish_and_clear();
        let writes = written.iter().map(|written| written.counted).sum();
        let missed = written.iter().map(|written| written.missed).sum();
        let counts = written.iter().map(|written| written.all).collect();
        // This fails when there is no subscriber.
        let _ = ended.send(Some((counts, Instant::now() + PATIENCE)));
        let mut total = Tally::new(self.publishers as usize, from);
        tokio::select! {
            followed = all(subscribers) => followed?.iter().for_each(|tally| total.add(tally)),
            never = telling => match never {},
        }
        let (broker, own) = watches.unwrap_or_default();
        let (broker, own) = (broker.and_then(Watch::end), own.and_then(Watch::end));
        let all = begin.elapsed();
        let lost = control.losses();
        Ok(Report { bench: self.into(), writes, missed, writing, total, all, broker, own, lost })
    }

    /// Starts the subscribers. When this returns, all of them follow.
    async fn subscribe(
        &self,
        common: &Common,
        top: &Path,
        start: Instant,
        from: &Arc<OnceLock<Duration>>,
        written: &watch::Receiver<subscriber::Written>,
    ) -> Result<Vec<JoinHandle<Result<Tally, Failure>>>, Failure> {
        let mut subscribers = Vec::new();
        for _ in 0..self.subscribers {
            let link = Link::open(common).await?;
            let mut options = MirrorOptions::new();
            if self.with == With::Signal {
                options = options.signals();
            }
            let mirror = link.client.mirror(View::tree(top.clone()), options);
            mirror.fresh().await.map_err(connect::failed)?;
            let tally = Tally::new(self.publishers as usize, from.clone());
            let subscriber = Subscriber { link, mirror, start, tally };
            subscribers.push(tokio::spawn(subscriber.run(written.clone())));
        }
        Ok(subscribers)
    }

    /// Starts the publishers.
    async fn publish(
        &self,
        common: &Common,
        top: &Path,
        start: Instant,
        begin: Instant,
        ending: &Arc<AtomicBool>,
    ) -> Result<Vec<JoinHandle<Result<Written, Failure>>>, Failure> {
        let mut publishers = Vec::new();
        for number in 0..self.publishers {
            let link = Link::open(common).await?;
            let path = top.child(&number.to_string()).map_err(|e| Failure::fault(e.to_string()))?;
            let publisher = Publisher {
                link,
                path,
                number,
                start,
                begin,
                end: begin + self.duration,
                ending: ending.clone(),
                interval: (self.rate > 0).then(|| Duration::from_secs(1) / self.rate),
                in_flight: self.in_flight as usize,
                size: self.size,
                with: self.with,
            };
            publishers.push(tokio::spawn(publisher.run()));
        }
        Ok(publishers)
    }
}

/// If the broker is gone, adds that the written entries stay.
fn left_over(failure: Failure, top: &Path) -> Failure {
    if failure.is_gone() {
        let next = format!("when the broker is there again: onetree rm {top} --tree");
        return failure.and(&format!("; what was written under {top} stays there")).next(next);
    }
    failure
}

/// Returns a path that nobody else uses.
fn top() -> Result<Path, Failure> {
    let random = getrandom::u64().map_err(|error| Failure::fault(error.to_string()))?;
    let path = format!("/bench/{random:016x}");
    Path::parse(&path).map_err(|error| Failure::fault(error.to_string()))
}

/// Waits for all tasks. Returns the first error.
async fn all<T>(tasks: Vec<JoinHandle<Result<T, Failure>>>) -> Result<Vec<T>, Failure> {
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.map_err(|error| Failure::fault(error.to_string()))??);
    }
    Ok(results)
}

async fn tick(bar: &indicatif::ProgressBar, begin: Instant) {
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        bar.set_position(duration::millis(begin.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lost_the_broker_is_told_what_stays() {
        let error =
            onetree_client::Error::Timeout { after: PATIENCE, sent: onetree_client::Sent::Write };
        let lost = connect::unwritten(error);
        assert!(lost.is_gone());
        let top = Path::parse("/bench/7").unwrap();
        assert!(format!("{:?}", left_over(lost, &top)).contains("onetree rm /bench/7 --tree"));
        let full = Failure::refused(onetree_client::Code::TooManyConnections, "full");
        assert!(!full.is_gone(), "one that is full can be cleaned");
    }
}
