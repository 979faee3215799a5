//! What the digests of a heartbeat may cost.

use onetree_core::{Author, Feed, FeedLimits, Request, Settings, State, Step, Time};
use onetree_protocol::frame::{Do, Mode, ServerFrame, Sub, Sync};
use onetree_protocol::{DigestKey, Epoch, Path, Pattern, Value, View};

/// Entries that may be walked for the digests of one `sync`.
const SCAN: usize = 1_000;

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

/// Puts entries, in one commit.
fn put(state: &mut State, paths: impl Iterator<Item = String>) {
    let put = |at: String| Do::Put {
        path: path(&at),
        value: Value::text("v"),
        ttl_ms: None,
        ephemeral: false,
    };
    let request = Request { changes: paths.map(put).collect(), ..Request::default() };
    state.write(Time(1), &Author::default(), &request).answer.unwrap();
}

/// Subscribes to the children of `base`, by a pattern.
fn subscribe(feed: &mut Feed, state: &State, sub: u32, base: &str) {
    paced(feed, state, (sub, 0), children(base));
}

fn children(base: &str) -> View {
    let patterns = vec![Pattern::parse("*").unwrap()];
    View { patterns, ..View::tree(path(base)) }
}

fn paced(feed: &mut Feed, state: &State, (sub, every_ms): (u32, u32), view: View) {
    let (cookie, mode, signals, copy) = (None, Mode::Stay, false, false);
    let sub = Sub { id: 1, sub, view, cookie, mode, signals, every_ms, copy };
    feed.subscribe(&sub, &state.snapshot()).unwrap();
}

/// Brings all mirrors to the present.
fn settle(feed: &mut Feed, state: &State) {
    while feed.poll(Time(1), || state.snapshot(), true).is_some() {}
}

/// Returns the subscriptions for which `sync` has a digest.
fn counted(sync: &Sync) -> Vec<u32> {
    sync.digests.iter().filter(|(_, digest)| digest.is_some()).map(|(sub, _)| *sub).collect()
}

/// Makes a tree of entries at `/a`, and a connection with `views` views of them by a pattern; all
/// are live.
fn connection(entries: usize, views: u32) -> (State, Feed) {
    let mut state = State::new(Settings {
        epoch: Epoch(1),
        digest_key: DigestKey(7),
        bounds: Default::default(),
        retention: Vec::new(),
    });
    put(&mut state, (0..entries).map(|n| format!("/a/{n}")));
    let limits = FeedLimits {
        subscriptions: 1_000,
        view_bytes: 100_000,
        pattern_segments: 1_000,
        frame_bytes: 8_192,
        digest_scan: SCAN,
        digests: 1000,
        turn_slots: 1_000,
    };
    let mut feed = Feed::new(limits);
    for sub in 0..views {
        subscribe(&mut feed, &state, sub, "/a");
    }
    settle(&mut feed, &state);
    (state, feed)
}

/// A `sync` walks no more entries for all views of a connection together than for one, however many
/// views there are. A view that has no turn in one `sync` has it in another.
#[test]
fn many_views_take_turns_to_be_counted() {
    let (state, mut feed) = connection(90, 200);
    let mut seen = [false; 200];
    for round in 0..25 {
        let sync = feed.sync(&state.snapshot());
        assert_eq!(sync.digests.len(), 200, "all are there");
        let named = counted(&sync);
        assert!((10..=11).contains(&named.len()), "{} in round {round}", named.len());
        named.iter().for_each(|sub| seen[*sub as usize] = true);
    }
    assert_eq!(seen.iter().filter(|seen| **seen).count(), 200);
}

/// A view that is too large for one `sync` does not keep the others from having their digests.
#[test]
fn a_view_that_is_too_large_is_passed_over() {
    let (mut state, mut feed) = connection(2_000, 1);
    put(&mut state, ["/b/1".to_owned()].into_iter());
    subscribe(&mut feed, &state, 7, "/b");
    settle(&mut feed, &state);
    let rounds: Vec<Vec<u32>> = (0..3).map(|_| counted(&feed.sync(&state.snapshot()))).collect();
    assert!(rounds.iter().any(|named| named == &[7]), "{rounds:?}");
    assert!(rounds.iter().all(|named| !named.contains(&0)), "{rounds:?}");
}

