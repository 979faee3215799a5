//! What went wrong in earlier systems and in this one: a test for each problem, named after what it
//! guards. The numbers are issues of the projects named beside them.

#[expect(dead_code, reason = "what other tests need")]
mod common;

use std::sync::Arc;

use common::knobs::Knobs;
use common::line::Line;
use common::mirror::Mirror;
use common::requests::{append, delete, drop_tree, everything, key, put, settings, trim, txn};
use common::sim::Sim;
use common::truth::{self, History};
use common::{Rng, path, rev};
use onetree_core::{Author, Commit, Feed, FeedLimits, Request, Settings, State, Step, Time};
use onetree_protocol::frame::{Do, Mode, Reason, RefreshKind, ServerFrame, Sub};
use onetree_protocol::{Act, Change, Code, Cookie, Epoch, Name, Revision, View};

/// A quiet world with one client.
fn quiet() -> Sim {
    Sim::new(Rng::new(1), Knobs::calm(1))
}

fn commit(state: &mut State, request: &Request) -> Arc<Commit> {
    state.write(Time(1), &Author::default(), request).commit.unwrap()
}

fn write(state: &mut State, request: &Request) -> Revision {
    state.write(Time(1), &Author::default(), request).answer.unwrap().rev
}

/// The result of a refresh.
#[derive(Debug)]
struct Told {
    kind: RefreshKind,
    why: Reason,
    changes: Vec<Change>,
    rev: Revision,
}

/// Subscribes to `view` with `cookie`, and receives the whole refresh.
fn refresh(state: &State, view: &View, cookie: Option<Cookie>, mode: Mode) -> Told {
    let mut feed = Feed::new(LIMITS);
    let snapshot = state.snapshot();
    feed.subscribe(&sub(view, cookie, mode), &snapshot).unwrap();
    let (mut told, mut changes) = (None, Vec::new());
    loop {
        match feed.poll(Time(1), || snapshot.clone(), true) {
            Some(Step::Frame(ServerFrame::Refresh(f))) => told = Some((f.kind, f.why)),
            Some(Step::Frame(ServerFrame::Entries(f))) => changes.extend(f.changes),
            Some(Step::Frame(ServerFrame::Fresh(f))) => {
                let (kind, why) = told.expect("a refresh before its end");
                assert_eq!(feed.is_empty(), mode == Mode::Once, "it ends with `once`");
                return Told { kind, why, changes, rev: f.rev };
            }
            Some(_) => {}
            None => panic!("the refresh has no end"),
        }
    }
}

const LIMITS: FeedLimits = FeedLimits {
    subscriptions: 9,
    view_bytes: 999,
    pattern_segments: 99,
    frame_bytes: 300,
    digest_scan: 1_000,
    digests: 1000,
    turn_slots: 1_000,
};

fn sub(view: &View, cookie: Option<Cookie>, mode: Mode) -> Sub {
    let view = view.clone();
    Sub { id: 0, sub: 1, view, cookie, mode, signals: false, every_ms: 0, copy: false }
}

fn cookie(state: &State, view: &View, rev: Revision) -> Option<Cookie> {
    Some(Cookie { epoch: state.snapshot().epoch(), rev, view: view.fingerprint() })
}

// --- OpenLDAP's provider

#[test]
fn sixteen_subscribers_that_stop_reading_stop_nobody() {
    let mut knobs = Knobs::calm(17);
    (knobs.outbox_bytes, knobs.wire_frames) = (2_000, 2);
    let mut sim = Sim::new(Rng::new(1), knobs);
    for link in 0..17 {
        sim.watch(link, everything());
    }
    for number in 0..500 {
        sim.write(&put(&format!("/{number}"), "x"));
        sim.fan_all();
        (0..16).for_each(|link| sim.serve(link));
        sim.deliver(16);
        assert_eq!(sim.links[16].mirrors[0].rev(), sim.state.rev());
        let bytes = |line: &Line| line.outbox.bytes;
        let waits: usize = sim.links.iter().filter_map(|link| link.line.as_ref()).map(bytes).sum();
        assert!(waits <= 17 * 2_000, "{waits} bytes wait");
    }
    sim.converge();
}

