//! Tests that frames for few connections may be written at once.

use std::slice;

use super::*;

/// For each delivery since the last call: whether it might be written at once.
fn at_once(house: &House) -> Vec<bool> {
    house
        .people
        .iter()
        .flat_map(|(_, kept)| std::mem::take(&mut *kept.at_once.lock().unwrap()))
        .collect()
}

/// The topic of a person.
fn topic(person: usize) -> String {
    format!("/{person:02}")
}

/// Makes people who each follow their own topic.
fn followers(people: usize) -> House {
    let house = House::new(people);
    (0..people).for_each(|person| {
        house.register(person, 1, View::tree(path(&topic(person))));
    });
    house
}

#[test]
fn few_are_written_for_at_once_and_many_are_woken() {
    let signal = Signal { path: path("/a"), value: Value::json("1") };
    for (people, few) in [(1, true), (128, true), (129, false), (1_000, false)] {
        let house = House::new(people);
        (0..people).for_each(|person| {
            house.register(person, 1, View::tree(Path::root()));
        });
        house.commit(1, vec![put("/a")]);
        assert_eq!(at_once(&house), vec![few; people], "deltas to {people}");
        house.fanout.signal(slice::from_ref(&signal));
        assert_eq!(at_once(&house), vec![few; people], "signals to {people}");
    }
}

#[test]
fn in_a_stream_nobody_is_written_for() {
    let house = followers(20);
    for (together, few) in [(16, true), (17, false)] {
        let commits = |person: usize| vec![put(&topic(person))];
        house.commits((1..).zip((0..together).map(commits)));
        assert_eq!(at_once(&house), vec![few; together], "{together} commits");
        let signal = |person| Signal { path: path(&topic(person)), value: Value::json("1") };
        house.fanout.signal(&(0..together).map(signal).collect::<Vec<_>>());
        assert_eq!(at_once(&house), vec![few; together], "{together} signals");
    }
}

#[test]
fn what_is_published_together_is_written_at_once_up_to_as_many() {
    let house = followers(100);
    (0..100).for_each(|person| {
        house.register(person, 2, View::tree(path("/all")));
    });
    let paths = ["/all", "/07", "/all", "/08"];
    house.commits((1..).zip(paths.map(|path| vec![put(path)])));
    let told = at_once(&house);
    assert_eq!(told.iter().filter(|at_once| **at_once).count(), 102, "{told:?}");
    assert_eq!(told.len(), 202, "{told:?}");
    house.commit(5, vec![put("/all")]);
    assert_eq!(at_once(&house), vec![true; 100], "the next time they are few again");
}
