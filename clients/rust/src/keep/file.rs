//! A mirror and its cookie in one file, so that the cookie is never ahead of the data.
//!
//! The first line is the cookie, with the number of lines that follow. Then come exactly the lines
//! that `export` prints. The file is always replaced as a whole, so it is whole even if the process
//! is killed at any moment. A file that is not whole is reported and never replaced: it may be the
//! only copy.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path as FilePath, PathBuf};

use onetree_protocol::{Act, Change, Cookie, Path, json};

use super::KeepError;
use crate::mirror::Snapshot;

/// A file that a mirror is kept in, in the format of `onetree watch --state`. It belongs to this
/// process alone. Beside it is an empty file whose name ends in `.lock`.
#[derive(Debug)]
pub struct Keep {
    path: PathBuf,
    /// The lock, held as long as this value lives. It is on a file of its own, which stays: each
    /// save replaces `path`, and would replace a lock on it, too.
    _lock: File,
}

impl Keep {
    /// Takes the file at `path` for this process. The file need not exist yet. Nobody else can take
    /// it until this is dropped.
    ///
    /// # Errors
    /// If the file is in use, or cannot be used.
    pub fn open(path: impl AsRef<FilePath>) -> Result<Keep, KeepError> {
        let path = path.as_ref();
        let path = target(path).map_err(|error| cannot("open", path, &error))?;
        if path.file_name().is_none() {
            let error = io::Error::other("it has no name of a file");
            return Err(cannot("keep a mirror in", &path, &error));
        }
        if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            let error = io::Error::other("it is no regular file");
            return Err(cannot("keep a mirror in", &path, &error));
        }
        let lock = lock(&path)?;
        Ok(Keep { path, _lock: lock })
    }

    /// Returns the snapshot that was saved last; `None` if the file is empty or does not exist.
    /// Reads the whole file.
    ///
    /// # Errors
    /// If the file cannot be read, or is not one that was saved. The file is left as it is.
    pub fn load(&self) -> Result<Option<Snapshot>, KeepError> {
        match File::open(&self.path) {
            Ok(file) => read(&self.path, BufReader::with_capacity(1 << 16, file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot("read", &self.path, &error)),
        }
    }

    /// Replaces the file with `snapshot`. When this returns, `snapshot` is on the disk. If the
    /// process dies before, the file holds what it held before. A snapshot without a cookie is not
    /// saved, because no mirror could go on from it. Writes the whole file, and blocks until the
    /// disk has it.
    ///
    /// # Errors
    /// If the file cannot be written. It holds what it held before.
    pub fn save(&self, snapshot: &Snapshot) -> Result<(), KeepError> {
        let Some(cookie) = snapshot.cookie() else { return Ok(()) };
        let temporary = beside(&self.path, ".tmp");
        let saved = self.replace(&temporary, &cookie, snapshot.entries());
        saved.map_err(|error| {
            // On a full disk the temporary file would take up room that others need. If it cannot
            // be removed, the next save overwrites it.
            let _ = fs::remove_file(&temporary);
            self.unwritten(error.to_string())
        })
    }

    pub(super) fn unwritten(&self, message: String) -> KeepError {
        KeepError::Write { path: self.path.clone(), message }
    }

    fn replace(
        &self,
        temporary: &FilePath,
        cookie: &Cookie,
        entries: impl ExactSizeIterator<Item = Change>,
    ) -> io::Result<()> {
        let file = File::create(temporary)?;
        if let Ok(metadata) = fs::metadata(&self.path) {
            file.set_permissions(metadata.permissions())?;
        }
        let mut to = BufWriter::with_capacity(1 << 16, file);
        writeln!(to, "{}", head(cookie, entries.len()))?;
        for entry in entries {
            writeln!(to, "{}", json::change_line(&entry))?;
        }
        to.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(temporary, &self.path)?;
        // The new name is durable only once the directory is synced.
        match self.path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => {
                File::open(directory)?.sync_all()
            }
            _ => File::open(".")?.sync_all(),
        }
    }
}

/// Follows symbolic links, also to a file that does not exist yet: a save replaces the target, not
/// the link.
fn target(path: &FilePath) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::read_link(path) {
            Ok(to) => target(&path.with_file_name(to)),
            Err(_) => Ok(path.to_owned()),
        },
        found => found,
    }
}

/// Locks the file at `path` for this process.
fn lock(path: &FilePath) -> Result<File, KeepError> {
    let name = beside(path, ".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(|error| cannot("lock", path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(KeepError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(cannot("lock", path, &error)),
    }
}

