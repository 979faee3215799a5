//! Where a mirror stands.

use crate::revision::{Epoch, Revision};
use crate::view::Fingerprint;

/// Where a mirror stands: it is its view of the tree, exactly, at `rev` of `epoch`.
///
/// A cookie is saved together with the data it dates, never before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cookie {
    /// The history that `rev` counts in.
    pub epoch: Epoch,
    /// The commit up to which, and including which, the mirror is right.
    pub rev: Revision,
    /// The view that the mirror is a copy of.
    pub view: Fingerprint,
}
