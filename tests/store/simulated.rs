//! A disk in memory that forgets what was not synced: all of it, some of it, or half a write. It
//! also flips bits, and fails on request.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use onetree::store::files::{Storage, StorageFile};

use super::rng::Rng;

/// "No space left on device".
pub(crate) const ENOSPC: i32 = 28;
/// "Input/output error".
pub(crate) const EIO: i32 = 5;

/// An operation on a storage that changes something. Files are numbered from 0, in the order in
/// which they were made.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create { name: String, bytes: u64 },
    Write { file: usize, at: u64, bytes: Vec<u8> },
    Sync { file: usize },
    Rename { from: String, to: String },
    Remove { name: String },
    SyncNames,
}

/// Operations that fail from now on.
pub(crate) struct Fault {
    /// Which operations fail; others work.
    pub(crate) what: fn(&Op) -> bool,
    /// How many of them work before.
    pub(crate) after: usize,
    /// How many fail; after that all work.
    pub(crate) times: usize,
    /// The error.
    pub(crate) errno: i32,
}

/// What a crash leaves of what was not synced.
pub(crate) enum Keep<'a> {
    /// Nothing.
    Nothing,
    /// All of it.
    Everything,
    /// Some pieces of each write, in no order, and the first changes of names.
    Some(&'a mut Rng),
}

/// Writes reach the disk in pieces of this size. Real ones are larger.
const PIECE: usize = 64;

#[derive(Clone, Default)]
struct File {
    /// What is read.
    seen: Vec<u8>,
    /// What a crash leaves for certain.
    durable: Vec<u8>,
    /// What was written and not synced.
    pending: Vec<(u64, Vec<u8>)>,
    /// What a failed sync has lost; some of it may have reached the disk.
    lost: Vec<(u64, Vec<u8>)>,
}

#[derive(Clone, Default)]
struct World {
    files: Vec<File>,
    seen: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    /// Changes of names that were not synced: a name, and its file if it has one now.
    pending: Vec<(String, Option<usize>)>,
}

#[derive(Default)]
struct Inner {
    world: World,
    ops: Vec<Op>,
    fault: Option<Fault>,
    failed: usize,
    /// The most bytes that all files had together, since the last question.
    most: usize,
    /// How many bytes there is room for; `None`: unlimited.
    room: Option<usize>,
}

/// The storage. Clones share the same disk.
#[derive(Clone, Default)]
pub(crate) struct Simulated(Arc<Mutex<Inner>>);

fn write(to: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let (at, end) = (at as usize, at as usize + bytes.len());
    if to.len() < end {
        to.resize(end, 0);
    }
    to[at..end].copy_from_slice(bytes);
}

fn absent(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no {name}"))
}

impl World {
    fn apply(&mut self, op: &Op) -> io::Result<()> {
        match op {
            Op::Create { name, bytes } => {
                let zeros = vec![0; *bytes as usize];
                self.files.push(File { seen: zeros.clone(), durable: zeros, ..File::default() });
                self.name(name, Some(self.files.len() - 1));
            }
            Op::Write { file, at, bytes } => {
                let file = &mut self.files[*file];
                write(&mut file.seen, *at, bytes);
                file.pending.push((*at, bytes.clone()));
            }
            Op::Sync { file } => {
                let File { durable, pending, lost, .. } = &mut self.files[*file];
                lost.clear();
                for (at, bytes) in pending.drain(..) {
                    write(durable, at, &bytes);
                }
            }
            Op::Rename { from, to } => {
                let file = *self.seen.get(from).ok_or_else(|| absent(from))?;
                self.name(to, Some(file));
                self.name(from, None);
            }
            Op::Remove { name } => {
                self.seen.get(name).ok_or_else(|| absent(name))?;
                self.name(name, None);
            }
            Op::SyncNames => {
                self.pending.clear();
                self.durable = self.seen.clone();
            }
        }
        Ok(())
    }

    /// Applies what is left of an operation that fails.
    fn fail(&mut self, op: &Op) {
        match op {
            Op::Write { file, at, bytes } => {
                let bytes = bytes[..bytes.len() / 2].to_vec();
                let _ = self.apply(&Op::Write { file: *file, at: *at, bytes });
            }
            // The system now regards them as written: they are read, but are not on the disk.
            Op::Sync { file } => {
                let File { pending, lost, .. } = &mut self.files[*file];
                lost.append(pending);
            }
            Op::Create { name, bytes } => {
                let _ = self.apply(&Op::Create { name: name.clone(), bytes: bytes / 2 });
            }
            Op::Rename { .. } | Op::Remove { .. } | Op::SyncNames => {}
        }
    }

    /// Returns the bytes of all files that have a name.
    fn bytes(&self) -> usize {
        self.seen.values().map(|file| self.files[*file].seen.len()).sum()
    }

    /// Returns by how many bytes the files grow through the operation.
    fn growth(&self, op: &Op) -> usize {
        match op {
            Op::Create { bytes, .. } => *bytes as usize,
            Op::Write { file, at, bytes } => {
                (*at as usize + bytes.len()).saturating_sub(self.files[*file].seen.len())
            }
            Op::Sync { .. } | Op::Rename { .. } | Op::Remove { .. } | Op::SyncNames => 0,
        }
    }

    fn name(&mut self, name: &str, file: Option<usize>) {
        set(&mut self.seen, name, file);
        self.pending.push((name.to_owned(), file));
    }

