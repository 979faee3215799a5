//! Transactions that run again if something that they read has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;

use imbl::OrdMap;
use onetree_protocol::frame::{Condition, Do};
use onetree_protocol::{Action, Depth, LogKey, Path, Revision, Value, View};
use serde::Serialize;

use crate::driver::History;
use crate::errors::Error;
use crate::live::Mirror;
use crate::mirror::{Entry, Snapshot};
use crate::request::{Done, Txn};

/// One run of a transaction: what it has read, all at one revision, and what it will write.
#[derive(Clone, Debug)]
pub struct Transaction {
    view: View,
    snapshot: Snapshot,
    /// What the run sees: the snapshot with the run's own writes.
    now: OrdMap<Path, Entry>,
    reads: Reads,
    writes: Vec<Do>,
    /// The paths that the run has put or deleted, and in `dropped` the paths that it has dropped
    /// with everything under them. What it reads there is its own.
    wrote: BTreeSet<Path>,
    dropped: Vec<Path>,
    /// Whether [`Transaction::retry`] was called. The run then retries, even if the function
    /// ignores the error.
    retried: bool,
}

/// What was read: single entries with their revisions, and whole subtrees.
#[derive(Clone, Debug, Default)]
struct Reads {
    entries: BTreeMap<Path, Revision>,
    trees: BTreeSet<Path>,
}

/// Why a run does not commit. `?` converts any error into one.
#[derive(Debug)]
pub enum Abort {
    /// Run again when something that was read has changed. See [`Transaction::retry`].
    Retry,
    /// The run read outside the mirror's view, where nobody would notice a change.
    OutsideView(Path),
    /// The application's own error.
    Failed(Box<dyn StdError + Send + Sync>),
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for Abort {
    fn from(error: E) -> Abort {
        Abort::Failed(error.into())
    }
}

/// Why a transaction ended without a commit.
#[derive(Debug, thiserror::Error)]
pub enum TransactError {
    /// The mirror has ended, or the broker refused the commit, or no answer came. Nothing was
    /// written, with two exceptions: with [`crate::Code::OutcomeUnknown`], and with a timeout or an
    /// end of the client after the write was sent, it may have been written, once.
    #[error(transparent)]
    Client(#[from] Error),
    /// The function read outside the mirror's view. Nothing was written.
    #[error("{0} is outside of what the mirror sees")]
    OutsideView(Path),
    /// The function's own error, whose text and `source` this error shows as its own. Nothing was
    /// written.
    #[error(transparent)]
    Failed(Box<dyn StdError + Send + Sync>),
}

impl TransactError {
    /// Returns the word of the error: the word of the client's error, `outside-view`, or
    /// `application` for the function's own error.
    pub fn word(&self) -> &'static str {
        match self {
            TransactError::Client(error) => error.word(),
            TransactError::OutsideView(_) => "outside-view",
            TransactError::Failed(_) => "application",
        }
    }

    /// Returns what to do next. For the function's own error this is [`Action::Stop`]: only the
    /// application knows better.
    pub fn action(&self) -> Action {
        match self {
            TransactError::Client(error) => error.action(),
            TransactError::OutsideView(_) => Action::Fix,
            TransactError::Failed(_) => Action::Stop,
        }
    }
}

/// The result of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Committed<T> {
    /// What the function returned in the run that was committed.
    pub result: T,
    /// The commit; `None` if the function wrote nothing, so that nothing was sent.
    #[serde(flatten)]
    pub done: Option<Done>,
    /// How often the function ran.
    pub runs: u32,
}

impl Transaction {
    fn new(view: &View, snapshot: Snapshot) -> Transaction {
        Transaction {
            view: view.clone(),
            now: snapshot.entries.clone(),
            snapshot,
            reads: Reads::default(),
            writes: Vec::new(),
            wrote: BTreeSet::new(),
            dropped: Vec::new(),
            retried: false,
        }
    }

    /// Returns the revision of the snapshot that the run reads.
    pub fn rev(&self) -> Revision {
        self.snapshot.rev()
    }

    /// Returns the entry at `path`. An entry that this run has put is at [`Revision::ZERO`].
    ///
    /// # Errors
    /// If `path` is outside the mirror's view.
    pub fn get(&mut self, path: &Path) -> Result<Option<Entry>, Abort> {
        self.ended(Ok(()))?;
        if !self.is_own(path) {
            // With a `tail`, an entry that is left out looks like one that is absent.
            let cut = |segment| LogKey::parse(segment).is_some();
            let cut = self.view.tail.is_some() && path.segments().any(cut);
            let entry = self.snapshot.get(path);
            if !self.view.sees(path) || (cut && entry.is_none()) {
                return Err(Abort::OutsideView(path.clone()));
            }
            let rev = entry.map_or(Revision::ZERO, |entry| entry.rev);
            self.reads.entries.insert(path.clone(), rev);
        }
        Ok(self.now.get(path).cloned())
    }