#[test]
fn a_copy_from_before_a_restore_loses_what_the_tree_no_longer_has() {
    let mut old = State::new(settings());
    let requests = [put("/a", "1"), put("/b", "2"), put("/c", "3")];
    let commits: Vec<_> = requests.iter().map(|request| commit(&mut old, request)).collect();
    let held = cookie(&old, &everything(), old.rev());
    let mut restored = State::new(Settings { epoch: Epoch(2), ..settings() });
    commits[..2].iter().for_each(|commit| restored.replay(commit));
    let above = rev(1 << 40);
    restored.replay(&Commit { rev: above, time: Time(1), effects: vec![], origin: None });
    let told = refresh(&restored, &everything(), held, Mode::Stay);
    assert_eq!((told.kind, told.why), (RefreshKind::Full, Reason::Epoch));
    assert_eq!((told.changes.len(), told.rev), (2, above));
}

#[test]
fn a_revision_from_the_future_starts_from_nothing() {
    // etcd #20221 continued with old events. Here: a tree that lost its last commit without
    // noticing, or a client that is mistaken.
    let mut state = State::new(settings());
    for at in ["/a", "/b", "/c"] {
        write(&mut state, &put(at, "x"));
    }
    for ahead in [1, 2, 1 << 30] {
        let future = cookie(&state, &everything(), rev(3 + ahead));
        let told = refresh(&state, &everything(), future, Mode::Stay);
        assert_eq!((told.kind, told.why), (RefreshKind::Full, Reason::Future));
        assert_eq!((told.changes.len(), told.rev), (3, rev(3)));
    }
    let present = cookie(&state, &everything(), rev(3));
    let told = refresh(&state, &everything(), present, Mode::Stay);
    assert_eq!((told.kind, told.changes.len()), (RefreshKind::Delta, 0));
}

#[test]
fn a_subtree_that_moves_leaves_one_view_whole_and_enters_the_other_whole() {
    for resumed in [false, true] {
        let mut sim = quiet();
        for number in 0..100 {
            sim.write(&put(&format!("/a/x/{number}"), "x"));
        }
        sim.watch(0, View::tree(path("/a")));
        sim.watch(0, View::tree(path("/b")));
        if resumed {
            sim.cut(0);
        }
        let mut moved = vec![drop_tree("/a/x")];
        moved.extend((0..100).map(|number| put(&format!("/b/x/{number}"), "x")));
        sim.write(&txn(&moved));
        sim.connect(0);
        sim.deliver(0);
        let entries = |mirror: &Mirror| mirror.copy.entries.len();
        let counts: Vec<usize> = sim.links[0].mirrors.iter().map(entries).collect();
        assert_eq!(counts, [0, 100], "resumed: {resumed}");
    }
}

#[test]
fn a_copy_of_another_view_keeps_nothing_that_this_one_does_not_see() {
    let mut state = State::new(settings());
    let mut history = History::new();
    for at in ["/a/open/1", "/a/secret/1", "/b/1"] {
        history.add(&commit(&mut state, &put(at, "x")));
    }
    let patterns = vec![onetree_protocol::Pattern::parse("open/**").unwrap()];
    let narrow = View { patterns, ..View::tree(path("/a")) };
    // The cookie is from a view with more rights, or with another base; the last cookie is garbage.
    for held in [View::tree(path("/a")), View::tree(path("/b"))] {
        let mut mirror = Mirror::new(1, narrow.clone(), 0);
        mirror.copy.entries = truth::shown(history.now(), &held);
        mirror.copy.cookie = cookie(&state, &held, state.rev());
        let told = refresh(&state, &narrow, mirror.copy.cookie, Mode::Stay);
        assert_eq!((told.kind, told.why), (RefreshKind::Full, Reason::View));
        assert_eq!(told.changes.len(), 1);
    }
    let garbage = Cookie { epoch: Epoch(99), rev: rev(2), view: onetree_protocol::Fingerprint(7) };
    let told = refresh(&state, &narrow, Some(garbage), Mode::Stay);
    assert_eq!((told.kind, told.changes.len()), (RefreshKind::Full, 1));
}

