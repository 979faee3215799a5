//! What one turn of a feed may cost, in nodes visited (feature `count-visits`): a subscriber for
//! which there is nothing to send in a large tree delays nobody.

#[path = "common/cost.rs"]
mod cost;

use cost::{alone, cost};
use onetree_core::map::LEAF;
use onetree_core::{Author, Feed, FeedLimits, Request, Settings, State, Step, Time};
use onetree_protocol::frame::{Do, Mode, ServerFrame, Sub};
use onetree_protocol::{Act, Change, DigestKey, Epoch, Path, Pattern, Value, View};

const ENTRIES: u64 = 20_000;

/// The slots that one turn may look at.
const SLOTS: u64 = 1_000;

/// The nodes that hold this many slots if the leaves are half full, plus twice the way down to the
/// first.
const TURN: u64 = SLOTS / (LEAF as u64 / 2) + 30;

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

/// Writes the changes, in a few commits.
fn write(state: &mut State, changes: &[Do]) {
    for some in changes.chunks(10_000) {
        let request = Request { changes: some.to_vec(), ..Request::default() };
        state.write(Time(1), &Author::default(), &request).answer.unwrap();
    }
}

/// Puts each of the entries at `/a`.
fn fill(state: &mut State) {
    fill_at(state, "/a", ENTRIES);
}

fn fill_at(state: &mut State, top: &str, entries: u64) {
    let put = |n| Do::Put {
        path: path(&format!("{top}/{n:06}")),
        value: Value::text("v"),
        ttl_ms: None,
        ephemeral: false,
    };
    write(state, &(0..entries).map(put).collect::<Vec<_>>());
}

fn append(state: &mut State, count: u64) {
    let value = Value::text("v");
    let append = Do::Append { path: path("/log"), value, ttl_ms: None, ephemeral: false };
    write(state, &vec![append; count as usize]);
}

fn empty() -> State {
    State::new(Settings {
        epoch: Epoch(1),
        digest_key: DigestKey(7),
        bounds: Default::default(),
        retention: Vec::new(),
    })
}

fn feed() -> Feed {
    feed_of(SLOTS as usize)
}

/// Returns a feed whose turns look at this many slots.
fn feed_of(turn_slots: usize) -> Feed {
    let digest_scan = SLOTS as usize;
    Feed::new(FeedLimits {
        subscriptions: 2_000,
        view_bytes: 1 << 20,
        pattern_segments: 10_000,
        frame_bytes: 8_192,
        digest_scan,
        digests: 1000,
        turn_slots,
    })
}

fn subscribe(feed: &mut Feed, state: &State, sub: u32, view: View, every_ms: u32) {
    let (cookie, mode, signals, copy) = (None, Mode::Stay, false, false);
    let sub = Sub { id: 1, sub, view, cookie, mode, signals, every_ms, copy };
    feed.subscribe(&sub, &state.snapshot()).unwrap();
}

/// Returns a view of the paths whose last segment is `last0`, `last1` and so on, of which there are
/// none.
fn nothing(last: &str, patterns: usize) -> View {
    let patterns = (0..patterns).map(|n| Pattern::parse(&format!("**/{last}{n}")).unwrap());
    View { patterns: patterns.collect(), ..View::tree(Path::root()) }
}

/// Counts what a feed sends until it has nothing to do, and its most expensive turn.
#[derive(Default)]
struct Said {
    most: u64,
    all: u64,
    turns: usize,
    changes: Vec<Change>,
    fresh: Vec<u32>,
    deltas: usize,
}