/// A view that is too large for any heartbeat is counted separately, in turns, when enough
/// heartbeats have saved up for it. So a copy that is wrong is found whatever its size.
#[test]
fn a_view_that_is_too_large_is_counted_every_so_many_heartbeats() {
    let (mut state, mut feed) = connection(10 * SCAN, 2);
    let mut told = [0; 2];
    for _ in 0..100 {
        feed.heartbeat(&state.snapshot());
        // The count takes turns, and delays the other work no longer than that.
        let mut pauses = 0;
        loop {
            match feed.poll(Time(1), || state.snapshot(), true) {
                Some(Step::Pause) => {
                    assert!(!feed.takes_live(), "what is counted stays as it is");
                    pauses += 1;
                }
                Some(Step::Frame(ServerFrame::Sync(sync))) => {
                    let [(sub, Some(digest))] = sync.digests[..] else { panic!("{sync:?}") };
                    assert_eq!(digest, state.snapshot().summary(&path("/a")).digest());
                    assert!(pauses >= 5, "{pauses}");
                    told[sub as usize] += 1;
                }
                None => break,
                step => panic!("{step:?}"),
            }
        }
        put(&mut state, ["/b/1".to_owned()].into_iter());
    }
    // 2, 4, 8 and 16 heartbeats for each.
    assert!(told.iter().all(|times| (1..=2).contains(times)), "{told:?}");
}

/// A client that asks waits for all digests, whatever their size.
#[test]
fn who_asks_is_told_the_digests_of_large_views_too() {
    let (state, mut feed) = connection(10 * SCAN, 3);
    let sync = feed.sync(&state.snapshot());
    assert!(sync.digests.iter().all(|(_, digest)| digest.is_none()));
    assert!(feed.count(&state.snapshot(), &sync));
    // A subscription that ends in the meantime is not named. Neither is a new one with the same
    // number.
    feed.unsubscribe(1).unwrap();
    subscribe(&mut feed, &state, 1, "/b");
    let mut steps = std::iter::from_fn(|| feed.poll(Time(1), || state.snapshot(), true));
    let Some(Step::Counted(sync)) = steps.find(|step| matches!(step, Step::Counted(_))) else {
        panic!("nothing was counted")
    };
    let right = state.snapshot().summary(&path("/a")).digest();
    assert_eq!(sync.digests, [(0, Some(right)), (2, Some(right))]);
    // If the feed may hold no snapshot, the client gets the digests that there are.
    settle(&mut feed, &state);
    let sync = feed.sync(&state.snapshot());
    assert!(feed.count(&state.snapshot(), &sync));
    let Some(Step::Counted(sync)) = feed.poll(Time(1), || state.snapshot(), false) else {
        panic!("it goes on over a snapshot that it may not hold")
    };
    assert_eq!(counted(&sync), [1]);
}

/// Returns the result of a count for `all` that was begun before. Each turn takes 5 ms of simulated
/// time.
fn count_on(state: &State, feed: &mut Feed) -> Vec<u32> {
    let mut now = 1;
    loop {
        now += 5;
        match feed.poll(Time(now), || state.snapshot(), true) {
            Some(Step::Counted(sync)) => return counted(&sync),
            Some(Step::Pause) => {}
            step => panic!("{step:?}"),
        }
    }
}

/// A mirror that was sent nothing in the meantime is where it was: the digest is for it.
#[test]
fn who_is_to_go_on_behind_a_count_is_told_its_digest() {
    let (mut state, mut feed) = connection(10 * SCAN, 1);
    paced(&mut feed, &state, (1, 10), children("/a"));
    settle(&mut feed, &state);
    let sync = feed.sync(&state.snapshot());
    assert!(feed.count(&state.snapshot(), &sync));
    assert!(matches!(feed.poll(Time(1), || state.snapshot(), true), Some(Step::Pause)));
    // Live deltas are lost, and an interval ends in which something was written.
    feed.handle_overflow();
    put(&mut state, ["/elsewhere".to_owned()].into_iter());
    assert_eq!(count_on(&state, &mut feed), [0, 1]);
}

