//! Tests of the limit on finding out who sees a change.

use super::*;

/// A view with patterns of which nearly every segment is compared with every one of `/a/a/a…`.
/// `many`: it has so many patterns that it is looked at last.
fn costly(base: &str, n: u32, many: bool) -> View {
    let pattern = |n: u32| {
        let segments = (0..15).map(|bit| if n >> bit & 1 == 0 { "**/a" } else { "**/*" });
        Pattern::parse(&format!("{}/z", segments.collect::<Vec<_>>().join("/"))).unwrap()
    };
    let patterns = (0..if many { 32 } else { 2 }).map(|of| pattern((n + of) * 1_021)).collect();
    View { patterns, ..View::tree(path(base)) }
}

/// A path that is compared with those patterns.
fn deep(n: usize) -> String {
    format!("/a{}/{n}", "/a".repeat(28))
}

/// A view of what ends with `1`.
fn cheap(base: &str) -> View {
    View { patterns: vec![Pattern::parse("**/1").unwrap()], ..View::tree(path(base)) }
}

impl House {
    fn told_of<const PEOPLE: usize>(&self, rev: u64) -> [usize; PEOPLE] {
        std::array::from_fn(|person| self.told(person, rev).len())
    }

    /// Returns who has overflowed since the last call.
    fn overflowed<const PEOPLE: usize>(&self) -> [bool; PEOPLE] {
        std::array::from_fn(|n| self.people[n].1.overflowed.swap(false, Ordering::Relaxed))
    }
}

#[test]
fn what_takes_too_long_to_look_up_is_left_to_those_who_make_it_so() {
    let house = House::new(6);
    house.register(0, 1, costly("/a", 0, true));
    house.register(1, 1, View::tree(Path::root()));
    house.register(2, 1, View::tree(path("/a")));
    house.register(3, 1, cheap("/a"));
    house.register(4, 1, cheap("/a/a"));
    let puts = |count: usize| (0..count).map(|n| put(&deep(n))).collect();
    // Up to this point everybody gets everything.
    house.commit(1, vec![put(&deep(1))]);
    assert_eq!(house.told_of(1), [0, 1, 1, 1, 1]);
    assert_eq!(house.overflowed(), [false; 5]);
    house.commits([(2, puts(600)), (3, vec![put(&deep(1))])]);
    assert_eq!(house.overflowed(), [true, false, false, false, false]);
    assert_eq!(house.told_of(2), [0, 600, 600, 1, 1]);
    assert_eq!(house.told_of(3), [0, 1, 1, 1, 1]);
    // Ordinary changes earn the steps back.
    for rev in 4..2_000 {
        house.commit(rev, vec![Effect::Delete { path: path("/b") }]);
    }
    house.commit(2_000, vec![put(&deep(1))]);
    assert_eq!(house.overflowed(), [false; 5]);
    // Many views with few patterns each: subscribers with any patterns at that base are left open.
    for n in 0..40 {
        house.register(5, n, costly("/a", 2 * n, false));
    }
    house.commits([(2_001, puts(600)), (2_002, vec![put(&deep(1))])]);
    // At another base enough steps are left for few patterns.
    assert_eq!(house.overflowed(), [true, false, false, true, false, true]);
    assert_eq!(house.told_of(2_001), [0, 600, 600]);
    assert_eq!(house.told_of(2_002), [0, 1, 1]);
}

#[test]
fn too_many_views_that_see_something_are_left_to_the_tree() {
    let house = House::new(4);
    house.register(0, 1, View::tree(Path::root()));
    for n in 0..4_000 {
        house.register(1, n, View { tail: Some(n), ..View::tree(path("/a")) });
        // These views do not reach as deep, and are not looked at.
        let children = View { tail: Some(n), depth: Depth::Children, ..View::tree(path("/b")) };
        house.register(2, n, children);
        house.register(3, n, View::tree(path(&format!("/c/{n}"))));
    }
    let puts = |top: &str| (0..1_000).map(|n| put(&format!("{top}/x/{n}"))).collect();
    house.commit(1, puts("/b"));
    assert_eq!((house.overflowed(), house.told_of(1)), ([false; 4], [1_000]));
    house.commit(2, puts("/a"));
    assert_eq!((house.overflowed(), house.told_of(2)), ([false, true, false, false], [1_000]));
    // A drop goes to the views below it. If that happens too often, those subscribers look at the
    // tree.
    let drop = || Effect::Drop { path: path("/c") };
    house.commit(3, vec![drop()]);
    assert_eq!((house.overflowed(), house.told_of(3)), ([false; 4], [1, 0, 0, 1]));
    let often = (0..1_000).flat_map(|n| [put(&format!("/c/{n}/x")), drop()]).collect();
    house.commit(4, often);
    assert_eq!(house.overflowed(), [false, false, false, true]);
    assert_eq!(house.told_of(4), [2_000]);
}

