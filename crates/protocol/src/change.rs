//! A change: what a commit does to one topic, as a subscriber sees it.

use crate::log::LogKey;
use crate::path::Path;
use crate::revision::Revision;
use crate::value::Value;

/// One change at one path, by the commit `rev`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub path: Path,
    /// The commit that did it.
    pub rev: Revision,
    /// What was done.
    pub act: Act,
}

/// What a change does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// The entry is now this; without its value where the view is `values:false`.
    Put(Option<Value>),
    /// The entry is gone.
    Delete,
    /// Everything at and under the path is gone.
    Drop,
    /// The log's entries up to and including this key are gone, with all that is under them.
    Trim {
        /// The last entry that is gone.
        to: LogKey,
        /// Whether entries that this mirror never had are among them: retention outran it.
        gap: bool,
    },
}
