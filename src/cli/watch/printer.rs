//! Prints events as lines.

use indicatif::ProgressBar;
use onetree_client::{Event, Reason};
use onetree_protocol::frame::{ServerFrame, Signal};
use onetree_protocol::{Change, Codec};
use serde_json::{Value, json};

use super::super::connection::{Connection, News};
use super::super::duration::millis;
use super::super::exit::Failure;
use super::super::output::{self, Output, change_json};
use super::super::progress;
use super::super::visible::visible;

/// Prints events: changes on standard output, what happens to the connection on standard error.
/// With `json`, everything goes to standard output.
pub(super) struct Printer<'a> {
    pub(super) json: bool,
    pub(super) output: &'a mut Output,
    /// What was reported about the connection.
    pub(super) connection: Connection,
    /// Present during a refresh. Nothing of a refresh is printed before all of it has come.
    pub(super) bar: Option<ProgressBar>,
}

impl Printer<'_> {
    /// Shows that this many changes of the refresh have come.
    pub(super) fn received(&self, changes: u64) {
        self.bar.iter().for_each(|bar| bar.set_position(changes));
    }

    /// Prints an event.
    pub(super) fn event(&mut self, event: &Event) -> Result<(), Failure> {
        // Remove the bar first: nothing can be printed beside it.
        self.bar.take().iter().for_each(ProgressBar::finish_and_clear);
        self.print(event)?;
        if let Event::Refreshing { .. } = event {
            self.bar = Some(progress::count(!self.json, "entries")?);
        }
        Ok(())
    }

    fn print(&mut self, event: &Event) -> Result<(), Failure> {
        match event {
            Event::Fresh { rev, changes } => {
                self.changes(changes)?;
                self.told(json!({ "op": "fresh", "rev": rev.get() }))
            }
            Event::Delta { since, rev, changes } => {
                self.changes(changes)?;
                self.told(json!({ "op": "delta", "since": since.get(), "rev": rev.get() }))
            }
            Event::Signal { path, value } => {
                if self.json {
                    let (path, value) = (path.clone(), value.clone());
                    let frame = ServerFrame::Signal(Signal { path, value });
                    self.output.bytes(&Codec::Json.encode_server(&frame))?;
                    return self.output.bytes(b"\n");
                }
                let line = format!("~ {} {}", visible(path.as_str()), self.output.value(value));
                self.output.line(&line)
            }
            Event::Offline { error, retry_in } => {
                let news = self.connection.offline(&error.to_string(), *retry_in);
                self.of_connection(news)
            }
            Event::Online { resumed } => {
                let news = self.connection.online(*resumed);
                self.of_connection(news)
            }
            // A refresh of a new mirror, or from a cookie, is expected.
            Event::Refreshing { why: Reason::NoCookie | Reason::Cookie, .. } => Ok(()),
            Event::Refreshing { kind, why } => {
                let (kind, why) = (kind.as_str(), why.as_str());
                let told = json!({ "op": "refreshing", "kind": kind, "why": why });
                self.both(told, || format!("the mirror starts again ({kind} refresh: {why})"))
            }
            Event::Corrupt { expected, found } => {
                let (expected, found) = (expected.to_string(), found.to_string());
                let told = json!({ "op": "corrupt", "expected": expected, "found": found });
                self.both(told, || "the mirror was wrong; it starts again from nothing".to_owned())
            }
            Event::Broken { why } => self.both(json!({ "op": "broken", "why": why }), || {
                format!("the broker broke the protocol ({why}); the mirror starts again")
            }),
            Event::Circling { retry_in } => {
                let told = json!({ "op": "circling", "retry_ms": millis(*retry_in) });
                self.both(told, || {
                    let wait = retry_in.as_secs_f64();
                    format!("the mirror comes out wrong again and again; waiting {wait:.1} s")
                })
            }
            Event::Synced { .. } | Event::Ended { .. } => Ok(()),
        }
    }

    fn of_connection(&mut self, news: News) -> Result<(), Failure> {
        match news.words {
            Some(words) => self.both(news.json, || words),
            None => self.told(news.json),
        }
    }

    fn changes(&mut self, changes: &[Change]) -> Result<(), Failure> {
        for change in changes {
            let line = if self.json { change_json(change) } else { self.output.change(change) };
            self.output.line(&line)?;
        }
        Ok(())
    }

    /// Prints a line for programs only.
    fn told(&mut self, told: Value) -> Result<(), Failure> {
        if self.json { self.output.line(&told.to_string()) } else { Ok(()) }
    }

    /// Prints a line for programs, or a message for people.
    fn both(&mut self, told: Value, words: impl FnOnce() -> String) -> Result<(), Failure> {
        if !self.json {
            self.output.flush()?;
            output::aside(&visible(&words()));
        }
        self.told(told)
    }
}
