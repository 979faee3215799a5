//! `watch`: prints changes as they come, and keeps a mirror in a file.

mod printer;
mod state;

use std::future;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use onetree_client::{Changes, Event, Keep, KeepError, Mirror, MirrorOptions, Saver};
use onetree_protocol::{Path, Pattern, View};

use super::Common;
use super::connect::{self, Link};
use super::connection::Connection;
use super::duration;
use super::exit::Failure;
use super::ls::Reach;
use super::output::Output;
use super::progress;
use super::stop::Stop;
use printer::Printer;

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  # Everything that is there, and then each change
  onetree watch /
  # Continue where the last run stopped, for whatever reason. After a first line that says of
  # which revision it is, the file has the lines of an export
  onetree watch /config --state config.jsonl
  # Bring the file up to date, print what changed, and end
  onetree watch /config --state config.jsonl --once
  # May be started before its broker, for instance at boot
  onetree watch /config --state config.jsonl --wait
  # The last ten entries of each log, and all new ones
  onetree watch /chat --match '*/log/*' --tail 10
  # For programs: {\"op\":\"put\",\"path\":…}, delete, drop, trim, signal, fresh, offline, …
  onetree watch /chat --signals --json | jq -c .
  # For a dashboard: once a second, what has changed
  onetree watch /metrics --every 1s --no-values";

/// Print each change as it happens, until Ctrl-C
#[derive(Args)]
pub(crate) struct Watch {
    /// The path at the top of the subtree
    #[arg(default_value = "/")]
    path: Path,

    /// End when all changes up to now are printed, or when the broker is away for 30 s
    #[arg(long)]
    once: bool,

    /// If there is no broker yet, wait for it, however long that takes
    #[arg(long)]
    wait: bool,

    /// Keep the copy in this file, and continue from it. FILE.lock prevents that two commands use
    /// it
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// Only the newest N entries of each log, and all new ones
    #[arg(long, value_name = "N")]
    tail: Option<u32>,

    /// How deep to go below the path
    #[arg(long, value_enum, default_value_t = Reach::Tree)]
    depth: Reach,

    /// Only paths below PATH that match: * is one whole segment, ** any number. May be given
    /// several times
    #[arg(long = "match", value_name = "PATTERN", value_parser = Pattern::written)]
    patterns: Vec<Pattern>,

    /// Print signals, too
    #[arg(long)]
    signals: bool,

    /// Print changes at most once in this time, only the last of each entry: 250ms, 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    every: Option<Duration>,

    /// Only paths and revisions, no values
    #[arg(long)]
    no_values: bool,
}

impl Watch {
    /// Runs the watch.
    pub(crate) async fn run(&self, common: &Common, output: &mut Output) -> Result<(), Failure> {
        let view = self.view();
        // Open the file before connecting to the broker: a file that cannot be used is then found
        // first.
        let (file, saved) = match &self.state {
            Some(path) => {
                let file = Keep::open(path)?;
                let saved = file.load()?;
                let cookie = saved.as_ref().and_then(|saved| saved.cookie());
                if cookie.is_some_and(|cookie| cookie.view != view.fingerprint()) {
                    return Err(state::of_another_view(path));
                }
                (Some(file), saved)
            }
            None => (None, None),
        };
        let mut stop = Stop::listen()?;
        let link = tokio::select! {
            link = self.connect(common) => link?,
            () = stop.asked() => return Ok(()),
        };
        let mut options = MirrorOptions::new();
        if self.once {
            options = options.once();
        }
        if self.signals {
            options = options.signals();
        }
        if let Some(every) = self.every {
            options = options.every(every);
        }
        let cookie = saved.as_ref().and_then(|saved| saved.cookie());
        if let Some(saved) = saved {
            options = options.from_snapshot(saved);
        }
        let mirror = link.client.mirror(view, options);
        let mut watching = Watching {
            changes: mirror.changes(),
            mirror,
            saver: file.map(|file| Saver::new(file, cookie)),
            patience: self.once.then_some(link.patience),
            // With --wait, the patience counts only from when there was a broker.
            was_there: !self.wait,
            printer: Printer {
                json: common.json,
                output,
                connection: Connection::default(),
                bar: None,
            },
        };
        let ended = watching.run(&mut stop).await;
        // Not if the reader of the output has gone away: what it has not seen must come again.
        let saved = match &ended {
            Err(Failure::PipeClosed) => Ok(()),
            _ => watching.save_last().await,
        };
        ended.and(saved)?;
        link.close().await;
        Ok(())
    }

    async fn connect(&self, common: &Common) -> Result<Link, Failure> {
        if self.wait { Link::start(common) } else { Link::open(common).await }
    }

    fn view(&self) -> View {
        View {
            base: self.path.clone(),
            depth: self.depth.into(),
            patterns: self.patterns.clone(),
            tail: self.tail,
            values: !self.no_values,
        }
    }
}

/// A watch that is running.
struct Watching<'a> {
    /// The mirror ends when this is dropped.
    mirror: Mirror,
    changes: Changes,
    saver: Option<Saver>,
    /// How long it goes on without a connection; `None`: for ever.
    patience: Option<Duration>,
    /// Whether there was a connection.
    was_there: bool,
    printer: Printer<'a>,
}

impl Watching<'_> {
    /// Runs until the mirror ends, or the command is asked to end.
    async fn run(&mut self, stop: &mut Stop) -> Result<(), Failure> {
        loop {
            let event = match self.changes.try_next() {
                Some(event) => Some(event),
                None => {
                    // Nothing more for now: let the reader of the output see it, and only then save
                    // it.
                    self.printer.output.flush()?;
                    let now = self.changes.snapshot();
                    if let Some(saver) = &mut self.saver {
                        saver.save_when_due(&now);
                    }
                    tokio::select! {
                        event = self.changes.next() => event,
                        () = stop.asked() => return Ok(()),
                        why = missing(&self.printer.connection, self.patience.filter(|_| self.was_there)) => {
                            return Err(connect::lost(why));
                        }
                        () = tokio::time::sleep(progress::TICK), if self.printer.bar.is_some() => {
                            self.printer.received(self.mirror.received());
                            continue;
                        }
                        due = due(&mut self.saver) => {
                            due?;
                            continue;
                        }
                    }
                }
            };
            let Some(event) = event else { return Ok(()) };
            if let Event::Ended { error } = event {
                return error.map_or(Ok(()), |error| Err(connect::failed(error)));
            }
            if let Event::Online { .. } = event {
                self.was_there = true;
            }
            self.printer.event(&event)?;
            if let (Event::Fresh { .. } | Event::Delta { .. }, Some(saver)) =
                (event, &mut self.saver)
            {
                saver.note_change();
            }
        }
    }

    /// Saves everything that is printed by now in the file.
    async fn save_last(&mut self) -> Result<(), Failure> {
        self.printer.output.flush()?;
        let now = self.changes.snapshot();
        match &mut self.saver {
            Some(saver) => Ok(saver.save_last(&now).await?),
            None => Ok(()),
        }
    }
}

/// Completes when a watch that ends by itself has waited too long for the broker. For any other
/// watch, it never completes.
async fn missing(connection: &Connection, patience: Option<Duration>) -> String {
    match patience {
        Some(patience) => connection.missing(patience).await,
        None => future::pending().await,
    }
}

/// Completes when a save has ended or one may begin. Without a file, it never completes.
async fn due(saver: &mut Option<Saver>) -> Result<(), KeepError> {
    match saver {
        Some(saver) => saver.due().await,
        None => future::pending().await,
    }
}