#[test]
fn who_watches_what_is_taken_away_from_above_is_told() {
    for resumed in [false, true] {
        for (above, base) in [("/a", "/a/b"), ("/a/b", "/a/b"), ("/", "/a/b")] {
            let mut sim = quiet();
            sim.write(&txn(&[put("/a/b", "x"), put("/a/b/c", "x"), put("/z", "x")]));
            assert_eq!(sim.watch(0, View::tree(path(base))).copy.entries.len(), 2);
            if resumed {
                sim.cut(0);
            }
            sim.write(&drop_tree(above));
            sim.connect(0);
            sim.deliver(0);
            assert_eq!(sim.links[0].mirrors[0].copy.entries.len(), 0, "{above} {resumed}");
        }
        // A log entry with something below it, when its log is trimmed.
        let mut sim = quiet();
        sim.write(&append("/log", "x"));
        let entry = path("/log").child(&key(1).to_string()).unwrap();
        sim.write(&put(&format!("{}/likes", entry.as_str()), "1"));
        assert_eq!(sim.watch(0, View::tree(entry)).copy.entries.len(), 2);
        if resumed {
            sim.cut(0);
        }
        sim.write(&trim("/log", key(1)));
        sim.connect(0);
        sim.deliver(0);
        assert_eq!(sim.links[0].mirrors[0].copy.entries.len(), 0, "trim {resumed}");
    }
}

#[test]
fn a_thousand_changes_of_one_entry_are_one_change_for_who_lags() {
    let mut knobs = Knobs::calm(1);
    knobs.outbox_bytes = 1_000;
    let mut sim = Sim::new(Rng::new(1), knobs);
    sim.write(&put("/a", "0"));
    let before = sim.watch(0, everything()).came;
    (0..1_000).for_each(|number| sim.write(&put("/a", &format!("{number}"))));
    sim.deliver(0);
    let mirror = &sim.links[0].mirrors[0];
    assert_eq!((mirror.came - before, mirror.rev()), (1, sim.state.rev()));
}

// --- resume

#[test]
fn a_cookie_never_runs_ahead_of_its_data() {
    // centrifuge-js #406, PouchDB #1240. The connection is cut at any frame. No frame moves the
    // mirror's revision before the mirror has everything, and the cookie that it resumes with is
    // enough.
    for cut in 0..40 {
        let mut knobs = Knobs::calm(1);
        (knobs.frame_bytes, knobs.outbox_bytes) = (1, 300);
        let mut sim = Sim::new(Rng::new(cut), knobs);
        sim.write(&txn(&[put("/a", "1"), put("/b", "1"), put("/c", "1")]));
        sim.watch(0, everything());
        let before = sim.links[0].mirrors[0].copy.clone();
        // Far more than the outbox holds, so this becomes a folded delta, in parts.
        for number in 0..8 {
            sim.write(&put(&format!("/{number}"), "2"));
        }
        sim.write(&delete("/b"));
        if cut % 2 == 0 {
            sim.cut(0);
            sim.connect(0);
        }
        sim.fan_all();
        for _ in 0..cut {
            sim.serve(0);
            sim.read(0);
            let copy = &sim.links[0].mirrors[0].copy;
            let moved = copy.cookie != before.cookie;
            assert!(moved || copy.entries == before.entries, "data ahead of its cookie");
        }
        sim.cut(0);
        sim.converge();
    }
}

#[test]
fn deletes_are_not_lost_at_the_horizon_nor_beside_it() {
    // etcd #18089, #19179: off by one at the compaction revision.
    let mut settings = settings();
    settings.bounds.tombstones = 8;
    let mut state = State::new(settings);
    let mut history = History::new();
    let names: Vec<String> = (0..30).map(|number| format!("/{number}")).collect();
    for name in &names {
        history.add(&commit(&mut state, &put(name, "x")));
    }
    for name in &names[..20] {
        history.add(&commit(&mut state, &delete(name)));
        while let Some(commit) = state.housekeep(Time(1)) {
            history.add(&commit);
        }
    }
    let horizon = state.snapshot().horizon().get();
    assert!(horizon > 31, "no horizon among the deletes: {horizon}");
    for at in [horizon - 1, horizon, horizon + 1] {
        let held = cookie(&state, &everything(), rev(at));
        let told = refresh(&state, &everything(), held, Mode::Stay);
        let good = at >= horizon;
        let way = if good { RefreshKind::Delta } else { RefreshKind::Full };
        let why = if good { Reason::Cookie } else { Reason::Horizon };
        assert_eq!((told.kind, told.why), (way, why), "from {at}, horizon {horizon}");
        let mut copy = truth::Tree::new();
        if good {
            copy = (**history.at(rev(at))).clone();
        }
        for Change { path, rev, act } in told.changes {
            match act {
                Act::Put(value) => drop(copy.insert(path, (rev, value))),
                _ => drop(copy.remove(&path)),
            }
        }
        assert_eq!(&copy, history.now(), "from {at}, horizon {horizon}");
    }
}