fn settle(feed: &mut Feed, state: &State, now: Time, hold: bool) -> Said {
    let mut said = Said::default();
    loop {
        let (visits, step) = cost(|| feed.poll(now, || state.snapshot(), hold));
        said.most = said.most.max(visits);
        said.all += visits;
        said.turns += 1;
        match step {
            Some(Step::Frame(ServerFrame::Entries(entries))) => {
                assert!(!entries.changes.is_empty(), "a frame that says nothing");
                said.changes.extend(entries.changes);
            }
            Some(Step::Frame(ServerFrame::Fresh(fresh))) => said.fresh.push(fresh.sub),
            Some(Step::Frame(ServerFrame::Delta(_))) => said.deltas += 1,
            Some(_) => {}
            None => return said,
        }
    }
}

#[test]
fn a_view_that_sees_nothing_of_a_large_tree_gives_way() {
    let _alone = alone();
    let mut state = empty();
    fill(&mut state);
    for hold in [true, false] {
        // One slot costs as much as its patterns; these have two segments each.
        for (patterns, turn) in [(1, TURN), (32, TURN - SLOTS / LEAF as u64)] {
            let mut feed = feed();
            subscribe(&mut feed, &state, 1, nothing("no", patterns), 0);
            let said = settle(&mut feed, &state, Time(1), hold);
            assert!(said.most <= turn, "{} nodes in one turn: {patterns} patterns", said.most);
            let least = ENTRIES as usize * (1 + 2 * patterns / 16) / SLOTS as usize * 9 / 10;
            assert!((least..2 * least + 20).contains(&said.turns), "{} turns", said.turns);
            assert_eq!((said.changes.len(), said.fresh), (0, vec![1]));
        }
    }
}

/// To match a path, each segment of the patterns may be compared with each segment of the path
/// below the base. So that is what a slot counts for, in a turn and in a `sync`.
#[test]
fn a_slot_counts_for_as_much_as_its_path_takes_to_match() {
    let _alone = alone();
    let mut state = empty();
    let top = "/x".repeat(30);
    fill_at(&mut state, &top, ENTRIES / 10);
    for (base, below) in [(Path::root(), 31), (path(&top), 1)] {
        let mut feed = feed();
        // 32 patterns of two segments.
        subscribe(&mut feed, &state, 1, View { base, ..nothing("no", 32) }, 0);
        let said = settle(&mut feed, &state, Time(1), true);
        let slot = 1 + 64 * below / 32;
        let turns = (ENTRIES / 10) as usize * slot / SLOTS as usize;
        assert!(
            (turns * 9 / 10..turns * 11 / 10 + 10).contains(&said.turns),
            "{} turns, not {turns}, for paths of {below} segments below the base",
            said.turns
        );
        let (visits, _) = cost(|| feed.sync(&state.snapshot()));
        let most = TURN / slot as u64 + 30;
        assert!(visits <= most, "{visits} nodes in one sync, {below} segments below the base");
    }
}

/// Which logs the tail applies to depends on the patterns, and each of these logs lies in another
/// one.
#[test]
fn a_tail_in_logs_within_logs_costs_no_more_turns_than_none() {
    let _alone = alone();
    let mut state = empty();
    let append = |state: &mut State, log: &Path, count: usize| {
        let append = Do::Append {
            path: log.clone(),
            value: Value::text("v"),
            ttl_ms: None,
            ephemeral: false,
        };
        let request = Request { changes: vec![append; count], ..Request::default() };
        state.write(Time(1), &Author::default(), &request).answer.unwrap().paths.remove(0)
    };
    let deep = (0..20).fold(path("/log"), |log, _| append(&mut state, &log, 1));
    append(&mut state, &deep, 3_000);
    let turns = [None, Some(1)].map(|tail| {
        let mut feed = feed();
        subscribe(&mut feed, &state, 1, View { tail, ..nothing("no", 200) }, 0);
        settle(&mut feed, &state, Time(1), true).turns
    });
    assert!(turns[1] <= turns[0] + turns[0] / 4, "{turns:?} without and with a tail");
}

