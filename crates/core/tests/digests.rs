//! What the digests of a heartbeat may cost.

use onetree_core::{Author, Feed, FeedLimits, Request, Settings, State, Step, Time};
use onetree_protocol::frame::{Do, Mode, Sub};
use onetree_protocol::{DigestKey, Epoch, Path, Pattern, Value, View};

/// Entries that may be walked for the digests of one `sync`.
const SCAN: usize = 1_000;

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

/// A tree of entries at `/a`, and a connection with so many views of them by a pattern; all live.
fn connection(entries: usize, views: u32) -> (State, Feed) {
    let mut state = State::new(Settings {
        epoch: Epoch(1),
        digest_key: DigestKey(7),
        bounds: Default::default(),
        retention: Vec::new(),
    });
    let put = |n: usize| Do::Put {
        path: path(&format!("/a/{n}")),
        value: Value::text("v"),
        ttl_ms: None,
        ephemeral: false,
    };
    let request = Request { changes: (0..entries).map(put).collect(), ..Request::default() };
    state.write(Time(1), &Author::default(), &request).answer.unwrap();
    let limits = FeedLimits { subscriptions: 1_000, frame_bytes: 8_192, digest_scan: SCAN };
    let mut feed = Feed::new(limits);
    for sub in 0..views {
        let patterns = vec![Pattern::parse("*").unwrap()];
        let sub = Sub {
            id: 1,
            sub,
            view: View { base: path("/a"), patterns, ..View::tree(path("/a")) },
            cookie: None,
            mode: Mode::Stay,
            signals: false,
            every_ms: 0,
            copy: false,
        };
        feed.subscribe(&sub, &state.snapshot()).unwrap();
    }
    while let Some(step) = feed.poll(Time(1), || state.snapshot(), true) {
        drop::<Step>(step);
    }
    (state, feed)
}

/// A `sync` walks no more entries for all views of a connection together than for one, however many
/// there are; what has no turn in one has it in another.
#[test]
fn many_views_take_turns_to_be_counted() {
    let (state, mut feed) = connection(90, 200);
    let mut counted = [false; 200];
    for round in 0..25 {
        let sync = feed.sync(&state.snapshot());
        assert_eq!(sync.digests.len(), 200, "all are there");
        let named: Vec<u32> =
            sync.digests.iter().filter(|(_, digest)| digest.is_some()).map(|one| one.0).collect();
        assert!((10..=11).contains(&named.len()), "{} in round {round}", named.len());
        named.iter().for_each(|sub| counted[*sub as usize] = true);
    }
    assert_eq!(counted.iter().filter(|counted| **counted).count(), 200);
}

/// One that is too large for all of it does not keep the others from theirs.
#[test]
fn a_view_that_is_too_large_is_passed_over() {
    let (mut state, mut feed) = connection(2_000, 1);
    let put = |path: &Path| Do::Put {
        path: path.clone(),
        value: Value::text("v"),
        ttl_ms: None,
        ephemeral: false,
    };
    let small = path("/b/1");
    let request = Request { changes: vec![put(&small)], ..Request::default() };
    state.write(Time(2), &Author::default(), &request).answer.unwrap();
    let patterns = vec![Pattern::parse("*").unwrap()];
    let sub = Sub {
        id: 1,
        sub: 7,
        view: View { base: path("/b"), patterns, ..View::tree(path("/b")) },
        cookie: None,
        mode: Mode::Stay,
        signals: false,
        every_ms: 0,
        copy: false,
    };
    feed.subscribe(&sub, &state.snapshot()).unwrap();
    while feed.poll(Time(1), || state.snapshot(), true).is_some() {}
    let named = |feed: &mut Feed| -> Vec<u32> {
        let sync = feed.sync(&state.snapshot());
        sync.digests.iter().filter(|(_, digest)| digest.is_some()).map(|one| one.0).collect()
    };
    let rounds = [named(&mut feed), named(&mut feed), named(&mut feed)];
    assert!(rounds.iter().any(|named| named == &[7]), "{rounds:?}");
    assert!(rounds.iter().all(|named| !named.contains(&0)), "{rounds:?}");
}
