//! The files of a directory give way to new ones, whatever ends that halfway.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use onetree::store::files::{self, HISTORY, RESTORING};

/// What the names begin with of the directories that old files go to.
pub(super) const ASIDE: &str = "before-restore-";

/// The directory that new files are made in. It becomes [`RESTORING`] right before the first move: who is ended before that
/// leaves a directory to start on.
pub(super) const MAKING: &str = "restore-new.tmp";

/// Replaces the files `old` of a directory by those in its [`MAKING`], which goes; gives where the old ones are.
/// `step` is asked before each step.
///
/// The history goes first and comes last: without it, and with that directory, no broker starts. So whatever ends us
/// halfway, nothing of either tree is taken for one of the other, and nothing is removed. An error takes back what was done;
/// where another restore had not come to its end, that is still so.
pub(super) fn replace(
    data: &Path,
    old: &[String],
    step: &dyn Fn() -> io::Result<()>,
) -> io::Result<Option<PathBuf>> {
    let (making, restoring) = (data.join(MAKING), data.join(RESTORING));
    let unfinished = restoring.exists() && !data.join(HISTORY).exists();
    let mut new = Vec::new();
    for entry in fs::read_dir(&making)? {
        new.extend(entry?.file_name().into_string());
    }
    let (old_history, old_others) = history_of(old);
    let (new_history, new_others) = history_of(&new);
    let aside = (!old.is_empty()).then(|| aside(data));
    let mut moves = Moves { step, done: Vec::new() };
    let mut all = || {
        step()?;
        // An empty directory gives way at once, so that it never is missing.
        empty(&restoring)?;
        fs::rename(&making, &restoring)?;
        sync(data)?;
        if let Some(aside) = &aside {
            step()?;
            files::make_directory(aside)?;
            moves.bring(data, aside, &old_history)?;
            moves.bring(data, aside, &old_others)?;
        }
        moves.bring(&restoring, data, &new_others)?;
        moves.bring(&restoring, data, &new_history)
    };
    if let Err(error) = all() {
        // What cannot be taken back stays where it is, and no broker starts.
        if moves.take_back().is_ok() {
            let _ = aside.map(fs::remove_dir);
            let _ = if unfinished { empty(&restoring) } else { clear(&restoring) };
            let _ = clear(&making);
        }
        return Err(error);
    }
    // It is done. What is left of that directory is in nobody's way.
    let _ = clear(&restoring);
    Ok(aside)
}

/// Removes a directory, if it is there.
pub(super) fn clear(directory: &Path) -> io::Result<()> {
    if_there(fs::remove_dir_all(directory))
}

/// Removes the files of a directory, if it is there; what is no directory, as a link to one, is removed itself.
fn empty(directory: &Path) -> io::Result<()> {
    if fs::symlink_metadata(directory).is_ok_and(|there| !there.is_dir()) {
        return fs::remove_file(directory);
    }
    let remove = |entry: io::Result<fs::DirEntry>| fs::remove_file(entry?.path());
    if_there(fs::read_dir(directory).and_then(|mut entries| entries.try_for_each(remove)))
}

fn if_there(done: io::Result<()>) -> io::Result<()> {
    done.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// The history among some files, and the others.
fn history_of(names: &[String]) -> (Vec<String>, Vec<String>) {
    names.iter().cloned().partition(|name| name == HISTORY)
}

/// A name that is not there yet.
fn aside(data: &Path) -> PathBuf {
    let name = |n: u32| data.join(format!("{ASIDE}{n}"));
    (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0))
}

/// Files that get other names, and can have their old ones back.
struct Moves<'a> {
    step: &'a dyn Fn() -> io::Result<()>,
    /// From where, and to where.
    done: Vec<(PathBuf, PathBuf)>,
}