/// No turn is longer for that: the feed asks for a snapshot to hold when several rounds have not
/// been enough.
#[test]
fn a_refresh_ends_though_more_is_written_than_its_turns_look_at() {
    let _alone = alone();
    let mut state = empty();
    let (entries, between) = (1_000, 100);
    let puts = |from: u64, count: u64| -> Vec<Do> {
        let at = |n: u64| path(&format!("/a/{:06}", n % entries));
        let value = || Value::text("v");
        let put = |n| Do::Put { path: at(n), value: value(), ttl_ms: None, ephemeral: false };
        (from..from + count).map(put).collect()
    };
    write(&mut state, &puts(0, entries));
    let mut feed = feed_of(10);
    subscribe(&mut feed, &state, 1, nothing("no", 1), 0);
    let mut held = 0;
    for turn in 0..1_000 {
        let hold = feed.needs_hold();
        let (visits, step) = cost(|| feed.poll(Time(1), || state.snapshot(), hold));
        assert!(visits <= 40, "{visits} nodes in turn {turn}, for 10 slots");
        if matches!(step, Some(Step::Frame(ServerFrame::Fresh(_)))) {
            assert!(held > 0, "it needs none");
            return;
        }
        held += u64::from(hold);
        write(&mut state, &puts(turn * between, between));
    }
    panic!("it does not end");
}

#[test]
fn views_that_see_nothing_take_turns_with_those_that_do() {
    let _alone = alone();
    let mut state = empty();
    fill(&mut state);
    let mut feed = feed();
    for sub in 0..20 {
        subscribe(&mut feed, &state, sub, nothing("no", 1), 0);
    }
    subscribe(&mut feed, &state, 20, View::tree(path("/a/000007")), 0);
    let said = settle(&mut feed, &state, Time(1), true);
    assert!(said.most <= TURN, "{} nodes in one turn", said.most);
    assert_eq!((said.fresh.len(), said.fresh[0]), (21, 20), "the small one is done first");
    // The changes that one of the mirrors missed are passed by in turns, too.
    feed.handle_overflow();
    fill(&mut state);
    let said = settle(&mut feed, &state, Time(1), true);
    // A search for what changed reads some leaves ahead.
    assert!(said.most <= TURN + 300, "{} nodes in one turn", said.most);
    assert_eq!(said.deltas, 21);
}

#[test]
fn a_sync_asks_no_more_of_views_with_an_interval_than_of_others() {
    let _alone = alone();
    let mut state = empty();
    fill(&mut state);
    let mut feed = feed();
    for sub in 0..20 {
        subscribe(&mut feed, &state, sub, nothing("no", 1), 1_000);
    }
    subscribe(&mut feed, &state, 20, View::tree(path("/b")), 1_000);
    settle(&mut feed, &state, Time(1), true);
    assert_eq!(feed.sync(&state.snapshot()).digests.len(), 21);
    fill(&mut state);
    for _ in 0..2 {
        let (visits, sync) = cost(|| feed.sync(&state.snapshot()));
        assert!(visits <= TURN + 21 * 30 + 300, "{visits} nodes in one sync");
        let named: Vec<u32> = sync.digests.iter().map(|(sub, _)| *sub).collect();
        assert_eq!(named, [20], "of the others it is not known");
    }
    // At the end of their interval it turns out that nothing changed: then they are there.
    settle(&mut feed, &state, Time(2_000), true);
    assert_eq!(feed.sync(&state.snapshot()).digests.len(), 21);
}

#[test]
fn an_interval_does_not_look_again_at_what_the_last_one_saw() {
    let _alone = alone();
    let mut state = empty();
    fill(&mut state);
    let mut feed = feed();
    subscribe(&mut feed, &state, 1, nothing("no", 1), 50);
    settle(&mut feed, &state, Time(1), true);
    fill(&mut state);
    let first = settle(&mut feed, &state, Time(100), true);
    assert!(first.all > ENTRIES / LEAF as u64, "{} nodes: it has to look", first.all);
    let second = settle(&mut feed, &state, Time(200), true);
    assert!(second.turns == 1 && second.all <= 30, "{} nodes for nothing", second.all);
    assert_eq!((first.deltas, second.deltas), (0, 0));
}

