//! A storage with an observer, which counts operations or makes them fail.

use std::io;

use super::storage::{Storage, StorageFile};

/// Observes a storage. It is called before operations that change something and after those that
/// read. The default methods allow everything and record nothing. Each file has a clone of the
/// observer.
pub trait Watch: Clone + Send + Sync + 'static {
    /// A file is about to be made.
    ///
    /// # Errors
    /// An error prevents that, and is returned to the caller.
    fn creates(&self, _name: &str) -> io::Result<()> {
        Ok(())
    }

    /// A file of this many bytes was opened.
    fn opened(&self, _bytes: u64) {}

    /// This many bytes of a file were read.
    fn has_read(&self, _bytes: usize) {}

    /// This many bytes are about to be written to a file that had this name when it was made or
    /// opened.
    ///
    /// # Errors
    /// An error prevents that, and is returned to the caller.
    fn writes(&self, _name: &str, _bytes: usize) -> io::Result<()> {
        Ok(())
    }

    /// A file is about to be synced.
    fn syncs(&self) {}
}

/// A storage and its observer.
#[derive(Clone, Debug)]
pub struct Watched<S, W> {
    storage: S,
    watch: W,
}

impl<S: Storage, W: Watch> Watched<S, W> {
    /// Makes an observed storage.
    pub fn new(storage: S, watch: W) -> Watched<S, W> {
        Watched { storage, watch }
    }

    fn file(&self, name: &str, file: Box<dyn StorageFile>) -> Box<dyn StorageFile> {
        Box::new(WatchedFile { name: name.to_owned(), file, watch: self.watch.clone() })
    }
}

impl<S: Storage, W: Watch> Storage for Watched<S, W> {
    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn StorageFile>> {
        self.watch.creates(name)?;
        Ok(self.file(name, self.storage.create(name, bytes)?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let file = self.storage.open(name)?;
        self.watch.opened(file.bytes()?);
        Ok(self.file(name, file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.storage.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.storage.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.storage.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.storage.sync()
    }

    fn show(&self, name: &str) -> String {
        self.storage.show(name)
    }
}

struct WatchedFile<W> {
    name: String,
    file: Box<dyn StorageFile>,
    watch: W,
}

impl<W: Watch> StorageFile for WatchedFile<W> {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let read = self.file.read_at(into, at)?;
        self.watch.has_read(read);
        Ok(read)
    }

    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.watch.writes(&self.name, bytes.len())?;
        self.file.write_at(bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.watch.syncs();
        self.file.sync()
    }
}
