//! Reads what is intact in damaged files.

use onetree_core::{Settings, State};
use onetree_protocol::Epoch;

use super::history::{self, History};
use super::log::{self, LogFile, Piece};
use super::recover::{self, Behind, Loss, There};
use super::storage::Storage;
use super::tree;
use super::{Damage, OpenError};

/// What could be read from damaged files.
pub struct Salvaged {
    /// The tree, as far as it is known.
    pub state: State,
    /// What is missing in it because it could not be read; empty: nothing is lost.
    pub lost: Vec<Damage>,
}

/// Makes a tree of everything that is intact: each block of the newest saved tree with a correct
/// checksum, and each batch of the log behind it with a correct checksum. Changes nothing. Blocks;
/// takes as long as a start, and a second reading if something is damaged.
///
/// Every entry in the result was in the tree at some time, but perhaps not at the end: an entry
/// whose last change is lost appears as it was before that change, even if the change was a delete.
/// So the result may begin a new history, and must not continue the old one: see
/// [`State::begin_epoch`].
///
/// # Errors
/// [`OpenError::Newer`] if a later version wrote a file; [`OpenError::HalfBackup`]; if nothing of a
/// tree is intact, the error that prevents opening it.
pub fn salvage(storage: &dyn Storage, settings: Settings) -> Result<Salvaged, OpenError> {
    match recover::read(storage, settings.clone()) {
        Ok(read) => {
            let missing = read.report.lost.filter(|lost| *lost == Loss::History);
            let lost = missing.map(|lost| {
                let why = format!("{lost}: what came behind revision {} is lost", read.report.rev);
                Damage { file: storage.show(history::NAME), offset: 0, why }
            });
            Ok(Salvaged { state: read.state, lost: lost.into_iter().collect() })
        }
        Err(
            error @ (OpenError::Damaged(_) | OpenError::Io { .. } | OpenError::Unfinished { .. }),
        ) => pieces(storage, settings).ok_or(error),
        Err(error) => Err(error),
    }
}

/// Returns `None` when nothing at all is intact.
fn pieces(storage: &dyn Storage, settings: Settings) -> Option<Salvaged> {
    let mut lost = Vec::new();
    let names = storage.list().unwrap_or_else(|error| {
        lost.push(OpenError::Io { file: storage.show(""), error }.damage(storage, ""));
        Vec::new()
    });
    // The history file has nothing of the tree, but only it says which log file was the last.
    let read = History::read(storage);
    let history = read.as_ref().ok().copied().flatten();
    let epoch = history.map_or(settings.epoch, |history| history.epoch);
    let settings = Settings { epoch, ..settings };
    // In the order of the revisions that the files contain, whatever their names are.
    let there = There::with(&names, |name, named| log::begins(storage, name).unwrap_or(named));
    let (state, any) = match there.tree {
        Some(rev) => tree::whole(storage, rev, settings, &mut lost),
        None => (State::new(settings), false),
    };
    let (broken, begins, sealed) = (None, 0, false);
    let mut replay = Replay { storage, epoch, state, any, lost, broken, begins, sealed };
    for behind in there.behind() {
        replay.file(&behind);
    }
    if let Some(missing) = there.missing(storage, history) {
        replay.broken.get_or_insert(missing);
    }
    if history.is_some_and(|history| history.has_ended(replay.begins)) && !replay.sealed {
        let unsealed = replay.damage(&log::name(replay.begins), 0, "its end is missing");
        replay.broken.get_or_insert(unsealed);
    }
    let unknown = match read {
        Ok(Some(_)) => None,
        Ok(None) => Some(replay.damage(history::NAME, 0, &Loss::History.to_string())),
        Err(error) => Some(error.damage(storage, history::NAME)),
    };
    replay.broken = replay.broken.or(unknown);
    replay.any.then(|| replay.end())
}

/// Replays the log behind the saved tree, and skips what is broken.
struct Replay<'a> {
    storage: &'a dyn Storage,
    epoch: Epoch,
    state: State,
    /// Whether anything is intact.
    any: bool,
    lost: Vec<Damage>,
    /// Something that could not be read, behind the last commit that could be read.
    broken: Option<Damage>,
    /// The first revision of the last file.
    begins: u64,
    /// Whether that file ends with a seal.
    sealed: bool,
}

impl Replay<'_> {
    fn file(&mut self, &Behind { name, first, until }: &Behind<'_>) {
        let storage = self.storage;
        (self.begins, self.sealed) = (first, false);
        let failed = |error| OpenError::Io { file: storage.show(name), error };
        let mut header = None;
        let read = storage.open(name).map_err(failed).and_then(|file| {
            match LogFile::read(storage, name, &*file) {
                Err(error @ OpenError::Damaged(_)) => {
                    header = Some(error.damage(storage, name));
                    // The content of the header is known from elsewhere.
                    LogFile::behind_header(storage, name, &*file, (self.epoch, first))
                }
                read => read,
            }
        });
        match read {
            Ok(file) => {
                let mut found = false;
                file.pieces(until, |piece| {
                    found = true;
                    self.piece(name, piece);
                });
                self.sealed = file.is_sealed();
                if !found && self.broken.is_none() {
                    self.broken = header;
                }
            }
            Err(error) => self.broken = Some(error.damage(storage, name)),
        }
    }

    fn damage(&self, name: &str, offset: u64, why: &str) -> Damage {
        Damage { file: self.storage.show(name), offset, why: why.to_owned() }
    }

    fn piece(&mut self, name: &str, piece: Piece) {
        self.any |= matches!(piece, Piece::Commit(_));
        match piece {
            Piece::Broken { at } => {
                let broken = self.damage(name, at, "a batch is broken");
                self.broken.get_or_insert(broken);
            }
            Piece::Commit(commit) if commit.rev > self.state.rev() => {
                let (next, rev) = (self.state.rev().get() + 1, commit.rev.get());
                // If no revision is missing, only a seal was broken, which says that nothing came
                // behind it. Nothing is lost.
                let broken = self.broken.take();
                if rev > next {
                    let mut gap =
                        broken.unwrap_or_else(|| self.damage(name, 0, "commits are missing"));
                    let lost = match rev - 1 {
                        last if last == next => format!("revision {last} is lost"),
                        last => format!("revisions {next} to {last} are lost"),
                    };
                    gap.why = format!("{}: {lost}", gap.why);
                    self.lost.push(gap);
                }
                self.state.replay(&commit);
            }
            Piece::Commit(_) => {}
        }
    }

    fn end(mut self) -> Salvaged {
        let last = self.state.rev();
        if self.broken.is_none() && self.begins > last.get() + 1 {
            let why = "what came before it is missing";
            self.broken = Some(self.damage(&log::name(self.begins), 0, why));
        }
        if let Some(mut broken) = self.broken {
            broken.why = format!("{}: what came behind revision {last} is lost", broken.why);
            self.lost.push(broken);
        }
        Salvaged { state: self.state, lost: self.lost }
    }
}