#[test]
fn a_tail_costs_what_it_shows() {
    let _alone = alone();
    let mut state = empty();
    append(&mut state, ENTRIES);
    let leaves = ENTRIES / (LEAF as u64 / 2);
    for hold in [true, false] {
        for tail in [10, ENTRIES / 2, ENTRIES - 1, ENTRIES, u32::MAX.into()] {
            let mut feed = feed();
            let view = View { tail: Some(tail as u32), ..View::tree(path("/log")) };
            subscribe(&mut feed, &state, 1, view, 0);
            let said = settle(&mut feed, &state, Time(1), hold);
            let puts = said.changes.iter().filter(|c| matches!(c.act, Act::Put(_))).count();
            assert_eq!(puts as u64, tail.min(ENTRIES), "the newest {tail}");
            // Once to find the edge of the tail, once to read the entries, and the way down for
            // each piece.
            let shown = 2 * leaves * tail.min(ENTRIES) / ENTRIES;
            let limit = shown + 40 * said.turns as u64;
            assert!(said.all <= limit, "tail {tail}: {} > {limit}", said.all);
            assert!(said.most <= 2 * TURN, "tail {tail}: {} in one turn", said.most);
        }
    }
}

#[test]
fn a_tail_that_moves_on_costs_what_it_shows() {
    let _alone = alone();
    let mut state = empty();
    append(&mut state, ENTRIES);
    let mut feed = feed();
    let view = View { tail: Some(ENTRIES as u32 / 2), ..View::tree(path("/log")) };
    subscribe(&mut feed, &state, 1, view, 0);
    let (mut all, mut turns, mut fresh) = (0, 0, false);
    while !fresh {
        append(&mut state, 1);
        let (visits, step) = cost(|| feed.poll(Time(1), || state.snapshot(), false));
        (all, turns) = (all + visits, turns + 1);
        fresh = matches!(step, Some(Step::Frame(ServerFrame::Fresh(_))));
    }
    // The edge of the tail is searched again once as much was read as the search takes.
    let limit = 3 * ENTRIES / (LEAF as u64 / 2) + 40 * turns;
    assert!(all <= limit, "{all} > {limit}");
}

/// At the end of an interval in which nothing was committed, mirrors with `every_ms` are not
/// walked.
#[test]
fn mirrors_at_intervals_cost_nothing_while_nothing_changes() {
    let _alone = alone();
    let mut state = empty();
    fill(&mut state);
    append(&mut state, 100);
    let mut feed = feed();
    for sub in 0..100 {
        let top = path(if sub == 0 { "/log" } else { "/a" });
        subscribe(&mut feed, &state, sub, View { tail: Some(5), ..View::tree(top) }, 10);
    }
    let said = settle(&mut feed, &state, Time(1), true);
    assert_eq!((said.fresh.len(), feed.next_due()), (100, Some(Time(11))));
    for now in [11, 21, 1_000] {
        let said = settle(&mut feed, &state, Time(now), true);
        assert_eq!((said.all, said.deltas, said.turns), (0, 0, 1), "at {now}");
        assert_eq!(feed.next_due(), Some(Time(now + 10)), "at {now}");
    }
    // A heartbeat names them as there, and does not change their intervals.
    assert_eq!(feed.sync(&state.snapshot()).digests.len(), 100);
    append(&mut state, 1);
    assert_eq!(settle(&mut feed, &state, Time(1_009), true).deltas, 0);
    let said = settle(&mut feed, &state, Time(1_010), true);
    assert_eq!((said.deltas, said.changes.len()), (1, 0));
    assert_eq!(feed.next_due(), Some(Time(1_020)));
    // Mirrors in which nothing changed are not walked again for the same commits.
    let said = settle(&mut feed, &state, Time(1_020), true);
    assert_eq!((said.all, said.deltas), (0, 0));
}
