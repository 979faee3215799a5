//! A directory of a test's own.

use std::fs;
use std::path::PathBuf;

/// A directory that is removed at the end of the test.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    /// Makes an empty one on the disk that the project is built on.
    pub(crate) fn new(name: &str) -> Directory {
        let name = format!("onetree-{}-{name}", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    /// Returns the path of a file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Returns the files whose names begin with this.
    pub(crate) fn files(&self, begin: &str) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.map(|name| name.into_string().unwrap());
        names.filter(|name| name.starts_with(begin)).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
