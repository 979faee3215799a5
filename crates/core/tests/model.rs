//! The writable tree against a model of it: random requests, time, sessions, restarts and failed
//! stores. After each commit both have the same tree, and every summary equals the result of a full
//! scan.

#[expect(dead_code, reason = "what other tests need")]
mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::model::{Model, told};
use common::requests::{any_path, any_request, any_view, settings, some_entry};
use common::truth::{self, Tree};
use common::{Rng, cases};
use onetree_core::{Author, Bounds, Commit, Effect, Settings, Snapshot, State, Time};
use onetree_protocol::frame::List;
use onetree_protocol::{Act, Change, Depth, DigestKey, LogKey, Name, Path, Revision};

/// A state, its model, and what was kept of both.
struct World {
    rng: Rng,
    settings: Settings,
    state: State,
    model: Model,
    now: Time,
    stored: Vec<Arc<Commit>>,
    /// Earlier snapshots, each with the content that it must keep.
    held: Vec<(Snapshot, Tree)>,
    /// For each session that was opened: when it is over, if its end is known.
    sessions: BTreeMap<Name, Option<Time>>,
    seen: Seen,
}

/// How often each kind of event happened.
#[derive(Debug, Default)]
struct Seen {
    commits: u64,
    refused: u64,
    retries: u64,
    expired: u64,
    ended: u64,
    trims: u64,
    compactions: u64,
    forgotten: u64,
    undone: u64,
}

#[test]
fn a_state_is_its_model_whatever_is_asked_of_it() {
    let mut all = [0; 9];
    let whole = cases(50, |seed| {
        let mut world = World::new(Rng::new(seed));
        for _ in 0..250 {
            world.step();
        }
        world.finish();
        let Seen { commits, refused, retries, expired, ended, .. } = world.seen;
        let Seen { trims, compactions, forgotten, undone, .. } = world.seen;
        let seen =
            [commits, refused, retries, expired, ended, trims, compactions, forgotten, undone];
        all.iter_mut().zip(seen).for_each(|(sum, one)| *sum += one);
    });
    assert!(!whole || all.iter().all(|count| *count > 5), "hardly tried: {all:?}");
}