#[test]
fn an_empty_view_ends_its_refresh() {
    // nats.js #270: nothing marked the end of a snapshot without entries.
    let mut state = State::new(settings());
    let nothing = View::tree(path("/nothing"));
    for _ in 0..2 {
        for mode in [Mode::Stay, Mode::Once] {
            for held in [None, cookie(&state, &nothing, state.rev())] {
                let told = refresh(&state, &nothing, held, mode);
                assert_eq!((told.changes.len(), told.rev), (0, state.rev()));
            }
        }
        write(&mut state, &put("/elsewhere", "x"));
    }
}

#[test]
fn a_heartbeat_does_not_overtake_a_delta() {
    // etcd #15220. A heartbeat comes between any two turns; the mirror compares its digest with it.
    for turn in 0..12 {
        for (outbox_bytes, every_ms) in [(1 << 20, 0), (150, 0), (150, 10)] {
            let mut knobs = Knobs::calm(1);
            knobs.outbox_bytes = outbox_bytes;
            let mut sim = Sim::new(Rng::new(turn), knobs);
            let mirror = sim.mirror(everything(), every_ms);
            sim.subscribe(0, mirror);
            sim.deliver(0);
            for at in ["/a", "/b", "/c"] {
                sim.write(&put(at, "x"));
            }
            (0..turn / 2).for_each(|_| sim.serve(0));
            sim.beat(0);
            (0..turn).for_each(|_| sim.serve(0));
            sim.now = sim.now.plus(20);
            (0..40).for_each(|_| {
                sim.serve(0);
                sim.read(0);
            });
            sim.converge();
        }
    }
}

#[test]
fn an_idle_mirror_does_not_fall_behind_the_horizon() {
    // ligato cn-infra #265: heartbeats move cookies.
    let mut knobs = Knobs::calm(1);
    knobs.settings.bounds.tombstones = 4;
    let mut sim = Sim::new(Rng::new(1), knobs);
    sim.write(&put("/quiet", "x"));
    let quiet = View::tree(path("/quiet"));
    let held = sim.watch(0, quiet.clone()).rev();
    let every = sim.mirror(quiet, 1_000);
    sim.subscribe(0, every);
    sim.deliver(0);
    for number in 0..40 {
        sim.write(&put(&format!("/loud/{number}"), "x"));
        sim.write(&delete(&format!("/loud/{number}")));
        sim.tidy();
        sim.fan_all();
        sim.beat(0);
        sim.deliver(0);
    }
    assert!(sim.state.snapshot().horizon() > held, "the horizon has not moved");
    sim.cut(0);
    sim.connect(0);
    sim.deliver(0);
    assert_eq!(sim.stats.ways.get("cookie"), Some(&2), "{:?}", sim.stats.ways);
}

#[test]
fn intervals_without_anything_to_tell_do_not_fall_behind_the_horizon() {
    // This is without a heartbeat, as when a heartbeat cannot look through everything that has
    // changed.
    let mut knobs = Knobs::calm(1);
    knobs.settings.bounds.tombstones = 4;
    let mut sim = Sim::new(Rng::new(1), knobs);
    sim.write(&put("/quiet", "x"));
    let every = sim.mirror(View::tree(path("/quiet")), 1_000);
    sim.subscribe(0, every);
    sim.deliver(0);
    let held = sim.links[0].mirrors[0].rev();
    for number in 0..40 {
        sim.write(&put(&format!("/loud/{number}"), "x"));
        sim.write(&delete(&format!("/loud/{number}")));
        sim.tidy();
        sim.now = sim.now.plus(1_000);
        for _ in 0..10 {
            sim.serve(0);
            sim.read(0);
        }
    }
    assert!(sim.state.snapshot().horizon() > held, "the horizon has not moved");
    assert!((1..20).contains(&sim.stats.folded), "{} say that nothing changed", sim.stats.folded);
    sim.cut(0);
    sim.connect(0);
    sim.deliver(0);
    assert_eq!(sim.stats.ways.keys().collect::<Vec<_>>(), [&"cookie", &"no-cookie"]);
}

