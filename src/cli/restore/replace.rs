//! Replaces the files of a directory by new ones, so that an interruption at any point does no
//! harm.

use std::io;

use onetree::store::files::{Disk, HISTORY, RESTORING, Storage};

/// The beginning of the names of the directories that old files are moved to.
pub(super) const ASIDE: &str = "before-restore-";

/// The directory that new files are made in. It becomes [`RESTORING`] right before the first move:
/// if the process ends before that, a broker can still start on the old files.
pub(super) const MAKING: &str = "restore-new.tmp";

/// Replaces the files `old` of a directory by those in its [`MAKING`], which is removed. Returns
/// the name of the subdirectory that has the old files. Calls `step` before each step.
///
/// The history file is moved away first, and the new one is put in place last: without it, and with
/// the directory [`RESTORING`], no broker starts. So whatever interrupts this, no file of one tree
/// is taken for one of the other, and nothing is lost. An error undoes what was done. If another
/// restore was unfinished before, it is still unfinished then.
///
/// Another user may own the directory, and could put a link anywhere in it at any moment. So files
/// are made and moved through directories that are open.
pub(super) fn replace(
    data: &Disk,
    making: &Disk,
    old: &[String],
    step: &dyn Fn() -> io::Result<()>,
) -> io::Result<Option<String>> {
    let there = data.list()?;
    let is_there = |name: &str| there.iter().any(|there| there == name);
    let unfinished = is_there(RESTORING) && !is_there(HISTORY);
    let (old_history, old_others) = history_of(old);
    let (new_history, new_others) = history_of(&making.list()?);
    let name = |n: u32| format!("{ASIDE}{n}");
    let aside = (1..).map(name).find(|name| !is_there(name)).filter(|_| !old.is_empty());
    let mut moves = Moves { step, done: Vec::new() };
    let mut all = || {
        step()?;
        // An empty directory is replaced atomically, so that it is never missing.
        data.empty(RESTORING)?;
        data.rename(MAKING, RESTORING)?;
        data.sync()?;
        if let Some(aside) = &aside {
            step()?;
            let aside = data.make_directory(aside)?;
            moves.bring(data, &aside, &old_history)?;
            moves.bring(data, &aside, &old_others)?;
        }
        moves.bring(making, data, &new_others)?;
        moves.bring(making, data, &new_history)
    };
    if let Err(error) = all() {
        // What cannot be undone stays where it is, and no broker starts.
        if moves.take_back().is_ok() {
            let _ = aside.map(|aside| data.remove_empty(&aside));
            let _ = if unfinished { data.empty(RESTORING) } else { data.clear(RESTORING) };
            let _ = data.clear(MAKING);
        }
        return Err(error);
    }
    // Everything is done. Whatever is left of that directory does no harm.
    let _ = data.clear(RESTORING);
    Ok(aside)
}

/// Separates the history file from the others.
fn history_of(names: &[String]) -> (Vec<String>, Vec<String>) {
    names.iter().cloned().partition(|name| name == HISTORY)
}

/// Files that were moved to other directories, and can be moved back.
struct Moves<'a> {
    step: &'a dyn Fn() -> io::Result<()>,
    /// For each: from where, to where, and the name.
    done: Vec<(Disk, Disk, String)>,
}

