//! The promises of the model, each by its name. *Durable* is the store's promise. The others are
//! kept here, by the tree and its feeds, whatever happens around them.

#[expect(dead_code, reason = "what other tests need")]
mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::knobs::Knobs;
use common::line::Line;
use common::requests::{any_request, append, delete, put};
use common::sim::Sim;
use common::truth::{self, Tree};
use common::{Rng, cases, path};
use onetree_core::{Answer, Author, Commit, Refusal, Request, State, Time};
use onetree_protocol::frame::Do;
use onetree_protocol::{Change, Codec, Name, Path, Revision, Value, View};

/// More bytes than all changes at one path have; a frame does not split these.
const AT_ONE_PATH: usize = 700;

fn everything() -> View {
    View::tree(Path::root())
}

fn text(value: &Option<Value>) -> String {
    String::from_utf8(value.as_ref().unwrap().bytes.to_vec()).unwrap()
}

/// Commits have one total order; every subscriber sees revisions only grow.
#[test]
fn ordered() {
    cases(15, |seed| {
        let mut rng = Rng::new(seed);
        // Clients do not lose their copies, and brokers lose nothing, so no mirror may ever go
        // back.
        let knobs = Knobs { cuts: 0, restores: 0, damages: 0, ..Knobs::any(&mut rng) };
        let mut sim = Sim::new(rng, knobs);
        sim.run(4_000);
        sim.converge();
        for mirror in sim.links.iter().flat_map(|link| &link.mirrors) {
            assert!(mirror.seen.is_sorted(), "{:?} has seen {:?}", mirror.view, mirror.seen);
        }
    });
    // A client that keeps up sees each commit once, in the order in which they were made.
    let mut sim = Sim::new(Rng::new(1), Knobs::calm(2));
    sim.watch(0, everything());
    sim.watch(1, View::tree(path("/a")));
    let mut made = Vec::new();
    for number in 0..50 {
        let at = if number % 3 == 0 { "/b" } else { "/a/b" };
        sim.write(&put(at, "x"));
        made.push(sim.state.rev());
    }
    (0..2).for_each(|link| sim.deliver(link));
    assert_eq!(sim.links[0].mirrors[0].seen[1..], made);
    let of_a: Vec<Revision> = made.iter().copied().filter(|rev| (rev.get() - 1) % 3 != 0).collect();
    assert_eq!(sim.links[1].mirrors[0].seen[1..], of_a);
}

/// After every delta a mirror equals its view of the tree at one stated revision, exactly. The
/// simulated clients compare everything that they hold after each frame that moves them.
#[test]
fn snapshot() {
    let mut compared = 0;
    let all = cases(100, |seed| {
        let mut rng = Rng::new(seed);
        let knobs = Knobs { frame_bytes: 1, wire_frames: 2, ..Knobs::any(&mut rng) };
        let mut sim = Sim::new(rng, knobs);
        sim.run(5_000);
        let stats = &sim.stats;
        compared += stats.live + stats.folded + stats.fresh + stats.syncs;
    });
    assert!(!all || compared > 2_000, "only {compared} comparisons");
}