/// Returns `path` with `suffix` added to its name: in the same directory, hence on the same file
/// system.
fn beside(path: &FilePath, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Returns the first line: the cookie, and how many lines follow. Without the number, a file that
/// was cut at the end of a line would look whole.
fn head(cookie: &Cookie, entries: usize) -> String {
    let cookie = json::cookie(cookie);
    let fields = cookie.strip_suffix('}').unwrap_or(&cookie);
    format!("{fields},\"entries\":{entries}}}")
}

/// Reads the first line.
fn parse_head(line: &str) -> Result<(Cookie, usize), String> {
    let (fields, entries) = line
        .rsplit_once(",\"entries\":")
        .ok_or("a state file begins with a cookie, which this is not")?;
    let entries = entries
        .strip_suffix('}')
        .and_then(|digits| digits.parse().ok())
        .ok_or("the cookie does not end in the number of entries")?;
    let cookie = json::parse_cookie(&format!("{fields}}}")).map_err(|error| error.to_string())?;
    Ok((cookie, entries))
}

/// Reads the file at `path`; `None` if it is empty.
fn read(path: &FilePath, mut from: impl BufRead) -> Result<Option<Snapshot>, KeepError> {
    let mut number = 0;
    let mut line = String::new();
    let mut next = |line: &mut String| -> Result<Option<usize>, KeepError> {
        line.clear();
        number += 1;
        match from.read_line(line) {
            Ok(0) => Ok(None),
            Ok(_) if line.pop() == Some('\n') => Ok(Some(number)),
            Ok(_) => Err(broken(path, number, "the line is cut off")),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                Err(broken(path, number, "the line is not UTF-8"))
            }
            Err(error) => Err(cannot("read", path, &error)),
        }
    };
    if next(&mut line)?.is_none() {
        return Ok(None);
    }
    let (cookie, expected) = parse_head(&line).map_err(|why| broken(path, 1, &why))?;
    let mut entries: Vec<Change> = Vec::new();
    while let Some(number) = next(&mut line)? {
        let entry = json::parse_change_line(&line)
            .map_err(|error| broken(path, number, &error.to_string()))?;
        if !matches!(entry.act, Act::Put(_)) {
            return Err(broken(path, number, "the line is no entry"));
        }
        if entries.last().is_some_and(|last: &Change| out_of_order(&last.path, &entry.path)) {
            return Err(broken(path, number, "the path does not come after the one before"));
        }
        entries.push(entry);
    }
    if entries.len() != expected {
        let why = format!("the file ends after {} of {expected} entries", entries.len());
        return Err(broken(path, entries.len() + 1, &why));
    }
    Ok(Some(Snapshot::saved(cookie, entries)))
}

fn out_of_order(before: &Path, after: &Path) -> bool {
    before >= after
}

fn broken(path: &FilePath, line: usize, why: &str) -> KeepError {
    KeepError::Broken { path: path.to_owned(), line, why: why.to_owned() }
}

fn cannot(what: &'static str, path: &FilePath, error: &io::Error) -> KeepError {
    KeepError::Use { what, path: path.to_owned(), message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "{\"epoch\":\"000102030405060708090a0b0c0d0e0f\",\"rev\":9,\
                        \"view\":\"0001020304050607\",\"entries\":2}\n";
    const A: &str = "{\"path\":\"/a\",\"rev\":7,\"json\":{\"x\": 1}}\n";
    const B: &str = "{\"path\":\"/b\",\"rev\":9,\"type\":\"text/plain\",\"text\":\"b\"}\n";

    fn parse(text: &str) -> Result<Option<Snapshot>, String> {
        read(FilePath::new("f"), text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_was_saved_is_read() {
        let saved = parse(&format!("{HEAD}{A}{B}")).unwrap().unwrap();
        assert_eq!(format!("{}\n", head(&saved.cookie().unwrap(), 2)), HEAD);
        assert_eq!(format!("{}\n", json::change_line(&saved.entries().next().unwrap())), A);
        assert!(parse("").unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_saved_leaves_nothing_beside() {
        let name = format!("onetree-keep-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("state");
        let keep = Keep::open(&path).unwrap();
        // No file can take its place.
        fs::create_dir(&path).unwrap();
        let saved = parse(&format!("{HEAD}{A}{B}")).unwrap().unwrap();
        assert!(matches!(keep.save(&saved), Err(KeepError::Write { .. })));
        assert!(!beside(&path, ".tmp").exists());
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_is_broken_is_named_by_its_line() {
        let whole = format!("{HEAD}{A}{B}");
        for (text, said) in [
            ("hello\n".to_owned(), "f:1: a state file begins"),
            (A.to_owned(), "f:1: "),
            (format!("{HEAD}{B}{A}"), "f:3: the path does not"),
            (format!("{HEAD}{A}{A}"), "f:3: the path does not"),
            (format!("{HEAD}{A}"), "f:2: the file ends after 1 of 2"),
            (whole.replace("\"rev\":7", "\"rev\":-7"), "f:2: "),
            (
                format!("{HEAD}{{\"path\":\"/a\",\"rev\":7,\"delete\":true}}\n{B}"),
                "f:2: the line is no",
            ),
            (whole[..whole.len() - 1].to_owned(), "f:3: the line is cut off"),
            ("\n".to_owned(), "f:1: "),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(said), "{text:?} gave {error}, not {said}");
        }
        for cut in 1..whole.len() {
            assert!(parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }
}
