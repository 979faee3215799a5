//! The writable tree, written a second time: plain maps, full scans, no care for cost. The model
//! says what must become of a request before the tree gets the request.

use std::collections::BTreeMap;

use onetree_core::{Answer, Author, Bounds, Commit, Effect, Refusal, Request, Settings, Time};
use onetree_protocol::frame::{Condition, Do};
use onetree_protocol::{Code, LogKey, Name, Path, Revision, Value};

use super::truth;

/// An entry with everything that belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) rev: Revision,
    pub(crate) value: Value,
    pub(crate) time: Time,
    pub(crate) expires: Option<Time>,
    pub(crate) owner: Option<Name>,
}

/// The expected state.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) items: BTreeMap<Path, Item>,
    pub(crate) rev: Revision,
    pub(crate) horizon: Revision,
    /// The revision at which something last happened at each path, removals included.
    touched: BTreeMap<Path, Revision>,
    /// Drops and trims: each may touch what is below it even if nothing is there.
    swept: Vec<(Revision, Path, Option<LogKey>)>,
    /// For each client: its last number, and the answers that are remembered.
    pub(crate) clients: BTreeMap<Name, (u64, BTreeMap<u64, Told>)>,
    settings: Settings,
}

/// The answer to an author, or a code with what it is about.
pub(crate) type Told = Result<Answer, (Code, Option<Path>, Option<Revision>)>;

pub(crate) fn told(answer: &Result<Answer, Refusal>) -> Told {
    answer.clone().map_err(|refusal| (refusal.code, refusal.path, refusal.rev))
}

/// The effect of a request on a copy of the model.
struct Trial {
    model: Model,
    rev: Revision,
    now: Time,
    effects: usize,
    paths: Vec<Path>,
}

impl Model {
    pub(crate) fn new(settings: Settings) -> Model {
        let (rev, horizon) = (Revision::ZERO, Revision::ZERO);
        let (items, touched, swept, clients) = Default::default();
        Model { items, rev, horizon, touched, swept, clients, settings }
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.settings.bounds
    }

    /// Returns the bytes of all paths and values at and under a path.
    pub(crate) fn bytes(&self, top: &Path) -> u64 {
        let size = |(path, item): (&Path, &Item)| path.as_str().len() + item.value.bytes.len();
        self.under(top).map(size).sum::<usize>() as u64
    }