#[test]
fn what_is_counted_is_let_go_of_when_it_may_not_be_held_any_more() {
    let (state, mut feed) = connection(10 * SCAN, 2);
    let sync = feed.sync(&state.snapshot());
    assert!(feed.count(&state.snapshot(), &sync));
    assert!(matches!(feed.poll(Time(1), || state.snapshot(), true), Some(Step::Pause)));
    // This happens before anything else is sent.
    feed.resync(1).unwrap();
    let step = feed.poll(Time(1), || state.snapshot(), false);
    let Some(Step::Counted(sync)) = step else { panic!("{step:?}") };
    assert_eq!(sync.digests, [(0, None)]);
    assert!(matches!(feed.poll(Time(1), || state.snapshot(), false), Some(Step::Frame(_))));
    // What heartbeats have saved up is not lost by it.
    let beat = |feed: &mut Feed, hold| {
        feed.heartbeat(&state.snapshot());
        let steps = std::iter::from_fn(|| feed.poll(Time(1), || state.snapshot(), hold));
        steps.filter(|step| matches!(step, Step::Frame(ServerFrame::Sync(_)))).count()
    };
    assert_eq!((0..120).map(|n| beat(&mut feed, n % 7 == 0)).sum::<usize>(), 2);
}

/// Such a view has no digest: what it shows depends on when it was refreshed.
#[test]
fn a_view_with_a_tail_is_never_counted() {
    let (mut state, mut feed) = connection(10, 0);
    paced(&mut feed, &state, (0, 1_000_000), View { tail: Some(2), ..children("/a") });
    settle(&mut feed, &state);
    // To find that nothing in the view has changed takes exactly what one heartbeat may look at.
    put(&mut state, (0..SCAN).map(|n| format!("/a/d/{n}")));
    for _ in 0..6 {
        assert!(counted(&feed.heartbeat(&state.snapshot())).is_empty());
        assert!(feed.poll(Time(1), || state.snapshot(), true).is_none());
    }
}

/// After a count that did not end in time, only the slots that were not walked are left. Otherwise
/// each heartbeat would begin the count, for nothing.
#[test]
fn a_count_that_takes_longer_than_it_may_is_paid_for() {
    let (state, mut feed) = connection(10 * SCAN, 1);
    let mut turns = Vec::new();
    for _ in 0..60 {
        feed.heartbeat(&state.snapshot());
        let steps = (0..5).map_while(|_| feed.poll(Time(1), || state.snapshot(), true));
        turns.push(steps.count());
        while feed.poll(Time(1), || state.snapshot(), false).is_some() {}
    }
    let slots = turns.iter().sum::<usize>() * SCAN;
    assert!(slots <= 61 * SCAN, "{turns:?}");
    // A plain `sync` begins no count.
    for _ in 0..100 {
        feed.sync(&state.snapshot());
        assert!(!feed.is_catching_up());
    }
}

/// Who goes, or starts again, while it is counted leaves nothing of its count to the next one.
#[test]
fn who_goes_while_it_is_counted_leaves_nothing_to_the_next() {
    for resync in [false, true] {
        let (mut state, mut feed) = connection(10 * SCAN, 1);
        put(&mut state, (0..2 * SCAN).map(|n| format!("/b/{n}")));
        subscribe(&mut feed, &state, 1, "/b");
        settle(&mut feed, &state);
        let sync = feed.sync(&state.snapshot());
        assert!(feed.count(&state.snapshot(), &sync));
        assert!(matches!(feed.poll(Time(1), || state.snapshot(), true), Some(Step::Pause)));
        if resync {
            feed.resync(0).unwrap()
        } else {
            drop(feed.unsubscribe(0).unwrap())
        }
        let mut steps = std::iter::from_fn(|| feed.poll(Time(1), || state.snapshot(), true));
        let Some(Step::Counted(sync)) = steps.find(|step| matches!(step, Step::Counted(_))) else {
            panic!("nothing was counted")
        };
        let right = state.snapshot().summary(&path("/b")).digest();
        assert_eq!(sync.digests, [(1, Some(right))]);
    }
}

/// Two mirrors at two revisions: who writes in the connection's place needs what the older lacks.
#[test]
fn the_oldest_of_the_live_mirrors_says_what_is_needed() {
    let (mut state, mut feed) = connection(1, 1);
    let first = state.snapshot().rev();
    put(&mut state, ["/a/2".to_owned()].into_iter());
    subscribe(&mut feed, &state, 1, "/b");
    settle(&mut feed, &state);
    assert_eq!(feed.live_above(), Some(first));
}

/// The shortest interval is over first.
#[test]
fn the_interval_that_is_over_first_is_waited_for() {
    let (state, mut feed) = connection(1, 0);
    for (sub, every_ms) in [(1, 1_000), (2, 10), (3, 100)] {
        paced(&mut feed, &state, (sub, every_ms), View::tree(path("/a")));
    }
    settle(&mut feed, &state);
    assert_eq!(feed.next_due(), Some(Time(11)));
}
