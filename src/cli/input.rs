//! A file to be read, or standard input, which is `-`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::exit::{Failure, USAGE};

/// How standard input is asked for.
pub(crate) const STDIN: &str = "-";

/// Whether that is standard input.
pub(crate) fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == STDIN
}

/// How it is called.
pub(crate) fn name(file: &Path) -> String {
    if is_stdin(file) { "standard input".to_owned() } else { file.display().to_string() }
}

/// It cannot be read.
pub(crate) fn unreadable(file: impl AsRef<Path>, error: &io::Error) -> Failure {
    Failure::new(USAGE, "input", format!("cannot read {}: {error}", name(file.as_ref())))
}

/// What is in it.
pub(crate) fn open(file: &Path) -> Result<Box<dyn Read + Send>, Failure> {
    if is_stdin(file) {
        return Ok(Box::new(io::stdin()));
    }
    match File::open(file) {
        Ok(opened) => Ok(Box::new(opened)),
        Err(error) => Err(unreadable(file, &error)),
    }
}

/// All that comes, read by a thread of its own, as the connection lives meanwhile; `None` when it
/// is more than `limit` bytes.
pub(crate) async fn all(
    from: impl Read + Send + 'static,
    limit: u64,
) -> io::Result<Option<Vec<u8>>> {
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        let read = from.take(limit + 1).read_to_end(&mut bytes)?;
        Ok((read as u64 <= limit).then_some(bytes))
    });
    read.await?
}