    /// Returns the entries at and under `top` that the mirror sees, in path order. What this run
    /// has appended is left out: it has no path before the commit. The condition of the read is
    /// that nothing changes at or under `top`, whether the mirror sees it or not.
    ///
    /// # Errors
    /// If `top` is outside the base and depth of the mirror's view.
    pub fn under(&mut self, top: &Path) -> Result<Vec<(Path, Entry)>, Abort> {
        self.ended(Ok(()))?;
        let base = &self.view.base;
        let below = top.depth().saturating_sub(base.depth());
        let seen = match self.view.depth {
            Depth::Entry => below == 0,
            Depth::Children => below <= 1,
            Depth::Tree => true,
        };
        if !base.contains(top) || !seen {
            return Err(Abort::OutsideView(top.clone()));
        }
        if !self.dropped.iter().any(|dropped| dropped.contains(top)) {
            self.reads.trees.insert(top.clone());
        }
        Ok(under(&self.now, top).map(|(path, entry)| (path.clone(), entry.clone())).collect())
    }

    /// Puts `value` at `path`. The path may be outside the mirror's view.
    pub fn put(&mut self, path: Path, value: Value) {
        self.then(Do::Put { path, value, ttl_ms: None, ephemeral: false });
    }

    /// Appends `value` to the log at `path`.
    pub fn append(&mut self, path: Path, value: Value) {
        self.then(Do::Append { path, value, ttl_ms: None, ephemeral: false });
    }

    /// Deletes the entry at `path`.
    pub fn delete(&mut self, path: Path) {
        self.then(Do::Delete { path });
    }

    /// Deletes everything at and under `path`.
    pub fn drop_tree(&mut self, path: Path) {
        self.then(Do::Drop { path });
    }

    /// Adds a [`Step`](crate::Step). Later reads of this run see it, except an append, which has no
    /// path yet, and a trim.
    pub fn then(&mut self, step: Do) {
        match &step {
            Do::Put { path, value, .. } => {
                let entry = Entry { rev: Revision::ZERO, value: Some(value.clone()) };
                self.now.insert(path.clone(), entry);
                self.wrote.insert(path.clone());
            }
            Do::Delete { path } => {
                self.now.remove(path);
                self.wrote.insert(path.clone());
            }
            Do::Drop { path } => {
                let gone: Vec<Path> = under(&self.now, path).map(|(at, _)| at.clone()).collect();
                gone.iter().for_each(|at| drop(self.now.remove(at)));
                self.dropped.push(path.clone());
            }
            Do::Append { .. } | Do::Trim { .. } => {}
        }
        self.writes.push(step);
    }

    /// Ends the run, whatever the function does afterwards. The function runs again when something
    /// that it read has changed in the mirror. If it has read nothing, it waits for ever.
    ///
    /// # Errors
    /// Always: [`Abort::Retry`].
    pub fn retry<T>(&mut self) -> Result<T, Abort> {
        self.retried = true;
        Err(Abort::Retry)
    }

    /// Runs `first`. If `first` retries, its writes are forgotten but what it read is not, and
    /// `second` runs instead. If both retry, the transaction retries when something that either has
    /// read changes.
    ///
    /// # Errors
    /// The error of `first` unless it retried, else that of `second`.
    pub fn or_else<T>(
        &mut self,
        first: impl FnOnce(&mut Transaction) -> Result<T, Abort>,
        second: impl FnOnce(&mut Transaction) -> Result<T, Abort>,
    ) -> Result<T, Abort> {
        self.ended(Ok(()))?;
        let before = self.clone();
        let first = first(self);
        match self.ended(first) {
            Err(Abort::Retry) => {
                let reads = std::mem::take(&mut self.reads);
                *self = Transaction { reads, ..before };
                second(self)
            }
            ended => ended,
        }
    }

    /// Returns the result of a run or of a part of it: a retry if one was asked for.
    fn ended<T>(&self, result: Result<T, Abort>) -> Result<T, Abort> {
        if self.retried { Err(Abort::Retry) } else { result }
    }

    fn is_own(&self, path: &Path) -> bool {
        self.wrote.contains(path) || self.dropped.iter().any(|top| top.contains(path))
    }

    /// Returns the transaction to commit: what was read as conditions, then the writes.
    fn into_txn(self) -> Txn {
        let rev = self.snapshot.rev();
        let entry = |(path, rev)| Condition::Entry { path, rev };
        let tree = |path| Condition::Tree { path, rev };
        let Reads { entries, trees } = self.reads;
        let conditions = entries.into_iter().map(entry).chain(trees.into_iter().map(tree));
        let txn = conditions.fold(Txn::new(), Txn::when);
        self.writes.into_iter().fold(txn, Txn::then)
    }
}

