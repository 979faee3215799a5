//! An input: a file, or standard input, which is `-`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::exit::{Failure, USAGE};

/// The name that stands for standard input.
pub(crate) const STDIN: &str = "-";

/// Whether `file` stands for standard input.
pub(crate) fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == STDIN
}

/// Returns the name of an input for messages.
pub(crate) fn name(file: &Path) -> String {
    if is_stdin(file) { "standard input".to_owned() } else { file.display().to_string() }
}

/// The error when an input cannot be read.
pub(crate) fn unreadable(file: impl AsRef<Path>, error: &io::Error) -> Failure {
    Failure::new(USAGE, "input", format!("cannot read {}: {error}", name(file.as_ref())))
}

/// Opens an input.
pub(crate) fn open(file: &Path) -> Result<Box<dyn Read + Send>, Failure> {
    if is_stdin(file) {
        return Ok(Box::new(io::stdin()));
    }
    match File::open(file) {
        Ok(opened) => Ok(Box::new(opened)),
        Err(error) => Err(unreadable(file, &error)),
    }
}

/// Reads everything, on a thread of its own because the connection needs this one meanwhile; `None`
/// when there are more than `limit` bytes.
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
