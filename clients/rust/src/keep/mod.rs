//! Where a mirror survives its process: one file, saved beside the work that goes on.
//!
//! # Layout
//!
//! - [`Keep`] (`file`): the file, replaced as a whole
//! - [`Saver`] (`saver`): when it is saved
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
    /// It cannot be used.
    #[error("cannot {what} {}: {message}", .path.display())]
    Use {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        message: String,
    },
    /// Another mirror, of this process or of another, is kept in it.
    #[error("{} is in use by another mirror", .path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is not one that was saved.
    #[error("{}:{line}: {why}", .path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line that is wrong, counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// It cannot be written, and holds what it held before.
    #[error("cannot write {}: {message}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        message: String,
    },
}

impl KeepError {
    /// `state-in-use`, `state-broken`, or `state` where the operating system refuses.
    pub fn word(&self) -> &'static str {
        match self {
            KeepError::InUse { .. } => "state-in-use",
            KeepError::Broken { .. } => "state-broken",
            KeepError::Use { .. } | KeepError::Write { .. } => "state",
        }
    }

    /// What to do next: to mend what is wrong with the file. A save that has failed is tried again.
    pub fn action(&self) -> Action {
        Action::Fix
    }
}
