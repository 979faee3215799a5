//! The cost of logs, and of what lies under them, in nodes visited (feature `count-visits`): it
//! depends on what is asked for, not on what else is there.

#[path = "common/cost.rs"]
mod cost;

use cost::{alone, cost};
use onetree_core::{Author, Request, Retention, Settings, State, Time};
use onetree_protocol::frame::Do;
use onetree_protocol::{Code, DigestKey, Epoch, LogKey, Name, Path, Pattern, Revision, Value};

const MANY: usize = 30_000;

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn state(rule: Option<Retention>) -> State {
    State::new(Settings {
        epoch: Epoch(1),
        digest_key: DigestKey(7),
        bounds: Default::default(),
        retention: rule.into_iter().collect(),
    })
}

fn write(state: &mut State, changes: Vec<Do>) -> Vec<Path> {
    let request = Request { changes, ..Request::default() };
    state.write(Time(1), &Author::default(), &request).answer.unwrap().paths
}

fn put(path: Path) -> Do {
    Do::Put { path, value: Value::text("v"), ttl_ms: None, ephemeral: false }
}

fn append(log: &str) -> Do {
    Do::Append { path: path(log), value: Value::text("v"), ttl_ms: None, ephemeral: false }
}

/// Writes all changes, in commits of as many as fit.
fn fill(state: &mut State, changes: impl Iterator<Item = Do>) {
    let changes: Vec<Do> = changes.collect();
    for some in changes.chunks(10_000) {
        write(state, some.to_vec());
    }
}

/// Makes a tree with `MANY` of one kind of thing that can lie between, below or beside the entries
/// of `/log`. Returns it with the log's three entries.
fn crowded(what: &str) -> (State, Vec<Path>) {
    let mut state = state(None);
    let entries: Vec<Path> = (0..3).flat_map(|_| write(&mut state, vec![append("/log")])).collect();
    let at = |n: usize| match what {
        "plain entries" => put(path(&format!("/log/{n}"))),
        "plain entries further down" => put(path(&format!("/log/{n}/below"))),
        // In the order of paths these come behind the first entry and before the second.
        "names that are almost keys" => put(path(&format!("{}x{n}", entries[0]))),
        "logs of others" => append(&format!("/log/{n}")),
        "replies" => append(entries[1].as_str()),
        "replies that lie deep" => append(&format!("{}/to/{n}", entries[1])),
        other => panic!("{other}?"),
    };
    fill(&mut state, (0..MANY).map(at));
    if what == "replies" {
        // They are still there, under an entry that is itself deleted.
        write(&mut state, vec![Do::Delete { path: entries[1].clone() }]);
    }
    (state, entries)
}

const CROWDS: [&str; 6] = [
    "plain entries",
    "plain entries further down",
    "names that are almost keys",
    "logs of others",
    "replies",
    "replies that lie deep",
];

#[test]
fn a_trim_costs_what_goes_whatever_else_is_there() {
    let _alone = alone();
    for what in CROWDS {
        let (mut state, entries) = crowded(what);
        let before = LogKey { rev: Revision::new(0).unwrap(), index: 0 };
        let trim = |log: &str, to| Do::Trim { path: path(log), to };
        // There is nothing to trim, which must be found out for each of these: for the log, and for
        // paths without entries.
        for log in ["/log", "/", "/nothing"] {
            let trims = vec![trim(log, before); 100];
            let (visits, _) = cost(|| write(&mut state, trims));
            assert!(visits <= 100 * 40, "{visits} for 100 trims of {log} for nothing, {what}");
        }
        // Behind a step that does something no trim is left out.
        let mut steps = vec![put(path("/first"))];
        steps.extend(vec![trim("/", before); 100]);
        let (visits, _) = cost(|| write(&mut state, steps));
        assert!(visits <= 100 * 100, "{visits} for 100 trims of / behind a put, {what}");
        let first = LogKey::of(&entries[0]).unwrap();
        let (visits, _) = cost(|| write(&mut state, vec![trim("/log", first)]));
        assert!(visits <= 600, "{visits} for the trim of one entry, {what}");
        assert!(state.snapshot().get(&entries[0]).is_none());
        assert!(state.snapshot().get(&entries[2]).is_some());
    }
}

/// Entries that were deleted one by one, each beside a name that sorts right behind its key and
/// stays. There is nothing to trim, and finding that out must not take a walk through all of them.
#[test]
fn a_trim_of_nothing_is_found_out_at_once_between_what_stays() {
    let _alone = alone();
    let mut state = state(None);
    let entries: Vec<Path> =
        (0..3).flat_map(|_| write(&mut state, vec![append("/log"); MANY / 3])).collect();
    fill(&mut state, entries.iter().map(|entry| put(path(&format!("{entry}x")))));
    fill(&mut state, entries.iter().map(|entry| Do::Delete { path: entry.clone() }));
    let to = LogKey::of(&entries[MANY - 1]).unwrap();
    let (visits, _) = cost(|| write(&mut state, vec![Do::Trim { path: path("/log"), to }; 100]));
    assert!(visits <= 100 * 40, "{visits} for 100 trims of nothing");
    // Something under the key of a deleted entry is something to trim.
    let reply = path(&format!("{}/reply", entries[MANY / 2]));
    write(&mut state, vec![put(reply.clone())]);
    write(&mut state, vec![Do::Trim { path: path("/log"), to }]);
    assert!(state.snapshot().get(&reply).is_none());
}

