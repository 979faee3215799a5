//! The progress of long work, shown on standard error if that is a terminal and nothing else is
//! shown.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::duration::millis;
use super::exit::Failure;

/// How often a bar is redrawn while nothing happens.
pub(crate) const TICK: Duration = Duration::from_millis(120);

/// Bytes of a total.
const BYTES: &str = "{bar:30} {bytes}/{total_bytes} {msg} [{elapsed}, {eta} to go]";

/// Counts `what`, with an unknown total. `shown`: whether progress may be shown.
pub(crate) fn count(shown: bool, what: &str) -> Result<ProgressBar, Failure> {
    let style = format!("{{spinner}} {{human_pos}} {what}, {{per_sec}} [{{elapsed}}]");
    bar(shown, None, &style)
}

/// Counts bytes up to `total`, with `{msg}` beside them.
pub(crate) fn bytes(shown: bool, total: u64) -> Result<ProgressBar, Failure> {
    bar(shown, Some(total), BYTES)
}

/// Counts bytes up to a total that grows as it becomes known, with `{msg}` beside them.
pub(crate) fn bytes_of(shown: bool) -> Result<ProgressBar, Failure> {
    bar(shown, None, BYTES)
}

/// Counts bytes with an unknown total; `done` is the word beside them.
pub(crate) fn bytes_so_far(shown: bool, done: &str) -> Result<ProgressBar, Failure> {
    let style = format!("{{spinner}} {{bytes}} {done}, {{bytes_per_sec}} [{{elapsed}}]");
    bar(shown, None, &style)
}

/// Runs up to the time `total`, with `{msg}` beside it.
pub(crate) fn time(shown: bool, total: Duration) -> Result<ProgressBar, Failure> {
    bar(shown, Some(millis(total)), "{bar:40} {msg} [{elapsed}, {eta} to go]")
}

fn bar(shown: bool, total: Option<u64>, style: &str) -> Result<ProgressBar, Failure> {
    if !shown || !io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template(style)
        .map_err(|error| Failure::fault(format!("a progress bar is misdrawn: {error}")))?;
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new).with_style(style);
    bar.enable_steady_tick(TICK);
    Ok(bar)
}
