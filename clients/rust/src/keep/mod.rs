//! Keeping a mirror: a mirror survives its process in one file, which is saved in the background.
//!
//! # Layout
//!
//! - [`Keep`] (`file`): the file, which is always replaced as a whole
//! - [`Saver`] (`saver`): decides when to save
//! - `keeper`: the task that saves a mirror with [`crate::MirrorOptions::keep`]

mod file;
pub(crate) mod keeper;
mod saver;

use std::path::PathBuf;

use onetree_protocol::Action;

pub use file::Keep;
pub use saver::Saver;

/// What is wrong with the file that a mirror is kept in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// The file cannot be used.
    #[error("cannot {what} {}: {message}", .path.display())]
    Use {
        /// What the client tried to do.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The text of the operating system's error.
        message: String,
    },
    /// Another mirror, of this process or of another, is kept in the file.
    #[error("{} is in use by another mirror", .path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is not one that was saved.
    #[error("{}:{line}: {why}", .path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line that is wrong, counted from 1.
        line: usize,
        /// What is wrong with the line.
        why: String,
    },
    /// The file cannot be written. It holds what it held before.
    #[error("cannot write {}: {message}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The text of the operating system's error.
        message: String,
    },
}

impl KeepError {
    /// Returns the word of the error: `state-in-use`, `state-broken`, or `state` if the operating
    /// system refuses.
    pub fn word(&self) -> &'static str {
        match self {
            KeepError::InUse { .. } => "state-in-use",
            KeepError::Broken { .. } => "state-broken",
            KeepError::Use { .. } | KeepError::Write { .. } => "state",
        }
    }

    /// Returns what to do next: correct what is wrong with the file. A failed save is tried again.
    pub fn action(&self) -> Action {
        Action::Fix
    }
}
