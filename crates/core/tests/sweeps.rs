//! Sweeps while the tree changes, logs, and trims of logs: what went wrong in this system, and what
//! could go wrong. Each test is named after what it guards.

#[expect(dead_code, reason = "what other tests need")]
mod common;

use common::knobs::Knobs;
use common::requests::{append, delete, drop_tree, everything, key, put, settings, trim, txn};
use common::sim::Sim;
use common::{Rng, path};
use onetree_core::{Author, Feed, FeedLimits, Request, State, Step, Time};
use onetree_protocol::frame::{Mode, Reason, ServerFrame, Sub};
use onetree_protocol::{Depth, Path, Pattern, View};

const LIMITS: FeedLimits = FeedLimits {
    subscriptions: 1,
    view_bytes: 99,
    pattern_segments: 9,
    frame_bytes: 1 << 20,
    digest_scan: 9,
    digests: 1000,
    turn_slots: 1_000,
};

/// Returns a subscription to everything, from nothing.
fn sub(number: u32) -> Sub {
    let (view, mode) = (everything(), Mode::Stay);
    let (cookie, signals, every_ms, copy) = (None, false, 0, false);
    Sub { id: 0, sub: number, view, cookie, mode, signals, every_ms, copy }
}

/// Returns a world with small frames, or with turns that look at few slots, so that a sweep takes
/// many turns and reads a new snapshot for each unless it holds one.
fn sweeping(holds: usize, turn_slots: usize) -> Sim {
    let mut knobs = Knobs { turn_slots, ..Knobs::calm(1) };
    (knobs.frame_bytes, knobs.holds, knobs.outbox_bytes) = (1, holds, 400);
    Sim::new(Rng::new(1), knobs)
}

/// Runs a sweep of `view`, from nothing or from a cookie. The `requests` are written between its
/// turns, one after every so many turns. The mirror is checked at each step.
fn sweep(view: &View, before: &[Request], missed: &[Request], meanwhile: &[Request]) {
    for (holds, turn_slots) in [(0, 1_000), (100, 1_000), (0, 1), (100, 2)] {
        for every in [1, 2, 3, 4, 5, 7, 10, 15, 25] {
            for resumed in [false, true] {
                let mut sim = sweeping(holds, turn_slots);
                before.iter().for_each(|request| sim.write(request));
                let mirror = sim.mirror(view.clone(), 0);
                sim.subscribe(0, mirror);
                if resumed {
                    sim.deliver(0);
                    sim.cut(0);
                }
                missed.iter().for_each(|request| sim.write(request));
                sim.connect(0);
                for request in meanwhile {
                    for _ in 0..every {
                        sim.serve(0);
                        sim.read(0);
                    }
                    sim.write(request);
                    sim.fan_all();
                }
                sim.converge();
            }
        }
    }
}

fn puts(top: &str, count: usize, text: &str) -> Vec<Request> {
    (0..count).map(|number| put(&format!("{top}/{number}"), text)).collect()
}

fn appends(log: &str, count: usize) -> Vec<Request> {
    vec![append(log, "x"); count]
}

#[test]
fn a_live_delta_waits_for_the_fresh_that_it_follows() {
    // The last piece of a refresh and `fresh` are two frames: no live delta may come between them.
    let mut feed = Feed::new(LIMITS);
    let mut state = State::new(settings());
    let write = |state: &mut State| {
        state.write(Time(1), &Author::default(), &put("/a", "x")).answer.unwrap();
    };
    write(&mut state);
    feed.subscribe(&sub(1), &state.snapshot()).unwrap();
    let mut registered = false;
    for _ in 0..20 {
        write(&mut state);
        let step = feed.poll(Time(1), || state.snapshot(), false);
        registered |= matches!(step, Some(Step::Register(_)));
        if matches!(step, Some(Step::Frame(ServerFrame::Fresh(_)))) {
            return assert!(feed.takes_live() && registered);
        }
        assert!(!feed.takes_live() || !registered, "between {step:?} and `fresh`");
    }
    panic!("it never becomes fresh");
}

#[test]
fn commits_between_all_turns_of_a_sweep_reach_the_mirror() {
    let missed = [puts("/b", 3, "2"), vec![delete("/a/1"), drop_tree("/a")]].concat();
    sweep(&everything(), &puts("/a", 4, "1"), &missed, &puts("/a", 6, "3"));
}

#[test]
fn an_overflow_while_it_catches_up_is_caught_up_too() {
    // The outbox overflows again while the mirror reads a snapshot that it holds.
    let before = puts("/a", 8, "1");
    let missed = puts("/a", 8, "2");
    let meanwhile = [puts("/a", 8, "3"), puts("/b", 8, "3")].concat();
    sweep(&everything(), &before, &missed, &meanwhile);
}

