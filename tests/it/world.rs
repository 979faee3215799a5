//! A broker, writers and followers over networks that fail, and every tree that ever existed. What
//! each follower shows is compared with the tree of that revision, at every step.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onetree::store::MemoryStore;
use onetree::{Broker, Hooks, Running};
use onetree_client::{
    Act, Append, Change, Changes, Client, Delete, Done, DropTree, Error, Event, LogKey, Mirror,
    MirrorOptions, Options, Path, Pattern, Pending, Put, Reconnect, Revision, Snapshot, Trim, Txn,
    Value, View, Write,
};
use onetree_core::Snapshot as Tree;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::irc::proxy::{Faults, Proxy};
use crate::irc::random::Random;
use crate::wire::config;

/// The longest that anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The most writes in flight at once.
const IN_FLIGHT: usize = 16;

pub(crate) fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

/// Returns the seed of a test; ONETREE_SEED repeats it.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("ONETREE_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("ONETREE_SEED={seed}");
    seed
}

/// Every tree that ever existed.
#[derive(Clone, Default)]
pub(crate) struct Trees(Arc<Mutex<BTreeMap<Revision, Tree>>>);

impl Trees {
    /// Returns what `view` sees of the tree at `rev`.
    fn seen(&self, view: &View, rev: Revision) -> Vec<Change> {
        let trees = self.0.lock().unwrap();
        let Some((_, tree)) = trees.range(..=rev).next_back() else { return Vec::new() };
        let entries = tree.entries(&view.base).filter(|(path, ..)| view.sees(path));
        let put = |value: &Value| Act::Put(view.values.then(|| value.clone()));
        entries
            .map(|(path, rev, value)| Change { path: path.clone(), rev, act: put(value) })
            .collect()
    }

    /// Returns the revisions of all commits.
    pub(crate) fn revisions(&self) -> Vec<Revision> {
        self.0.lock().unwrap().keys().copied().collect()
    }
}

/// A broker whose trees are all kept, and the networks in front of it.
pub(crate) struct World {
    pub(crate) broker: Running,
    pub(crate) trees: Trees,
    pub(crate) cutting: Proxy,
    pub(crate) stalling: Proxy,
    pub(crate) random: Random,
    /// How many writers there were: each has a number of its own.
    pub(crate) writers: u32,
}

impl World {
    /// Makes a world with these keys of `broker.toml`.
    pub(crate) async fn new(toml: &str) -> World {
        let mut random = Random::new(seed());
        let trees = Trees::default();
        let kept = trees.clone();
        let keep = move |commit: &onetree_core::Commit, tree: &Tree| {
            let before = kept.0.lock().unwrap().insert(commit.rev, tree.clone());
            assert!(before.is_none(), "{} was given to two commits", commit.rev);
        };
        let hooks = Hooks { on_commit: Some(Arc::new(keep)), ..Hooks::default() };
        let config = config(&format!("heartbeat_ms = 100\n{toml}"));
        let broker = Broker::start_with(config, MemoryStore::new(), hooks).await.unwrap();
        let cut = Faults { cut: Some(20..300), ..Faults::default() };
        let stall = Faults { stall: Some(200..600), ..Faults::default() };
        let cutting = Proxy::start(broker.addr(), cut, random.split()).await.unwrap();
        let stalling = Proxy::start(broker.addr(), stall, random.split()).await.unwrap();
        World { broker, trees, cutting, stalling, random, writers: 0 }
    }

    /// Starts followers of every kind: of the whole and of parts, over a good network and bad ones.
    pub(crate) async fn followers(&self) -> Vec<Follower> {
        let part = View { values: false, ..View::tree(path("/t/b")) };
        let logs = vec![Pattern::parse("*/log/*").unwrap(), Pattern::parse("**/x").unwrap()];
        let matched = View { patterns: logs, ..View::tree(path("/t")) };
        let (direct, cut, stalled) = (self.broker.url(), self.cutting.url(), self.stalling.url());
        let mut followers = Vec::new();
        for (url, view, every) in [
            (&direct, View::tree(path("/")), None),
            (&cut, View::tree(path("/")), None),
            (&stalled, View::tree(path("/")), None),
            (&direct, View::tree(path("/")), Some(Duration::from_millis(40))),
            (&cut, matched, None),
            (&stalled, part, None),
        ] {
            followers.push(Follower::start(url, view, every, &self.trees).await);
        }
        followers
    }

