//! Reads a state from files.

use std::io::ErrorKind;

use onetree_core::{Settings, State};
use onetree_protocol::{Epoch, Revision};

use super::history::{self, History};
use super::log::{self, End, LogFile};
use super::storage::{Storage, StorageFile};
use super::tree::{self, Loaded};
use super::{Damage, OpenError, RESTORING, saving};
use crate::descriptors;

/// How far above the old history a new one begins after a crash. The commits that the disk may not
/// have are in one file of the log, and the largest file (4 GiB) has no room for more commits of 16
/// bytes than this.
const CRASH_GAP: u64 = 1 << 28;

/// The same after a restore: nobody knows how far the history of a backup went on.
pub const RESTORE_GAP: u64 = 1 << 40;

/// A gap takes at most one in this many of the revisions that are left, so there is always room for
/// another history.
const GAPS_LEFT: u64 = 1 << 10;

/// File descriptors for everything else that is open while the files are read.
const KEPT: usize = 64;

/// Why a history may have lost its end. If so, a start begins a new history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// There is a saved tree but no history file; log files may be missing too.
    #[error("history.onetree is missing, and logs may have gone with it")]
    History,
    /// Writes were acknowledged before they were on the disk, and the history was not closed
    /// properly.
    #[error("writes acknowledged within sync_interval_ms may be lost")]
    Interval,
}

impl Loss {
    fn of(history: Option<History>, there: &There) -> Option<Loss> {
        match history {
            None => there.tree.map(|_| Loss::History),
            Some(history) => history.may_have_lost().then_some(Loss::Interval),
        }
    }

    /// Returns how far above the last known revision the new history begins.
    fn gap(self) -> u64 {
        match self {
            // Nobody knows how far the old history went on.
            Loss::History => RESTORE_GAP,
            Loss::Interval => CRASH_GAP,
        }
    }
}

/// What was found in the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The history.
    pub epoch: Epoch,
    /// Whether the history is new: there was none, or the old one may have lost its end.
    pub new_epoch: bool,
    /// The revision of the saved tree; 0: there was none.
    pub saved: u64,
    /// How many commits of the log were replayed on top of the saved tree.
    pub replayed: u64,
    /// The last revision.
    pub rev: u64,
    /// Whether the files are a backup. A broker does not start on a backup.
    pub backup: bool,
    /// Why the history may have lost its end.
    pub lost: Option<Loss>,
    /// The file and the place of a last batch that a crash has cut. Nobody was told of that batch,
    /// unless it belongs to what may be lost.
    pub torn: Option<(String, u64)>,
}

/// Returns the revision at which a new history begins. `last` is the last revision that is known of
/// the old history. The new one begins `gap` above it, so that it never uses a revision that the
/// old one has given.
pub fn next_history(last: u64, gap: u64) -> Revision {
    let left = Revision::MAX.get().saturating_sub(last);
    // At least one, because log files are distinguished by their first revision.
    let gap = gap.min(left / GAPS_LEFT).max(1);
    Revision::new(last.saturating_add(gap)).unwrap_or(Revision::MAX)
}

/// The result of [`recover`].
pub(super) struct Recovered {
    pub(super) state: State,
    pub(super) report: Report,
    /// The size of the saved tree, bytes.
    pub(super) saved_bytes: u64,
    /// The size of the log behind the saved tree, bytes.
    pub(super) log_bytes: u64,
    /// The last file of the log.
    last: Option<LogFile>,
}