/// No mirror ever shows part of a commit, however it comes: live, folded, or by a refresh.
#[test]
fn atomic() {
    cases(15, |seed| {
        let mut rng = Rng::new(seed);
        let mut knobs = Knobs::calm(3);
        knobs.frame_bytes = *rng.pick(&[1, 400]);
        knobs.wire_frames = *rng.pick(&[1, 10]);
        knobs.outbox_bytes = *rng.pick(&[1_000, 20_000]);
        knobs.holds = *rng.pick(&[0, 50]);
        let mut sim = Sim::new(Rng::new(rng.next()), knobs);
        let places = ["/a", "/a/b", "/a/b/c", "/b/0", "/b/1", "/c"];
        for link in 0..3 {
            sim.watch(link, everything());
        }
        for round in 0..400 {
            if rng.chance(30) {
                let put = |at: &&str| put(at, &format!("{round}")).changes;
                let changes = places.iter().flat_map(put).collect();
                sim.write(&Request { changes, ..Request::default() });
            }
            if rng.chance(5) {
                let link = rng.below(3);
                sim.cut(link);
                sim.connect(link);
            }
            for _ in 0..6 {
                let link = rng.below(3);
                sim.serve(link);
                // The last link reads seldom: it lags.
                if link < 2 || rng.chance(20) {
                    sim.read(link);
                }
                let shown = &sim.links[link].mirrors[0].copy.entries;
                let mut texts: Vec<String> = shown.values().map(|(_, v)| text(v)).collect();
                assert!(texts.is_empty() || texts.len() == places.len(), "part of it: {texts:?}");
                texts.dedup();
                assert!(texts.len() <= 1, "two commits at once: {texts:?}");
            }
        }
        sim.converge();
    });
}

/// After any disconnect, lag, restart, compaction, restore or damage the mirror is made right
/// without help. If its cookie is good, the cost is what differs.
#[test]
fn convergent() {
    cases(20, |seed| {
        let mut rng = Rng::new(seed);
        let mut knobs = Knobs { cuts: 30, restores: 3, damages: 20, ..Knobs::any(&mut rng) };
        knobs.settings.bounds.tombstones = 10;
        // Every damage must be found by a digest in the end. The digest of a large view is counted
        // over a snapshot that is held.
        knobs.digest_scan = *rng.pick(&[5, 100_000]);
        knobs.holds = 100;
        let mut sim = Sim::new(rng, knobs);
        sim.run(4_000);
        // The clients are in whatever state the run left them; `converge` asserts that all become
        // right.
        sim.converge();
    });
    let mut sim = Sim::new(Rng::new(1), Knobs::calm(1));
    for number in 0..2_000 {
        sim.write(&put(&format!("/many/{number}"), "x"));
    }
    assert_eq!(sim.watch(0, everything()).copy.entries.len(), 2_000);
    sim.cut(0);
    for number in 0..10 {
        sim.write(&put(&format!("/many/{}", 7 * number), "y"));
        sim.write(&delete(&format!("/many/{}", 1_000 + number)));
    }
    let before = sim.links[0].mirrors[0].came;
    sim.restart(false);
    sim.connect(0);
    sim.deliver(0);
    let mirror = &sim.links[0].mirrors[0];
    assert_eq!((mirror.rev(), mirror.came - before), (sim.state.rev(), 20));
}

/// No retained log entry is ever skipped, and where retention outran a reader the reader gets a
/// gap.
#[test]
fn complete() {
    let (mut gaps, mut whole) = (0, 0);
    let all = cases(25, |seed| {
        let mut rng = Rng::new(seed);
        let mut knobs = Knobs::calm(1);
        knobs.settings = common::requests::settings();
        // In some cases the reader keeps up.
        let turns = *rng.pick(&[1, 12]);
        knobs.outbox_bytes = 300 * turns;
        knobs.frame_bytes = *rng.pick(&[1, 300]);
        knobs.wire_frames = 2;
        knobs.holds = *rng.pick(&[0, 50, 100]);
        let mut sim = Sim::new(Rng::new(rng.next()), knobs);
        sim.watch(0, View::tree(path("/log")));
        let (mut read, mut appended) = (BTreeSet::new(), 0);
        let pace = *rng.pick(&[10, 50, 100]);
        for step in 0.. {
            let ends = step >= 300;
            if ends {
                sim.fan_all();
            }
            if !ends && rng.chance(30) {
                sim.write(&append("/log", "x"));
                appended += 1;
            }
            if !ends && rng.chance(20) {
                sim.tidy();
            }
            for _ in 0..turns {
                sim.serve(0);
                if ends || turns > 1 || rng.chance(pace) {
                    sim.read(0);
                }
                read.extend(sim.links[0].mirrors[0].copy.entries.keys().cloned());
            }
            if ends && sim.links[0].line.as_ref().is_some_and(Line::is_idle) {
                break;
            }
        }
        let mirror = &sim.links[0].mirrors[0];
        // Each gap is checked where it is sent. This checks that entries which were never shown
        // caused a gap.
        assert_eq!(mirror.rev(), sim.state.rev());
        assert!(read.len() == appended || mirror.gaps > 0, "{} of {appended}", read.len());
        gaps += u64::from(mirror.gaps > 0);
        whole += u64::from(read.len() == appended);
    });
    assert!(!all || (gaps > 2 && whole > 2), "{gaps} readers had gaps, {whole} had none");
}

