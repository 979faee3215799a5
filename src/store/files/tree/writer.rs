//! Writes a saved tree.

use std::io;

use onetree_core::Checkpoint;
use onetree_protocol::{DigestKey, Epoch};
use serde::Serialize;

use super::{BLOCK_HEADER, CLIENTS, END, FILE_HEADER, FORGOTTEN, HEAD, KIND, MAKING, SLOTS, name};
use crate::store::files::header;
use crate::store::files::record::{ClientRecord, HeadRecord, SlotRecord};
use crate::store::files::storage::{Storage, StorageFile};

/// A block is written when its records have this many bytes.
const BLOCK_BYTES: usize = 256 * 1024;

/// How many bytes are written before the disk is synced. When the whole tree was synced at once,
/// the syncs of commits had to wait behind it: subscribers waited for more than a second.
const SYNC_BYTES: u64 = 1 << 20;

/// Writes a state; gives how many bytes that took, and tells `wrote` meanwhile how many it were so
/// far. It is durable, under its name, when this returns. An error of `wrote` stops it.
pub(in crate::store::files) fn write(
    storage: &dyn Storage,
    epoch: Epoch,
    key: DigestKey,
    state: &Checkpoint,
    wrote: impl Fn(u64) -> io::Result<()>,
) -> io::Result<u64> {
    let made = || {
        let file = storage.create(MAKING, 0)?;
        let mut to = Writer { file, at: 0, synced: 0, block: Vec::new(), records: 0, wrote };
        to.state(epoch, key, state)?;
        storage.rename(MAKING, &name(state.head().rev.get()))?;
        storage.sync()?;
        Ok(to.at)
    };
    made().inspect_err(|_| {
        // A file that failed takes space that may be scarce. If it cannot be removed, the next one
        // replaces it.
        let _ = storage.remove(MAKING);
    })
}

struct Writer<W> {
    file: Box<dyn StorageFile>,
    at: u64,
    /// How much of the file is on the disk.
    synced: u64,
    /// The block that is being filled, with room for its header.
    block: Vec<u8>,
    records: u32,
    wrote: W,
}

impl<W: Fn(u64) -> io::Result<()>> Writer<W> {
    /// All of the file; it is on the disk then.
    fn state(&mut self, epoch: Epoch, key: DigestKey, state: &Checkpoint) -> io::Result<()> {
        let head = state.head();
        let mut header = [0; FILE_HEADER];
        let forgotten = head.forgotten.map_or(0, |rev| rev.get() + 1);
        header[FORGOTTEN..FORGOTTEN + 8].copy_from_slice(&forgotten.to_le_bytes());
        header::write(&mut header, &KIND, epoch);
        self.bytes(&header)?;
        let counts = (state.slots_len(), state.clients_len());
        self.record(HEAD, &HeadRecord::new(head, key, state.digest(), counts))?;
        self.flush(HEAD)?;
        for slot in state.slots() {
            self.record(SLOTS, &SlotRecord::from(&slot))?;
        }
        self.flush(SLOTS)?;
        for client in state.clients() {
            self.record(CLIENTS, &ClientRecord::from(&client))?;
        }
        self.flush(CLIENTS)?;
        self.block.resize(BLOCK_HEADER, 0);
        self.seal(END)?;
        self.file.sync()
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        if self.at - self.synced >= SYNC_BYTES {
            self.file.sync()?;
            self.synced = self.at;
        }
        (self.wrote)(self.at)
    }

    fn record(&mut self, kind: u32, record: &impl Serialize) -> io::Result<()> {
        if self.block.is_empty() {
            self.block.resize(BLOCK_HEADER, 0);
        }
        let block = std::mem::take(&mut self.block);
        self.block = postcard::to_extend(record, block).map_err(io::Error::other)?;
        self.records += 1;
        if self.block.len() >= BLOCK_BYTES { self.seal(kind) } else { Ok(()) }
    }

    fn flush(&mut self, kind: u32) -> io::Result<()> {
        if self.block.is_empty() { Ok(()) } else { self.seal(kind) }
    }

    fn seal(&mut self, kind: u32) -> io::Result<()> {
        let mut block = std::mem::take(&mut self.block);
        let length = u32::try_from(block.len() - BLOCK_HEADER).map_err(io::Error::other)?;
        block[4..8].copy_from_slice(&kind.to_le_bytes());
        block[8..12].copy_from_slice(&length.to_le_bytes());
        block[12..16].copy_from_slice(&std::mem::take(&mut self.records).to_le_bytes());
        let crc = crc32fast::hash(&block[4..]);
        block[0..4].copy_from_slice(&crc.to_le_bytes());
        self.bytes(&block)?;
        block.clear();
        self.block = block;
        Ok(())
    }
}