/// Reads everything and changes nothing.
pub(super) fn read(storage: &dyn Storage, settings: Settings) -> Result<Recovered, OpenError> {
    let failed = |error| OpenError::Io { file: storage.show(""), error };
    // Read the history before the names: then the names include the log file that the history
    // names, even if a broker begins another one meanwhile.
    let history = History::read(storage)?;
    let names = storage.list().map_err(failed)?;
    if history.is_none() && names.iter().any(|name| name == RESTORING) {
        return Err(OpenError::Unfinished { directory: storage.show("") });
    }
    let there = There::of(&names);
    if history.is_some_and(|history| history.backup) && there.tree.is_none() {
        return Err(OpenError::HalfBackup { directory: storage.show("") });
    }
    if let (None, Some((_, first))) = (history, there.logs.first()) {
        let why = format!("it is missing, and {first} is there");
        return Err(Damage { file: storage.show(history::NAME), offset: 0, why }.into());
    }
    if let Some(damage) = there.missing(storage, history) {
        return Err(damage.into());
    }
    // Open all files first: an open file stays readable, even if a broker that saves its tree
    // meanwhile removes it.
    let open = |name: String| match storage.open(&name) {
        Ok(file) => Ok((name, file)),
        Err(error) => Err(OpenError::Io { file: storage.show(&name), error }),
    };
    descriptors::limit(there.behind().count() + KEPT);
    let tree = there.tree.map(|rev| open(tree::name(rev))).transpose()?;
    let mut files = Vec::new();
    for behind in there.behind() {
        let (_, file) = open(behind.name.to_owned())?;
        files.push((behind, file));
    }
    let new_epoch = there.tree.is_none() && history.is_none();
    let Loaded { mut state, epoch, bytes: saved_bytes } = load(storage, tree, history, settings)?;
    let saved = state.rev().get();
    let backup = history.is_some_and(|history| history.backup);
    let lost = Loss::of(history, &there);
    let mut report =
        Report { epoch, new_epoch, saved, replayed: 0, rev: saved, backup, lost, torn: None };
    let (log_bytes, last) = replay(storage, &files, &mut state, &mut report)?;
    if let (Some(history), Some(log)) = (history, &last)
        && history.has_ended(log.first)
        && !log.is_sealed()
    {
        let (file, offset) = (storage.show(&log.name), log.end());
        let why = "it was ended with a seal, which is not there".to_owned();
        return Err(Damage { file, offset, why }.into());
    }
    report.rev = state.rev().get();
    Ok(Recovered { state, report, saved_bytes, log_bytes, last })
}

/// Reads the saved tree. If there is none, returns an empty one.
fn load(
    storage: &dyn Storage,
    tree: Option<(String, Box<dyn StorageFile>)>,
    history: Option<History>,
    settings: Settings,
) -> Result<Loaded, OpenError> {
    let Some((name, file)) = tree else {
        let epoch = history.map_or(settings.epoch, |history| history.epoch);
        let state = State::new(Settings { epoch, ..settings });
        return Ok(Loaded { state, epoch, bytes: 0 });
    };
    let loaded = tree::load(storage, &name, file, settings)?;
    if let Some(history) = history
        && history.epoch != loaded.epoch
        && !history.may_have_lost()
    {
        let why = format!("it is of another history than {}", history::NAME);
        return Err(Damage { file: storage.show(&name), offset: 16, why }.into());
    }
    Ok(loaded)
}

/// Which files there are, by their names.
pub(super) struct There {
    /// The revision of the newest saved tree.
    pub(super) tree: Option<u64>,
    /// The files of the log in order: the first revision of each, and its name.
    logs: Vec<(u64, String)>,
}

/// A log file that has commits behind the saved tree.
pub(super) struct Behind<'a> {
    pub(super) name: &'a str,
    /// The first revision of this file, and the first revision of the next file.
    pub(super) first: u64,
    pub(super) until: u64,
}

impl There {
    pub(super) fn of(names: &[String]) -> There {
        There::with(names, |_, first| first)
    }

    /// Like [`There::of`], but the first revision of a log file is what `begins` returns. `begins`
    /// is given the name and the revision in the name.
    pub(super) fn with(names: &[String], begins: impl Fn(&str, u64) -> u64) -> There {
        let tree = names.iter().filter_map(|name| tree::rev_of(name)).max();
        let log = |name: &String| Some((begins(name, log::first_of(name)?), name.clone()));
        let mut logs: Vec<(u64, String)> = names.iter().filter_map(log).collect();
        logs.sort_unstable();
        There { tree, logs }
    }

    /// Returns a file that must exist according to the history, but is missing: the log file that
    /// it names, if there is no later one either, or the saved tree.
    pub(super) fn missing(
        &self,
        storage: &dyn Storage,
        history: Option<History>,
    ) -> Option<Damage> {
        let history = history?;
        let named = history.log.unwrap_or_default();
        let damage = |file: &str, why| Damage { file: storage.show(file), offset: 0, why };
        if named > 0 && self.logs.last().is_none_or(|(last, _)| *last < named) {
            let why = format!("it is missing, and {} names it", history::NAME);
            return Some(damage(&log::name(named), why));
        }
        let lost = history.has_tree() && self.tree.is_none();
        lost.then(|| damage("", "the saved tree is missing".to_owned()))
    }

