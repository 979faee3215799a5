//! `restore`: makes the tree of a directory from a backup, or from what is intact in a damaged
//! directory. The tree begins a new history.

mod replace;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use onetree::store::files::{self, Damage, Disk, RESTORING, Salvaged, Storage};
use onetree_core::{Settings, State};
use onetree_protocol::Revision;
use serde_json::json;

use super::backup;
use super::counted;
use super::data;
use super::exit::{Failure, USAGE};
use super::output::{Output, thousands};

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  # Into a directory that is empty, or not there yet
  onetree restore --data ./onetree-data /backups/monday
  # Replace a tree: its files are moved to ./onetree-data/before-restore-1
  onetree restore --data ./onetree-data --force /backups/monday
  # Without a backup: the undamaged part of a damaged directory
  onetree restore --data ./new-data --salvage ./onetree-data

The broker must not be running. The tree becomes that of the backup, in a new history that begins \
2^40 revisions above the old one: every mirror notices, and is brought to the new tree. If root \
runs this command, the new files belong to the owner of the directory, so that a broker that runs \
as that user can read them.";

/// Replace the tree of a data directory by that of a backup
#[derive(Args)]
pub(crate) struct Restore {
    /// The data directory of the broker
    #[arg(long, value_name = "DIR", env = "ONETREE_DATA")]
    data: PathBuf,

    /// If DIR has a tree already, move it to DIR/before-restore-N
    #[arg(long)]
    force: bool,

    /// Accept a BACKUP that is damaged, or a damaged data directory: restore what is undamaged, and
    /// print what is lost
    #[arg(long)]
    salvage: bool,

    /// The backup
    #[arg(value_name = "BACKUP")]
    from: PathBuf,
}

impl Restore {
    /// Runs the restore.
    pub(crate) fn run(&self, json: bool, output: &mut Output) -> Result<(), Failure> {
        let from = data::existing(&self.from)?;
        data::filled(&self.data, |disk| {
            let there = disk.list().map_err(|error| data::io_failed(&error))?;
            let _lock = data::lock(&self.data)?;
            let filled = self.fill(&from, disk, json, output);
            if filled.is_err() && there.is_empty() {
                // Leave nothing of ours. Nobody else has the lock file as long as it is locked.
                let _ = fs::remove_file(self.data.join("lock"));
            }
            filled
        })
    }

    fn fill(
        &self,
        from: &Disk,
        disk: &Disk,
        json: bool,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let old = old(disk)?;
        let shown = self.data.display();
        if !old.is_empty() && !self.force {
            let message = format!("{shown} is not empty: it has {}", old[0]);
            return Err(Failure::new(USAGE, "not-empty", message).next(
                "give another --data, or --force, which moves the tree that is there aside",
            ));
        }
        let (mut state, settings, lost) = self.read(from, !json)?;
        let above = above(state.rev().get(), &self.given(&old));
        let epoch = settings.epoch;
        state.begin_epoch(epoch, above);

        let entries = state.checkpoint().digest().count;
        let failed = |error| data::io_failed(&error).and(&format!(" (in {shown})"));
        disk.clear(replace::MAKING).map_err(failed)?;
        let making = disk.make_directory(replace::MAKING).map_err(failed)?;
        backup::save(&making, !json, epoch, &settings, state, false)
            // Report the first error, not one of the removal.
            .inspect_err(|_| drop(disk.clear(replace::MAKING)))?;
        let ours: Vec<String> = old.into_iter().filter(|name| self.is_ours(name)).collect();
        let aside = replace::replace(disk, &making, &ours, &|| Ok(())).map_err(failed)?;
        let aside = aside.map(|aside| self.data.join(aside));

        if json {
            let line = json!({
                "data": shown.to_string(),
                "epoch": epoch.to_string(),
                "rev": above.get(),
                "entries": entries,
                "aside": aside.map(|aside| aside.display().to_string()),
                "lost": lost.iter().map(data::place).collect::<Vec<_>>(),
            });
            return output.line(&line.to_string());
        }
        output.line(&format!(
            "{shown}: {} entries, revision {above} of the new epoch {epoch}",
            thousands(entries)
        ))?;
        if let Some(aside) = aside {
            output.line(&format!("what was there is in {}", aside.display()))?;
        }
        lost.iter().try_for_each(|lost| output.line(&format!("lost: {lost}")))?;
        if !lost.is_empty() {
            output.line("an entry whose last change is lost is as it was before, also where that was a delete")?;
        }
        Ok(())
    }

    /// Reads the tree to begin with. Returns it with what of it is lost.
    fn read(&self, from: &Disk, shown: bool) -> Result<(State, Settings, Vec<Damage>), Failure> {
        if !self.salvage {
            let (state, _, settings) = data::read_live(from, shown)?;
            return Ok((state, settings, Vec::new()));
        }
        let settings = data::begin(from)?;
        let salvaged = files::salvage(&counted::reading(from, shown, "read")?, settings.clone());
        let Salvaged { state, lost } = salvaged.map_err(|error| data::unsalvageable(&error))?;
        Ok((state, settings, lost))
    }

    /// Whether this is a file of the store. Other files stay where they are.
    fn is_ours(&self, name: &str) -> bool {
        files::is_ours(name) && self.data.join(name).is_file()
    }

    /// Returns these names, and the names of the files that earlier restores have moved away: a
    /// restore that was not finished may have moved the last file.
    fn given(&self, old: &[String]) -> Vec<String> {
        let mut names = old.to_vec();
        let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
        for entry in entries(self.data.clone()) {
            if entry.file_name().to_string_lossy().starts_with(replace::ASIDE) {
                let aside = entries(entry.path());
                names.extend(aside.filter_map(|entry| entry.file_name().into_string().ok()));
            }
        }
        names
    }
}

/// Returns the directories that a restore has left when it was killed before its first move or
/// after its last. Only call this when a broker starts: at other times the restore may be
/// unfinished.
pub(crate) fn left(data: &Path) -> impl Iterator<Item = PathBuf> {
    [RESTORING, replace::MAKING]
        .map(|name| data.join(name))
        .into_iter()
        .filter(|path| path.is_dir())
}

/// Returns what is in a directory, except its lock and what restores have left.
fn old(disk: &Disk) -> Result<Vec<String>, Failure> {
    let mut names = disk.list().map_err(|error| data::io_failed(&error))?;
    // Some file systems have the last of these at their top.
    let others = ["lock", RESTORING, replace::MAKING, "lost+found"];
    names.retain(|name| !(others.contains(&&**name) || name.starts_with(replace::ASIDE)));
    names.sort_unstable();
    Ok(names)
}

/// Returns the first revision of the new history: above every revision that was ever given.
fn above(rev: u64, given: &[String]) -> Revision {
    let last = given.iter().filter_map(|name| files::revision_of(name)).fold(rev, u64::max);
    files::next_history(last, files::RESTORE_GAP)
}
