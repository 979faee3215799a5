//! Reads a saved tree.

use std::panic::resume_unwind;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::thread;

use onetree_core::{SavedClient, SavedSlot, Settings, State};
use onetree_protocol::{Digest, DigestKey, Epoch, Revision};

use super::{BLOCK_HEADER, CLIENTS, END, FILE_HEADER, FORGOTTEN, HEAD, KIND, SLOTS};
use crate::store::files::header::{self, word};
use crate::store::files::record::{BadRecord, ClientRecord, HeadRecord, SlotRecord};
use crate::store::files::storage::{Storage, StorageFile};
use crate::store::files::{Damage, OpenError};

/// A saved tree that was read.
pub(in crate::store::files) struct Loaded {
    pub(in crate::store::files) state: State,
    pub(in crate::store::files) epoch: Epoch,
    /// The length of the file, bytes.
    pub(in crate::store::files) bytes: u64,
}

/// Reads a saved tree and checks all of it: each checksum, the order, the counts, and that the
/// digest of the entries is the one that was saved. `settings` apply except for the history.
pub(in crate::store::files) fn load(
    storage: &dyn Storage,
    name: &str,
    file: Box<dyn StorageFile>,
    settings: Settings,
) -> Result<Loaded, OpenError> {
    let mut reader = Reader::new(storage, name, file, 0);
    let (epoch, forgotten) = reader.header()?;
    let (kind, _) = reader.block()?;
    let head = match postcard::from_bytes::<HeadRecord>(&reader.block) {
        Ok(head) if kind == HEAD => head,
        Ok(_) => return Err(reader.damage("the file does not begin with its head")),
        Err(error) => return Err(reader.damage(&format!("its head cannot be read: {error}"))),
    };
    let mut begins = head.head().map_err(|error| reader.damage(&error.to_string()))?;
    begins.forgotten = forgotten;
    let settings = Settings { epoch, ..settings };
    // Another thread reads and checks while this one makes the tree. At most a few blocks wait
    // between them.
    let (to_tree, slots) = mpsc::sync_channel::<Vec<SavedSlot>>(8);
    let (to_clients, clients) = mpsc::channel();
    thread::scope(|scope| {
        let reading = scope.spawn(move || reader.rest(&head, &to_tree, &to_clients));
        let state = State::load(settings, begins, slots.into_iter().flatten(), clients);
        let bytes = reading.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        Ok(Loaded { state, epoch, bytes })
    })
}

/// Reads a saved tree, block by block.
pub(super) struct Reader<'a> {
    storage: &'a dyn Storage,
    name: &'a str,
    file: Box<dyn StorageFile>,
    /// Where the next block begins, and where the present block, or the header, began.
    pub(super) at: u64,
    begins: u64,
    /// The records of the present block.
    block: Vec<u8>,
}