    /// Returns the log files that have something behind the saved tree.
    pub(super) fn behind(&self) -> impl Iterator<Item = Behind<'_>> {
        let saved = self.tree.unwrap_or_default();
        let until = self.logs.iter().skip(1).map(|(first, _)| *first).chain([u64::MAX]);
        let logs = self.logs.iter().zip(until);
        // A file without commits behind the saved tree was about to be removed.
        let logs = logs.filter(move |(_, until)| *until > saved + 1);
        logs.map(|((first, name), until)| Behind { name, first: *first, until })
    }
}

/// Replays the log files behind the saved tree. Returns their length in bytes, and the last of
/// them.
fn replay(
    storage: &dyn Storage,
    logs: &[(Behind<'_>, Box<dyn StorageFile>)],
    state: &mut State,
    report: &mut Report,
) -> Result<(u64, Option<LogFile>), OpenError> {
    let (mut bytes, mut last) = (0, None);
    for (n, (Behind { name, first, until }, file)) in logs.iter().enumerate() {
        let file = LogFile::read(storage, name, &**file)?;
        let damage =
            |offset, why: String| OpenError::from(Damage { file: storage.show(name), offset, why });
        if file.epoch != report.epoch && *first <= report.saved {
            // The tree was saved to begin a new history because the old one may have lost its end,
            // and this file is that end.
            continue;
        }
        if file.epoch != report.epoch {
            return Err(damage(16, "it is of another history than the other files".to_owned()));
        }
        if file.first != *first || *first > state.rev().get() + 1 {
            let why = format!(
                "it begins at revision {}, and {} is missing",
                file.first,
                state.rev().get() + 1
            );
            return Err(damage(32, why));
        }
        let (mut missing, before) = (None, report.replayed);
        let end = file.each(storage, *until, |commit| {
            if commit.rev.get() == state.rev().get() + 1 {
                state.replay(&commit);
                report.replayed += 1;
            } else if commit.rev > state.rev() {
                missing.get_or_insert(commit.rev.get());
            }
        })?;
        if let Some(rev) = missing {
            return Err(damage(0, format!("revision {rev} comes without the one before it")));
        }
        // A file without replayed commits is not counted. It takes room too, and each start begins
        // one; but saving the tree does not remove a file that has nothing behind the last saved
        // tree.
        if report.replayed > before {
            bytes += file.bytes();
        }
        if let End::Torn { at } = end {
            if n + 1 == logs.len() {
                report.torn = Some((storage.show(name), at));
            } else if state.rev().get() + 1 < *until {
                let why =
                    format!("a batch is broken, and the next file begins at revision {until}");
                return Err(damage(at, why));
            }
        }
        last = Some(file);
    }
    Ok((bytes, last))
}

/// Reads everything, removes files that were being made when the process ended, and begins a new
/// history if the old one may have lost its end. The new history has lost nothing, however often a
/// start fails from here on: only a broker that begins to serve marks its history as one that may
/// lose something.
pub(super) fn recover(storage: &dyn Storage, settings: Settings) -> Result<Recovered, OpenError> {
    let (fresh, key) = (settings.epoch, settings.digest_key);
    let mut recovered = read(storage, settings)?;
    if recovered.report.backup {
        return Err(OpenError::Backup { directory: storage.show("") });
    }
    let failed = |error| OpenError::Io { file: storage.show(""), error };
    for making in [log::MAKING, tree::MAKING, history::MAKING] {
        match storage.remove(making) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    // Do this before anything new is written: the disk may have no room for that.
    saving::clear_old(storage, u64::MAX);
    if let Some(log) = &recovered.last {
        let failed = |error| OpenError::Io { file: storage.show(&log.name), error };
        log.settle(storage).map_err(failed)?;
    }
    let lost = recovered.report.lost;
    if let Some(lost) = lost {
        let above = next_history(recovered.state.rev().get(), lost.gap());
        recovered.state.begin_epoch(fresh, above);
        let report = &mut recovered.report;
        (report.epoch, report.new_epoch, report.rev) = (fresh, true, above.get());
        recovered.log_bytes = 0;
        let state = recovered.state.checkpoint();
        recovered.saved_bytes =
            tree::write(storage, fresh, key, &state, |_| Ok(())).map_err(failed)?;
    }
    if recovered.report.new_epoch {
        let history = History::begun(recovered.report.epoch, lost.is_some());
        history.write(storage).map_err(failed)?;
    }
    Ok(recovered)
}