#[test]
fn a_mirror_that_is_outrun_takes_no_live_deltas_until_it_is_told() {
    let mut settings = settings();
    settings.bounds.tombstones = 0;
    let mut state = State::new(settings);
    let mut write = |request: &Request| {
        state.write(Time(1), &Author::default(), request).answer.unwrap();
        while state.housekeep(Time(1)).is_some() {}
        state.snapshot()
    };
    let mut feed = Feed::new(FeedLimits { subscriptions: 9, ..LIMITS });
    let mut now = write(&put("/a", "x"));
    for number in 0..3 {
        feed.subscribe(&sub(number), &now).unwrap();
    }
    while feed.poll(Time(1), || now.clone(), true).is_some() {}
    assert!(feed.takes_live());
    feed.handle_overflow();
    for request in [put("/b", "x"), delete("/b"), put("/c", "x")] {
        now = write(&request);
    }
    for told in 0..3 {
        // The other mirrors are still at their old state, and would apply live deltas to it.
        assert!(!feed.takes_live(), "{told} of 3 know that they start again");
        let step = feed.poll(Time(1), || now.clone(), true);
        let Some(Step::Frame(ServerFrame::Refresh(refresh))) = step else { panic!("{step:?}") };
        assert_eq!(refresh.why, Reason::Outrun);
    }
}

#[test]
fn a_sync_names_so_many_and_the_others_in_the_next() {
    let mut state = State::new(Knobs::calm(1).settings);
    state.write(Time(1), &Author::default(), &put("/a", "x")).answer.unwrap();
    let now = state.snapshot();
    let mut feed = Feed::new(FeedLimits { subscriptions: 9, digests: 4, ..LIMITS });
    for number in 0..9 {
        feed.subscribe(&sub(number), &now).unwrap();
    }
    while feed.poll(Time(1), || now.clone(), true).is_some() {}
    let mut named = || -> Vec<u32> {
        let sync = feed.sync(&now);
        assert!(sync.digests.iter().all(|(_, digest)| digest.is_some()));
        sync.digests.iter().map(|(sub, _)| *sub).collect()
    };
    assert_eq!([named(), named(), named()], [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 8]]);
}

#[test]
fn what_came_and_went_within_one_sweep_is_a_gap() {
    let meanwhile = [appends("/log", 1), vec![trim("/log", key(9))], puts("/z", 3, "3")].concat();
    sweep(&everything(), &appends("/log", 2), &appends("/log", 7), &meanwhile);
}

#[test]
fn a_trim_takes_what_is_under_entries_that_were_deleted() {
    for compacted in [false, true] {
        let mut knobs = Knobs::calm(1);
        knobs.settings.bounds.tombstones = if compacted { 0 } else { 100 };
        let mut sim = Sim::new(Rng::new(1), knobs);
        sim.watch(0, everything());
        appends("/log", 2).iter().for_each(|request| sim.write(request));
        let entry = path("/log").child(&key(1).to_string()).unwrap();
        sim.write(&put(&format!("{}/likes", entry.as_str()), "1"));
        sim.write(&delete(entry.as_str()));
        sim.tidy();
        sim.write(&trim("/log", key(2)));
        sim.deliver(0);
        assert_eq!(sim.state.snapshot().summary(&Path::root()).live, 0);
        sim.converge();
    }
}

#[test]
fn a_lower_trim_does_not_take_again_what_was_put_back() {
    let entry = format!("/log/{}", key(2));
    let late = put(&format!("{entry}/likes"), "late");
    // The lower trim comes with another change, because alone it would have nothing to do.
    let lower = txn(&[put("/z", "x"), trim("/log", key(1))]);
    let before = [appends("/log", 3), vec![trim("/log", key(2)), late]].concat();
    sweep(&everything(), &before, std::slice::from_ref(&lower), &puts("/y", 2, "3"));
    // The lower trim must not make the tree forget how far the higher one went.
    let missed = [before[3..].to_vec(), vec![lower]].concat();
    sweep(&everything(), &before[..3], &missed, &puts("/y", 2, "3"));
}

#[test]
fn a_tail_has_no_hole_when_its_log_grows_while_it_is_read() {
    for tail in 0..4 {
        let view = View { tail: Some(tail), ..everything() };
        sweep(&view, &appends("/log", 3), &appends("/log", 6), &appends("/log", 16));
        // A log at the root, with other entries before its own.
        let before = [puts("/0", 2, "1"), appends("/", 3)].concat();
        sweep(&view, &before, &appends("/", 6), &appends("/", 4));
    }
}

