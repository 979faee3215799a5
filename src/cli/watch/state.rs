//! What is wrong with the file in which a mirror is kept, as the command line tells it.

use std::path::Path;

use onetree_client::KeepError;

use super::super::exit::{FAULT, Failure, USAGE};

/// It keeps another view. All that is in it and not in the wanted one would be told as deleted, and
/// would be gone from it.
pub(super) fn of_another_view(path: &Path) -> Failure {
    let message = format!("{} keeps another view than this one", path.display());
    Failure::new(USAGE, "state-view", message)
        .next("give the path and the options that it was made with, or another file")
        .with("file", path.display().to_string())
}

impl From<KeepError> for Failure {
    fn from(error: KeepError) -> Failure {
        let message = error.to_string();
        match error {
            KeepError::Use { .. } => {
                Failure::new(USAGE, "state", message).next("give another file to --state")
            }
            KeepError::InUse { .. } => Failure::new(USAGE, "state-in-use", message)
                .next("end that one, or give this one a state file of its own"),
            KeepError::Broken { path, line, .. } => Failure::new(USAGE, "state-broken", message)
                .next("move the file away to start from nothing; it was left as it is")
                .with("file", path.display().to_string())
                .with("line", line),
            KeepError::Write { .. } => Failure::new(FAULT, "state", message)
                .next("make room for it; the file holds what it held before"),
        }
    }
}
