//! Tests of commits that many subscribers see, each in a different way.

use onetree_core::concerns;

use super::*;

/// Returns the most memory that frames of this many bytes may take.
fn most(bytes: usize) -> usize {
    2 * bytes + 256
}

impl House {
    /// Checks the memory of everything that was handed out. Returns how many frames that were.
    fn check_memory(self) -> usize {
        let (deltas, signals) = self.people.iter().fold((Vec::new(), Vec::new()), |all, person| {
            let (mut deltas, mut signals) = all;
            deltas.append(&mut person.1.deltas.lock().unwrap());
            signals.append(&mut person.1.signals.lock().unwrap());
            (deltas, signals)
        });
        let mut count = 0;
        // Frames that several people share count only for the last of them.
        for frames in deltas.into_iter().chain(signals).filter_map(Arc::into_inner) {
            let bytes = frames.bytes().len();
            let allocated = frames.allocated();
            assert!(allocated <= most(bytes), "{allocated} for {bytes}");
            count += 1;
        }
        count
    }
}

fn puts(places: impl Iterator<Item = usize>) -> Vec<Effect> {
    places.map(|n| put(&format!("/u/{n}"))).collect()
}

#[test]
fn frames_take_no_more_memory_than_their_bytes() {
    // One of many changes, seen by one person, and by two who each see a different one.
    for people in [1, 2] {
        let house = House::new(people);
        for person in 0..people {
            house.register(person, 1, View::tree(path(&format!("/u/{person}"))));
        }
        house.commit(1, puts(0..10_000));
        house.commit(2, vec![put("/u/0")]);
        assert_eq!(house.check_memory(), people + 1);
    }
    // Values that are not sent, and everything in a large commit.
    let house = House::new(2);
    let large = Value::text(&"x".repeat(10_000));
    let put_large =
        |at: &str| Effect::Put { path: path(at), value: large.clone(), expires: None, owner: None };
    house.register(0, 1, View { values: false, ..View::tree(Path::root()) });
    house.register(1, 1, View::tree(path("/u")));
    house.commit(1, vec![put_large("/a"), put_large("/b")]);
    house.commit(2, puts(0..10_000));
    house.commit(3, vec![put_large("/u/1"), put_large("/b")]);
    assert_eq!(house.check_memory(), 5);
    // Commits and signals that are handed over together.
    let house = House::new(1);
    house.register(0, 1, View::tree(path("/u")));
    house.commits((1..1_000).map(|n| (n, vec![put("/u/1")])));
    house.commits((1_000..1_003).map(|n| (n, vec![put("/u/1")])));
    let signal = |n: usize| Signal { path: path("/u/1"), value: Value::json(&n.to_string()) };
    house.fanout.signal(&(0..1_000).map(signal).collect::<Vec<_>>());
    house.fanout.signal(&[signal(1)]);
    assert!(house.check_memory() > 4);
}

#[test]
fn what_many_see_in_parts_is_handed_over_piece_by_piece_and_in_order() {
    const PEOPLE: usize = 500;
    let house = House::new(PEOPLE + 1);
    for person in 0..PEOPLE {
        house.register(person, 1, View::tree(path(&format!("/u/{person}"))));
    }
    let effects = || (0..4 * PEOPLE).map(|n| put(&format!("/u/{}/{n}", n % PEOPLE))).collect();
    let commit = |n| Commit { rev: rev(n), time: Time(0), effects: effects(), origin: None };
    let commits: Vec<_> = (1..=2).map(|n| Arc::new(commit(n))).collect();
    let mut publication = house.fanout.publication(&commits);
    let mut before = 0;
    let (mut pieces, mut late) = (0, false);
    while publication.go_on() {
        pieces += 1;
        let handed = house.people.iter().map(|(_, kept)| kept.deltas.lock().unwrap().len());
        let handed: usize = handed.sum();
        assert!(handed - before <= 64, "{} in one piece", handed - before);
        before = handed;
        // Somebody comes while the first commit is handed over, and reads the tree, which has all
        // of it.
        if handed > PEOPLE / 2 && !late {
            house.register(PEOPLE, 1, View::tree(path("/u")));
            late = true;
        }
    }
    assert!(pieces > 4 * PEOPLE * 2 / 64 && late);
    for person in 0..PEOPLE {
        let expected: Vec<_> =
            (0..4).map(|n| format!("/u/{person}/{}", person + n * PEOPLE)).collect();
        let (deltas, handed) = house.deltas(person);
        let revs: Vec<_> = deltas.iter().map(|delta| delta.rev.get()).collect();
        assert_eq!((revs, handed), (vec![1, 2], 2));
        assert_eq!((house.told(person, 1), house.told(person, 2)), (expected.clone(), expected));
    }
    // The second commit, whose changes were looked up after that, comes in full.
    assert!(house.told(PEOPLE, 1).is_empty());
    assert_eq!(house.told(PEOPLE, 2).len(), 4 * PEOPLE);
}

#[test]
fn everyone_sees_what_any_of_their_views_sees() {
    const PEOPLE: usize = 60;
    let house = House::new(PEOPLE);
    let bases = ["/", "/u", "/u/1", "/u/2", "/u/2/x", "/v", "/v/1"];
    let mut views: Vec<Vec<Arc<View>>> = vec![Vec::new(); PEOPLE];
    // Pseudo-random, and the same in each run.
    let mut seed = 1_u32;
    let mut chance = |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) as usize % below
    };
    for (person, views) in views.iter_mut().enumerate() {
        for sub in 0..chance(5) as u32 {
            let (base, values) = (path(bases[chance(bases.len())]), chance(3) > 0);
            let depth = if chance(3) > 0 { Depth::Tree } else { Depth::Children };
            let view = View { values, depth, ..View::tree(base) };
            views.push(Arc::new(view.clone()));
            house.register(person, sub, view);
        }
    }
    for n in 1..100 {
        let texts = ["/u", "/u/1", "/u/2", "/u/2/x", "/u/2/x/y", "/u/3", "/v/1", "/v/1/z", "/w"];
        let mut effect = || match (path(texts[chance(texts.len())]), chance(8)) {
            (path, 0) => Effect::Drop { path },
            (path, 1) => Effect::Delete { path },
            (path, _) => put(path.as_str()),
        };
        let effects: Vec<_> = (0..1 + n as usize % 40).map(|_| effect()).collect();
        let commit = Commit { rev: rev(n), time: Time(0), effects, origin: None };
        house.fanout.publish(&[Arc::new(commit.clone())]);
        for (person, views) in views.iter().enumerate() {
            let seen = commit.changes().into_iter().filter_map(|change| {
                let seeing = || views.iter().filter(|view| concerns(view, &change));
                let bare = matches!(change.act, Act::Put(_)) && !seeing().any(|view| view.values);
                seeing().next()?;
                let bare = if bare { " bare" } else { "" };
                Some(format!("{}{bare}", change.path))
            });
            assert_eq!(house.told(person, n), seen.collect::<Vec<_>>(), "person {person}, {n}");
            house.people[person].1.deltas.lock().unwrap().clear();
        }
    }
}
