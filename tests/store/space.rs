//! How much of the disk is used: at most three times the live data, also while the tree is saved,
//! and however long the history is.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use onetree::store::Store;
use onetree::store::files::{self, FileOptions, FileStore, OpenedStore, Storage, Watch, Watched};
use onetree_core::{Author, Bounds, Commit, Effect, Request, Retention, Settings, State, Time};
use onetree_protocol::frame::Do;
use onetree_protocol::{DigestKey, Epoch, Name, Pattern, Value};

use super::rng::Rng;
use super::simulated::{Keep, Op, Simulated};
use super::work::{Whole, Worker, keep, path, wait, work};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// The size of log files, small beside the live data.
const FILE: u64 = 4096;

/// Returns the size of the live data: paths and values.
fn live(state: &State) -> usize {
    let snapshot = state.snapshot();
    let entries = snapshot.entries(&path("/"));
    entries.map(|(path, _, value)| path.as_str().len() + value.bytes.len()).sum()
}

/// A year of a tree whose entries come and go, while the live data stays the same size.
struct Year {
    state: State,
    rng: Rng,
    now: Time,
    /// What was committed, by kind; what the broker does by itself counts separately.
    kinds: BTreeMap<String, u32>,
}

fn settings() -> Settings {
    let rule = |log: &str, keep, max_age_ms, max_bytes| Retention {
        pattern: Pattern::parse(log).unwrap(),
        keep,
        max_age_ms,
        max_bytes,
    };
    Settings {
        epoch: Epoch(3),
        digest_key: DigestKey(0x5eed),
        bounds: Bounds {
            tombstones: 80,
            tombstone_ms: 2 * DAY,
            dedup_ms: 5 * DAY,
            grace_ms: HOUR,
            ..Bounds::default()
        },
        retention: vec![
            rule("log/kept", Some(40), None, None),
            rule("log/aged", None, Some(3 * DAY), None),
            rule("log/sized", None, None, Some(6000)),
        ],
    }
}

impl Year {
    fn write(&mut self, client: Option<&str>, session: Option<&Name>, changes: Vec<Do>) -> Batch {
        let seq = client.map(|_| 1);
        let client = client.map(|name| Name::parse(name).unwrap());
        let author = Author { client, session: session.cloned(), since: None };
        let outcome =
            self.state.write(self.now, &author, &Request { seq, changes, ..Request::default() });
        outcome.answer.unwrap();
        outcome.commit.into_iter().collect()
    }

    fn put(&mut self, at: String, bytes: usize, ttl_ms: Option<u64>) -> Batch {
        let value = Value::text(&"v".repeat(bytes - 20 + self.rng.below(40)));
        let put = Do::Put { path: path(&at), value, ttl_ms, ephemeral: false };
        self.write(None, None, vec![put])
    }

