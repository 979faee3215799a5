//! A broker's work on a store: commits of every kind, batch after batch, and the state after each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use onetree::store::files::{self, FileOptions, FileStore, OpenError, OpenedStore};
use onetree::store::{Store, StoreError};
use onetree_core::{
    Author, Bounds, Checkpoint, Commit, Head, Request, Retention, SavedClient, SavedSlot, Settings,
    State, Time,
};
use onetree_protocol::frame::{Condition, Do};
use onetree_protocol::{
    Digest, DigestKey, Epoch, LogKey, MediaType, Name, Path, Pattern, Revision, Value,
};

use super::rng::Rng;
use super::simulated::Simulated;

/// Everything that a store has to keep.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Whole {
    pub(crate) head: Head,
    pub(crate) digest: Digest,
    pub(crate) slots: Vec<SavedSlot>,
    pub(crate) clients: Vec<SavedClient>,
}

impl Whole {
    pub(crate) fn of(state: &State) -> Whole {
        Whole::saved(&state.checkpoint())
    }

    pub(crate) fn saved(saved: &Checkpoint) -> Whole {
        // A saved tree does not store this for each client; a start takes it from the client's last
        // answer, which may be later.
        let head = Head { forgotten: None, ..saved.head() };
        Whole {
            head,
            digest: saved.digest(),
            slots: saved.slots().collect(),
            clients: saved.clients().collect(),
        }
    }

    pub(crate) fn rev(&self) -> u64 {
        self.head.rev.get()
    }
}

pub(crate) fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Small bounds, so that everything happens often. `epoch`: the epoch of a history that would
/// begin.
pub(crate) fn settings(epoch: u128) -> Settings {
    let rule = |pattern: &str, keep| Retention {
        pattern: Pattern::parse(pattern).unwrap(),
        keep,
        max_age_ms: None,
        max_bytes: None,
    };
    Settings {
        epoch: Epoch(epoch),
        digest_key: DigestKey(0x5eed),
        bounds: Bounds {
            tombstones: 12,
            tombstone_bytes: 3_000,
            tombstone_ms: 700,
            dedup_answers: 3,
            dedup_clients: 3,
            dedup_ms: 2_000,
            grace_ms: 50,
            ..Bounds::default()
        },
        retention: vec![rule("log", Some(6))],
    }
}

const INTERVAL: Duration = Duration::from_millis(2);

/// Small files, so that there are many.
pub(crate) fn options(interval: bool) -> FileOptions {
    FileOptions {
        interval: interval.then_some(INTERVAL),
        log_file_bytes: 2048,
        save_after_bytes: 5000,
    }
}

pub(crate) fn open(storage: &Simulated, interval: bool) -> Result<OpenedStore, OpenError> {
    // Each start would begin a history of its own.
    let epoch = 1 + storage.files().len() as u128 * 1000;
    files::open(Arc::new(storage.clone()), settings(epoch), options(interval))
}

/// Makes commits.
pub(crate) struct Worker {
    pub(crate) state: State,
    rng: Rng,
    now: Time,
    sessions: u32,
    seqs: BTreeMap<&'static str, u64>,
    /// The state after the last batch, stored or not.
    pub(crate) asked: Checkpoint,
    /// How often the tree was saved, or was to be saved.
    pub(crate) saves: u32,
    /// How often each kind occurred.
    pub(crate) kinds: BTreeMap<&'static str, u32>,
}

impl Worker {
    pub(crate) fn new(state: State, rng: Rng) -> Worker {
        let now = state.checkpoint().head().time.plus(1);
        let asked = state.checkpoint();
        Worker {
            state,
            asked,
            saves: 0,
            rng,
            now,
            sessions: 0,
            seqs: BTreeMap::new(),
            kinds: BTreeMap::new(),
        }
    }

    /// Makes at least one commit, and a few more.
    pub(crate) fn batch(&mut self) -> Vec<Arc<Commit>> {
        let wanted = 1 + self.rng.below(3);
        let mut commits = Vec::new();
        while commits.len() < wanted {
            commits.extend(self.step());
        }
        commits
    }

    fn step(&mut self) -> Option<Arc<Commit>> {
        self.now = self.now.plus(1 + self.rng.below(20) as u64);
        if let Some(commit) = self.state.housekeep(self.now) {
            self.count("housekeeping");
            return Some(commit);
        }
        let session = name(&format!("s-{}", self.sessions / 8));
        self.sessions += 1;
        let opened = self.state.open_session(self.now, Some(&session), session.clone());
        opened.expect("there are few sessions");
        let client = *self.rng.pick(&["ann", "bob", "cid", "dee", "eve"]);
        let numbered = self.rng.chance(40);
        let seq = self.seqs.entry(client).or_default();
        *seq += u64::from(numbered);
        let seq = numbered.then_some(*seq);
        let mut request = Request { seq, ..Request::default() };
        for _ in 0..if self.rng.chance(15) { 3 } else { 1 } {
            let change = self.change();
            request.changes.push(change);
        }
        if self.rng.chance(25) {
            let rev = Revision::new(self.rng.below(9) as u64).unwrap();
            request.conditions.push(Condition::Entry { path: path("/a/b"), rev });
        }
        let client = numbered.then(|| name(client));
        let author = Author { client, session: Some(session.clone()), since: None };
        let outcome = self.state.write(self.now, &author, &request);
        if self.rng.chance(20) {
            self.state.end_session(self.now, &session);
        }
        match (&outcome.answer, &outcome.commit) {
            (Err(_), Some(_)) => self.count("refused and remembered"),
            (Ok(_), Some(_)) if numbered => self.count("numbered"),
            _ => {}
        }
        outcome.commit
    }