    /// Returns what is there after a power failure.
    fn crashed(mut self, mut keep: Keep<'_>) -> World {
        let names = match &mut keep {
            Keep::Nothing => 0,
            Keep::Everything => self.pending.len(),
            Keep::Some(rng) => rng.below(self.pending.len() + 1),
        };
        for (name, file) in self.pending.drain(..).take(names) {
            set(&mut self.durable, &name, file);
        }
        self.seen = self.durable.clone();
        for file in &mut self.files {
            if !matches!(keep, Keep::Some(_)) {
                file.lost.clear();
            }
            for (at, bytes) in file.lost.drain(..).chain(file.pending.drain(..)) {
                for (n, piece) in bytes.chunks(PIECE).enumerate() {
                    let kept = match &mut keep {
                        Keep::Nothing => false,
                        Keep::Everything => true,
                        Keep::Some(rng) => rng.chance(50),
                    };
                    if kept {
                        write(&mut file.durable, at + (n * PIECE) as u64, piece);
                    }
                }
            }
            file.seen = file.durable.clone();
        }
        self
    }
}

fn set(names: &mut BTreeMap<String, usize>, name: &str, file: Option<usize>) {
    match file {
        Some(file) => names.insert(name.to_owned(), file),
        None => names.remove(name),
    };
}

impl Simulated {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    fn of(world: World) -> Simulated {
        Simulated(Arc::new(Mutex::new(Inner { world, ..Inner::default() })))
    }

    /// Returns how many operations there were.
    pub(crate) fn count(&self) -> usize {
        self.lock().ops.len()
    }

    /// Returns all operations so far.
    pub(crate) fn ops(&self) -> Vec<Op> {
        self.lock().ops.clone()
    }

    /// Returns how many operations have failed.
    pub(crate) fn failed(&self) -> usize {
        self.lock().failed
    }

    /// Returns the most bytes that all files had together since the last call.
    pub(crate) fn most(&self) -> usize {
        std::mem::take(&mut self.lock().most)
    }

    /// From now on there is room for this many bytes.
    pub(crate) fn room(&self, bytes: usize) {
        self.lock().room = Some(bytes);
    }

    /// From now on these operations fail; `None`: none.
    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    /// Repeats an operation that was recorded elsewhere.
    pub(crate) fn replay(&self, op: &Op) {
        self.lock().world.apply(op).unwrap();
    }

    /// Returns another storage with what is left after a power failure.
    pub(crate) fn crash(&self, keep: Keep<'_>) -> Simulated {
        Simulated::of(self.lock().world.clone().crashed(keep))
    }

    /// Returns another storage with what the next process finds when this one is killed.
    pub(crate) fn kill(&self) -> Simulated {
        Simulated::of(self.lock().world.clone())
    }

    /// Returns the names and lengths of all files.
    pub(crate) fn files(&self) -> Vec<(String, usize)> {
        let world = &self.lock().world;
        world
            .seen
            .iter()
            .map(|(name, file)| (name.clone(), world.files[*file].seen.len()))
            .collect()
    }

    /// Returns the content of a file.
    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let world = &self.lock().world;
        world.files[world.seen[name]].seen.clone()
    }

    /// Adds a file, durably.
    pub(crate) fn put(&self, name: &str, content: Vec<u8>) {
        let world = &mut self.lock().world;
        world.files.push(File { seen: content.clone(), durable: content, ..File::default() });
        let file = world.files.len() - 1;
        set(&mut world.seen, name, Some(file));
        set(&mut world.durable, name, Some(file));
    }

    /// Removes a file, durably.
    pub(crate) fn take(&self, name: &str) {
        let world = &mut self.lock().world;
        set(&mut world.seen, name, None);
        set(&mut world.durable, name, None);
    }

    fn run(&self, op: Op) -> io::Result<()> {
        let inner = &mut *self.lock();
        if let Some(fault) = inner.fault.as_mut().filter(|fault| (fault.what)(&op)) {
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                inner.failed += 1;
                inner.world.fail(&op);
                return Err(io::Error::from_raw_os_error(fault.errno));
            }
        }
        let growth = inner.world.growth(&op);
        if growth > 0 && inner.room.is_some_and(|room| inner.world.bytes() + growth > room) {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        inner.world.apply(&op)?;
        inner.most = inner.most.max(inner.world.bytes());
        inner.ops.push(op);
        Ok(())
    }

    fn file(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let file = *self.lock().world.seen.get(name).ok_or_else(|| absent(name))?;
        Ok(Box::new(Open { storage: self.clone(), file }))
    }
}

impl Storage for Simulated {
    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn StorageFile>> {
        self.run(Op::Create { name: name.to_owned(), bytes })?;
        self.file(name)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        self.file(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().world.seen.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.run(Op::Rename { from: from.to_owned(), to: to.to_owned() })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.run(Op::Remove { name: name.to_owned() })
    }

    fn sync(&self) -> io::Result<()> {
        self.run(Op::SyncNames)
    }

    fn show(&self, name: &str) -> String {
        name.to_owned()
    }
}

struct Open {
    storage: Simulated,
    file: usize,
}

impl StorageFile for Open {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.storage.lock().world.files[self.file].seen.len() as u64)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let inner = self.storage.lock();
        let seen = &inner.world.files[self.file].seen;
        let rest = seen.get(at as usize..).unwrap_or_default();
        let count = into.len().min(rest.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.storage.run(Op::Write { file: self.file, at, bytes: bytes.to_vec() })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.storage.run(Op::Sync { file: self.file })
    }
}