impl World {
    fn new(mut rng: Rng) -> World {
        let mut settings = settings();
        settings.bounds = Bounds {
            entries: *rng.pick(&[20, 1_000]),
            bytes: *rng.pick(&[600, 100_000]),
            commit_changes: 6,
            commit_conditions: *rng.pick(&[1, 2]),
            tombstones: *rng.pick(&[0, 5, 1_000]),
            tombstone_bytes: *rng.pick(&[2_000, 1 << 20]),
            tombstone_ms: *rng.pick(&[100, 100_000]),
            dedup_answers: *rng.pick(&[1, 4]),
            dedup_client_bytes: 1 << 20,
            dedup_bytes: *rng.pick(&[1_000, 1 << 20]),
            dedup_clients: *rng.pick(&[1, 8]),
            dedup_ms: *rng.pick(&[300, 100_000]),
            grace_ms: 50,
            sessions: 1_000,
        };
        World {
            state: State::new(settings.clone()),
            model: Model::new(settings.clone()),
            settings,
            now: Time(1),
            stored: Vec::new(),
            held: Vec::new(),
            sessions: BTreeMap::new(),
            seen: Seen::default(),
            rng,
        }
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..65 => self.write(),
            65..75 => {
                let most = *self.rng.pick(&[60, 400]);
                let ms = self.rng.below(most) as u64;
                self.now = self.now.plus(ms);
                if self.rng.chance(20) {
                    // The clock was set forward: this must not use up anyone's grace.
                    self.state.prolong_graces(ms);
                    for end in self.sessions.values_mut().flatten() {
                        *end = end.plus(ms);
                    }
                }
            }
            75..83 => self.session(),
            83..93 => self.housekeep(),
            93..95 => self.undo(),
            95..96 => self.restart(),
            _ => self.hold(),
        }
        self.check();
    }

    fn author(&mut self) -> Author {
        let there: Vec<&Name> =
            self.sessions.iter().filter(|(_, end)| end.is_none()).map(|(name, _)| name).collect();
        let session = if there.is_empty() || self.rng.chance(10) {
            None
        } else {
            Some((*self.rng.pick(&there)).clone())
        };
        let client = Name::parse(&format!("c{}", self.rng.below(4))).unwrap();
        Author { client: Some(client).filter(|_| self.rng.chance(90)), session, since: None }
    }

    fn write(&mut self) {
        let author = self.author();
        let tree = self.tree();
        let mut request = any_request(&mut self.rng, &tree, self.model.rev);
        if self.rng.chance(40) {
            let known = author.client.as_ref().and_then(|name| self.model.clients.get(name));
            let last = known.map_or(0, |client| client.0);
            let seq = match self.rng.below(10) {
                0..6 => last + 1,
                6..9 => (last + 1).saturating_sub(self.rng.below(4) as u64),
                _ => last + 2,
            };
            request.seq = Some(seq);
            self.seen.retries += u64::from(seq <= last);
        }
        let before = self.state.snapshot();
        let touched = |path: &Path| before.touched(path);
        let (expected, commits) = self.model.write(self.now, &author, &request, &touched);
        let outcome = self.state.write(self.now, &author, &request);
        assert_eq!(told(&outcome.answer), expected, "{request:?}");
        assert_eq!(outcome.commit.is_some(), commits, "{request:?}");
        if outcome.answer.is_err() {
            self.seen.refused += 1;
            let now = self.state.snapshot();
            assert_eq!(now.summary(&Path::root()), before.summary(&Path::root()));
        }
        self.store(outcome.commit);
    }

    fn store(&mut self, commit: Option<Arc<Commit>>) {
        let Some(commit) = commit else { return };
        assert_eq!(commit.rev, self.model.rev, "the revision of {commit:?}");
        self.seen.commits += 1;
        self.stored.push(commit);
    }

    fn session(&mut self) {
        let names: Vec<Name> = self.sessions.keys().cloned().collect();
        let known = if names.is_empty() { None } else { Some(self.rng.pick(&names).clone()) };
        match (self.rng.below(4), known) {
            (0, Some(name)) => {
                self.state.detach_session(self.now, &name);
                let end = self.now.plus(self.settings.bounds.grace_ms);
                self.sessions.insert(name, Some(end));
            }
            (1, Some(name)) => {
                self.state.end_session(self.now, &name);
                self.sessions.insert(name, Some(self.now));
            }
            (_, wanted) => {
                let fresh = Name::parse(&format!("s{}", self.rng.next())).unwrap();
                let opened =
                    self.state.open_session(self.now, wanted.as_ref(), fresh.clone()).unwrap();
                let there = |end: &Option<Time>| end.is_none_or(|end| end > self.now);
                let resumes = wanted.filter(|name| there(&self.sessions[name]));
                assert_eq!(opened.resumed, resumes.is_some(), "{opened:?}");
                assert_eq!(opened.name, resumes.unwrap_or(fresh));
                self.sessions.insert(opened.name, None);
            }
        }
    }

    /// Does everything that is due and checks that it was due, and that nothing is due afterwards.
    fn housekeep(&mut self) {
        let mut rounds = 0;
        while let Some(commit) = self.state.housekeep(self.now) {
            rounds += 1;
            assert!(rounds < 10_000, "what is due is due again, over and over");
            assert!(!commit.effects.is_empty(), "a commit for nothing: {commit:?}");
            for effect in &commit.effects {
                self.judge(effect);
            }
            self.model.housekept(&commit);
            self.store(Some(commit));
        }
        assert!(self.state.due().is_none_or(|due| due > self.now), "{:?}", self.state.due());
        let over = |end: &Option<Time>| end.is_some_and(|end| end <= self.now);
        for (path, item) in &self.model.items {
            assert!(item.expires.is_none_or(|at| at > self.now), "{path} has expired");
            let owner = item.owner.as_ref();
            assert!(!owner.is_some_and(|name| over(&self.sessions[name])), "{path} is nobody's");
        }
        self.sessions.retain(|_, end| !over(end));
        let Bounds { tombstones, tombstone_bytes, dedup_clients, .. } = *self.model.bounds();
        let summary = self.state.snapshot().summary(&Path::root());
        let kept = summary.slots - summary.live;
        assert!(kept <= tombstones + tombstones / 8, "{kept} tombstones and marks");
        let from = self.state.checkpoint();
        let dead = from.slots().filter(|slot| slot.value.is_none());
        let bytes: u64 = dead.map(|slot| 384 + slot.path.as_str().len() as u64).sum();
        assert!(bytes <= tombstone_bytes + tombstone_bytes / 8, "{bytes} bytes of them");
        assert!(self.model.clients.len() <= dedup_clients as usize, "too many clients");
        self.check_retention();
    }

    /// Checks that the broker may make this effect by itself.
    fn judge(&mut self, effect: &Effect) {
        match effect {
            Effect::Delete { path } => {
                let item = &self.model.items[path];
                let expired = item.expires.is_some_and(|at| at <= self.now);
                let end = item.owner.as_ref().and_then(|owner| self.sessions[owner]);
                let ended = end.is_some_and(|end| end <= self.now);
                assert!(expired || ended, "{path} is deleted before its time");
                self.seen.expired += u64::from(expired);
                self.seen.ended += u64::from(ended);
            }
            Effect::Trim { path, to } => {
                self.seen.trims += 1;
                let kept = self.model.keys(path).iter().filter(|key| *key > to).count() as u64;
                let rule = self.rule(path).expect("a log without a rule");
                let entry = path.child(&to.to_string()).unwrap();
                let old = |ms: u64| self.model.items[&entry].time.plus(ms) <= self.now;
                let many = rule.keep.is_some_and(|keep| kept >= keep);
                let aged = rule.max_age_ms.is_some_and(old);
                let sizes = self.sizes(path, *to);
                let large = rule.max_bytes.is_some_and(|most| sizes > most);
                assert!(many || aged || large, "{path} is trimmed to {kept} entries");
            }
            Effect::Compact { horizon } => {
                self.seen.compactions += 1;
                assert!(*horizon > self.model.horizon && *horizon <= self.model.rev);
            }
            Effect::Forget { .. } => self.seen.forgotten += 1,
            other => panic!("nobody asked for {other:?}"),
        }
    }

    fn rule(&self, log: &Path) -> Option<&onetree_core::Retention> {
        self.settings.retention.iter().find(|rule| rule.pattern.matches(log.segments()))
    }

    /// Returns the bytes from one of a log's entries to its newest, including what is under them.
    fn sizes(&self, log: &Path, from: LogKey) -> u64 {
        let entry = |key: LogKey| log.child(&key.to_string()).unwrap();
        let (oldest, newest) = (entry(from), entry(self.model.keys(log)[0]));
        let inside = |path: &Path| *path >= oldest && (*path <= newest || newest.contains(path));
        let items = self.model.items.iter().filter(|(path, _)| inside(path));
        items.map(|(path, item)| path.as_str().len() + item.value.bytes.len()).sum::<usize>() as u64
    }

    /// Checks that a log outgrows its rule by an eighth at most. Beyond that it is cut to the rule.
    fn check_retention(&self) {
        let logs: std::collections::BTreeSet<Path> = self
            .model
            .items
            .keys()
            .filter(|path| LogKey::of(path).is_some())
            .filter_map(Path::parent)
            .collect();
        for log in logs {
            let Some(rule) = self.rule(&log) else { continue };
            let stretched = |bound: u64| bound + bound / 8;
            let keys = self.model.keys(&log);
            let count = keys.len() as u64;
            assert!(rule.keep.is_none_or(|keep| count <= stretched(keep)), "{log}: {count}");
            // What is put under entries is counted when the log next gets an entry.
            let own = keys.iter().map(|key| log.child(&key.to_string()).unwrap());
            let size = |path: Path| path.as_str().len() + self.model.items[&path].value.bytes.len();
            let bytes = own.map(size).sum::<usize>() as u64;
            assert!(rule.max_bytes.is_none_or(|most| bytes <= stretched(most)), "{log}: {bytes}");
            let oldest = log.child(&keys.last().unwrap().to_string()).unwrap();
            let age = |ms: u64| self.model.items[&oldest].time.plus(stretched(ms)) > self.now;
            assert!(rule.max_age_ms.is_none_or(age), "{oldest} is too old");
        }
    }

    /// A batch that cannot be stored must be as if it had never happened.
    fn undo(&mut self) {
        let checkpoint = self.state.checkpoint();
        let (model, stored) = (self.model.clone(), self.stored.len());
        let sessions = self.sessions.clone();
        for _ in 0..self.rng.below(5) {
            self.write();
        }
        self.housekeep();
        self.state.restore(checkpoint);
        self.seen.undone += 1;
        self.stored.truncate(stored);
        (self.model, self.sessions) = (model, sessions);
        self.check();
        // What was due before is due again.
        self.housekeep();
    }

    /// What is stored must make the same state.
    fn restart(&mut self) {
        let mut state = State::new(self.settings.clone());
        let saved = self.rng.below(self.stored.len() + 1);
        let (before, behind) = self.stored.split_at(saved);
        before.iter().for_each(|commit| state.replay(commit));
        if self.rng.below(2) == 0 {
            // A state that is saved and loaded on the way is the same, also under another key.
            let from = state.checkpoint();
            let other = Settings { digest_key: DigestKey(99), ..self.settings.clone() };
            let moved = State::load(other, from.head(), from.slots(), from.clients());
            assert!(moved.checkpoint().slots().eq(from.slots()));
            assert!(moved.checkpoint().clients().eq(from.clients()));
            let settings = self.settings.clone();
            state = State::load(settings, from.head(), from.slots(), from.clients());
            assert_eq!(
                (state.checkpoint().digest(), state.rev()),
                (from.digest(), from.head().rev)
            );
        }
        behind.iter().for_each(|commit| state.replay(commit));
        state.await_owners(self.now);
        assert_eq!(state.snapshot().horizon(), self.state.snapshot().horizon());
        let summary = |state: &State| {
            let mut summary = state.snapshot().summary(&Path::root());
            // After a restart nothing is known about compacted deletes but the horizon.
            summary.highest_delete_rev = summary.highest_delete_rev.max(state.snapshot().horizon());
            summary
        };
        assert_eq!(summary(&state), summary(&self.state));
        self.state = state;
        let end = Some(self.now.plus(self.settings.bounds.grace_ms));
        let owners: Vec<Name> =
            self.model.items.values().filter_map(|item| item.owner.clone()).collect();
        self.sessions = owners.into_iter().map(|owner| (owner, end)).collect();
    }

    fn hold(&mut self) {
        if self.held.len() > 8 {
            let place = self.rng.below(self.held.len());
            let (snapshot, tree) = self.held.swap_remove(place);
            assert_eq!(entries(&snapshot), tree, "a snapshot has changed");
        }
        self.held.push((self.state.snapshot(), self.tree()));
    }

    fn tree(&self) -> Tree {
        let entry = |(path, item): (&Path, &common::model::Item)| {
            (path.clone(), (item.rev, Some(item.value.clone())))
        };
        self.model.items.iter().map(entry).collect()
    }

    fn check(&mut self) {
        let snapshot = self.state.snapshot();
        let tree = self.tree();
        assert_eq!((snapshot.rev(), snapshot.horizon()), (self.model.rev, self.model.horizon));
        assert_eq!(entries(&snapshot), tree);
        for _ in 0..3 {
            let base = match self.rng.below(4) {
                0 => Path::root(),
                1 => any_path(&mut self.rng),
                _ => some_entry(&mut self.rng, &tree),
            };
            self.check_summary(&snapshot, &base);
            let view = any_view(&mut self.rng, &tree);
            let digest = truth::digest(&truth::shown(&tree, &view), snapshot.digest_key());
            let expected = Some(digest).filter(|_| view.tail.is_none());
            assert_eq!(snapshot.digest(&view, &mut 10_000), expected, "{view:?}");
        }
        self.check_page(&snapshot, &tree);
    }

    fn check_summary(&self, snapshot: &Snapshot, base: &Path) {
        let summary = snapshot.summary(base);
        let items: Vec<_> = self.model.under(base).collect();
        assert_eq!(summary.live, items.len() as u64, "entries under {base}");
        assert_eq!(summary.bytes, self.model.bytes(base), "bytes under {base}");
        let owned = items.iter().filter(|(_, item)| item.owner.is_some()).count();
        assert_eq!(summary.owned, owned as u64, "owned under {base}");
        let expires = items.iter().filter_map(|(_, item)| item.expires).min();
        assert_eq!(summary.expires, expires.unwrap_or(Time::NEVER), "expiry under {base}");
        let tree: Tree = items.iter().map(|(p, i)| ((*p).clone(), (i.rev, None))).collect();
        assert_eq!(summary.digest(), truth::digest(&tree, snapshot.digest_key()));
        let highest = items.iter().map(|(_, item)| item.rev).max().unwrap_or_default();
        assert!(summary.highest_rev >= highest && summary.highest_rev <= self.model.rev);
        let (surely, at_most) = self.model.touched(base);
        let found = snapshot.touched(base);
        assert!(found >= surely && found <= at_most, "{base}: {surely} <= {found} <= {at_most}");
    }

    /// Checks one page: forwards or backwards, of everything or of direct children.
    fn check_page(&mut self, snapshot: &Snapshot, tree: &Tree) {
        let rng = &mut self.rng;
        let top = if rng.chance(40) { Path::root() } else { some_entry(rng, tree) };
        let depth = if rng.chance(50) { Depth::Tree } else { Depth::Children };
        // A bound must be a path that could be on a page.
        let mut bound = || {
            let path = some_entry(rng, tree);
            let child = truth::segments(&top, &path).and_then(|below| below.first().copied());
            let child = child.filter(|_| depth == Depth::Children);
            rng.chance(30).then(|| child.map_or(path.clone(), |child| top.child(child).unwrap()))
        };
        let (after, before) = (bound(), bound());
        let page = List {
            id: 0,
            path: top.clone(),
            depth,
            after,
            before,
            limit: rng.below(6) as u32,
            reverse: rng.chance(50),
            values: rng.chance(50),
        };
        let mut all: BTreeMap<Path, Revision> = BTreeMap::new();
        for (path, entry) in tree.iter().filter(|(path, _)| truth::is_under(&top, path)) {
            let below = truth::segments(&top, path).unwrap();
            if page.depth == Depth::Tree || below.len() <= 1 {
                all.insert(path.clone(), entry.0);
            } else {
                // A child without a value that has something below it.
                all.entry(top.child(below[0]).unwrap()).or_insert(Revision::ZERO);
            }
        }
        let inside = |path: &Path| {
            page.after.as_ref().is_none_or(|after| path > after)
                && page.before.as_ref().is_none_or(|before| path < before)
        };
        let mut expected: Vec<(Path, Revision)> =
            all.into_iter().filter(|(path, _)| inside(path)).collect();
        if page.reverse {
            expected.reverse();
        }
        let most = if page.limit == 0 { expected.len() } else { page.limit as usize };
        let more = expected.len() > most;
        expected.truncate(most);
        let (found, said) = snapshot.list(&page, usize::MAX, 10_000);
        let found: Vec<_> = found.into_iter().map(|change| (change.path, change.rev)).collect();
        assert_eq!((found, said), (expected, more), "{page:?}");
    }

    fn finish(&mut self) {
        // First what ends by itself, then what that leaves behind.
        for _ in 0..2 {
            self.now = self.now.plus(1_000_000);
            self.housekeep();
        }
        self.check();
        for (snapshot, tree) in &self.held {
            assert_eq!(&entries(snapshot), tree, "a snapshot has changed");
        }
        // After so long a time only live entries are remembered.
        let summary = self.state.snapshot().summary(&Path::root());
        assert_eq!(summary.slots, summary.live, "marks that nobody forgets");
        assert!(self.model.clients.is_empty());
    }
}

fn entries(snapshot: &Snapshot) -> Tree {
    let page = List {
        id: 0,
        path: Path::root(),
        depth: Depth::Tree,
        after: None,
        before: None,
        limit: 0,
        reverse: false,
        values: true,
    };
    let (found, more) = snapshot.list(&page, usize::MAX, usize::MAX);
    assert!(!more);
    let entry = |Change { path, rev, act }| match act {
        Act::Put(value) => (path, (rev, value)),
        other => panic!("{path}: {other:?} is no entry"),
    };
    found.into_iter().map(entry).collect()
}
