//! The promises, over sockets and networks that fail; each test has the name of a promise.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onetree::store::MemoryStore;
use onetree::{Broker, Hooks};
use onetree_client::protocol::{Digest, DigestKey, json as text};
use onetree_client::{
    Act, Append, Change, Depth, Event, MirrorOptions, Path, Pattern, Put, RefreshKind, Revision,
    Value, Verdict, View, Write,
};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::address::address_of_our_own;
use crate::http::told;
use crate::irc::random::Random;
use crate::load::Load;
use crate::power::rng;
use crate::power::simulated::{Keep, Simulated};
use crate::wire::{Wire, broker, broker_at, config, kept_unread};
use crate::world::{Follower, Looked, PATIENCE, Trees, World, client, path, seed};

/// Runs writers and followers against each other. Returns what each follower saw.
async fn run(world: &mut World, writes: u32) -> Vec<Looked> {
    let followers = world.followers().await;
    let load = Load::puts(&world.broker).await;
    let mut last = world.write(4, writes).await;
    // On a fast machine the writes are over before anything goes wrong, so write more.
    while world.cutting.cuts() < 5 || world.stalling.stalls() < 2 {
        last = world.write(4, writes).await;
    }
    drop(load);
    world.calm();
    let mut looked = Vec::new();
    for follower in followers {
        looked.push(follower.finish(last).await);
    }
    assert!(looked.iter().any(|looked| looked.lost > 0), "nobody was cut off");
    looked
}