impl<'a> Reader<'a> {
    /// Begins to read at `at`.
    pub(super) fn new(
        storage: &'a dyn Storage,
        name: &'a str,
        file: Box<dyn StorageFile>,
        at: u64,
    ) -> Reader<'a> {
        Reader { storage, name, file, at, begins: at, block: Vec::new() }
    }

    pub(super) fn damage(&self, why: &str) -> OpenError {
        let file = self.storage.show(self.name);
        Damage { file, offset: self.begins, why: why.to_owned() }.into()
    }

    fn exactly(&mut self, into: &mut [u8]) -> Result<(), OpenError> {
        let failed = |error| OpenError::Io { file: self.storage.show(self.name), error };
        if self.file.read_at(into, self.at).map_err(failed)? < into.len() {
            return Err(self.damage("the file ends before its end"));
        }
        self.at += into.len() as u64;
        Ok(())
    }

    /// Returns the history, and the revision up to which the forgotten clients wrote.
    fn header(&mut self) -> Result<(Epoch, Option<Revision>), OpenError> {
        let mut header = [0; FILE_HEADER];
        self.exactly(&mut header)?;
        let epoch = header::read(&header, &KIND, self.storage, self.name)?;
        let said = header::number(&header, FORGOTTEN).checked_sub(1);
        let none = || self.damage("who is forgotten wrote at no revision");
        let forgotten = said.map(|rev| Revision::new(rev).ok_or_else(none)).transpose()?;
        Ok((epoch, forgotten))
    }

    /// Reads the next block. Returns its kind and the number of its records.
    pub(super) fn block(&mut self) -> Result<(u32, u32), OpenError> {
        self.begins = self.at;
        let mut header = [0; BLOCK_HEADER];
        self.exactly(&mut header)?;
        let length = word(&header, 8);
        let wrong = "the checksum of a block is wrong";
        let failed = |error| OpenError::Io { file: self.storage.show(self.name), error };
        if self.at + u64::from(length) > self.file.bytes().map_err(failed)? {
            return Err(self.damage(wrong));
        }
        let mut block = std::mem::take(&mut self.block);
        block.resize(length as usize, 0);
        self.exactly(&mut block)?;
        self.block = block;
        if !has_checksum(&header, &self.block) {
            return Err(self.damage(wrong));
        }
        Ok((word(&header, 4), word(&header, 12)))
    }

    /// Reads and checks everything behind the head, and passes it on. Returns the length of the
    /// file.
    fn rest(
        &mut self,
        head: &HeadRecord,
        to_tree: &SyncSender<Vec<SavedSlot>>,
        to_clients: &Sender<SavedClient>,
    ) -> Result<u64, OpenError> {
        let key = DigestKey(head.digest_key);
        let mut digest = Digest::default();
        let (mut slots, mut clients, mut last) = (0, 0, None);
        loop {
            let (kind, records) = self.block()?;
            match kind {
                SLOTS => {
                    let mut some = Vec::with_capacity(records as usize);
                    self.records(records, |record: SlotRecord<'_>| {
                        let slot = SavedSlot::try_from(record)?;
                        if last.as_ref().is_some_and(|last| *last >= slot.path) {
                            return Err(BadRecord::new("its paths are not in order"));
                        }
                        last = Some(slot.path.clone());
                        if slot.value.is_some() {
                            digest.insert(key.hash(&slot.path, slot.rev));
                        }
                        some.push(slot);
                        Ok(())
                    })?;
                    slots += some.len() as u64;
                    // Sending fails only if making the tree has panicked, and that panic is passed
                    // on.
                    let _ = to_tree.send(some);
                }
                CLIENTS => self.records(records, |record: ClientRecord<'_>| {
                    clients += 1;
                    let _ = to_clients.send(record.try_into()?);
                    Ok(())
                })?,
                END => break,
                _ => return Err(self.damage(&format!("there is no block of kind {kind}"))),
            }
        }
        if (slots, clients) != (head.slots, head.clients) {
            return Err(self.damage("the counts of its head are not those of its blocks"));
        }
        if (digest.count, digest.sum) != head.digest {
            return Err(self.damage("the digest of its entries is not the one that was saved"));
        }
        Ok(self.at)
    }

    /// Returns where the next intact block begins, behind the beginning of a broken one.
    pub(super) fn whole_behind(&self) -> Option<u64> {
        let from = self.begins + 1;
        let length = self.file.bytes().ok()?.checked_sub(from)?;
        let mut rest = vec![0; usize::try_from(length).ok()?];
        let read = self.file.read_at(&mut rest, from).ok()?;
        rest.truncate(read);
        let is_whole = |at: &usize| {
            let Some((header, behind)) = rest[*at..].split_first_chunk::<BLOCK_HEADER>() else {
                return false;
            };
            let known = (HEAD..=END).contains(&word(header, 4));
            let records = behind.get(..word(header, 8) as usize).filter(|_| known);
            records.is_some_and(|records| has_checksum(header, records))
        };
        (0..rest.len()).find(is_whole).map(|at| from + at as u64)
    }

    /// Calls `take` with each record of the block.
    pub(super) fn records<'b, R: serde::Deserialize<'b>>(
        &'b self,
        count: u32,
        mut take: impl FnMut(R) -> Result<(), BadRecord>,
    ) -> Result<(), OpenError> {
        let mut rest = &self.block[..];
        for _ in 0..count {
            let (record, behind) = postcard::take_from_bytes::<R>(rest)
                .map_err(|error| self.damage(&format!("a record cannot be read: {error}")))?;
            rest = behind;
            take(record).map_err(|error| self.damage(&error.to_string()))?;
        }
        Ok(())
    }
}

/// Whether a block has the checksum that its header names.
fn has_checksum(header: &[u8; BLOCK_HEADER], records: &[u8]) -> bool {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[4..]);
    hasher.update(records);
    hasher.finalize() == word(header, 0)
}
