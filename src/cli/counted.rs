//! A directory whose bytes are counted while they are read or written, to show progress.

use std::io;
use std::sync::Arc;

use indicatif::ProgressBar;
use onetree::store::files::{Disk, Watch, Watched};

use super::exit::Failure;
use super::progress;

/// A directory with a progress bar, which disappears when this value is dropped.
pub(crate) type Counted = Watched<Disk, Counter>;

/// Opens a directory for reading. The sizes of opened files add to the bar's total. `shown`:
/// whether progress may be shown; `done`: the words beside the bytes.
pub(crate) fn reading(disk: &Disk, shown: bool, done: &'static str) -> Result<Counted, Failure> {
    let bar = progress::bytes_of(shown)?.with_message(done);
    Ok(Counted::new(disk.clone(), Counter::new(bar)))
}

/// Opens a directory for writing, where the total is unknown.
pub(crate) fn writing(disk: &Disk, shown: bool) -> Result<Counted, Failure> {
    let bar = progress::bytes_so_far(shown, "written")?;
    Ok(Counted::new(disk.clone(), Counter::new(bar)))
}

/// Counts bytes on a bar.
#[derive(Clone)]
pub(crate) struct Counter(Arc<Bar>);

struct Bar(ProgressBar);

impl Counter {
    fn new(bar: ProgressBar) -> Counter {
        Counter(Arc::new(Bar(bar)))
    }

    fn bar(&self) -> &ProgressBar {
        &self.0.0
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Watch for Counter {
    fn opened(&self, bytes: u64) {
        self.bar().set_length(self.bar().length().unwrap_or_default() + bytes);
    }

    fn has_read(&self, bytes: usize) {
        self.bar().inc(bytes as u64);
    }

    fn writes(&self, _name: &str, bytes: usize) -> io::Result<()> {
        self.bar().inc(bytes as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use onetree::store::files::Storage;

    use super::*;

    #[test]
    fn what_is_written_and_read_is_counted() {
        let name = format!("onetree-counted-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let disk = Disk::new(directory.clone()).unwrap();
        let counted = |bar| {
            let counter = Counter::new(bar);
            (Counted::new(disk.clone(), counter.clone()), counter)
        };
        let (writing, counter) = counted(progress::bytes_so_far(false, "written").unwrap());
        writing.create("a", 0).unwrap().write_at(&[7; 1000], 0).unwrap();
        assert_eq!((counter.bar().position(), counter.bar().length()), (1000, None));
        let (reading, counter) = counted(progress::bytes_of(false).unwrap());
        let so_far = || (counter.bar().position(), counter.bar().length());
        let file = reading.open("a").unwrap();
        assert_eq!(so_far(), (0, Some(1000)));
        assert_eq!(file.read_at(&mut [0; 600], 500).unwrap(), 500);
        assert_eq!(so_far(), (500, Some(1000)));
        // A file that is opened again counts again.
        let _again = reading.open("a").unwrap();
        assert_eq!(so_far(), (500, Some(2000)));
        std::fs::remove_dir_all(directory).unwrap();
    }
}