#[tokio::test(flavor = "multi_thread")]
async fn ordered() {
    let mut world = World::new("").await;
    let _load = Load::signals(&world.broker).await;
    let mut steps = 0;
    for looked in run(&mut world, 300).await {
        assert_eq!(looked.not_ordered, Vec::<String>::new());
        assert!(looked.revs.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", looked.revs);
        steps += looked.revs.len();
    }
    assert!(steps > 50, "{steps} steps were looked at");
    let revisions = world.trees.revisions();
    assert!(revisions.windows(2).all(|pair| pair[0].get() + 1 == pair[1].get()), "one by one");
}

/// The power fails at any moment, and the disk has only what was synced, or by chance some of the
/// rest. What was acknowledged before is there, in the same history.
#[tokio::test(flavor = "multi_thread")]
async fn durable() {
    let mut random = Random::new(seed());
    let disk = Simulated::default();
    let small = "log_file_bytes = 16384\nsave_after_bytes = 16384";
    let start = async |disk: &Simulated| {
        let broker = Broker::start_from(config(small), Arc::new(disk.clone()), Hooks::default());
        broker.await.unwrap()
    };
    let broker = start(&disk).await;
    let _load = Load::signals(&broker).await;
    let epoch = Wire::hello(broker.addr(), json!({})).await.1["epoch"].clone();
    let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
    let mut writing = JoinSet::new();
    for number in 0..4 {
        let (client, mut random) = (client(&broker.url()).await, random.split());
        let acknowledged = acknowledged.clone();
        writing.spawn(async move {
            for n in 0.. {
                let text = format!("{n:0$}", random.within(1..600) as usize);
                let entry = path(&format!("/entry/{number}/{}", random.within(0..9)));
                let write: Write = match random.within(0..3) {
                    0 => Append::new(path("/log"), Value::text(&text)).into(),
                    _ => Put::new(entry.clone(), Value::text(&text)).into(),
                };
                let done = client.write(write).await.unwrap();
                assert!(done.durable);
                let at = done.paths.first().cloned().unwrap_or(entry);
                acknowledged.lock().unwrap().insert(at, (done.rev, text));
            }
        });
    }
    for crash in 0..12 {
        let (count, more) = (acknowledged.lock().unwrap().len(), random.within(1..40) as usize);
        let grown = async {
            while acknowledged.lock().unwrap().len() < count + more {
                sleep(Duration::from_millis(random.within(1..10))).await;
            }
        };
        timeout(PATIENCE, grown).await.expect("nothing is acknowledged");
        // Copy what was acknowledged first: acknowledgements after this need not survive.
        let expected = acknowledged.lock().unwrap().clone();
        let mut chance = rng::Rng::new(random.bits());
        let left = match random.within(0..2) {
            0 => Keep::Nothing,
            _ => Keep::Some(&mut chance),
        };
        let again = start(&disk.crash(left)).await;
        let (_wire, welcome) = Wire::hello(again.addr(), json!({})).await;
        assert_eq!(welcome["epoch"], epoch, "crash {crash}");
        let mirror = client(&again.url()).await.mirror(View::tree(path("/")), MirrorOptions::new());
        mirror.fresh().await.unwrap();
        let found = mirror.snapshot();
        for (path, (rev, text)) in expected {
            let entry = found.get(&path);
            let entry = entry.unwrap_or_else(|| panic!("crash {crash}: {path} of {rev} is gone"));
            let same = entry.rev > rev || entry.value == Some(Value::text(&text));
            assert!(entry.rev >= rev && same, "crash {crash}: {path} of {rev} is {entry:?}");
        }
    }
    assert!(writing.try_join_next().is_none(), "a writer has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot() {
    // Small outboxes: subscribers that fall behind get folded changes.
    let mut world = World::new("outbox_frames = 16\nheld_snapshots = 2\nhold_ms = 20").await;
    let _load = Load::signals(&world.broker).await;
    let mut steps = 0;
    for looked in run(&mut world, 600).await {
        assert_eq!(looked.not_snapshot, Vec::<String>::new());
        steps += looked.revs.len();
    }
    assert!(steps > 50, "{steps} steps were looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn atomic() {
    let mut world = World::new("outbox_frames = 16\nframe_bytes = 65536\nvalue_bytes = 1024").await;
    let _load = Load::signals(&world.broker).await;
    for looked in run(&mut world, 600).await {
        assert_eq!(looked.not_atomic, Vec::<String>::new());
    }
}

/// A commit that is larger than a frame comes live in parts, which count as one step all the same.
#[tokio::test]
async fn atomic_in_parts() {
    let broker = broker("outbox_bytes = 16777216").await;
    let _load = Load::signals(&broker).await;
    let (mut wire, writer) = (Wire::open(broker.addr()).await, client(&broker.url()).await);
    wire.sub(1, "/").await;
    let mirror = writer.mirror(View::tree(path("/")), MirrorOptions::new());
    let mut changes = mirror.changes();
    mirror.fresh().await.unwrap();
    let large = Value::text(&"x".repeat(900_000));
    let txn = onetree_client::Txn::new();
    let txn = ["/a", "/b"].iter().fold(txn, |txn, name| txn.put(path(name), large.clone()));
    let rev = writer.txn(txn).await.unwrap().rev;
    let mut parts = 0;
    loop {
        let delta = wire.next().await;
        assert_eq!((&delta["op"], &delta["rev"]), (&json!("delta"), &json!(rev.get())));
        parts += 1;
        if delta["part"] != true {
            break;
        }
    }
    assert!(parts > 1, "it came in one frame");
    mirror.at(rev).await.unwrap();
    while let Some(event) = changes.try_next() {
        if let Event::Delta { changes, .. } = event {
            assert_eq!(changes.len(), 2, "all at once");
        }
    }
    assert_eq!(mirror.snapshot().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn convergent_after_disconnects_lag_and_compaction() {
    let mut world = World::new("outbox_frames = 16\ntombstones = 20").await;
    let _load = Load::signals(&world.broker).await;
    let looked = run(&mut world, 600).await;
    // The end of each refresh is compared with the tree at its revision, as every step is.
    assert!(looked.iter().all(|looked| looked.not_snapshot.is_empty()), "{looked:?}");
    assert!(looked.iter().any(|looked| looked.refreshed > 1), "nobody came back");
}

#[tokio::test]
async fn convergent_after_a_restart_of_the_broker() {
    let (_ours, address) = address_of_our_own();
    let first = broker_at(address, "shutdown_spread_ms = 1", MemoryStore::new()).await;
    let load = Load::signals(&first).await;
    let client = client(&first.url()).await;
    client.put(path("/a"), Value::text("old")).await.unwrap();
    let mirror = client.mirror(View::tree(path("/")), MirrorOptions::new());
    mirror.fresh().await.unwrap();
    let mut changes = mirror.changes();
    // Events that are not read are folded, and then nothing of the old history would ever be seen.
    assert!(matches!(changes.next().await, Some(Event::Fresh { .. })));
    drop(load);
    first.shutdown().await;
    let second = broker_at(address, "", MemoryStore::new()).await;
    let writer = crate::world::client(&second.url()).await;
    let rev = writer.put(path("/b"), Value::text("new")).await.unwrap().rev;
    let gone = |event: &Event| match event {
        Event::Fresh { changes, .. } => changes.iter().any(|change| change.act == Act::Delete),
        _ => false,
    };
    timeout(PATIENCE, async { while !gone(&changes.next().await.unwrap()) {} }).await.unwrap();
    mirror.at(rev).await.unwrap();
    let paths: Vec<Path> = mirror.snapshot().iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(paths, [path("/b")]);
    second.shutdown().await;
}

/// A saved copy with one entry too many, one too few, and one that differs: of a whole tree, whose
/// digest is known, and of views that are walked for it.
#[tokio::test]
async fn convergent_after_corruption_of_the_copy() {
    let broker = broker("").await;
    let _load = Load::signals(&broker).await;
    let writer = client(&broker.url()).await;
    for n in 0..20 {
        writer.put(path(&format!("/a/{n}")), Value::text("v")).await.unwrap();
        writer.put(path(&format!("/a/{n}/x")), Value::text("v")).await.unwrap();
    }
    let tree = View::tree(path("/a"));
    let children = View { depth: Depth::Children, ..tree.clone() };
    let matched = View { patterns: vec![Pattern::parse("*/x").unwrap()], ..tree.clone() };
    let plain = View { values: false, ..matched.clone() };
    for (view, entries) in [(tree, 40), (children, 20), (matched, 20), (plain, 20)] {
        let mirror = writer.mirror(view.clone(), MirrorOptions::new());
        mirror.fresh().await.unwrap();
        let right: Vec<Change> = mirror.snapshot().entries().collect();
        assert_eq!(right.len(), entries, "{view:?}");
        let cookie = mirror.cookie().unwrap();
        let beside = path(&right[0].path.as_str().replace("/0", "/stray"));
        assert!(view.sees(&beside), "{view:?} does not see {beside}");
        let stray = Change { path: beside, ..right[0].clone() };
        let older = Change { rev: Revision::new(1).unwrap(), ..right[3].clone() };
        let (mut more, mut less, mut other) = (right.clone(), right.clone(), right.clone());
        more.push(stray);
        less.remove(7);
        other[3] = older;
        for wrong in [more, less, other] {
            let options = MirrorOptions::new().from_cookie(cookie, wrong);
            let client = client(&broker.url()).await;
            let mirror = client.mirror(view.clone(), options);
            let mut changes = mirror.changes();
            mirror.fresh().await.unwrap();
            assert!(mirror.snapshot().entries().eq(right.iter().cloned()), "{view:?}");
            let corrupt = async {
                while let Some(event) = changes.next().await {
                    if let Event::Corrupt { .. } = event {
                        return true;
                    }
                }
                false
            };
            assert!(timeout(PATIENCE, corrupt).await.unwrap(), "nobody was told: {view:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn complete() {
    let mut world = World::new("outbox_frames = 16").await;
    let _load = Load::signals(&world.broker).await;
    let (writers, writes) = (4, 400);
    let mut followers = Vec::new();
    for url in [world.broker.url(), world.cutting.url(), world.stalling.url()] {
        let client = client(&url).await;
        let mirror = client.mirror(View::tree(path("/count")), MirrorOptions::new());
        let mut changes = mirror.changes();
        let seen = tokio::spawn(async move {
            let mut seen: Vec<(Path, Value)> = Vec::new();
            while let Some(event) = changes.next().await {
                let (Event::Fresh { changes, .. } | Event::Delta { changes, .. }) = event else {
                    continue;
                };
                for change in changes.iter() {
                    let Act::Put(Some(value)) = &change.act else { panic!("{change:?}") };
                    seen.push((change.path.clone(), value.clone()));
                }
            }
            seen
        });
        followers.push((client, mirror, seen));
    }
    let last = world.write(writers, writes).await;
    world.calm();
    for (client, mirror, seen) in followers {
        mirror.at(last).await.unwrap();
        let retained: Vec<Path> = mirror.snapshot().iter().map(|(path, _)| path.clone()).collect();
        client.close().await;
        let mut seen = seen.await.unwrap();
        // Within each log they are in order, so a stable sort by log makes the whole sorted.
        seen.sort_by_key(|(path, _)| path.parent());
        let seen: Vec<Path> = seen.into_iter().map(|(path, _)| path).collect();
        assert_eq!(seen, retained, "each entry of each log once, in order");
        assert!(seen.len() > 50);
    }
}

#[tokio::test]
async fn complete_where_retention_outran_the_reader() {
    let broker = broker("[[retention]]\npattern = \"log\"\nkeep = 10").await;
    let _load = Load::signals(&broker).await;
    let writer = client(&broker.url()).await;
    let append = |n: u32| writer.write(Append::new(path("/log"), Value::text(&n.to_string())));
    for n in 0..5 {
        append(n).await.unwrap();
    }
    let view = View::tree(path("/log"));
    let mirror = writer.mirror(view.clone(), MirrorOptions::new().once());
    mirror.fresh().await.unwrap();
    let (cookie, saved) = (mirror.cookie().unwrap(), mirror.snapshot());
    let mut last = Revision::ZERO;
    for n in 5..100 {
        last = append(n).await.unwrap().rev;
    }
    let mirror = writer.mirror(view, MirrorOptions::new().from_cookie(cookie, saved.entries()));
    let mut changes = mirror.changes();
    mirror.at(last).await.unwrap();
    let told = async {
        loop {
            if let Some(Event::Fresh { changes, .. }) = changes.next().await {
                return changes;
            }
        }
    };
    let told = timeout(PATIENCE, told).await.unwrap();
    let gap = |change: &&Change| matches!(change.act, Act::Trim { gap: true, .. });
    assert_eq!(told.iter().filter(gap).count(), 1, "{told:?}");
    let put = |change: &&Change| matches!(change.act, Act::Put(_));
    assert!(told.iter().filter(put).count() >= 10, "what is retained is not skipped: {told:?}");
}

/// 64 MiB pass through a few entries while one client does not read; more if the system buffers
/// more than 4 MiB of it. At no moment does more wait than the limits say, and the others get
/// everything.
#[tokio::test(flavor = "multi_thread")]
async fn bounded() {
    const OUTBOX: usize = 128 * 1024;
    const VALUE: usize = 32 * 1024;
    const ENTRIES: u64 = 4;
    // What a connection writes ahead: 64 KiB, and then what one turn makes: 32 KiB of live frames
    // and a frame of a refresh of 8 KiB, and one more when a held revision is released; each may
    // exceed its limit by one value.
    const AHEAD: usize = (64 + 32 + 8 + 8) * 1024 + 3 * (VALUE + 1024);
    let mut random = Random::new(seed());
    let toml = format!("outbox_bytes = {OUTBOX}\nvalue_bytes = {VALUE}\nframe_bytes = 262144");
    let broker = broker(&toml).await;
    let _load = Load::signals(&broker).await;
    let mut slow = Wire::narrow(broker.addr()).await;
    slow.sub(1, "/hot").await;
    let peer = slow.socket.get_ref().local_addr().unwrap().to_string();
    let writer = client(&broker.url()).await;
    let other = writer.mirror(View::tree(path("/hot")), MirrorOptions::new());
    other.fresh().await.unwrap();
    let (mut passed, mut last, mut looked) = (0, Revision::ZERO, 0);
    while passed < 16 * kept_unread() {
        let mut waiting = Vec::new();
        for _ in 0..random.within(1..64) {
            let value = format!("{:0$}", random.within(VALUE as u64 / 2..VALUE as u64) as usize);
            passed += value.len();
            let entry = path(&format!("/hot/{}", random.within(0..ENTRIES)));
            waiting.push(writer.enqueue(Put::new(entry, Value::text(&value))).await.unwrap());
        }
        for pending in waiting {
            last = pending.await.unwrap().rev;
        }
        let reached = timeout(PATIENCE, other.at(last)).await;
        reached.expect("others wait for the one that does not read").unwrap();
        let told = told(broker.addr(), "/v1/sessions").await;
        let all = told["connections"].as_array().unwrap();
        // On a busy machine, it may not have answered within the second.
        let Some(stands) = all.iter().find(|one| one["peer"] == *peer) else { continue };
        let bytes = |field: &str| stands[field].as_u64().unwrap() as usize;
        assert!(bytes("outbox_bytes") <= OUTBOX, "{stands}");
        assert!(bytes("unsent_bytes") <= AHEAD, "{stands}");
        looked += 1;
    }
    assert!(looked > 10, "it told of itself {looked} times");

    // It was not disconnected. What waited for it is what the system's socket buffers hold, what
    // the broker may hold, and the last state.
    let most = kept_unread() + OUTBOX + AHEAD + ENTRIES as usize * (VALUE + 1024);
    let mut bytes = 0;
    loop {
        let frame = slow.any().await;
        bytes += frame.to_string().len();
        if frame["rev"].as_u64() >= Some(last.get()) {
            break;
        }
    }
    assert!(bytes <= most, "{bytes} bytes waited of {passed}, not {most}");
    slow.put("/still/here", json!(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn once() {
    let mut world = World::new("").await;
    let _load = Load::signals(&world.broker).await;
    while world.cutting.cuts() < 10 {
        world.write(6, 400).await;
    }
    let reader = client(&world.broker.url()).await;
    for number in 0..world.writers {
        let view = View::tree(path(&format!("/count/{number}")));
        let mirror = reader.mirror(view, MirrorOptions::new());
        mirror.fresh().await.unwrap();
        let counts: Vec<u32> = mirror.snapshot().iter().map(|(_, entry)| count(entry)).collect();
        // A writer counts upwards; a duplicate would be equal, and a wrong order smaller.
        assert!(counts.windows(2).all(|pair| pair[0] < pair[1]), "writer {number}: {counts:?}");
        assert!(counts.len() > 10, "{counts:?}");
    }
}

fn count(entry: &onetree_client::Entry) -> u32 {
    let value = entry.value.as_ref().unwrap();
    std::str::from_utf8(&value.bytes).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn verifiable() {
    let mut world = World::new("").await;
    let _load = Load::signals(&world.broker).await;
    let looked = run(&mut world, 300).await;
    assert!(looked.iter().all(|looked| looked.not_verified.is_empty()), "{looked:?}");
    assert!(looked.iter().any(|looked| looked.verified > 0), "no digest was compared");

    // At any time, in constant size.
    let trees = Trees::default();
    let follower = Follower::start(&world.broker.url(), View::tree(path("/t")), None, &trees).await;
    follower.mirror.fresh().await.unwrap();
    let same = follower.mirror.verify().await.unwrap();
    assert_eq!(same, Verdict::Same { rev: follower.mirror.rev() });

    // Also exactly as the specification says: the sum of one hash for each entry, and their count.
    let (mut wire, welcome) = Wire::hello(world.broker.addr(), json!({})).await;
    let key = DigestKey::parse(welcome["digest_key"].as_str().unwrap()).unwrap();
    let (fresh, entries) = wire.sub(1, "/t").await;
    let mut digest = Digest::default();
    for entry in &entries {
        let entry = text::parse_change_line(&entry.to_string()).unwrap();
        digest.insert(key.hash(&entry.path, entry.rev));
    }
    assert_eq!(fresh["digest"], digest.to_string());
    assert!(!entries.is_empty());
}

/// `repair` comes later: until then a cookie that cannot be used gets a full refresh.
#[tokio::test]
async fn convergent_from_a_cookie_below_the_horizon() {
    let broker = broker("tombstones = 2").await;
    let _load = Load::signals(&broker).await;
    let client = client(&broker.url()).await;
    for n in 0..20 {
        client.put(path(&format!("/a/{n}")), Value::text("v")).await.unwrap();
    }
    let view = View::tree(path("/a"));
    let mirror = client.mirror(view.clone(), MirrorOptions::new().once());
    mirror.fresh().await.unwrap();
    let (cookie, saved) = (mirror.cookie().unwrap(), mirror.snapshot());
    for n in 0..10 {
        client.delete(path(&format!("/a/{n}"))).await.unwrap();
    }
    let last = client.put(path("/a/last"), Value::text("v")).await.unwrap().rev;
    let mirror = client.mirror(view, MirrorOptions::new().from_cookie(cookie, saved.entries()));
    let mut changes = mirror.changes();
    mirror.at(last).await.unwrap();
    assert_eq!(mirror.snapshot().len(), 11);
    let kind = async {
        loop {
            if let Some(Event::Refreshing { kind, .. }) = changes.next().await {
                return kind;
            }
        }
    };
    assert_eq!(timeout(PATIENCE, kind).await.unwrap(), RefreshKind::Full);
}
