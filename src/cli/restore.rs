//! `restore`: a backup, or what is whole of a damaged directory, becomes the tree of a directory, in a
//! new history.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use onetree::store::files::{self, Damage, Disk, Salvaged, Storage};
use onetree_core::{Settings, State};
use onetree_protocol::Revision;
use serde_json::json;

use super::backup;
use super::data;
use super::exit::{Failure, USAGE};
use super::output::{Output, thousands};

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  # Into a directory that is empty, or not there yet
  onetree restore --data ./onetree-data /backups/monday
  # Over a tree that is there: its files go to ./onetree-data/before-restore-1
  onetree restore --data ./onetree-data --force /backups/monday
  # Without a backup: what is whole of a directory that is damaged
  onetree restore --data ./new-data --salvage ./onetree-data

The broker must not run. The tree is the backup's, and its history a new one that begins 2^40
revisions above the old: every mirror notices, and is brought to what the tree is now.";

/// What the new files are made in.
const MAKING: &str = "restore.tmp";

/// Make the tree of a directory what a backup holds
#[derive(Args)]
pub(crate) struct Restore {
    /// The directory of the broker
    #[arg(long, value_name = "DIR", env = "ONETREE_DATA")]
    data: PathBuf,

    /// Move what is there aside, to DIR/before-restore-N
    #[arg(long)]
    force: bool,

    /// BACKUP may be damaged, or a damaged directory: take what is whole of it, and say what is lost
    #[arg(long)]
    salvage: bool,

    /// The backup
    #[arg(value_name = "BACKUP")]
    from: PathBuf,
}

impl Restore {
    /// Restores.
    pub(crate) fn run(&self, json: bool, output: &mut Output) -> Result<(), Failure> {
        let from = data::existing(&self.from)?;
        data::filled(&self.data, |disk| {
            let there = disk.list().map_err(|error| data::io_failed(&error))?;
            let _lock = data::lock(&self.data)?;
            let filled = self.fill(&from, disk, json, output);
            if filled.is_err() && there.is_empty() {
                // Nothing of ours stays; as long as it is locked nobody else has it.
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
            return Err(Failure::new(USAGE, "not-empty", message)
                .next("give another --data, or --force, which moves what is there aside"));
        }
        let (mut state, settings, lost) = self.read(from)?;
        let above = above(state.rev().get(), &old);
        let epoch = settings.epoch;
        state.begin_epoch(epoch, above);

        let making = self.data.join(MAKING);
        let failed = |error| data::io_failed(&error).and(&format!(" (in {shown})"));
        clear(&making).map_err(failed)?;
        data::filled(&making, |making| backup::save(making, epoch, &settings, &state, false))?;
        let aside = self.replace(disk, &making, &old).map_err(failed)?;

        let entries = state.checkpoint().digest().count;
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

    /// The tree that it begins with, and what of it is lost.
    fn read(&self, from: &Disk) -> Result<(State, Settings, Vec<Damage>), Failure> {
        if !self.salvage {
            let (state, _, settings) = data::read_live(from)?;
            return Ok((state, settings, Vec::new()));
        }
        let settings = data::begin(from)?;
        let salvaged = files::salvage(from, settings.clone());
        let Salvaged { state, lost } = salvaged.map_err(|error| data::unreadable(&error))?;
        Ok((state, settings, lost))
    }

    /// Replaces the files of the directory by those of `making`; gives where the old ones are.
    ///
    /// The new tree comes first: it is above all others, so that whatever ends us halfway, a broker
    /// either starts with it or, while a log of the old history is there, says that it cannot.
    fn replace(&self, disk: &Disk, making: &Path, old: &[String]) -> io::Result<Option<PathBuf>> {
        let (trees, others): (Vec<String>, Vec<String>) = Disk::new(making.to_owned())?
            .list()?
            .into_iter()
            .partition(|name| name.starts_with("tree-"));
        let bring = |names: Vec<String>| -> io::Result<()> {
            names
                .iter()
                .try_for_each(|name| fs::rename(making.join(name), self.data.join(name)))?;
            disk.sync()
        };
        bring(trees)?;
        let aside = (!old.is_empty()).then(|| self.aside());
        if let Some(aside) = &aside {
            let to = Disk::new(aside.clone())?;
            old.iter().try_for_each(|name| fs::rename(self.data.join(name), aside.join(name)))?;
            to.sync()?;
            disk.sync()?;
        }
        bring(others)?;
        clear(making)?;
        disk.sync()?;
        Ok(aside)
    }

    /// A name that is not there yet.
    fn aside(&self) -> PathBuf {
        let name = |n: u32| self.data.join(format!("before-restore-{n}"));
        (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0))
    }
}

/// What is in a directory, but for its lock and what restores have left.
fn old(disk: &Disk) -> Result<Vec<String>, Failure> {
    let mut names = disk.list().map_err(|error| data::io_failed(&error))?;
    // The last is what some file systems have at their top.
    let others = ["lock", MAKING, "lost+found"];
    names.retain(|name| !(others.contains(&&**name) || name.starts_with("before-restore-")));
    names.sort_unstable();
    Ok(names)
}

/// The first revision of the new history: above all that was ever given.
fn above(rev: u64, old: &[String]) -> Revision {
    let last = old.iter().filter_map(|name| files::revision_of(name)).fold(rev, u64::max);
    files::next_history(last, files::RESTORE_GAP)
}

fn clear(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
