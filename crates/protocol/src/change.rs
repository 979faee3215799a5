//! A change: what a commit does to one topic, as a subscriber sees it.

use crate::log::LogKey;
use crate::path::Path;
use crate::revision::Revision;
use crate::value::Value;

/// One change at one path, made by the commit `rev`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path that changed.
    pub path: Path,
    /// The commit that made the change.
    pub rev: Revision,
    /// What the commit did.
    pub act: Act,
}

/// What a change does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// The entry is now this value. `None` if the view leaves values out (`values:false`).
    Put(Option<Value>),
    /// The entry is gone.
    Delete,
    /// Everything at and under the path is gone.
    Drop,
    /// The log's entries up to and including this key are gone, with everything under them.
    Trim {
        /// The key of the last entry that is gone.
        to: LogKey,
        /// Whether entries that this mirror never had are among them, because retention outran the
        /// mirror.
        gap: bool,
    },
}