/// A trim that stops short of an earlier one removes what was put under its keys again, key by key.
#[test]
fn a_trim_that_takes_its_keys_one_by_one_takes_few_at_most() {
    const MOST: usize = State::SINGLY;
    let _alone = alone();
    let mut state = state(None);
    let entries: Vec<Path> =
        (0..3).flat_map(|_| write(&mut state, vec![append("/log"); MANY / 3])).collect();
    let trim = |entry: usize| {
        let to = LogKey::of(&entries[entry]).unwrap();
        Do::Trim { path: path("/log"), to }
    };
    let end = trim(MANY - 1);
    let refused = |state: &mut State, changes: Vec<Do>| {
        let request = Request { changes, ..Request::default() };
        let before = state.snapshot().rev();
        let (visits, outcome) = cost(|| state.write(Time(1), &Author::default(), &request));
        let refusal = outcome.answer.unwrap_err();
        assert_eq!((refusal.code, refusal.path), (Code::TooManyChanges, Some(path("/log"))));
        assert_eq!(state.snapshot().rev(), before);
        // Whoever is refused may ask again, so this is what takes no longer than as many puts.
        assert!(visits <= 10 * MOST as u64, "{visits} nodes for a refusal");
    };
    // Within one request as well.
    refused(&mut state, vec![end.clone(), trim(MANY / 2)]);
    write(&mut state, vec![end.clone()]);
    let again = |entry: &Path| put(path(&format!("{entry}/again")));
    fill(&mut state, entries[..MOST].iter().map(again));
    // What the same request puts there counts, and the trims of one request count together.
    let late = again(&entries[MOST]);
    refused(&mut state, vec![late.clone(), trim(MOST)]);
    refused(&mut state, vec![late.clone(), trim(MOST / 2), trim(MOST)]);
    // So does what the same request has removed from there.
    let all = Do::Drop { path: path("/log") };
    refused(&mut state, vec![all, end.clone(), again(&entries[0]), trim(MOST)]);
    // What it puts elsewhere does not count, and neither do the entries that it appends.
    let mut other = vec![append("/log"); MOST];
    other.extend(["/a", entries[MOST].as_str()].map(|at| put(path(&format!("{at}/x")))));
    other.push(trim(MOST - 1));
    let mut copy = state.clone();
    write(&mut copy, other);
    assert_eq!(copy.snapshot().summary(&Path::root()).live, MOST as u64 + 2);
    write(&mut state, vec![late, again(&entries[MOST + 1])]);
    refused(&mut state, vec![trim(MOST)]);
    write(&mut state, vec![trim(MOST - 1)]);
    assert_eq!(state.snapshot().summary(&Path::root()).live, 2);
    // What is gone already does not count, and is not dropped again.
    write(&mut state, vec![again(&entries[0])]);
    let (visits, _) = cost(|| write(&mut state, vec![trim(MOST)]));
    assert_eq!(state.snapshot().summary(&Path::root()).live, 1);
    assert!(visits <= 500, "{visits}");
    // A trim up to the old mark takes everything at once.
    fill(&mut state, entries[..MANY / 3].iter().map(again));
    let (visits, _) = cost(|| write(&mut state, vec![end]));
    assert_eq!(state.snapshot().summary(&Path::root()).live, 0);
    assert!(visits <= 10_000, "{visits}");
}

#[test]
fn a_trim_of_many_searches_for_few_of_them() {
    let _alone = alone();
    let trim = |replies: bool, others: &[&str]| {
        let mut state = state(None);
        let entries = write(&mut state, vec![append("/log"); 10_000]);
        let reply = |entry: &Path| put(path(&format!("{entry}/reply")));
        if replies {
            write(&mut state, entries.iter().map(reply).collect());
        }
        let others = others.iter().map(|name| match *name {
            "between" => put(path(&format!("{}x", entries[4_000]))),
            name => put(path(&format!("/log/{name}"))),
        });
        let others: Vec<Do> = others.collect();
        write(&mut state, others.clone());
        let to = LogKey::of(&entries[4_999]).unwrap();
        let (visits, _) = cost(|| write(&mut state, vec![Do::Trim { path: path("/log"), to }]));
        let left = 5_000 * (1 + usize::from(replies)) + others.len();
        assert_eq!(state.snapshot().entries(&path("/log")).count(), left);
        visits / 5_000
    };
    // The entries go as one run. Where other names lie before, behind or between them, and stay, it
    // takes few runs.
    for others in [&[][..], &["-head", ".meta", "0", "head"], &["between"]] {
        let (plain, replied) = (trim(false, others), trim(true, others));
        assert!(plain <= 1 && replied <= 1, "{plain}, {replied} nodes for each entry: {others:?}");
    }
}