/// A view at `/a` that nobody else has and that sees everything there.
fn of_its_own(n: usize, patterns: &[&str]) -> View {
    let own = format!("{n}");
    let texts = patterns.iter().copied().chain([own.as_str()]);
    let patterns = texts.map(|text| Pattern::parse(text).unwrap()).collect();
    View { patterns, ..View::tree(path("/a")) }
}

#[test]
fn many_that_do_see_something_each_by_views_of_their_own_get_it() {
    const PATTERNS: [&str; 12] = [
        "**", "*/*", "x/*", "**/*", "*/**", "x/**", "**/x/*", "**/x/**", "**/*/*", "*/**/*",
        "x/**/*", "**/*/**",
    ];
    for together in [1, 7, 100] {
        let house = House::new(2_000);
        for n in 0..2_000 {
            house.register(n, 1, of_its_own(n, &PATTERNS));
        }
        let mut rev = 1;
        while rev <= 100 {
            let puts = (rev..rev + together).map(|rev| (rev, vec![put(&format!("/a/x/{rev}"))]));
            house.commits(puts);
            rev += together;
        }
        let lost =
            |(_, kept): &(Arc<Subscriber>, Arc<Kept>)| kept.overflowed.load(Ordering::Relaxed);
        assert!(!house.people.iter().any(lost), "{together} together");
        assert_eq!(house.deltas(1_999).0.len() as u64, rev - 1);
    }
}

#[test]
fn who_takes_more_steps_than_a_change_gives_has_them_again_when_another_has_taken_all() {
    let house = House::new(2_501);
    for n in 0..2_500 {
        house.register(n, 1, of_its_own(n, &["**"]));
    }
    for n in 0..200 {
        house.register(2_500, n, costly("/e", 2 * n, false));
    }
    let swept = |revs: std::ops::Range<u64>, top: &str| {
        revs.filter(|rev| {
            house.commit(*rev, vec![put(&format!("{top}/{rev}"))]);
            house.people[0].1.overflowed.swap(false, Ordering::Relaxed)
        })
        .count()
    };
    assert_eq!(swept(1..20, "/a/x"), 0);
    assert_eq!(swept(20..40, &format!("/e{}", deep(1))), 0);
    assert!(swept(40..140, "/a/x") <= 2);
}

#[test]
fn who_takes_many_steps_does_not_take_apart_what_others_are_handed_together() {
    let house = House::new(2);
    house.register(0, 1, View::tree(path("/p")));
    for n in 0..34 {
        house.register(1, n, costly("/e", n, true));
    }
    let elsewhere = format!("/e{}", deep(1));
    let put_at =
        |rev: u64| (rev, vec![put(if rev.is_multiple_of(20) { &elsewhere } else { "/p/x" })]);
    for first in (1..4_000).step_by(100) {
        house.commits((first..first + 100).map(put_at));
    }
    let (deltas, pieces) = house.deltas(0);
    assert_eq!(deltas.len(), 3_800);
    assert!(pieces <= 240, "{pieces} pieces");
}

#[test]
fn signals_that_take_too_long_to_look_up_come_to_those_with_few_patterns() {
    let house = House::new(4);
    house.register(0, 1, costly("/a", 0, true));
    house.register(1, 1, View::tree(path("/a")));
    house.register(2, 1, cheap("/a"));
    let heavy =
        View { patterns: vec![Pattern::parse("**/*").unwrap(); 40], ..View::tree(path("/a")) };
    house.register(3, 1, heavy);
    let signal = |n: usize| Signal { path: path(&deep(n)), value: Value::text("x") };
    let came = |person: usize| {
        let signals = house.people[person].1.signals.lock().unwrap();
        signals.iter().map(|frames| frames.count()).sum::<usize>()
    };
    house.fanout.signal(&[signal(0)]);
    assert_eq!([0, 1, 2, 3].map(came), [0, 1, 0, 1]);
    house.fanout.signal(&(0..1_000).map(signal).collect::<Vec<_>>());
    assert_eq!([0, 1, 2].map(came), [0, 1_001, 1]);
    assert!((2..500).contains(&came(3)), "{} of 1,000 were looked up", came(3));
}