impl Moves<'_> {
    /// Moves these files, durably.
    fn bring(&mut self, from: &Disk, to: &Disk, names: &[String]) -> io::Result<()> {
        for name in names {
            (self.step)()?;
            from.hand(name, to)?;
            self.done.push((from.clone(), to.clone(), name.clone()));
        }
        (self.step)()?;
        to.sync()?;
        from.sync()
    }

    /// Moves all files back, the last one first, durably.
    fn take_back(&mut self) -> io::Result<()> {
        let mut changed = Vec::new();
        while let Some((from, to, name)) = self.done.pop() {
            to.hand(&name, &from)?;
            changed.extend([from, to]);
        }
        changed.iter().try_for_each(Disk::sync)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::panic::{self, AssertUnwindSafe};
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use onetree::store::files::{self, FileOptions, OpenError};
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
        files::save(&disk(directory), epoch, &settings(epoch), &state.checkpoint(), false).unwrap();
    }

    fn disk(directory: &Path) -> Disk {
        Disk::new(directory.to_owned()).unwrap()
    }

    /// Removes the directory, if it exists.
    fn clear(directory: &Path) {
        let (above, name) = (directory.parent().unwrap(), directory.file_name().unwrap());
        disk(above).clear(name.to_str().unwrap()).unwrap();
    }

    fn open(directory: &Path) -> Result<Epoch, OpenError> {
        let disk = Arc::new(disk(directory));
        let options = FileOptions { log_file_bytes: 4096, ..FileOptions::default() };
        files::open(disk, settings(Epoch(3)), options).map(|opened| opened.report.epoch)
    }

    /// Returns all files below, by their names alone.
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

    /// Makes a broker's directory with a saved tree and a log, and new files that are to replace
    /// them.
    fn begin(n: usize) -> (PathBuf, BTreeMap<String, Vec<u8>>) {
        let name = format!("onetree-replace-{}-{n}", std::process::id());
        let data = std::env::temp_dir().join(name);
        clear(&data);
        save(&data, OLD, 5);
        assert_eq!(open(&data).unwrap(), OLD);
        let old = files(&data);
        assert_eq!(old.len(), 3, "{:?}", old.keys());
        save(&data.join(MAKING), NEW, 1 << 40);
        (data, old)
    }

    /// Replaces the files, but step `n` ends it, with an error or as if the process were killed.
    /// Returns whether it finished.
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
        let making = disk(&data.join(MAKING));
        let replace = || replace(&disk(data), &making, old, &step);
        let done = panic::catch_unwind(AssertUnwindSafe(replace));
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
                    // The next restore finishes it.
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
            clear(&data);
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
            clear(&data);
            if done {
                return;
            }
        }
    }

    /// As after a restore that was killed when it had moved the history, if the next restore fails.
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
            clear(&data);
            if done {
                return;
            }
        }
    }

    /// The owner of the directory puts a link in the place of each directory that is made in it, as
    /// soon as that exists.
    #[test]
    fn nothing_goes_where_a_link_leads_that_somebody_has_put_there_meanwhile() {
        let swapped = Cell::new(0);
        for n in 0.. {
            let (data, before) = begin(n + 400);
            let others = data.with_extension("others");
            clear(&others);
            fs::create_dir(&others).unwrap();
            fs::write(others.join(HISTORY), "theirs").unwrap();
            let old: Vec<String> = before.keys().cloned().collect();
            let making = disk(&data.join(MAKING));
            let (count, aside) = (Cell::new(0), format!("{ASIDE}1"));
            let step = || {
                if count.replace(count.get() + 1) == n {
                    for name in [MAKING, RESTORING, &aside] {
                        let (place, away) = (data.join(name), data.join(format!("{name}.away")));
                        swapped.set(swapped.get() + u32::from(fs::rename(&place, away).is_ok()));
                        symlink(&others, place).unwrap();
                    }
                }
                Ok(())
            };
            // It does not matter whether this succeeds.
            let _ = replace(&disk(&data), &making, &old, &step);
            let theirs = files(&others);
            assert_eq!(theirs.get(HISTORY).map(Vec::as_slice), Some(&b"theirs"[..]), "{n}");
            assert_eq!(theirs.len(), 1, "{n}: {:?}", theirs.keys());
            clear(&data);
            clear(&others);
            if count.get() <= n {
                break;
            }
        }
        assert!(swapped.get() > 5, "{swapped:?}");
    }

    /// A broker can start on a directory without a history, as long as all of its files are there.
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
        clear(&data);
    }
}