    /// Runs writers over a network that cuts their connections. Returns the revision of the last
    /// write.
    pub(crate) async fn write(&mut self, writers: u32, writes: u32) -> Revision {
        let mut writing = JoinSet::new();
        for _ in 0..writers {
            let (number, random) = (self.writers, self.random.split());
            self.writers += 1;
            let writer = Writer::new(&self.cutting.url(), number, random).await;
            writing.spawn(writer.run(writes));
        }
        let written = timeout(PATIENCE, writing.join_all()).await.expect("the writers hang");
        written.into_iter().max().unwrap()
    }

    /// From now on nothing fails.
    pub(crate) fn calm(&self) {
        self.cutting.calm();
        self.stalling.calm();
    }
}

/// Makes a client that reconnects quickly, because it is cut off often.
pub(crate) async fn client(url: &str) -> Client {
    let options = Options::new(url)
        .reconnect(Reconnect::Always)
        .request_timeout(PATIENCE)
        .backoff(Duration::from_millis(5), Duration::from_millis(50));
    Client::connect(options).await.unwrap()
}

/// A writer that does a bit of everything.
struct Writer {
    client: Client,
    number: u32,
    random: Random,
}

impl Writer {
    async fn new(url: &str, number: u32, random: Random) -> Writer {
        Writer { client: client(url).await, number, random }
    }

    async fn run(mut self, writes: u32) -> Revision {
        let mut waiting = std::collections::VecDeque::new();
        let mut last = Revision::ZERO;
        let mut logged = Vec::new();
        for n in 0..writes {
            let write = self.some(n, &logged);
            waiting.push_back(self.client.enqueue(write).await.unwrap());
            if waiting.len() >= IN_FLIGHT {
                last = last.max(answer(waiting.pop_front().unwrap(), &mut logged).await);
            }
        }
        for pending in waiting {
            last = last.max(answer(pending, &mut logged).await);
        }
        self.client.close().await;
        last
    }

    /// Returns the `n`th write. Each writer counts in its own log: no number may be missing or
    /// appear twice.
    fn some(&mut self, n: u32, logged: &[Path]) -> Write {
        let random = &mut self.random;
        let topic = format!("/t/{}", ["a", "b", "c"][random.within(0..3) as usize]);
        let entry = format!("{topic}/{}", random.within(0..12));
        let count = Value::text(&format!("{n}"));
        match random.within(0..20) {
            0..6 => Put::new(path(&entry), count).into(),
            6..8 => Put::new(path(&format!("{entry}/x")), count).into(),
            8..11 => Delete::new(path(&entry)).into(),
            11 => DropTree::new(path(if n.is_multiple_of(3) { &topic } else { &entry })).into(),
            12..15 => Append::new(path(&format!("{topic}/log")), count).into(),
            15 => match logged.last().and_then(|path| Some((path.parent()?, LogKey::of(path)?))) {
                Some((log, to)) => Trim::new(log, to).into(),
                None => Append::new(path(&format!("{topic}/log")), count).into(),
            },
            16..18 => {
                let both = Value::text(&format!("{} of {}", n, self.number));
                let txn = Txn::new().put(path("/pair/x"), both.clone());
                txn.delete(path(&entry)).put(path("/pair/y"), both).into()
            }
            _ => Append::new(path(&format!("/count/{}", self.number)), count).into(),
        }
    }
}

async fn answer(pending: Pending<Done>, logged: &mut Vec<Path>) -> Revision {
    match pending.await {
        Ok(done) => {
            logged.extend(done.paths.into_iter().filter(|path| path.as_str().starts_with("/t")));
            done.rev
        }
        Err(Error::Refused(refusal)) => panic!("refused: {refusal}"),
        Err(error) => panic!("{error}"),
    }
}