    pub(crate) fn under<'a>(&'a self, top: &'a Path) -> impl Iterator<Item = (&'a Path, &'a Item)> {
        self.items.iter().filter(move |(path, _)| truth::is_under(top, path))
    }

    /// Returns when something last happened at or under `path`: a lower and an upper limit. Between
    /// the two lie drops and trims from above that found nothing, and what is no longer remembered
    /// exactly.
    pub(crate) fn touched(&self, path: &Path) -> (Revision, Revision) {
        let under = self.touched.iter().filter(|(other, _)| truth::is_under(path, other));
        let surely = under.map(|(_, rev)| *rev).max().unwrap_or_default();
        let hits = |(rev, top, to): &(Revision, Path, Option<LogKey>)| {
            let hits = truth::is_under(path, top)
                || to.is_none_or(|to| truth::is_trimmed(top, to, path))
                    && truth::is_under(top, path);
            hits.then_some(*rev)
        };
        let at_most = self.swept.iter().filter_map(hits).max().unwrap_or_default();
        (surely, surely.max(at_most).max(self.horizon))
    }

    /// Executes the request. Returns what the author must be answered, and whether there is a
    /// commit. `touched` is what the tree says when something was last touched; that is checked
    /// elsewhere.
    pub(crate) fn write(
        &mut self,
        now: Time,
        author: &Author,
        request: &Request,
        touched: &dyn Fn(&Path) -> Revision,
    ) -> (Told, bool) {
        let numbered = match self.number(author, request.seq) {
            Ok(numbered) => numbered,
            Err(settled) => return (settled, false),
        };
        let next = self.rev.next().unwrap();
        let (told, effects) = match self.plan(now, author, request, touched) {
            Ok(trial) if trial.effects == 0 => (Ok(Answer { rev: self.rev, paths: vec![] }), 0),
            Ok(Trial { model, effects, paths, .. }) => {
                *self = model;
                (Ok(Answer { rev: next, paths }), effects)
            }
            Err(refused) => (Err(refused), 0),
        };
        let uses = [Code::Conflict, Code::LogKey, Code::TreeFull];
        let used = told.as_ref().err().is_none_or(|(code, _, _)| uses.contains(code));
        let numbered = numbered.filter(|_| used);
        if let Some((name, seq)) = &numbered {
            let client = self.clients.entry(name.clone()).or_default();
            client.0 = *seq;
            client.1.insert(*seq, told.clone());
            let keep = u64::from(self.settings.bounds.dedup_answers);
            client.1.retain(|old, _| old + keep > *seq);
        }
        let commits = effects > 0 || numbered.is_some();
        if commits {
            self.rev = next;
        }
        (told, commits)
    }

    /// Returns the client and the number of a write that is new; otherwise the answer.
    fn number(&self, author: &Author, seq: Option<u64>) -> Result<Option<(Name, u64)>, Told> {
        let Some(seq) = seq else { return Ok(None) };
        let says = |code| Err(Err((code, None, None)));
        let Some(name) = &author.client else { return says(Code::SeqGap) };
        let (last, answers) = self.clients.get(name).cloned().unwrap_or_default();
        match answers.get(&seq) {
            Some(told) => Err(told.clone()),
            None if seq == last + 1 => Ok(Some((name.clone(), seq))),
            None if seq > last && last > 0 => says(Code::SeqGap),
            None => says(Code::OutcomeUnknown),
        }
    }

    fn plan(
        &self,
        now: Time,
        author: &Author,
        request: &Request,
        touched: &dyn Fn(&Path) -> Revision,
    ) -> Result<Trial, (Code, Option<Path>, Option<Revision>)> {
        let bounds = &self.settings.bounds;
        if request.changes.len() > bounds.commit_changes as usize {
            return Err((Code::TooManyChanges, None, None));
        }
        if request.conditions.len() > bounds.commit_conditions as usize {
            return Err((Code::TooManyChanges, None, None));
        }
        for condition in &request.conditions {
            let (path, found, holds) = match condition {
                Condition::Entry { path, rev } => {
                    let found = self.items.get(path).map_or(Revision::ZERO, |item| item.rev);
                    (path, found, found == *rev)
                }
                Condition::Tree { path, rev } => {
                    let found = touched(path);
                    (path, found, found <= *rev)
                }
            };
            if !holds {
                return Err((Code::Conflict, Some(path.clone()), Some(found)));
            }
        }
        let rev = self.rev.next().unwrap();
        let mut trial = Trial { model: self.clone(), rev, now, effects: 0, paths: Vec::new() };
        for change in &request.changes {
            trial.step(self, author, change)?;
        }
        let size = |model: &Model| (model.items.len() as u64, model.bytes(&Path::root()));
        let (before, then) = (size(self), size(&trial.model));
        let over = then.0 > bounds.entries || then.1 > bounds.bytes;
        if over && (then.0 > before.0 || then.1 > before.1) {
            return Err((Code::TreeFull, None, None));
        }
        let owned = |model: &Model| {
            let own = |item: &&Item| item.owner.is_some() && item.owner == author.session;
            model.items.values().filter(own).count()
        };
        let (before, then) = (owned(self), owned(&trial.model));
        if then > bounds.commit_changes as usize && then > before {
            return Err((Code::TooManyChanges, None, None));
        }
        Ok(trial)
    }

    /// Removes everything at and under a path.
    fn drop_tree(&mut self, rev: Revision, top: &Path) {
        self.remove(rev, |path| truth::is_under(top, path));
        self.swept.push((rev, top.clone(), None));
    }

    /// Removes a log's entries up to a key.
    fn trim(&mut self, rev: Revision, log: &Path, to: LogKey) {
        self.remove(rev, |path| truth::is_trimmed(log, to, path));
        self.swept.push((rev, log.clone(), Some(to)));
    }

    fn remove(&mut self, rev: Revision, goes: impl Fn(&Path) -> bool) {
        let gone: Vec<Path> = self.items.keys().filter(|path| goes(path)).cloned().collect();
        for path in gone {
            self.items.remove(&path);
            self.touched.insert(path, rev);
        }
    }

    /// Applies what the broker has committed by itself.
    pub(crate) fn housekept(&mut self, commit: &Commit) {
        assert!(commit.rev > self.rev, "revisions only grow");
        self.rev = commit.rev;
        for effect in &commit.effects {
            match effect {
                Effect::Put { path, .. } => panic!("{path} is put by nobody"),
                Effect::Delete { path } => self.remove(commit.rev, |other| other == path),
                Effect::Drop { path } => self.drop_tree(commit.rev, path),
                Effect::Trim { path, to } => self.trim(commit.rev, path, *to),
                Effect::Compact { horizon } => self.horizon = *horizon,
                Effect::Forget { client } => drop(self.clients.remove(client)),
            }
        }
    }

    /// Returns the keys of a log's entries, the newest first.
    pub(crate) fn keys(&self, log: &Path) -> Vec<LogKey> {
        let of_log = |path: &&Path| path.parent_str() == Some(log.as_str());
        let mut keys: Vec<LogKey> =
            self.items.keys().filter(of_log).filter_map(LogKey::of).collect();
        keys.sort_unstable_by(|a, b| b.cmp(a));
        keys
    }
}

