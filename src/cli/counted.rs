//! A directory whose bytes are counted as they are read or written, for who waits for that.

use std::io;

use indicatif::ProgressBar;
use onetree::store::files::{Disk, Storage, StorageFile};

use super::exit::Failure;
use super::progress;

/// A directory, and a bar that is there as long as this is.
pub(crate) struct Counted {
    disk: Disk,
    bar: ProgressBar,
}

impl Counted {
    /// To be read: what is opened is to come. `shown`: whether someone may look; `done`: what is
    /// said of the bytes.
    pub(crate) fn reading(disk: &Disk, shown: bool, done: &'static str) -> Result<Self, Failure> {
        Ok(Counted { disk: disk.clone(), bar: progress::bytes_of(shown)?.with_message(done) })
    }

    /// To be written: nobody knows how much that will be.
    pub(crate) fn writing(disk: &Disk, shown: bool) -> Result<Counted, Failure> {
        Ok(Counted { disk: disk.clone(), bar: progress::bytes_so_far(shown, "written")? })
    }

    fn counted(&self, file: Box<dyn StorageFile>) -> Box<dyn StorageFile> {
        Box::new(CountedFile { file, bar: self.bar.clone() })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Storage for Counted {
    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn StorageFile>> {
        Ok(self.counted(self.disk.create(name, bytes)?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let file = self.disk.open(name)?;
        self.bar.set_length(self.bar.length().unwrap_or_default() + file.bytes()?);
        Ok(self.counted(file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }

    fn show(&self, name: &str) -> String {
        self.disk.show(name)
    }
}

struct CountedFile {
    file: Box<dyn StorageFile>,
    bar: ProgressBar,
}

impl StorageFile for CountedFile {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let read = self.file.read_at(into, at)?;
        self.bar.inc(read as u64);
        Ok(read)
    }

    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_at(bytes, at)?;
        self.bar.inc(bytes.len() as u64);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_and_read_is_counted() {
        let name = format!("onetree-counted-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let disk = Disk::new(directory.clone()).unwrap();
        let writing = Counted::writing(&disk, false).unwrap();
        writing.create("a", 0).unwrap().write_at(&[7; 1000], 0).unwrap();
        assert_eq!((writing.bar.position(), writing.bar.length()), (1000, None));
        let reading = Counted::reading(&disk, false, "read").unwrap();
        let so_far = || (reading.bar.position(), reading.bar.length());
        let file = reading.open("a").unwrap();
        assert_eq!(so_far(), (0, Some(1000)));
        assert_eq!(file.read_at(&mut [0; 600], 500).unwrap(), 500);
        assert_eq!(so_far(), (500, Some(1000)));
        // What is opened again is read again.
        let _again = reading.open("a").unwrap();
        assert_eq!(so_far(), (500, Some(2000)));
        std::fs::remove_dir_all(directory).unwrap();
    }
}
