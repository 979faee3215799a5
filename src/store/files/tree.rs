//! A saved tree: the whole state at one revision, so that the log before it is not needed any more.
//!
//! ```text
//! tree-<revision, 16 hex>.onetree
//! file   := header with magic "1TREESAV", forgotten u64, zeros to 64 bytes; block*
//! block  := crc u32, kind u32, length u32, records u32; record*
//! kinds  := 1 head (one), then 2 slots, in path order, then 3 clients, by name, then 4 end (empty)
//! ```
//!
//! `forgotten` is one more than the revision behind which no client wrote that is forgotten; those who
//! did not know it yet left a zero there, and pass over it.
//!
//! It is written under another name and renamed when it is on the disk: one that has its name is
//! whole, and anything wrong in it is damage.

use std::io;
use std::panic::resume_unwind;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::thread;

use onetree_core::{Checkpoint, Head, SavedClient, SavedSlot, Settings, State, Time};
use onetree_protocol::{Digest, DigestKey, Epoch, Revision};
use serde::Serialize;

use super::header::{self, Kind, word};
use super::record::{BadRecord, ClientRecord, HeadRecord, SlotRecord};
use super::storage::{Storage, StorageFile};
use super::{Damage, OpenError, revision};

const KIND: Kind = Kind { magic: b"1TREESAV", what: "saved tree", version: 1 };
const FILE_HEADER: usize = 64;
/// Where in it stands who is forgotten.
const FORGOTTEN: usize = 32;
const BLOCK_HEADER: usize = 16;

/// Records are written when so many bytes of them have come together.
const BLOCK_BYTES: usize = 256 * 1024;

/// So much of a tree is written before the disk is made to have it. With all of it at once, the
/// syncs of commits stood behind it: subscribers waited for more than a second.
const SYNC_BYTES: u64 = 1 << 20;

const HEAD: u32 = 1;
const SLOTS: u32 = 2;
const CLIENTS: u32 = 3;
const END: u32 = 4;

/// The name of a file that is being made.
pub(super) const SPARE: &str = "tree.tmp";

/// The name of the tree saved at `rev`.
pub(super) fn name(rev: u64) -> String {
    format!("tree-{rev:016x}.onetree")
}

/// The revision of the tree with this name.
pub(super) fn rev_of(name: &str) -> Option<u64> {
    revision(name.strip_prefix("tree-")?.strip_suffix(".onetree")?)
}

/// Writes a state; gives how many bytes that took, and tells `wrote` meanwhile how many it were so
/// far. It is durable, under its name, when this returns.
pub(super) fn write(
    storage: &dyn Storage,
    epoch: Epoch,
    key: DigestKey,
    state: &Checkpoint,
    wrote: impl Fn(u64),
) -> io::Result<u64> {
    write_spare(storage, epoch, key, state, wrote).inspect_err(|_| {
        // It takes room that there may be too little of. If it stays, the next one replaces it.
        let _ = storage.remove(SPARE);
    })
}

fn write_spare(
    storage: &dyn Storage,
    epoch: Epoch,
    key: DigestKey,
    state: &Checkpoint,
    wrote: impl Fn(u64),
) -> io::Result<u64> {
    let head = state.head();
    let file = storage.create(SPARE, 0)?;
    let mut to = Writer { file, at: 0, synced: 0, block: Vec::new(), records: 0, wrote };
    let mut header = [0; FILE_HEADER];
    let forgotten = head.forgotten.map_or(0, |rev| rev.get() + 1);
    header[FORGOTTEN..FORGOTTEN + 8].copy_from_slice(&forgotten.to_le_bytes());
    header::write(&mut header, &KIND, epoch);
    to.bytes(&header)?;
    let counts = (state.slots_len(), state.clients_len());
    to.record(HEAD, &HeadRecord::new(head, key, state.digest(), counts))?;
    to.flush(HEAD)?;
    for slot in state.slots() {
        to.record(SLOTS, &SlotRecord::from(&slot))?;
    }
    to.flush(SLOTS)?;
    for client in state.clients() {
        to.record(CLIENTS, &ClientRecord::from(&client))?;
    }
    to.flush(CLIENTS)?;
    to.block.resize(BLOCK_HEADER, 0);
    to.seal(END)?;
    to.file.sync()?;
    storage.rename(SPARE, &name(head.rev.get()))?;
    storage.sync()?;
    Ok(to.at)
}

struct Writer<W> {
    file: Box<dyn StorageFile>,
    at: u64,
    /// Up to where it is on the disk.
    synced: u64,
    /// The block that is being filled, with room for its header.
    block: Vec<u8>,
    records: u32,
    wrote: W,
}

impl<W: Fn(u64)> Writer<W> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        if self.at - self.synced >= SYNC_BYTES {
            self.file.sync()?;
            self.synced = self.at;
        }
        (self.wrote)(self.at);
        Ok(())
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

/// A saved tree that was read.
pub(super) struct Loaded {
    pub(super) state: State,
    pub(super) epoch: Epoch,
    /// How long the file is, bytes.
    pub(super) bytes: u64,
}

