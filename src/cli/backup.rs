//! `backup`: copies one revision of a tree, even while a broker runs.

use std::path::PathBuf;

use clap::Args;
use onetree::store::files::{self, Disk, Loss, Storage};
use onetree_core::{Settings, State};
use onetree_protocol::Epoch;
use serde_json::json;

use super::counted;
use super::data;
use super::exit::{FAULT, Failure, USAGE};
use super::output::{Output, thousands};

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  # Also while the broker runs
  onetree backup --data ./onetree-data /backups/monday
  # See what the backup holds
  onetree check --data /backups/monday
  # Go back to it
  onetree restore --data ./onetree-data --force /backups/monday

The backup is the whole tree at one revision, with at least all that was acknowledged before the \
command began. The command reads the backup again before it ends. It takes as much memory as the \
tree, in addition to the broker's. You cannot run a broker on a backup: restore makes a new \
history of it, so that no mirror mistakes one for the other.";

/// Copy the tree of a data directory at one revision, even while a broker uses it
#[derive(Args)]
pub(crate) struct Backup {
    /// The data directory of the broker
    #[arg(long, value_name = "DIR", env = "ONETREE_DATA")]
    data: PathBuf,

    /// The directory for the backup: empty, or not there yet
    to: PathBuf,
}

impl Backup {
    /// Makes the backup.
    pub(crate) fn run(&self, json: bool, output: &mut Output) -> Result<(), Failure> {
        let from = data::existing(&self.data)?;
        data::filled(&self.to, |to| self.fill(&from, to, json, output))
    }

    fn fill(&self, from: &Disk, to: &Disk, json: bool, output: &mut Output) -> Result<(), Failure> {
        let shown = self.to.display();
        if !to.list().map_err(|error| data::io_failed(&error))?.is_empty() {
            return Err(Failure::new(USAGE, "not-empty", format!("{shown} is not empty"))
                .next("give a directory that is empty, or that is not there yet"));
        }
        let (state, report, settings) = data::read_live(from, !json)?;
        let entries = state.checkpoint().digest().count;
        let bytes = save(to, !json, report.epoch, &settings, state, true)?;
        if json {
            let line = json!({
                "to": shown.to_string(),
                "epoch": report.epoch.to_string(),
                "rev": report.rev,
                "entries": entries,
                "bytes": bytes,
                "torn": report.torn.as_ref().map(data::torn),
            });
            return output.line(&line.to_string());
        }
        output.line(&format!(
            "{shown}: revision {} of epoch {}, {} entries, {} bytes",
            report.rev,
            report.epoch,
            thousands(entries),
            thousands(bytes)
        ))?;
        // With `durability = "interval"`, the history of a running broker is not closed properly
        // yet, and nothing is lost by that.
        if let Some(lost) = report.lost.filter(|lost| *lost != Loss::Interval) {
            output.line(&lost.to_string())?;
        }
        match &report.torn {
            None => Ok(()),
            // A batch that a broker is writing looks the same as one that a crash has cut.
            Some((file, at)) => output.line(&format!(
                "without {}: a crash cut it, or a broker is writing it: {file} at {at}",
                data::cut(&report)
            )),
        }
    }
}

/// Saves a state as the only content of `to`, which is empty, and reads it again. If that fails,
/// removes everything from `to`. Returns how many bytes were written. `shown`: whether progress may
/// be shown.
pub(crate) fn save(
    to: &Disk,
    shown: bool,
    epoch: Epoch,
    settings: &Settings,
    state: State,
    backup: bool,
) -> Result<u64, Failure> {
    let saved = write(to, shown, epoch, settings, state, backup);
    if saved.is_err() {
        // Report the first error, not one of the removal.
        for name in to.list().unwrap_or_default() {
            let _ = to.remove(&name);
        }
    }
    saved
}

/// Writes the state, reads it again, and compares the two.
fn write(
    to: &Disk,
    shown: bool,
    epoch: Epoch,
    settings: &Settings,
    state: State,
    backup: bool,
) -> Result<u64, Failure> {
    let checkpoint = state.checkpoint();
    let was = (checkpoint.head(), checkpoint.digest());
    let writing = counted::writing(to, shown)?;
    let bytes = files::save(&writing, epoch, settings, &checkpoint, backup)
        .map_err(|error| data::io_failed(&error).and(&format!(" (in {})", to.show(""))))?;
    // Reading takes as much memory again, so free this first.
    drop((state, checkpoint, writing));
    // Read with the same digest key, so that the digests can be compared.
    let again = counted::reading(to, shown, "read again")?;
    let read = files::check(&again, settings.clone());
    let (read, report) = read.map_err(|error| data::unreadable(&error))?;
    let read = read.checkpoint();
    if (read.head(), read.digest()) == was && report.epoch == epoch {
        return Ok(bytes);
    }
    let message = format!("what was written to {} reads as something else", to.show(""));
    Err(Failure::new(FAULT, "damaged", message).next("look at the disk, and try another"))
}
