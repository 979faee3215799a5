//! Entries that are read directly from the snapshot are the same as those on a page.

use onetree_core::{Author, Request, Settings, State, Time};
use onetree_protocol::frame::{Do, List};
use onetree_protocol::{Act, Depth, DigestKey, Epoch, Path, Revision, Value};

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn commit(state: &mut State, change: Do) {
    let request = Request { changes: vec![change], ..Request::default() };
    assert!(state.write(Time(1), &Author::default(), &request).answer.is_ok());
}

fn tree(paths: &[&str]) -> State {
    let mut state = State::new(Settings {
        epoch: Epoch(1),
        digest_key: DigestKey(7),
        bounds: Default::default(),
        retention: Vec::new(),
    });
    for text in paths {
        let value = Value::text(text);
        commit(&mut state, Do::Put { path: path(text), value, ttl_ms: None, ephemeral: false });
    }
    state
}

/// A regression: `list` did not end if something was below the path. A random test found it.
#[test]
fn a_list_of_one_entry_is_that_entry() {
    let snapshot = tree(&["/a", "/a/b", "/c/d"]).snapshot();
    for (text, there) in [("/a", true), ("/a/b", true), ("/c", false), ("/c/d", true), ("/", false)]
    {
        for reverse in [false, true] {
            let page = |after: Option<&str>, before: Option<&str>| List {
                id: 1,
                path: path(text),
                depth: Depth::Entry,
                after: after.map(path),
                before: before.map(path),
                reverse,
                limit: 0,
                values: true,
            };
            let listed = |page: List| {
                let (listed, more) = snapshot.list(&page, usize::MAX, usize::MAX);
                assert!(!more);
                listed.into_iter().map(|change| change.path).collect::<Vec<_>>()
            };
            let all = if there { vec![path(text)] } else { Vec::new() };
            assert_eq!(listed(page(None, None)), all, "{text}");
            assert_eq!(listed(page(Some(text), None)), [], "{text}");
            assert_eq!(listed(page(None, Some(text))), [], "{text}");
        }
    }
}

#[test]
fn entries_in_place_are_those_of_a_list_from_both_ends() {
    let mut state = tree(&["/a", "/a/b", "/a/b/c", "/a/b-c", "/a/gone", "/b", "/a/c/d"]);
    commit(&mut state, Do::Delete { path: path("/a/gone") });
    let snapshot = state.snapshot();
    for (base, count) in [("/", 6), ("/a", 5), ("/a/b", 2), ("/a/gone", 0), ("/none", 0)] {
        let page = List {
            id: 1,
            path: path(base),
            depth: Depth::Tree,
            after: None,
            before: None,
            reverse: false,
            limit: 0,
            values: true,
        };
        let (listed, _) = snapshot.list(&page, usize::MAX, usize::MAX);
        let listed: Vec<(&Path, Revision, &Value)> = listed
            .iter()
            .map(|change| match &change.act {
                Act::Put(Some(value)) => (&change.path, change.rev, value),
                other => panic!("{}: {other:?}", change.path),
            })
            .collect();
        assert_eq!(listed.len(), count, "{base}");
        assert_eq!(snapshot.entries(&path(base)).collect::<Vec<_>>(), listed, "{base}");
        let reversed: Vec<_> = snapshot.entries(&path(base)).rev().collect();
        assert!(reversed.into_iter().rev().eq(listed), "{base}, from the end");
    }
}

/// A regression: a child without a value was left out if the page ended below it.
#[test]
fn a_page_of_children_has_all_that_lie_between() {
    let all = ["/a", "/a/b", "/a/c/d/e", "/a/c/f", "/a/g", "/a/g/h", "/a/i/j", "/b"];
    let snapshot = tree(&all).snapshot();
    let children = ["/a", "/a/b", "/a/c", "/a/g", "/a/i"].map(path);
    let ends: Vec<Option<Path>> = ["/", "/a/a", "/a/c/d", "/a/c/z", "/a/i/j", "/a/z", "/c"]
        .iter()
        .chain(&all)
        .map(|text| Some(path(text)))
        .chain([None])
        .collect();
    for (after, before) in ends.iter().flat_map(|after| ends.iter().map(move |end| (after, end))) {
        let between = |child: &&Path| {
            after.as_ref().is_none_or(|after| *child > after)
                && before.as_ref().is_none_or(|before| *child < before)
        };
        let expected: Vec<&Path> = children.iter().filter(between).collect();
        for reverse in [false, true] {
            let page = List {
                id: 1,
                path: path("/a"),
                depth: Depth::Children,
                after: after.clone(),
                before: before.clone(),
                reverse,
                limit: 0,
                values: true,
            };
            let (mut listed, more) = snapshot.list(&page, usize::MAX, usize::MAX);
            if reverse {
                listed.reverse();
            }
            let listed: Vec<&Path> = listed.iter().map(|change| &change.path).collect();
            assert!(listed == expected && !more, "{after:?} to {before:?}: {listed:?}");
        }
    }
}