impl Trial {
    fn step(
        &mut self,
        before: &Model,
        author: &Author,
        change: &Do,
    ) -> Result<(), (Code, Option<Path>, Option<Revision>)> {
        // A step that does nothing makes no commit alone; behind other steps it may have something
        // to do.
        let first = self.effects == 0;
        match change {
            Do::Put { path, value, ttl_ms, ephemeral } => {
                if LogKey::of(path).is_some() && !before.items.contains_key(path) {
                    return Err((Code::LogKey, Some(path.clone()), None));
                }
                self.put(author, path, value, *ttl_ms, *ephemeral)
            }
            Do::Append { path, value, ttl_ms, ephemeral } => {
                let key = LogKey { rev: self.rev, index: self.effects as u16 };
                let Ok(entry) = path.child(&key.to_string()) else {
                    return Err((Code::BadPath, Some(path.clone()), None));
                };
                self.paths.push(entry.clone());
                self.put(author, &entry, value, *ttl_ms, *ephemeral)
            }
            Do::Delete { path } => {
                if !first || before.items.contains_key(path) {
                    self.model.remove(self.rev, |other| other == path);
                    self.effects += 1;
                }
                Ok(())
            }
            Do::Drop { path } => {
                if !first || before.under(path).next().is_some() {
                    self.model.drop_tree(self.rev, path);
                    self.effects += 1;
                }
                Ok(())
            }
            Do::Trim { path, to } => {
                if to.rev > before.rev {
                    return Err((Code::LogKey, Some(path.clone()), None));
                }
                if !first || before.items.keys().any(|other| truth::is_trimmed(path, *to, other)) {
                    self.model.trim(self.rev, path, *to);
                    self.effects += 1;
                }
                Ok(())
            }
        }
    }

    fn put(
        &mut self,
        author: &Author,
        path: &Path,
        value: &Value,
        ttl_ms: Option<u64>,
        ephemeral: bool,
    ) -> Result<(), (Code, Option<Path>, Option<Revision>)> {
        let owner = author.session.clone().filter(|_| ephemeral);
        if ephemeral && owner.is_none() {
            return Err((Code::BadField, Some(path.clone()), None));
        }
        let Trial { rev, now, .. } = *self;
        let expires = ttl_ms.map(|ms| Time(now.0 + ms));
        let item = Item { rev, value: value.clone(), time: now, expires, owner };
        self.model.items.insert(path.clone(), item);
        self.model.touched.insert(path.clone(), rev);
        self.effects += 1;
        Ok(())
    }
}