#[test]
fn a_tail_that_moves_on_within_its_log_leaves_nothing_older_behind() {
    // The log grows once while the sweep is within it. What was sent of the log is then older than
    // what the tail leaves out. The next round has no more entries than the tail, so it has no trim
    // of its own.
    let between = put(&format!("/log/{}x", &key(1).to_string()[..14]), "x");
    for tail in 1..4 {
        let view = View { tail: Some(tail), ..everything() };
        for before in [appends("/log", 3), [appends("/log", 3), vec![between.clone()]].concat()] {
            for (turn, more) in (0..30).flat_map(|turn| (1..5).map(move |more| (turn, more))) {
                let mut sim = sweeping(0, if turn % 2 == 0 { 1_000 } else { 1 });
                before.iter().for_each(|request| sim.write(request));
                let mirror = sim.mirror(view.clone(), 0);
                sim.subscribe(0, mirror);
                for _ in 0..turn {
                    sim.serve(0);
                    sim.read(0);
                }
                appends("/log", more).iter().for_each(|request| sim.write(request));
                sim.converge();
            }
        }
    }
}

#[test]
fn a_tail_of_one_log_hides_nothing_of_what_lies_between_its_keys() {
    // A name that is not a log key but sorts between some. What is below it, including logs, does
    // not belong to the outer log.
    let between = "/log/00000000000004";
    let inner = format!("{between}/inner");
    let before = [appends("/log", 4), appends(&inner, 2)].concat();
    let missed = [appends("/log", 4), appends(&inner, 2)].concat();
    for tail in 0..3 {
        let view = View { tail: Some(tail), ..View::tree(path("/log")) };
        sweep(&view, &before, &missed, &puts("/log", 2, "3"));
    }
}

#[test]
fn a_tail_counts_the_entries_that_its_view_may_see() {
    // Answers below the messages of a log. The view does not see the messages, so the tail counts
    // the answers.
    let answers = |message| format!("/log/{}/answers", key(message));
    let to = |message, count| appends(&answers(message), count);
    let before = [appends("/log", 3), to(1, 3), to(2, 1), to(3, 2)].concat();
    let missed = [to(1, 1), appends("/log", 4), to(2, 3)].concat();
    let named = format!("log/{}", key(2));
    for pattern in ["**/answers/*", "log/*/answers/**", "log/*/*/*", "**/answers", &named, "**"] {
        for tail in 0..3 {
            let patterns = vec![Pattern::parse(pattern).unwrap()];
            let view = View { patterns, tail: Some(tail), ..everything() };
            sweep(&view, &before, &missed, &appends("/log", 4));
            // The root is a log, too, and another log stands before its entries.
            let before = [appends("/-/log", 3), appends("/", 3)].concat();
            sweep(&view, &before, &appends("/", 3), &appends("/-/log", 3));
        }
    }
}

#[test]
fn a_view_that_sees_less_than_it_passes_by_is_right_in_the_smallest_turns() {
    let patterns = ["b/*", "**/seen"].map(|text| Pattern::parse(text).unwrap()).to_vec();
    let before = [puts("/a", 9, "1"), puts("/b", 2, "1"), appends("/log", 5)].concat();
    let seen = ["/a/5/seen", "/c/seen"].map(|path| put(path, "2"));
    let missed =
        [puts("/a", 5, "2"), seen.to_vec(), vec![delete("/b/1"), drop_tree("/a")]].concat();
    let meanwhile = [puts("/a", 4, "3"), puts("/b", 4, "3"), vec![put("/a/1/seen", "3")]].concat();
    for tail in [None, Some(2)] {
        let view = View { patterns: patterns.clone(), tail, ..everything() };
        sweep(&view, &before, &missed, &meanwhile);
        sweep(&View { depth: Depth::Children, ..view }, &before, &missed, &meanwhile);
    }
}

#[test]
fn all_snapshots_go_at_once_when_none_may_be_held() {
    let mut state = State::new(settings());
    let write = |state: &mut State, request: &Request| {
        state.write(Time(1), &Author::default(), request).answer.unwrap();
    };
    puts("/a", 9, "1").iter().for_each(|request| write(&mut state, request));
    let mut feed = Feed::new(FeedLimits { subscriptions: 9, frame_bytes: 1, ..LIMITS });
    for number in 0..3 {
        feed.subscribe(&Sub { mode: Mode::Once, ..sub(number) }, &state.snapshot()).unwrap();
    }
    for _ in 0..9 {
        feed.poll(Time(1), || state.snapshot(), true);
    }
    write(&mut state, &put("/b", "1"));
    let now = state.snapshot();
    feed.poll(Time(1), || now.clone(), false);
    let mut ends = Vec::new();
    while let Some(step) = feed.poll(Time(1), || now.clone(), true) {
        if let Step::Frame(ServerFrame::Fresh(fresh)) = step {
            ends.push(fresh.rev);
        }
    }
    assert_eq!(ends, [now.rev(); 3], "one has still read what was held");
}