#[test]
fn what_is_committed_while_a_subscription_becomes_live_is_not_lost() {
    // supabase-js #1599: "subscribed" was sent before the stream had begun. Here a commit comes
    // between any two turns of a refresh, with and without a held snapshot, while the outbox is
    // slow or fast.
    for turn in 0..60 {
        for holds in [0, 100] {
            for resumed in [false, true] {
                let mut knobs = Knobs::calm(1);
                (knobs.frame_bytes, knobs.holds) = (1, holds);
                let mut sim = Sim::new(Rng::new(turn), knobs);
                sim.write(&txn(&[put("/a", "1"), put("/b", "1"), put("/c", "1")]));
                let mirror = sim.mirror(everything(), 0);
                sim.subscribe(0, mirror);
                if resumed {
                    sim.deliver(0);
                    sim.cut(0);
                    sim.write(&txn(&[put("/a", "2"), put("/c", "2")]));
                    sim.connect(0);
                }
                (0..turn).for_each(|_| sim.serve(0));
                sim.write(&put("/a", "3"));
                sim.fan_all();
                (0..turn % 7).for_each(|_| sim.serve(0));
                sim.write(&delete("/b"));
                sim.deliver(0);
                assert_eq!(sim.links[0].mirrors[0].rev(), sim.state.rev(), "turn {turn}");
            }
        }
    }
}

#[test]
fn an_interrupted_refresh_starts_again_and_ends() {
    for frames in 0..12 {
        let mut knobs = Knobs::calm(1);
        knobs.frame_bytes = 1;
        let mut sim = Sim::new(Rng::new(1), knobs);
        (0..6).for_each(|number| sim.write(&put(&format!("/{number}"), "x")));
        let mirror = sim.mirror(everything(), 0);
        sim.subscribe(0, mirror);
        for interruption in 0..3 {
            for _ in 0..5 * frames {
                sim.serve(0);
                sim.read(0);
            }
            // The connection is cut, or the client asks for a resync while the refresh is under
            // way.
            if interruption % 2 == 0 {
                sim.cut(0);
                sim.connect(0);
            } else {
                let sub = sim.links[0].mirrors[0].sub;
                sim.resync(0, sub);
            }
            sim.write(&put(&format!("/{interruption}"), "y"));
        }
        sim.converge();
    }
}

// --- the rest

#[test]
fn equal_counts_do_not_hide_a_wrong_copy() {
    // firebase-js-sdk PR 1019.
    let mut sim = quiet();
    sim.write(&txn(&[put("/a", "1"), put("/b", "2")]));
    sim.watch(0, everything());
    let copy = &mut sim.links[0].mirrors[0].copy;
    let entry = copy.entries.remove(&path("/b")).unwrap();
    copy.entries.insert(path("/c"), entry);
    copy.damaged = true;
    sim.beat(0);
    sim.deliver(0);
    assert_eq!(sim.stats.damaged, 1);
    assert!(sim.links[0].mirrors[0].copy.entries.contains_key(&path("/b")));
}

#[test]
fn an_old_ephemeral_entry_does_not_block_its_owner_nor_take_the_new_one_with_it() {
    // curator #723.
    let mut state = State::new(settings());
    let name = |text: &str| Name::parse(text).unwrap();
    let here =
        |session: &Name| Author { client: None, session: Some(session.clone()), since: None };
    let mut write = put("/here", "me");
    if let Do::Put { ephemeral, .. } = &mut write.changes[0] {
        *ephemeral = true;
    }
    let old = state.open_session(Time(0), None, name("old")).unwrap().name;
    state.write(Time(0), &here(&old), &write).answer.unwrap();
    state.detach_session(Time(0), &old);
    // Back in time: the session and its entry still exist and continue.
    let back = state.open_session(Time(40), Some(&old), name("other")).unwrap();
    assert!(back.resumed);
    assert!(state.housekeep(Time(1_000)).is_none());
    // Too late: there is a new session, and it owns the entry as soon as it writes it.
    state.detach_session(Time(1_000), &old);
    let new = state.open_session(Time(1_100), Some(&old), name("new")).unwrap();
    assert!(!new.resumed);
    state.write(Time(1_100), &here(&new.name), &write).answer.unwrap();
    assert!(state.housekeep(Time(2_000)).is_none(), "the old session takes nothing with it");
    assert!(state.snapshot().get(&path("/here")).is_some());
    state.end_session(Time(2_000), &new.name);
    assert!(state.housekeep(Time(2_000)).is_some());
    assert!(state.snapshot().get(&path("/here")).is_none());
}

