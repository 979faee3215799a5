//! `check`: reads and verifies everything in a directory.

use std::path::PathBuf;

use clap::Args;
use onetree::store::files::{self, Disk, OpenError, Storage};
use onetree_core::Settings;
use serde_json::json;

use super::counted;
use super::data;
use super::exit::Failure;
use super::output::{Output, thousands};

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  # While no broker uses it. If something is damaged: exit code 6, the file and the offset
  onetree check --data ./onetree-data
  # A backup
  onetree check --data /backups/monday --json";

/// Read and verify all files of a data directory or a backup, and print what they hold
#[derive(Args)]
pub(crate) struct Check {
    /// The data directory of a broker that is not running, or a backup
    #[arg(long, value_name = "DIR", env = "ONETREE_DATA")]
    data: PathBuf,
}

impl Check {
    /// Runs the check.
    pub(crate) fn run(&self, json: bool, output: &mut Output) -> Result<(), Failure> {
        let disk = data::existing(&self.data)?;
        // Do this before locking: a directory that is not a broker's must stay as it is.
        let settings = data::begin(&disk)?;
        let _lock = data::lock_to_read(&self.data)?;
        let read = files::check(&counted::reading(&disk, !json, "read")?, settings.clone());
        let (state, report) = read.map_err(|error| unreadable(&disk, !json, &settings, &error))?;
        let names = data::names(&disk)?;
        let mut bytes = 0;
        for name in &names {
            let file = disk.open(name).and_then(|file| file.bytes());
            bytes += file.map_err(|error| data::io_failed(&error))?;
        }
        let entries = state.checkpoint().digest().count;
        let torn = report.torn.as_ref();
        if json {
            let torn = torn.map(data::torn);
            return output.line(
                &json!({
                    "data": self.data.display().to_string(),
                    "epoch": report.epoch.to_string(),
                    "rev": report.rev,
                    "entries": entries,
                    "saved": report.saved,
                    "replayed": report.replayed,
                    "files": names.len(),
                    "bytes": bytes,
                    "backup": report.backup,
                    "loss": report.lost.map(data::loss),
                    "torn": torn,
                })
                .to_string(),
            );
        }
        let what = if report.backup { "a whole backup" } else { "whole" };
        output.line(&format!("{} is {what}", self.data.display()))?;
        output.line(&format!("  revision  {} of epoch {}", report.rev, report.epoch))?;
        output.line(&format!("  entries   {}", thousands(entries)))?;
        output.line(&format!(
            "  files     {}, {} bytes; saved at {}, {} commits behind it",
            names.len(),
            thousands(bytes),
            report.saved,
            thousands(report.replayed)
        ))?;
        if let Some(lost) = report.lost {
            output.line(&format!("  loss      {lost}: the next start begins a new history"))?;
        }
        match torn {
            None => Ok(()),
            Some((file, at)) => output
                .line(&format!("  cut       a crash cut {}: {file} at {at}", data::cut(&report))),
        }
    }
}

/// Reports why the directory cannot be read and, if it is damaged, all other damages. `shown`:
/// whether progress may be shown.
fn unreadable(disk: &Disk, shown: bool, settings: &Settings, error: &OpenError) -> Failure {
    let failure = data::unreadable(error);
    let OpenError::Damaged(first) = error else { return failure };
    let again = match counted::reading(disk, shown, "read again") {
        Ok(again) => again,
        Err(failure) => return failure,
    };
    let mut others = files::damages(&again, settings);
    drop(again);
    others.retain(|damage| damage != first);
    if others.is_empty() {
        return failure;
    }
    let fields: Vec<_> = others.iter().map(data::place).collect();
    let failure = others.iter().fold(failure, |failure, damage| failure.also(damage.to_string()));
    failure.with("also", fields)
}