impl Reads {
    /// Returns whether anything that was read differs between the two snapshots.
    fn differ(&self, before: &Snapshot, now: &Snapshot) -> bool {
        let entry = |path: &Path| {
            before.get(path).map(|entry| entry.rev) != now.get(path).map(|entry| entry.rev)
        };
        let revs = |(path, entry): (&Path, &Entry)| (path.clone(), entry.rev);
        let tree = |top: &Path| !before.under(top).map(revs).eq(now.under(top).map(revs));
        let one_history = |one: &Snapshot| one.cookie().map(|cookie| cookie.epoch);
        one_history(before) != one_history(now)
            || self.entries.keys().any(entry)
            || self.trees.iter().any(tree)
    }
}

fn under<'a>(
    entries: &'a OrdMap<Path, Entry>,
    top: &Path,
) -> impl Iterator<Item = (&'a Path, &'a Entry)> {
    let (from, top) = (top.clone(), top.clone());
    entries.range(from..).take_while(move |(path, _)| top.contains(path))
}

impl Mirror {
    /// Returns the revision up to which this client's writes were done, if the snapshot is below it
    /// and the mirror will reach it.
    fn lacked(&self, snapshot: &Snapshot, own: Option<History>) -> Option<Revision> {
        let epoch = snapshot.cookie().map(|cookie| cookie.epoch);
        let done = own.filter(|own| Some(own.epoch) == epoch)?.done;
        (snapshot.rev() < done && !self.has_ended()).then_some(done)
    }