#[test]
fn what_comes_behind_the_end_of_its_session_is_owned_by_nobody_and_refused() {
    // A bug of ours: when another connection had taken over and ended a session, puts of its
    // earlier connection stayed for ever.
    let mut state = State::new(settings());
    let session = state.open_session(Time(0), None, Name::parse("s").unwrap()).unwrap().name;
    let author = Author { session: Some(session.clone()), ..Author::default() };
    let ephemeral = |at: &str| {
        let mut write = put(at, "me");
        if let Do::Put { ephemeral, .. } = &mut write.changes[0] {
            *ephemeral = true;
        }
        write
    };
    state.write(Time(0), &author, &ephemeral("/before")).answer.unwrap();
    state.end_session(Time(1), &session);
    // The session still exists: this entry is deleted together with the others.
    state.write(Time(1), &author, &ephemeral("/between")).answer.unwrap();
    while state.housekeep(Time(1)).is_some() {}
    let rev = state.rev();
    let refused = state.write(Time(2), &author, &ephemeral("/behind")).answer.unwrap_err();
    assert_eq!(refused.code, Code::SessionTaken);
    assert_eq!((state.rev(), state.snapshot().entries(&path("/")).count()), (rev, 0));
    // An entry without an owner is still written.
    state.write(Time(2), &author, &put("/kept", "me")).answer.unwrap();
}

#[test]
fn a_refusal_that_clients_do_not_count_uses_no_number() {
    // A bug of ours: the number was used up, so the next write got the refusal of another one, and
    // was lost.
    let mut knobs = settings();
    knobs.bounds.commit_changes = 2;
    let mut state = State::new(knobs);
    let session = state.open_session(Time(0), None, Name::parse("s").unwrap()).unwrap().name;
    let author = Author { client: Name::parse("c"), session: Some(session), since: None };
    let of_a_session = |at: &str, count: usize| {
        let mut request = txn(&vec![put(at, "x"); count]);
        for (place, change) in request.changes.iter_mut().enumerate() {
            if let Do::Put { path: to, ephemeral, .. } = change {
                (*to, *ephemeral) = (path(&format!("{at}{place}")), true);
            }
        }
        request
    };
    // A path that is valid, but leaves no room for a log key below it.
    let long = format!("{}/log", vec!["x".repeat(250); 4].join("/"));
    let mut seq = 0;
    let mut write = |request: &Request, author: &Author, expected: Option<Code>| {
        let request = Request { seq: Some(seq + 1), ..request.clone() };
        let before = state.rev();
        let outcome = state.write(Time(1), author, &request);
        let code = outcome.answer.err().map(|refusal| refusal.code);
        assert_eq!(code, expected);
        let used = code.is_none_or(Code::uses_seq);
        assert_eq!(outcome.commit.is_some(), used, "{code:?}");
        assert_eq!(state.rev() > before, used, "{code:?}");
        seq += u64::from(used);
    };
    let nobody = Author { session: None, ..author.clone() };
    write(&append(&format!("/{long}"), "x"), &author, Some(Code::BadPath));
    write(&of_a_session("/a", 3), &author, Some(Code::TooManyChanges));
    write(&of_a_session("/a", 2), &author, None);
    write(&of_a_session("/b", 1), &author, Some(Code::TooManyChanges));
    write(&of_a_session("/b", 1), &nobody, Some(Code::BadField));
    write(&put("/chat/00000000000001ffff", "no"), &author, Some(Code::LogKey));
    write(&put("/good", "x"), &author, None);
    assert_eq!(seq, 3);
}
