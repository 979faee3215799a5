//! A saved tree: the whole state at one revision, so that the log before it is not needed any more.
//!
//! ```text
//! tree-<revision, 16 hex>.onetree
//! file   := header with magic "1TREESAV", forgotten u64, zeros to 64 bytes; block*
//! block  := crc u32, kind u32, length u32, records u32; record*
//! kinds  := 1 head (one), then 2 slots, in path order, then 3 clients, by name, then 4 end (empty)
//! ```
//!
//! `forgotten` is one more than the revision behind which no client wrote that is forgotten; those
//! who did not know it yet left a zero there, and pass over it.
//!
//! It is written under another name and renamed when it is on the disk: one that has its name is
//! whole, and anything wrong in it is damage.

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
/// Where in it stands who is forgotten.
const FORGOTTEN: usize = 32;
const BLOCK_HEADER: usize = 16;

const HEAD: u32 = 1;
const SLOTS: u32 = 2;
const CLIENTS: u32 = 3;
const END: u32 = 4;

/// The name of a file that is being made.
pub(super) const MAKING: &str = "tree.tmp";

/// The name of the tree saved at `rev`.
pub(super) fn name(rev: u64) -> String {
    format!("tree-{rev:016x}.onetree")
}

/// The revision of the tree with this name.
pub(super) fn rev_of(name: &str) -> Option<u64> {
    revision(name.strip_prefix("tree-")?.strip_suffix(".onetree")?)
}