/// A log whose messages have replies, and that has other children. These are not entries of the
/// log, and do not make it due for a trim.
#[test]
fn an_append_costs_no_more_in_a_large_log_with_much_under_it() {
    let _alone = alone();
    let rule = |keep, max_bytes| Retention {
        pattern: Pattern::parse("log").unwrap(),
        keep,
        max_age_ms: None,
        max_bytes,
    };
    for rule in [rule(Some(20_000), None), rule(None, Some(1 << 20))] {
        let told = format!("keep {:?}, max_bytes {:?}", rule.keep, rule.max_bytes);
        let mut state = state(Some(rule));
        write(&mut state, vec![append("/log"); 100]);
        let most = |state: &mut State| {
            let mut most = 0;
            for _ in 0..50 {
                let (visits, ()) = cost(|| {
                    write(state, vec![append("/log")]);
                    assert!(state.housekeep(Time(1)).is_none(), "nothing is due");
                });
                most = visits.max(most);
            }
            most
        };
        let small = most(&mut state);
        let entries = write(&mut state, vec![append("/log"); 10_000]);
        fill(&mut state, (0..15_000).map(|n| append(entries[n % 9].as_str())));
        fill(&mut state, (0..20_000).map(|n| put(path(&format!("/log/other/{n}")))));
        let large = most(&mut state);
        assert!(large < 2 * small + 50, "{large} nodes, in a small log {small}: {told}");
    }
}

/// A session that owns as many entries as it may, and writes them again, adds nothing.
#[test]
fn a_session_that_owns_all_it_may_updates_at_the_same_cost() {
    const OWNED: u32 = 1_000;
    let _alone = alone();
    let session = Name::parse("s").unwrap();
    let author = Author { client: None, session: Some(session.clone()), since: None };
    let own = |n: u32| {
        let path = path(&format!("/own/{n}"));
        Do::Put { path, value: Value::text("v"), ttl_ms: None, ephemeral: true }
    };
    let request = Request { changes: (0..OWNED).map(own).collect(), ..Request::default() };
    let update = |most: u32| {
        let mut settings = Settings {
            epoch: Epoch(1),
            digest_key: DigestKey(7),
            bounds: Default::default(),
            retention: Vec::new(),
        };
        settings.bounds.commit_changes = most;
        let mut state = State::new(settings);
        state.open_session(Time(1), None, session.clone()).unwrap();
        state.write(Time(1), &author, &request).answer.unwrap();
        let (visits, answer) = cost(|| state.write(Time(1), &author, &request).answer);
        answer.unwrap();
        visits
    };
    let (far, near) = (update(10 * OWNED), update(OWNED));
    assert!(near < far * 3 / 2, "{near} nodes at the bound, {far} far from it");
}

/// When a branch is dropped, its entries leave the index of owners, owner by owner. A session may
/// own as many entries as a commit has changes, and nobody can write in the meantime.
#[test]
fn a_drop_of_what_sessions_own_costs_what_the_fewer_are() {
    let _alone = alone();
    let drop_of = |sessions: usize, each: usize| {
        let mut state = state(None);
        let own = |session: &str, at: &str| Do::Put {
            path: path(&format!("{at}/{session}")),
            value: Value::text("v"),
            ttl_ms: None,
            ephemeral: true,
        };
        let write = |state: &mut State, session: &str, changes: Vec<Do>| {
            let session = Some(Name::parse(session).unwrap());
            let author = Author { client: None, session, since: None };
            let request = Request { changes, ..Request::default() };
            state.write(Time(1), &author, &request).answer.unwrap();
        };
        let names: Vec<String> = (0..sessions).map(|n| format!("s{n}")).collect();
        for name in &names {
            state.open_session(Time(1), None, Name::parse(name).unwrap()).unwrap();
            let under = (0..each).map(|n| own(name, &format!("/own/{n}")));
            let beside = ["/a", "/own-not", "/z"].iter().map(|at| own(name, at));
            write(&mut state, name, under.chain(beside).collect());
        }
        let (visits, ()) = cost(|| write(&mut state, "s0", vec![Do::Drop { path: path("/own") }]));
        // The sessions still own what is outside the branch, and nothing else: a session that ends
        // takes that along.
        for name in &names {
            state.end_session(Time(2), &Name::parse(name).unwrap());
            let commit = state.housekeep(Time(2)).unwrap();
            assert_eq!(commit.effects.len(), 3, "{name}");
        }
        assert_eq!(state.snapshot().summary(&Path::root()).live, 0);
        visits
    };
    let (few, many) = (drop_of(10, 2_000), drop_of(2_000, 10));
    assert!(few <= 10 * 100, "{few} nodes for 20,000 entries of ten sessions");
    assert!(many <= 2_000 * 60, "{many} nodes for 20,000 entries of 2,000 sessions");
    let lonely = drop_of(2_000, 1);
    assert!(lonely <= 2_000 * 20, "{lonely} nodes for the only entries of 2,000 sessions");
}