/// Reads a saved tree and checks all of it: each checksum, the order, the counts, and that the digest
/// of the entries is the one that was saved. `settings` say everything but the history.
pub(super) fn load(
    storage: &dyn Storage,
    name: &str,
    file: Box<dyn StorageFile>,
    settings: Settings,
) -> Result<Loaded, OpenError> {
    let mut reader = Reader { storage, name, file, at: 0, begins: 0, block: Vec::new() };
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
    // One thread reads and checks, this one makes the tree meanwhile: at most a few blocks wait.
    let (to_tree, slots) = mpsc::sync_channel::<Vec<SavedSlot>>(8);
    let (to_clients, clients) = mpsc::channel();
    thread::scope(|scope| {
        let reading = scope.spawn(move || reader.rest(&head, &to_tree, &to_clients));
        let state = State::load(settings, begins, slots.into_iter().flatten(), clients);
        let bytes = reading.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        Ok(Loaded { state, epoch, bytes })
    })
}

/// Makes a state of what is whole of the tree saved at `rev`, and notes the rest in `lost`.
pub(super) fn whole(
    storage: &dyn Storage,
    rev: u64,
    settings: Settings,
    lost: &mut Vec<Damage>,
) -> State {
    let name = &name(rev);
    let rev = Revision::new(rev).unwrap_or(Revision::ZERO);
    let head = Head { rev, time: Time(0), horizon: rev, forgotten: None };
    let mut pieces = Pieces { head, slots: Vec::new(), clients: Vec::new() };
    let mut lose = |error: OpenError| lost.push(error.damage(storage, name));
    match storage.open(name) {
        Err(error) => lose(OpenError::Io { file: storage.show(name), error }),
        Ok(file) => {
            let at = FILE_HEADER as u64;
            let mut reader = Reader { storage, name, file, at, begins: at, block: Vec::new() };
            loop {
                match reader.block() {
                    Ok((END, _)) => break,
                    Ok((kind, records)) => {
                        let _ = pieces.take(&reader, kind, records).map_err(&mut lose);
                    }
                    Err(error) => {
                        lose(error);
                        let Some(at) = reader.whole_behind() else { break };
                        reader.at = at;
                    }
                }
            }
        }
    }
    State::load(settings, pieces.head, pieces.slots, pieces.clients)
}

/// What the whole blocks of a saved tree hold.
struct Pieces {
    head: Head,
    slots: Vec<SavedSlot>,
    clients: Vec<SavedClient>,
}

impl Pieces {
    fn take(&mut self, from: &Reader<'_>, kind: u32, records: u32) -> Result<(), OpenError> {
        match kind {
            HEAD => from.records(records, |record: HeadRecord| {
                self.head = record.head()?;
                Ok(())
            }),
            SLOTS => from.records(records, |record: SlotRecord<'_>| {
                let slot = SavedSlot::try_from(record)?;
                if self.slots.last().is_some_and(|last| last.path >= slot.path) {
                    return Err(BadRecord::new("its paths are not in order"));
                }
                self.slots.push(slot);
                Ok(())
            }),
            CLIENTS => from.records(records, |record: ClientRecord<'_>| {
                let client = SavedClient::try_from(record)?;
                if self.clients.last().is_some_and(|last| last.name >= client.name) {
                    return Err(BadRecord::new("its clients are not in order"));
                }
                self.clients.push(client);
                Ok(())
            }),
            _ => Err(from.damage(&format!("there is no block of kind {kind}"))),
        }
    }
}

struct Reader<'a> {
    storage: &'a dyn Storage,
    name: &'a str,
    file: Box<dyn StorageFile>,
    /// Where the next block begins, and where the present one, or the header, did.
    at: u64,
    begins: u64,
    /// The records of the present one.
    block: Vec<u8>,
}

impl Reader<'_> {
    fn damage(&self, why: &str) -> OpenError {
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

    /// Gives the history, and up to which revision those clients wrote that are forgotten.
    fn header(&mut self) -> Result<(Epoch, Option<Revision>), OpenError> {
        let mut header = [0; FILE_HEADER];
        self.exactly(&mut header)?;
        let epoch = header::read(&header, &KIND, self.storage, self.name)?;
        let said = header::number(&header, FORGOTTEN).checked_sub(1);
        let none = || self.damage("who is forgotten wrote at no revision");
        let forgotten = said.map(|rev| Revision::new(rev).ok_or_else(none)).transpose()?;
        Ok((epoch, forgotten))
    }

    /// Reads the next block; gives its kind and the number of its records.
    fn block(&mut self) -> Result<(u32, u32), OpenError> {
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

    /// Reads and checks what comes behind the head, and hands it on; gives the length of the file.
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
                    // Nobody takes it: then the tree could not be made, and its panic is told.
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

    /// Where the next whole block begins behind the beginning of one that is broken.
    fn whole_behind(&self) -> Option<u64> {
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

    /// Gives each record of the block to `take`.
    fn records<'b, R: serde::Deserialize<'b>>(
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

/// Whether a block has the checksum that its header says.
fn has_checksum(header: &[u8; BLOCK_HEADER], records: &[u8]) -> bool {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[4..]);
    hasher.update(records);
    hasher.finalize() == word(header, 0)
}