/// A follower, which checks every step.
pub(crate) struct Follower {
    pub(crate) client: Client,
    pub(crate) mirror: Mirror,
    looking: JoinHandle<Looked>,
}

/// What a follower has seen.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// The revisions that it was at, in order.
    pub(crate) revs: Vec<Revision>,
    /// How often its connection was lost, and how often it was refreshed.
    pub(crate) lost: u32,
    pub(crate) refreshed: u32,
    /// How many digests were compared.
    pub(crate) verified: u32,
    /// What was wrong, one list for each promise.
    pub(crate) not_ordered: Vec<String>,
    pub(crate) not_snapshot: Vec<String>,
    pub(crate) not_atomic: Vec<String>,
    pub(crate) not_verified: Vec<String>,
}

impl Follower {
    pub(crate) async fn start(
        url: &str,
        view: View,
        every: Option<Duration>,
        trees: &Trees,
    ) -> Follower {
        let client = client(url).await;
        let options = every.into_iter().fold(MirrorOptions::new(), MirrorOptions::every);
        let mirror = client.mirror(view.clone(), options);
        let looking = tokio::spawn(look(mirror.changes(), view, trees.clone()));
        Follower { client, mirror, looking }
    }

    /// Waits until it is at `rev`, and ends it.
    pub(crate) async fn finish(self, rev: Revision) -> Looked {
        let reached = timeout(PATIENCE, self.mirror.at(rev)).await;
        reached.unwrap_or_else(|_| panic!("{:?} is not at {rev}", self.mirror.snapshot())).unwrap();
        self.client.close().await;
        self.looking.await.unwrap()
    }
}

async fn look(mut changes: Changes, view: View, trees: Trees) -> Looked {
    let mut looked = Looked::default();
    while let Some(event) = changes.next().await {
        let rev = match &event {
            Event::Fresh { rev, .. } | Event::Delta { rev, .. } => *rev,
            Event::Offline { .. } => {
                looked.lost += 1;
                continue;
            }
            Event::Refreshing { .. } => {
                looked.refreshed += 1;
                continue;
            }
            Event::Synced { verified, .. } => {
                looked.verified += u32::from(*verified);
                continue;
            }
            Event::Corrupt { .. } | Event::Broken { .. } | Event::Circling { .. } => {
                looked.not_verified.push(format!("{event:?}"));
                continue;
            }
            _ => continue,
        };
        let shown = changes.snapshot();
        look_at(&mut looked, &event, &view, &trees, &shown);
        // A refresh may end at the revision that the mirror was at already.
        if looked.revs.last() != Some(&rev) {
            looked.revs.push(rev);
        }
    }
    looked
}

fn look_at(looked: &mut Looked, event: &Event, view: &View, trees: &Trees, shown: &Snapshot) {
    let before = looked.revs.last().copied();
    let told = match event {
        Event::Delta { since, rev, .. } => {
            if before.is_some_and(|before| *since < before) || since >= rev {
                looked.not_ordered.push(format!("a delta from {since} to {rev} at {before:?}"));
            }
            *rev
        }
        Event::Fresh { rev, .. } => *rev,
        _ => return,
    };
    if before.is_some_and(|before| told < before) || shown.rev() < told {
        looked.not_ordered.push(format!("from {before:?} to {told}, shown {}", shown.rev()));
    }
    let expected = trees.seen(view, shown.rev());
    if !expected.iter().cloned().eq(shown.entries()) {
        let has: Vec<Change> = shown.entries().collect();
        let wrong = expected.iter().find(|change| !has.contains(change));
        let extra = has.iter().find(|change| !expected.contains(change));
        looked
            .not_snapshot
            .push(format!("at {} it lacks {wrong:?} and has {extra:?} ({event:?})", shown.rev()));
    }
    let value = |name| shown.get(&path(name)).map(|entry| entry.value.clone());
    if view.base.is_root() && value("/pair/x") != value("/pair/y") {
        looked.not_atomic.push(format!("half a pair at {}", shown.rev()));
    }
}