    /// Two hours of a day.
    fn hours(&mut self, day: u64, part: u64) -> Batch {
        self.now = Time(day * DAY + part * 2 * HOUR + self.rng.below(HOUR as usize) as u64);
        let mut batch = Batch::new();
        // Entries that stay, and change.
        for _ in 0..4 {
            let at = format!("/site/{}", self.rng.below(200));
            batch.extend(self.put(at, 300, None));
        }
        // Each day has its own entries, which are deleted a week later, all at once or one by one.
        for n in 0..2 {
            batch.extend(self.put(format!("/gen/{day}/{}", part * 2 + n), 300, None));
        }
        if let Some(old) = day.checked_sub(7).filter(|_| part == 0) {
            let old = format!("/gen/{old}");
            if old.len() % 2 == 0 {
                let all = (0..24).map(|n| Do::Delete { path: path(&format!("{old}/{n}")) });
                let all = all.collect();
                batch.extend(self.write(None, None, all));
            } else {
                batch.extend(self.write(None, None, vec![Do::Drop { path: path(&old) }]));
            }
        }
        batch.extend(self.put(format!("/cache/{}", day % 9 * 12 + part), 300, Some(DAY)));
        for log in ["/log/kept", "/log/aged", "/log/sized"] {
            let value = Value::text(&"l".repeat(100 + self.rng.below(40)));
            let append = Do::Append { path: path(log), value, ttl_ms: None, ephemeral: false };
            batch.extend(self.write(None, None, vec![append]));
        }
        // On some days nothing is deleted: then tombstones expire by their age.
        if day % 10 < 5 {
            for n in 0..6 {
                let at = format!("/short/{}", part * 6 + n);
                batch.extend(self.put(at.clone(), 50, None));
                batch.extend(self.write(None, None, vec![Do::Delete { path: path(&at) }]));
            }
        }
        if part == 3 {
            let client = format!("client-{day}");
            let value = Value::text("once");
            let put = Do::Put { path: path("/once"), value, ttl_ms: None, ephemeral: false };
            batch.extend(self.write(Some(&client), None, vec![put]));
            let session = Name::parse(&format!("s-{day}")).unwrap();
            self.state.open_session(self.now, Some(&session), session.clone()).unwrap();
            let (path, value) = (path("/here"), Value::text("here"));
            let put = Do::Put { path, value, ttl_ms: None, ephemeral: true };
            batch.extend(self.write(None, Some(&session), vec![put]));
            self.state.end_session(self.now, &session);
        }
        while let Some(commit) = self.state.housekeep(self.now) {
            for effect in &commit.effects {
                let kind = match effect {
                    Effect::Delete { path } => {
                        path.as_str().split('/').nth(1).unwrap_or_default().to_owned()
                    }
                    Effect::Trim { path, .. } => path.as_str().to_owned(),
                    Effect::Compact { .. } if day % 10 < 5 => "compact, many".to_owned(),
                    Effect::Compact { .. } => "compact, old".to_owned(),
                    Effect::Forget { .. } => "forget".to_owned(),
                    other => panic!("{other:?}"),
                };
                *self.kinds.entry(kind).or_default() += 1;
            }
            batch.push(commit);
        }
        batch
    }
}

type Batch = Vec<Arc<Commit>>;

fn open(storage: Arc<dyn Storage>, settings: Settings, file: u64) -> (FileStore, State) {
    let options = FileOptions { interval: None, log_file_bytes: file, save_after_bytes: file };
    let OpenedStore { store, state, .. } = files::open(storage, settings, options).unwrap();
    (store, state)
}

#[test]
fn a_year_of_churn_takes_at_most_three_times_what_lives() {
    let mut rng = Rng::any();
    let mut storage = Simulated::default();
    let (mut store, state) = open(Arc::new(storage.clone()), settings(), FILE);
    let seed = Rng::new(rng.below(usize::MAX) as u64);
    let mut year = Year { state, rng: seed, now: Time(1), kinds: BTreeMap::new() };
    let first: Batch = (0..200).flat_map(|n| year.put(format!("/site/{n}"), 300, None)).collect();
    wait(store.append(&first)).unwrap();
    // Compare the least live data of the year with the most use of the disk: that is the hardest
    // case.
    let (mut least, mut most, mut saves, mut starts) = (usize::MAX, 0, 0, 0);
    let mut commits = first.len();
    for day in 1..=365 {
        for part in 0..12 {
            let batch = year.hours(day, part);
            commits += batch.len();
            wait(store.append(&batch)).unwrap();
            if store.save_due() {
                saves += 1;
                store.save(year.state.checkpoint());
            }
            // In its first two weeks the tree is still growing.
            let bytes = storage.most();
            if day > 14 {
                most = most.max(bytes);
                if part % 4 == 0 {
                    least = least.min(live(&year.state));
                }
            }
        }
        for (log, bound) in [("/log/kept", 40), ("/log/aged", 3 * 12), ("/log/sized", 6000 / 110)] {
            let entries = year.state.snapshot().entries(&path(log)).count();
            assert!(entries <= bound + bound / 8 + 12, "day {day}: {log} has {entries} entries");
        }
        if day % 30 == 0 {
            starts += 1;
            let keep = match starts % 3 {
                0 => Keep::Nothing,
                1 => Keep::Everything,
                _ => Keep::Some(&mut rng),
            };
            storage = storage.crash(keep);
            let (again, state) = open(Arc::new(storage.clone()), settings(), FILE);
            assert!(Whole::of(&state) == Whole::of(&year.state), "after a start on day {day}");
            (store, year.state) = (again, state);
        }
    }
    println!(
        "{commits} commits, {saves} trees saved, {starts} starts; {least} bytes live at least, {most} were taken at most: {:.2} times; {:?}",
        most as f64 / least as f64,
        year.kinds
    );
    assert!(most <= 3 * least, "{most} bytes on the disk for {least} that live");
    assert!(saves > 100, "{saves}");
    for kind in [
        "cache",
        "here",
        "/log/kept",
        "/log/aged",
        "/log/sized",
        "compact, many",
        "compact, old",
        "forget",
    ] {
        assert!(year.kinds.get(kind).is_some_and(|count| *count > 20), "{kind}: {:?}", year.kinds);
    }
}