impl Moves<'_> {
    /// Moves these, durably.
    fn bring(&mut self, from: &Path, to: &Path, names: &[String]) -> io::Result<()> {
        for name in names {
            (self.step)()?;
            let (from, to) = (from.join(name), to.join(name));
            fs::rename(&from, &to)?;
            self.done.push((from, to));
        }
        (self.step)()?;
        sync(to)?;
        sync(from)
    }

    /// Moves all of them back, the last one first, durably.
    fn take_back(&mut self) -> io::Result<()> {
        let mut changed = BTreeSet::new();
        while let Some((from, to)) = self.done.pop() {
            fs::rename(&to, &from)?;
            changed.extend([from, to].iter().filter_map(|path| path.parent()).map(Path::to_owned));
        }
        changed.iter().try_for_each(|directory| sync(directory))
    }
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::panic::{self, AssertUnwindSafe};
    use std::sync::Arc;

    use onetree::store::files::{self, Disk, FileOptions, OpenError};
    use onetree_core::{Bounds, Settings, State};
    use onetree_protocol::{DigestKey, Epoch, Revision};

    use super::*;

    const OLD: Epoch = Epoch(1);
    const NEW: Epoch = Epoch(2);

    fn settings(epoch: Epoch) -> Settings {
        let bounds = Bounds::default();
        Settings { epoch, digest_key: DigestKey(7), bounds, retention: Vec::new() }
    }

    fn save(directory: &Path, epoch: Epoch, rev: u64) {
        let mut state = State::new(settings(epoch));
        state.begin_epoch(epoch, Revision::new(rev).unwrap());
        let disk = Disk::new(directory.to_owned()).unwrap();
        files::save(&disk, epoch, &settings(epoch), &state.checkpoint(), false).unwrap();
    }

    fn open(directory: &Path) -> Result<Epoch, OpenError> {
        let disk = Arc::new(Disk::new(directory.to_owned()).unwrap());
        let options = FileOptions { log_file_bytes: 4096, ..FileOptions::default() };
        files::open(disk, settings(Epoch(3)), options).map(|opened| opened.report.epoch)
    }

    /// All files below, by their names alone.
    fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => all.extend(files(&path)),
                false => {
                    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                    all.insert(name, fs::read(path).unwrap());
                }
            }
        }
        all
    }

    /// A broker's directory with a saved tree and a log, and new files that are to replace them.
    fn begin(n: usize) -> (PathBuf, BTreeMap<String, Vec<u8>>) {
        let name = format!("onetree-replace-{}-{n}", std::process::id());
        let data = std::env::temp_dir().join(name);
        clear(&data).unwrap();
        save(&data, OLD, 5);
        assert_eq!(open(&data).unwrap(), OLD);
        let old = files(&data);
        assert_eq!(old.len(), 3, "{:?}", old.keys());
        save(&data.join(MAKING), NEW, 1 << 40);
        (data, old)
    }

    /// Replaces; the step `n` ends it, with an error or the whole process. Whether it was done.
    fn replaced(data: &Path, old: &[String], n: usize, killed: bool) -> bool {
        let left = Cell::new(n);
        let step = || match left.get() {
            0 if killed => panic::resume_unwind(Box::new("killed")),
            0 => Err(io::Error::other("failed")),
            more => {
                left.set(more - 1);
                Ok(())
            }
        };
        let done = panic::catch_unwind(AssertUnwindSafe(|| replace(data, old, &step)));
        matches!(done, Ok(Ok(_)))
    }

    #[test]
    fn killed_at_any_step_it_leaves_no_tree_that_is_half_one_and_half_the_other() {
        let (mut refused, mut done) = (0, false);
        for n in 0.. {
            let (data, before) = begin(n);
            let old: Vec<String> = before.keys().cloned().collect();
            let kept = |when: &str| {
                let after = files(&data);
                let same =
                    |name: &&String| name == &HISTORY || after.get(*name) == before.get(*name);
                assert!(old.iter().all(|name| same(&name)), "{when} {n}: {:?}", after.keys());
            };
            done = replaced(&data, &old, n, true);
            kept("killed at");
            match open(&data) {
                Err(OpenError::Unfinished { .. }) => {
                    refused += 1;
                    kept("refused at");
                    // The next one ends it.
                    let ours =
                        |name: &String| name.ends_with(".onetree") && data.join(name).is_file();
                    let left: Vec<String> = files(&data).into_keys().filter(ours).collect();
                    save(&data.join(MAKING), NEW, 1 << 41);
                    assert!(replaced(&data, &left, usize::MAX, true));
                    assert_eq!(open(&data).unwrap(), NEW);
                    kept("ended after");
                }
                Err(error) => panic!("{n}: {error}"),
                Ok(epoch) if epoch == OLD => {
                    assert!(!data.join(format!("{ASIDE}1")).join(HISTORY).exists(), "{n}");
                }
                Ok(epoch) => {
                    assert_eq!(epoch, NEW, "{n}");
                    kept("started at");
                }
            }
            clear(&data).unwrap();
            if done {
                break;
            }
        }
        assert!(done && refused > 5, "{refused}");
    }

    #[test]
    fn an_error_at_any_step_takes_everything_back() {
        for n in 0.. {
            let (data, before) = begin(n + 100);
            let old: Vec<String> = before.keys().cloned().collect();
            let done = replaced(&data, &old, n, false);
            if !done {
                assert!(!data.join(RESTORING).exists() && !data.join(MAKING).exists(), "{n}");
                assert!(!data.join(format!("{ASIDE}1")).exists(), "{n}");
                assert!(files(&data) == before, "{n}: {:?}", files(&data).keys());
            }
            assert_eq!(open(&data).unwrap(), if done { NEW } else { OLD }, "{n}");
            clear(&data).unwrap();
            if done {
                return;
            }
        }
    }

    /// As it is when one was killed that had moved the history, and the next one fails.
    #[test]
    fn an_error_leaves_no_directory_to_start_on_that_was_none() {
        for n in 0.. {
            let (data, mut before) = begin(n + 200);
            fs::create_dir_all(data.join(RESTORING)).unwrap();
            fs::remove_file(data.join(HISTORY)).unwrap();
            before.remove(HISTORY);
            let old: Vec<String> = before.keys().cloned().collect();
            let done = replaced(&data, &old, n, false);
            match open(&data) {
                Err(OpenError::Unfinished { .. }) => {
                    assert!(!done && files(&data) == before, "{n}")
                }
                Err(error) => panic!("{n}: {error}"),
                Ok(epoch) => assert!(done && epoch == NEW, "{n}"),
            }
            clear(&data).unwrap();
            if done {
                return;
            }
        }
    }

    /// A directory without a history is one to start on, as long as all of its files are there.
    #[test]
    fn it_is_unfinished_from_the_first_move_on() {
        let (data, before) = begin(300);
        fs::remove_file(data.join(HISTORY)).unwrap();
        let old: Vec<String> =
            before.into_keys().filter(|name| name.starts_with("tree-")).collect();
        for name in files(&data).keys().filter(|name| name.starts_with("log-")) {
            fs::remove_file(data.join(name)).unwrap();
        }
        assert!(!replaced(&data, &old, 0, true));
        assert!(open(&data).is_ok());
        clear(&data).unwrap();
    }
}
