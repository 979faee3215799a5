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
  # Everything, from what is there to whatever comes
  onetree watch /
  # It goes on where it stopped, whatever stopped it; the file holds what export prints, after a
  # line that says from when it is
  onetree watch /config --state config.jsonl
  # Bring the file to the present, print what changed, and end
  onetree watch /config --state config.jsonl --once
  # Also started before its broker, as by a system that starts
  onetree watch /config --state config.jsonl --wait
  # The last ten lines of each log, and all that follow
  onetree watch /chat --match '*/log/*' --tail 10
  # For programs: {\"op\":\"put\",\"path\":…}, delete, drop, trim, signal, fresh, offline, …
  onetree watch /chat --signals --json | jq -c .
  # A dashboard: what changed in the last second, at most once a second
  onetree watch /metrics --every 1s --no-values";

/// Print each change as it comes, until Ctrl-C
#[derive(Args)]
pub(crate) struct Watch {
    /// The top
    #[arg(default_value = "/")]
    path: Path,

    /// End when everything up to now is printed, or the broker is away for 30 s
    #[arg(long)]
    once: bool,

    /// Wait for the broker, too, where there is none yet, for as long as that takes
    #[arg(long)]
    wait: bool,

    /// Keep the mirror in this file, and go on from it (FILE.lock beside it keeps others away)
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// Only the newest N entries of each log, and those that follow
    #[arg(long, value_name = "N")]
    tail: Option<u32>,

    /// How deep below the path
    #[arg(long, value_enum, default_value_t = Reach::Tree)]
    depth: Reach,

    /// Only paths like this below the path: * is one whole segment, ** any number. May come several
    /// times
    #[arg(long = "match", value_name = "PATTERN", value_parser = Pattern::written)]
    patterns: Vec<Pattern>,

    /// Signals, too
    #[arg(long)]
    signals: bool,

    /// Changes at most once in this time, each entry's last: 250ms, 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    every: Option<Duration>,

    /// Only paths and revisions
    #[arg(long)]
    no_values: bool,
}

impl Watch {
    /// Watches.
    pub(crate) async fn run(&self, common: &Common, output: &mut Output) -> Result<(), Failure> {
        let view = self.view();
        // Before anything is asked of the broker: a file that cannot be used is found first.
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
            // It is counted from when there was a broker.
            was_there: !self.wait,
            printer: Printer {
                json: common.json,
                output,
                connection: Connection::default(),
                bar: None,
            },
        };
        let ended = watching.run(&mut stop).await;
        // Not after a reader who went away: what it has not seen must come again.
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

/// A watch under way.
struct Watching<'a> {
    /// Ends when it is dropped.
    mirror: Mirror,
    changes: Changes,
    saver: Option<Saver>,
    /// For how long it does without a connection; `None`: for as long as it is let.
    patience: Option<Duration>,
    /// Whether there was one.
    was_there: bool,
    printer: Printer<'a>,
}

impl Watching<'_> {
    /// Until the mirror ends, or we are asked to.
    async fn run(&mut self, stop: &mut Stop) -> Result<(), Failure> {
        loop {
            let event = match self.changes.try_next() {
                Some(event) => Some(event),
                None => {
                    // Nothing more for now: let those who read us see it, and only then save it.
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

    /// Whatever is printed by now goes into the file.
    async fn save_last(&mut self) -> Result<(), Failure> {
        self.printer.output.flush()?;
        let now = self.changes.snapshot();
        match &mut self.saver {
            Some(saver) => Ok(saver.save_last(&now).await?),
            None => Ok(()),
        }
    }
}

/// When a watch that ends by itself has waited for the broker for too long; any other, never.
async fn missing(connection: &Connection, patience: Option<Duration>) -> String {
    match patience {
        Some(patience) => connection.missing(patience).await,
        None => future::pending().await,
    }
}

/// When a save has ended or one may begin; where there is no file, never.
async fn due(saver: &mut Option<Saver>) -> Result<(), KeepError> {
    match saver {
        Some(saver) => saver.due().await,
        None => future::pending().await,
    }
}
