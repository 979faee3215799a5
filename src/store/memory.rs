//! A store that keeps nothing, and fails on request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use onetree_core::Commit;

use super::{Store, StoreError};

/// A store in memory. A clone is a handle to the same store: a test keeps one and makes the store
/// fail.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// How many more appends fail.
    failures: u32,
    /// How long each append takes.
    delay: Duration,
    /// The commits that were appended, if the store was asked to keep them.
    kept: Option<Vec<Arc<Commit>>>,
}

impl MemoryStore {
    /// Makes a store that keeps nothing and does not fail.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// Makes the next `appends` appends fail.
    pub fn fail_next(&self, appends: u32) {
        self.lock().failures = appends;
    }

    /// Makes every append take at least this long.
    pub fn delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// Keeps the commits from now on, for [`MemoryStore::commits`].
    pub fn keep_commits(&self) {
        self.lock().kept.get_or_insert_default();
    }

    /// Returns the commits that were kept, in order.
    pub fn commits(&self) -> Vec<Arc<Commit>> {
        self.lock().kept.clone().unwrap_or_default()
    }

    fn keep(&self, commits: Vec<Arc<Commit>>) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if inner.failures > 0 {
            inner.failures -= 1;
            let rev = |commit: Option<&Arc<Commit>>| commit.map_or(0, |commit| commit.rev.get());
            return Err(StoreError {
                first: rev(commits.first()),
                last: rev(commits.last()),
                reason: "it was told to fail".to_owned(),
            });
        }
        if let Some(kept) = &mut inner.kept {
            kept.extend(commits);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A poisoned lock is fine: nothing panics while the data is half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn append(
        &mut self,
        commits: &[Arc<Commit>],
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        let (store, commits) = (self.clone(), commits.to_vec());
        async move {
            let delay = store.lock().delay;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            store.keep(commits)
        }
    }

    fn durable(&self) -> bool {
        false
    }
}