/// A client that does not read costs a bounded amount of memory and costs the others nothing. When
/// it reads again, it gets the latest state and not all of its history.
#[test]
fn bounded() {
    let (mut folded, mut stalls) = (0, 0);
    let all = cases(20, |seed| {
        let mut rng = Rng::new(seed);
        let mut knobs = Knobs::calm(2);
        knobs.outbox_bytes = *rng.pick(&[300, 1_000, 4_000]);
        knobs.frame_bytes = *rng.pick(&[1, 300, 2_000]);
        knobs.wire_frames = 1 + rng.below(4);
        knobs.turn_slots = *rng.pick(&[1, 5, 1_000]);
        knobs.holds = *rng.pick(&[0, 50, 100]);
        // What one turn sends is one frame, or was in the outbox.
        let turn = (knobs.frame_bytes + AT_ONE_PATH).max(knobs.outbox_bytes);
        let most = knobs.outbox_bytes + knobs.wire_frames * turn;
        let mut sim = Sim::new(Rng::new(rng.next()), knobs);
        let (reader, stalled) = (0, 1);
        sim.watch(reader, everything());
        sim.watch(stalled, everything());
        let check = |sim: &Sim| {
            let line = sim.links[stalled].line.as_ref().expect("it is disconnected");
            let bytes = line.waiting().map(Codec::size_hint).sum::<usize>();
            assert!(bytes <= most, "{bytes} bytes wait, not {most}");
        };
        for _ in 0..3 {
            let (since, before) = (sim.state.rev(), sim.links[stalled].mirrors[0].came);
            let paths = *rng.pick(&[5, 100]);
            for _ in 0..rng.below(400) {
                let request = match rng.below(10) {
                    0 => append("/log", "kept"),
                    1..3 => any_request(&mut rng, sim.history.now(), sim.state.rev()),
                    _ => put(&format!("/{}", rng.below(paths)), &format!("{}", rng.next())),
                };
                sim.write(&request);
                sim.deliver(reader);
                assert_eq!(sim.links[reader].mirrors[0].rev(), sim.state.rev(), "the reader waits");
                (0..rng.below(8)).for_each(|_| sim.serve(stalled));
                check(&sim);
            }
            let waited = sim.links[stalled].line.as_ref().unwrap().waiting().count();
            // The frames with which it catches up are not all made at once either.
            while sim.links[stalled].line.as_ref().is_some_and(|line| !line.is_idle()) {
                sim.serve(stalled);
                check(&sim);
                if rng.chance(20) {
                    sim.read(stalled);
                }
            }
            let mirror = &sim.links[stalled].mirrors[0];
            assert_eq!(mirror.rev(), sim.state.rev());
            let came = (mirror.came - before) as usize;
            let made = sim.history.between(since, mirror.rev()).flat_map(|c| c.changes());
            let made: Vec<Change> = made.collect();
            // Each path may come once by the sweep that stood still, and once by what completes it.
            let latest: BTreeSet<&Path> = made.iter().map(|change| &change.path).collect();
            let most = waited + 2 * latest.len();
            assert!(came <= most, "{came} changes came of {}, not {most}", made.len());
            stalls += 1;
            folded += u64::from(came < made.len() / 2);
        }
    });
    assert!(
        !all || folded > stalls / 4,
        "{folded} of {stalls} got less than half of what was made"
    );
}