    fn change(&mut self) -> Do {
        let rng = &mut self.rng;
        let at = path(rng.pick::<&str>(&["/a", "/a/b", "/a/b/c", "/d", "/é", "/d/e", "/a/f"]));
        let log = path(rng.pick::<&str>(&["/log", "/a/log"]));
        let length = if rng.chance(4) { 700 } else { rng.below(30) };
        let text = format!("{}{}", rng.below(1000), "x".repeat(length));
        let value = match rng.below(4) {
            0 => Value::json(&format!("\"{text}\"")),
            1 => Value { media: MediaType::Octets, bytes: text.into_bytes().into() },
            2 => Value {
                media: MediaType::parse("image/png").unwrap(),
                bytes: text.into_bytes().into(),
            },
            _ => Value::text(&text),
        };
        let ttl_ms = rng.chance(15).then(|| 1 + rng.below(300) as u64);
        let ephemeral = rng.chance(15);
        let (kind, change) = match rng.below(100) {
            0..50 => ("put", Do::Put { path: at, value, ttl_ms, ephemeral }),
            50..75 => ("append", Do::Append { path: log, value, ttl_ms, ephemeral }),
            75..88 => ("delete", Do::Delete { path: at }),
            88..94 => ("drop", Do::Drop { path: at }),
            _ => {
                let keys = self.state.snapshot();
                let keys: Vec<LogKey> =
                    keys.entries(&log).filter_map(|(path, ..)| LogKey::of(path)).collect();
                let first = LogKey { rev: Revision::new(1).unwrap(), index: u16::MAX };
                let to = *keys.get(keys.len() / 2).unwrap_or(&first);
                ("trim", Do::Trim { path: log, to })
            }
        };
        self.count(kind);
        if ttl_ms.is_some() {
            self.count("ttl");
        }
        if ephemeral {
            self.count("ephemeral");
        }
        change
    }

    fn count(&mut self, kind: &'static str) {
        *self.kinds.entry(kind).or_default() += 1;
    }
}

/// A state, and when it was requested and acknowledged: after how many operations of the storage.
pub(crate) struct Moment {
    pub(crate) asked: usize,
    pub(crate) acked: usize,
    pub(crate) whole: Whole,
}

/// What was done on a storage.
pub(crate) struct Run {
    pub(crate) storage: Simulated,
    /// The number of operations of the start.
    pub(crate) begun: usize,
    pub(crate) moments: Vec<Moment>,
    pub(crate) epoch: Epoch,
    pub(crate) kinds: BTreeMap<&'static str, u32>,
}

/// Waits for a future of a store, on this thread.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Passes one batch through a store, as the broker does it: it is undone if it is not stored.
pub(crate) fn keep(store: &mut FileStore, worker: &mut Worker) -> Result<(), StoreError> {
    let before: Checkpoint = worker.state.checkpoint();
    let commits = worker.batch();
    worker.asked = worker.state.checkpoint();
    let kept = wait(store.append(&commits));
    match &kept {
        Ok(()) if store.save_due() => {
            worker.saves += 1;
            store.save(worker.asked.clone());
        }
        Ok(()) => {}
        Err(_) => worker.state.restore(before),
    }
    kept
}

/// Works until there are this many commits. Does not close the store.
pub(crate) fn work(rng: Rng, commits: u64, interval: bool) -> (Run, FileStore) {
    let storage = Simulated::default();
    let OpenedStore { mut store, state, report } = open(&storage, interval).unwrap();
    let mut moments = vec![Moment { asked: 0, acked: 0, whole: Whole::of(&state) }];
    let begun = storage.count();
    let mut worker = Worker::new(state, rng);
    while worker.state.rev().get() < commits {
        let asked = storage.count();
        keep(&mut store, &mut worker).unwrap();
        if interval && moments.len() % 7 == 0 {
            // Wait until the disk has it.
            std::thread::sleep(INTERVAL * 2);
        }
        let whole = Whole::of(&worker.state);
        moments.push(Moment { asked, acked: storage.count(), whole });
    }
    // The tree is saved in the background, and may not be ready yet.
    let is_saved = || storage.files().iter().any(|(name, _)| name.starts_with("tree-"));
    while worker.saves > 0 && !is_saved() {
        std::thread::sleep(Duration::from_millis(1));
    }
    (Run { storage, begun, moments, epoch: report.epoch, kinds: worker.kinds }, store)
}
