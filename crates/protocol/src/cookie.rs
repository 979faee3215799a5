//! Where a mirror stands.

use crate::revision::{Epoch, Revision};
use crate::view::Fingerprint;

/// Where a mirror stands: it equals its view of the tree exactly, at revision `rev` of `epoch`.
///
/// A client saves a cookie together with the data that it describes, never before the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cookie {
    /// The epoch: the history that `rev` counts in.
    pub epoch: Epoch,
    /// The commit up to which, and including which, the mirror is right.
    pub rev: Revision,
    /// The view that the mirror is a copy of.
    pub view: Fingerprint,
}