    /// Runs `run` and commits what it writes, on the condition that nothing that it read has
    /// changed. If something has changed meanwhile, the client waits until the mirror shows the
    /// change, and runs `run` again. Each run reads one snapshot of the fresh mirror. `run` must
    /// have no effects of its own, because it may run any number of times.
    ///
    /// A run that fails with an error of its own, or writes nothing, is judged by its snapshot
    /// alone. The snapshot has all writes of this client that were answered before you called
    /// `transact`. It may be behind the writes of others. To know more, use
    /// [`Client::get`](crate::Client::get), or write.
    ///
    /// ```no_run
    /// # use onetree_client::{Mirror, Path, Value};
    /// # async fn example(mirror: &Mirror, seats: Path) -> Result<(), Box<dyn std::error::Error>> {
    /// // Waits for a free seat and takes it; nobody else gets the same one.
    /// let taken = mirror
    ///     .transact(|tx| {
    ///         let Some((seat, _)) = tx.under(&seats)?.into_iter().next() else {
    ///             return tx.retry();
    ///         };
    ///         tx.delete(seat.clone());
    ///         Ok(seat)
    ///     })
    ///     .await?;
    /// println!("{}", taken.result);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`TransactError`].
    pub async fn transact<T>(
        &self,
        mut run: impl FnMut(&mut Transaction) -> Result<T, Abort>,
    ) -> Result<Committed<T>, TransactError> {
        let mut runs: u32 = 0;
        let own = self.client().history();
        loop {
            self.fresh().await?;
            runs = runs.saturating_add(1);
            let snapshot = self.snapshot();
            let mut tx = Transaction::new(self.view(), snapshot.clone());
            let result = run(&mut tx);
            let ended = tx.ended(result);
            let commits = ended.is_ok() && !tx.writes.is_empty();
            let result = match ended {
                Err(Abort::Retry) => {
                    self.changed(&snapshot, |now| tx.reads.differ(&snapshot, now)).await?;
                    continue;
                }
                // The broker does not judge such a run. It must have seen what this client has
                // written.
                _ if !commits && let Some(done) = self.lacked(&snapshot, own) => {
                    self.past(&snapshot, Some(done)).await?;
                    continue;
                }
                Ok(result) => result,
                Err(Abort::OutsideView(path)) => return Err(TransactError::OutsideView(path)),
                Err(Abort::Failed(error)) => return Err(TransactError::Failed(error)),
            };
            if !commits {
                return Ok(Committed { result, done: None, runs });
            }
            let of = snapshot.cookie().map(|cookie| cookie.epoch);
            match self.client().txn_of(tx.into_txn(), of).await {
                Ok(done) => return Ok(Committed { result, done: Some(done), runs }),
                Err(Error::Refused(refusal)) if refusal.code == crate::Code::Conflict => {
                    let there = refusal.rev.filter(|rev| *rev > snapshot.rev());
                    self.past(&snapshot, there).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use onetree_protocol::{Act, Change, Cookie, Epoch};

    use super::*;

    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }

    /// A run at revision 9 over these entries, each at its revision.
    fn tx(view: &View, entries: &[(&str, u64)]) -> Transaction {
        let rev = |n| Revision::new(n).unwrap();
        let act = || Act::Put(Some(Value::text("x")));
        let put = |(at, n): &(&str, u64)| Change { path: path(at), rev: rev(*n), act: act() };
        let cookie = Cookie { epoch: Epoch(1), rev: rev(9), view: view.fingerprint() };
        Transaction::new(view, Snapshot::saved(cookie, entries.iter().map(put)))
    }

    fn conditions(tx: Transaction) -> Vec<String> {
        let said = |condition: Condition| match condition {
            Condition::Entry { path, rev } => format!("{path} at {rev}"),
            Condition::Tree { path, rev } => format!("under {path} since {rev}"),
        };
        let Reads { entries, trees } = tx.reads;
        let rev = tx.snapshot.rev();
        let entries = entries.into_iter().map(|(path, rev)| Condition::Entry { path, rev });
        let trees = trees.into_iter().map(|path| Condition::Tree { path, rev });
        entries.chain(trees).map(said).collect()
    }

    #[test]
    fn reads_are_conditions_and_see_own_writes() {
        let mut tx = tx(&View::tree(path("/n")), &[("/n/a", 4), ("/n/x/1", 5), ("/n/x/2", 6)]);
        assert_eq!(tx.get(&path("/n/a")).unwrap().unwrap().rev.get(), 4);
        assert!(tx.get(&path("/n/b")).unwrap().is_none());
        let value = Value::text("y");
        tx.then(Do::Put { path: path("/n/new"), value, ttl_ms: Some(1), ephemeral: true });
        assert_eq!(tx.get(&path("/n/new")).unwrap().unwrap().rev, Revision::ZERO);
        tx.then(Do::Delete { path: path("/n/x/1") });
        let under = tx.under(&path("/n/x")).unwrap();
        assert_eq!(under.len(), 1);
        tx.then(Do::Drop { path: path("/n/x") });
        assert!(tx.under(&path("/n/x")).unwrap().is_empty());
        assert!(tx.get(&path("/n/x/2")).unwrap().is_none());
        assert_eq!(tx.writes.len(), 3);
        assert_eq!(conditions(tx), ["/n/a at 4", "/n/b at 0", "under /n/x since 9"]);
    }

    #[test]
    fn an_alternative_forgets_the_writes_of_the_first_and_keeps_its_reads() {
        let mut tx = tx(&View::tree(path("/n")), &[]);
        let result = tx.or_else(
            |tx| {
                tx.put(path("/n/half"), Value::text("y"));
                tx.get(&path("/n/a"))?;
                tx.retry()
            },
            |tx| {
                assert!(tx.get(&path("/n/half"))?.is_none());
                tx.put(path("/n/whole"), Value::text("y"));
                Ok(2)
            },
        );
        assert_eq!(result.unwrap(), 2);
        assert_eq!(tx.writes.len(), 1);
        assert_eq!(conditions(tx), ["/n/a at 0", "/n/half at 0"]);
    }

    #[test]
    fn an_alternative_comes_also_where_a_retry_is_not_handed_on() {
        let mut tx = tx(&View::tree(path("/n")), &[]);
        let first = |tx: &mut Transaction| {
            tx.put(path("/n/half"), Value::text("y"));
            Ok(tx.retry().unwrap_or(1))
        };
        assert_eq!(tx.or_else(first, |_| Ok(2)).unwrap(), 2);
        assert!(tx.writes.is_empty());
        assert!(tx.get(&path("/n/a")).is_ok());
        assert!(matches!(tx.or_else(first, Transaction::retry), Err(Abort::Retry)));
    }

    #[test]
    fn what_the_mirror_does_not_see_cannot_be_read() {
        let mut view = View::tree(path("/n"));
        assert!(matches!(tx(&view, &[]).get(&path("/m")), Err(Abort::OutsideView(_))));
        assert!(matches!(tx(&view, &[]).under(&path("/")), Err(Abort::OutsideView(_))));
        view.tail = Some(3);
        let old = path("/n/log/000000000000010000");
        assert!(matches!(tx(&view, &[]).get(&old), Err(Abort::OutsideView(_))));
        assert!(tx(&view, &[("/n/log/000000000000010000", 1)]).get(&old).is_ok());
        (view.tail, view.depth) = (None, Depth::Children);
        assert!(tx(&view, &[]).under(&path("/n/a")).is_ok());
        assert!(matches!(tx(&view, &[]).under(&path("/n/a/b")), Err(Abort::OutsideView(_))));
    }
}
