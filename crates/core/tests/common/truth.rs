//! The truth: the tree as a plain map, kept after each commit, and what a view sees of it. It is
//! slow and simple, and shares no code with the tree under test.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use onetree_core::{Commit, Effect};
use onetree_protocol::{Depth, Digest, DigestKey, LogKey, Path, Revision, Value, View};

/// The entry at a path: the commit that put it there, and its value.
pub(crate) type Entry = (Revision, Option<Value>);

/// A tree, or a part of one.
pub(crate) type Tree = BTreeMap<Path, Entry>;

/// Every tree that ever was, by its revision.
pub(crate) struct History {
    trees: BTreeMap<Revision, Rc<Tree>>,
    commits: BTreeMap<Revision, Arc<Commit>>,
}

impl History {
    pub(crate) fn new() -> History {
        let empty = (Revision::ZERO, Rc::default());
        History { trees: BTreeMap::from([empty]), commits: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, commit: &Arc<Commit>) {
        let mut tree = Tree::clone(self.now());
        apply(&mut tree, commit);
        let before = self.trees.insert(commit.rev, Rc::new(tree));
        assert!(before.is_none(), "revision {} is used twice", commit.rev);
        assert_eq!(self.trees.keys().next_back(), Some(&commit.rev), "revisions only grow");
        self.commits.insert(commit.rev, commit.clone());
    }

    /// Makes the tree of `rev` the present one again. Its next revision, that of `next`, is far
    /// above. The old trees can still be looked up.
    pub(crate) fn go_back(&mut self, rev: Revision, next: &Arc<Commit>) {
        let tree = self.at(rev).clone();
        self.trees.insert(next.rev, tree);
        self.commits.insert(next.rev, next.clone());
    }

    /// Returns the tree as it was at `rev`.
    pub(crate) fn at(&self, rev: Revision) -> &Rc<Tree> {
        self.trees.get(&rev).unwrap_or_else(|| panic!("no commit made revision {rev}"))
    }

    pub(crate) fn now(&self) -> &Tree {
        &self.trees[self.trees.keys().next_back().unwrap()]
    }

    /// Returns the commits above `since` up to `rev`.
    pub(crate) fn between(
        &self,
        since: Revision,
        rev: Revision,
    ) -> impl Iterator<Item = &Arc<Commit>> {
        self.commits.range(since..=rev).map(|(_, commit)| commit).filter(move |c| c.rev > since)
    }
}

/// Applies a commit to a tree.
pub(crate) fn apply(tree: &mut Tree, commit: &Commit) {
    for effect in &commit.effects {
        match effect {
            Effect::Put { path, value, .. } => {
                tree.insert(path.clone(), (commit.rev, Some(value.clone())));
            }
            Effect::Delete { path } => {
                tree.remove(path);
            }
            Effect::Drop { path } => tree.retain(|other, _| !is_under(path, other)),
            Effect::Trim { path, to } => tree.retain(|other, _| !is_trimmed(path, *to, other)),
            Effect::Compact { .. } | Effect::Forget { .. } => {}
        }
    }
}

/// Returns whether `path` is `top` or lies below it.
pub(crate) fn is_under(top: &Path, path: &Path) -> bool {
    let (top, path) = (top.as_str(), path.as_str());
    top == "/" || path.strip_prefix(top).is_some_and(|r| r.is_empty() || r.starts_with('/'))
}

/// Returns whether a trim of `log` up to `to` removes `path`.
pub(crate) fn is_trimmed(log: &Path, to: LogKey, path: &Path) -> bool {
    let entry = segments(log, path).and_then(|below| below.first().and_then(|s| LogKey::parse(s)));
    entry.is_some_and(|key| key <= to)
}

/// Returns the segments of `path` below `top`; `None` if it is elsewhere.
pub(crate) fn segments<'a>(top: &Path, path: &'a Path) -> Option<Vec<&'a str>> {
    if !is_under(top, path) {
        return None;
    }
    let above = if top.as_str() == "/" { 0 } else { top.as_str().len() };
    Some(path.as_str()[above..].split('/').filter(|segment| !segment.is_empty()).collect())
}

/// Returns whether a view sees a path. The tail is not considered.
pub(crate) fn sees(view: &View, path: &Path) -> bool {
    let Some(below) = segments(&view.base, path) else { return false };
    let deep_enough = match view.depth {
        Depth::Entry => below.is_empty(),
        Depth::Children => below.len() <= 1,
        Depth::Tree => true,
    };
    let fits = |pattern: &str| matches(&pattern.split('/').collect::<Vec<_>>(), &below);
    deep_enough && (view.patterns.is_empty() || view.patterns.iter().any(|p| fits(p.as_str())))
}

fn matches(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], rest) => rest.is_empty(),
        (["**", more @ ..], _) => (0..=path.len()).any(|skip| matches(more, &path[skip..])),
        ([first, more @ ..], [segment, rest @ ..]) => {
            (*first == "*" || first == segment) && matches(more, rest)
        }
        _ => false,
    }
}

/// Returns what a view without a tail shows of a tree.
pub(crate) fn shown(tree: &Tree, view: &View) -> Tree {
    let seen = tree.iter().filter(|(path, _)| sees(view, path));
    let value = |value: &Option<Value>| value.clone().filter(|_| view.values);
    seen.map(|(path, entry)| (path.clone(), (entry.0, value(&entry.1)))).collect()
}

pub(crate) fn digest(tree: &Tree, key: DigestKey) -> Digest {
    let mut digest = Digest::default();
    for (path, (rev, _)) in tree {
        digest.insert(key.hash(path, *rev));
    }
    digest
}

/// Returns the outermost log below the view's base that contains `path` and whose entries the view
/// may see, and the key of the log entry that `path` is or lies under.
pub(crate) fn log_of(view: &View, path: &Path) -> Option<(Path, LogKey)> {
    let mut log = view.base.clone();
    for segment in segments(&view.base, path)? {
        if let Some(key) = LogKey::parse(segment).filter(|_| may_see_entries(view, &log)) {
            return Some((log, key));
        }
        log = log.child(segment).unwrap();
    }
    None
}

/// Returns whether the view may see an entry of `log`, or something in one: either an entry whose
/// key a pattern names, or any entry. The base itself may lie in an entry.
pub(crate) fn may_see_entries(view: &View, log: &Path) -> bool {
    if log != &view.base && is_under(log, &view.base) {
        return true;
    }
    let named = view.patterns.iter().flat_map(|pattern| pattern.as_str().split('/'));
    let mut keys = named.filter(|name| LogKey::parse(name).is_some()).chain(["000000000000010000"]);
    keys.any(|key| sees(view, &log.child(key).unwrap()))
}

/// Returns the keys of a log's entries, the newest first.
pub(crate) fn keys(tree: &Tree, log: &Path) -> Vec<LogKey> {
    let below = tree.keys().filter_map(|path| segments(log, path));
    let direct = below.filter(|below| below.len() == 1).filter_map(|below| LogKey::parse(below[0]));
    let mut keys: Vec<LogKey> = direct.collect();
    keys.sort_unstable_by(|a, b| b.cmp(a));
    keys
}