/// A write that is sent again because its answer was lost takes effect once.
#[test]
fn once() {
    cases(30, |seed| {
        let mut rng = Rng::new(seed);
        let settings = common::requests::settings();
        let mut state = State::new(settings.clone());
        let mut stored: Vec<Arc<Commit>> = Vec::new();
        let mut answers: Vec<Result<Answer, Refusal>> = Vec::new();
        let mut accepted = 0;
        let client = Name::parse("c");
        let author = Author { client, session: None, since: None };
        while answers.len() < 60 {
            if rng.chance(10) {
                // The broker starts again from its store.
                state = State::new(settings.clone());
                stored.iter().for_each(|commit| state.replay(commit));
            }
            let again = !answers.is_empty() && rng.chance(50);
            let seq = if again { rng.below(answers.len()) } else { answers.len() } as u64 + 1;
            // Every third write is refused: the refusal is remembered, too.
            let mut request = append("/chat", &format!("{seq}"));
            if seq.is_multiple_of(3) {
                request.changes = put("/chat/00000000000001ffff", "no").changes;
            }
            let outcome = state.write(Time(1), &author, &Request { seq: Some(seq), ..request });
            if again {
                assert!(outcome.commit.is_none(), "{seq} is executed again");
                assert_eq!(outcome.answer, answers[seq as usize - 1]);
                continue;
            }
            accepted += u64::from(outcome.answer.is_ok());
            stored.extend(outcome.commit);
            answers.push(outcome.answer);
        }
        assert_eq!(accepted, 40);
        assert_eq!(state.snapshot().summary(&path("/chat")).live, accepted);
    });
}

/// A client can check at any time, in constant size, that its mirror equals the tree.
#[test]
fn verifiable() {
    cases(20, |seed| {
        let mut rng = Rng::new(seed);
        let mut sim = Sim::new(Rng::new(rng.next()), Knobs::calm(1));
        let entries = 1 + rng.below(40);
        for number in 0..entries {
            sim.write(&put(&format!("/a/{number}"), "x"));
        }
        let key = sim.state.snapshot().digest_key();
        sim.watch(0, View::tree(path("/a")));
        let right = sim.links[0].mirrors[0].copy.entries.clone();
        let sync = |sim: &mut Sim| {
            let settled = sim.settled.clone();
            let line = sim.links[0].line.as_mut().unwrap();
            let sync = line.feed.sync(&settled);
            let [(_, Some(digest))] = sync.digests[..] else { panic!("{sync:?}") };
            digest
        };
        let told = sync(&mut sim);
        assert_eq!(told, truth::digest(&right, key));
        let count = |tree: &Tree| tree.len() as u64;
        assert_eq!(told.count, count(&right));
        // Whatever differs, the digest differs; a count alone would not show it.
        let at = right.keys().nth(rng.below(entries)).unwrap().clone();
        let mut missing = right.clone();
        missing.remove(&at);
        let mut older = right.clone();
        older.get_mut(&at).unwrap().0 = common::rev(10_000);
        let mut moved = missing.clone();
        moved.insert(path("/a/elsewhere"), right[&at].clone());
        for wrong in [missing, older, moved] {
            assert_ne!(told, truth::digest(&wrong, key));
        }
        // The client that finds the difference is right again afterwards.
        sim.damage(0, 0);
        assert_ne!(sim.links[0].mirrors[0].copy.entries, right);
        sim.beat(0);
        sim.deliver(0);
        assert_eq!(sim.links[0].mirrors[0].copy.entries, right);
        assert_eq!(sim.stats.damaged, 1);
        // The digest follows the tree in constant size.
        sim.write(&Request { changes: vec![Do::Drop { path: path("/a") }], ..Request::default() });
        sim.deliver(0);
        assert_eq!(sync(&mut sim).count, 0);
    });
}
