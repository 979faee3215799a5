//! The errors of the file in which a mirror is kept.

use std::path::Path;

use onetree_client::KeepError;

use super::super::exit::{FAULT, Failure, USAGE};

/// The error when the file keeps another view. Everything in it that is not in the requested view
/// would be reported as deleted, and would be removed from the file.
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
