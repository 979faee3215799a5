//! A saved tree: the whole state at one revision. The log up to that revision is then no longer
//! needed.
//!
//! ```text
//! tree-<revision, 16 hex>.onetree
//! file   := header with magic "1TREESAV", forgotten u64, zeros to 64 bytes; block*
//! block  := crc u32, kind u32, length u32, records u32; record*
//! kinds  := 1 head (one), then 2 slots, in path order, then 3 clients, by name, then 4 end (empty)
//! ```
//!
//! `forgotten` is one more than the revision after which no forgotten client has written. Versions
//! that did not know this field wrote a zero there, and skip the field when they read.
//!
//! The file is written under another name and renamed when it is on the disk. So a file with its
//! proper name is complete, and anything wrong in it is damage.

mod pieces;
mod reader;
mod writer;

use super::header::Kind;
use super::revision;

pub(super) use pieces::whole;
pub(super) use reader::{Loaded, load};
pub(super) use writer::write;

const KIND: Kind = Kind { magic: b"1TREESAV", what: "saved tree", version: 1 };
const FILE_HEADER: usize = 64;
/// Where the header says which clients are forgotten.
const FORGOTTEN: usize = 32;
const BLOCK_HEADER: usize = 16;

const HEAD: u32 = 1;
const SLOTS: u32 = 2;
const CLIENTS: u32 = 3;
const END: u32 = 4;

/// The name of a file while it is being made.
pub(super) const MAKING: &str = "tree.tmp";

/// Returns the name of the tree saved at `rev`.
pub(super) fn name(rev: u64) -> String {
    format!("tree-{rev:016x}.onetree")
}

/// Returns the revision of the saved tree with this name.
pub(super) fn rev_of(name: &str) -> Option<u64> {
    revision(name.strip_prefix("tree-")?.strip_suffix(".onetree")?)
}