/// Each start begins a file, however little is in the one before.
#[test]
fn one_start_after_the_other_leaves_few_files() {
    let mut storage = Simulated::default();
    let mut saves = 0;
    for life in 0..40 {
        let OpenedStore { mut store, state, .. } = super::work::open(&storage, false).unwrap();
        let mut worker = Worker::new(state, Rng::new(life));
        keep(&mut store, &mut worker).unwrap();
        let logs = || storage.files().iter().filter(|(name, _)| name.starts_with("log-")).count();
        if worker.saves > 0 {
            saves += 1;
            let end = Instant::now() + Duration::from_secs(60);
            while logs() > 1 && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        assert!(logs() <= 4, "life {life}: {:?}", storage.files());
        wait(store.close()).unwrap();
        storage = storage.crash(Keep::Nothing);
    }
    assert!(saves > 5, "{saves}");
}

/// The process ends when the new tree has its name and the old one is still there: without this,
/// there would be three of them while the next is saved.
#[test]
fn a_start_removes_what_the_saved_tree_has_made_superfluous() {
    let (run, _store) = work(Rng::any(), 300, false);
    let world = Simulated::default();
    let mut both = 0;
    for op in run.storage.ops() {
        world.replay(&op);
        let trees = |image: &Simulated| {
            image.files().iter().filter(|(name, _)| name.starts_with("tree-")).count()
        };
        if !matches!(op, Op::Rename { .. }) || trees(&world) < 2 {
            continue;
        }
        both += 1;
        let image = world.kill();
        let opened = super::work::open(&image, false).unwrap();
        assert_eq!(trees(&image), 1, "{:?}", image.files());
        let begun = image.ops();
        let at = |is: fn(&Op) -> bool| begun.iter().position(is).unwrap();
        let (cleared, made) = (
            at(|op| matches!(op, Op::Remove { name } if name.starts_with("tree-"))),
            at(|op| matches!(op, Op::Create { name, .. } if name == "new.tmp")),
        );
        assert!(cleared < made, "a new file may need the room: {begun:?}");
        let logs: Vec<u64> = image
            .files()
            .iter()
            .filter_map(|(name, _)| files::revision_of(name).filter(|_| name.starts_with("log-")))
            .collect();
        let superfluous = logs.windows(2).filter(|pair| pair[1] <= opened.report.saved + 1).count();
        assert_eq!(superfluous, 0, "{:?}", image.files());
        let again = super::work::open(&image.crash(Keep::Nothing), false).unwrap();
        assert!(Whole::of(&again.state) == Whole::of(&opened.state));
    }
    assert!(both > 0, "no tree was saved over another");
}

/// On this disk trees are written slowly.
#[derive(Clone)]
struct Slow;

impl Watch for Slow {
    fn writes(&self, name: &str, _bytes: usize) -> io::Result<()> {
        if name == "tree.tmp" {
            std::thread::sleep(Duration::from_millis(40));
        }
        Ok(())
    }
}

/// On this disk a tree is not written before it is allowed.
#[derive(Clone, Default)]
struct Held(Arc<AtomicBool>);

impl Watch for Held {
    fn writes(&self, name: &str, _bytes: usize) -> io::Result<()> {
        while name == "tree.tmp" && !self.0.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

#[test]
fn what_was_acknowledged_is_synced_in_its_interval_while_the_next_batch_waits_for_the_tree() {
    let (storage, allowed) = (Simulated::default(), Held::default());
    let held = Arc::new(Watched::new(storage.clone(), allowed.clone()));
    let interval = Some(Duration::from_millis(200));
    let options = FileOptions { interval, log_file_bytes: FILE, save_after_bytes: FILE };
    let opened = files::open(held, settings(), options).unwrap();
    let OpenedStore { mut store, mut state, .. } = opened;
    let clock = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (mut acknowledged, mut saves) = (0, false);
    loop {
        let put = Do::Put {
            path: path(&format!("/{acknowledged}")),
            value: Value::text(&"v".repeat(500)),
            ttl_ms: None,
            ephemeral: false,
        };
        let request = Request { changes: vec![put], ..Request::default() };
        let commit = state.write(Time(1), &Author::default(), &request).commit;
        let commits: Batch = commit.into_iter().collect();
        let stored = store.append(&commits);
        let wait = Duration::from_millis(100);
        match clock.block_on(async { tokio::time::timeout(wait, stored).await }) {
            Ok(stored) => stored.unwrap(),
            Err(_) => break,
        }
        acknowledged += 1;
        if !saves && store.save_due() {
            saves = true;
            store.save(state.checkpoint());
        }
        assert!(acknowledged < 1_000, "nothing waits for the tree");
    }
    let begun = Instant::now();
    loop {
        let image = Arc::new(storage.crash(Keep::Nothing));
        let there = files::open(image, settings(), options).unwrap().state;
        let entries = there.snapshot().summary(&path("/")).live;
        if entries >= acknowledged {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{entries} of {acknowledged}");
        std::thread::sleep(Duration::from_millis(10));
    }
    allowed.0.store(true, Ordering::Relaxed);
    wait(store.close()).unwrap();
}

/// So that commits have the room of the log while the large file is removed piece by piece.
#[test]
fn the_log_that_a_tree_makes_superfluous_goes_before_the_tree_before_it() {
    let (run, mut store) = work(Rng::new(7), 900, false);
    wait(store.close()).unwrap();
    let (mut logs, mut trees, mut both) = (0, 0, 0);
    for op in run.storage.ops() {
        match op {
            Op::Rename { to, .. } if to.starts_with("tree-") => (logs, trees) = (0, 0),
            Op::Remove { name } if name.starts_with("log-") => {
                assert_eq!(trees, 0, "{name} went behind a tree");
                logs += 1;
            }
            Op::Remove { name } if name.starts_with("tree-") => {
                trees += 1;
                both += u32::from(logs > 0);
            }
            _ => {}
        }
    }
    assert!(both > 1, "{both} trees were removed behind a part of the log");
}

/// Commits come as fast as they are stored: beside a slow save they wait for it, and do not wait
/// for ever if the tree cannot be saved.
#[test]
fn while_a_tree_is_saved_slowly_the_log_does_not_outgrow_it() {
    const ENTRIES: usize = 2_000;
    const VALUE: usize = 1_000;
    let storage = Simulated::default();
    let file = 64 * 1024;
    let slow = Watched::new(storage.clone(), Slow);
    let (mut store, mut state) = open(Arc::new(slow), settings(), file);
    let (mut saves, mut begun, mut n) = (0, 0, 0);
    let mut most = 0;
    while saves < 4 {
        let mut batch = Batch::new();
        for _ in 0..8 {
            let (path, value) =
                (path(&format!("/site/{}", n % ENTRIES)), Value::text(&"v".repeat(VALUE)));
            let put = Do::Put { path, value, ttl_ms: None, ephemeral: false };
            let request = Request { changes: vec![put], ..Request::default() };
            batch.extend(state.write(Time(n as u64), &Author::default(), &request).commit);
            n += 1;
        }
        wait(store.append(&batch)).unwrap();
        if store.save_due() {
            // Before that, the tree is growing.
            saves += u32::from(n >= ENTRIES);
            store.save(state.checkpoint());
            begun = n;
        }
        let bytes = storage.most();
        if saves > 1 {
            most = most.max(bytes);
        }
    }
    let live = live(&state);
    println!(
        "{n} commits, {most} bytes at most for {live} that live; the last save began at {begun}"
    );
    assert_eq!(live / ENTRIES, VALUE + "/site/1000".len() - 1, "all of it is there");
    assert!(most > 2 * live, "{most}: no tree was being saved");
    assert!(most <= 3 * live, "{most} bytes on the disk for {live} that live");
}
