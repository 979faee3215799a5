//! A store that has ended, in a process that goes on: another store may use its files.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use onetree::store::Store;
use onetree::store::files::{self, OpenedStore, Watch, Watched};

use super::rng::Rng;
use super::simulated::{EIO, Fault, Simulated};
use super::work::{Worker, keep, options, settings, wait};

/// Holds the saving of a tree at its first write, until the store writes its history.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<Saving>, Condvar)>);

#[derive(Clone, Copy, Default, PartialEq)]
enum Saving {
    #[default]
    NotYet,
    Held,
    GoesOn,
}

impl Gate {
    /// Waits until the saving has come so far.
    fn wait(&self, until: Saving) {
        let (saving, changed) = &*self.0;
        drop(changed.wait_while(saving.lock().unwrap(), |saving| *saving != until).unwrap());
    }

    fn becomes(&self, from: Saving, to: Saving) {
        let mut saving = self.0.0.lock().unwrap();
        if *saving == from {
            *saving = to;
            self.0.1.notify_all();
        }
    }
}

impl Watch for Gate {
    fn creates(&self, name: &str) -> io::Result<()> {
        if name == "history.tmp" {
            self.becomes(Saving::Held, Saving::GoesOn);
        }
        Ok(())
    }

    fn writes(&self, name: &str, _: usize) -> io::Result<()> {
        if name == "tree.tmp" {
            self.becomes(Saving::NotYet, Saving::Held);
            self.wait(Saving::GoesOn);
        }
        Ok(())
    }
}

#[test]
fn a_closed_store_saves_nothing_any_more() {
    let (storage, gate) = (Simulated::default(), Gate::default());
    let watched = Arc::new(Watched::new(storage.clone(), gate.clone()));
    let opened = files::open(watched, settings(1), options(false)).unwrap();
    let OpenedStore { mut store, state, .. } = opened;
    let mut worker = Worker::new(state, Rng::new(1));
    while worker.saves == 0 {
        keep(&mut store, &mut worker).unwrap();
    }
    gate.wait(Saving::Held);
    wait(store.close()).unwrap();
    let names = storage.files().into_iter().map(|(name, _)| name);
    let trees: Vec<_> = names.filter(|name| name.starts_with("tree")).collect();
    assert!(trees.is_empty(), "{trees:?}");
}

/// As when its owner has panicked. If the disk fails, the store would try again and again.
#[test]
fn a_store_that_is_dropped_ends() {
    for fails in [false, true] {
        let storage = Simulated::default();
        let disk = Arc::new(storage.clone());
        let threads = Arc::downgrade(&disk);
        let opened = files::open(disk, settings(1), options(false)).unwrap();
        let OpenedStore { mut store, state, .. } = opened;
        let fault = Fault { what: |_| true, after: 0, times: usize::MAX, errno: EIO };
        storage.fail(Some(fault).filter(|_| fails));
        let kept = keep(&mut store, &mut Worker::new(state, Rng::new(1)));
        assert_eq!(kept.is_err(), fails);
        drop(store);
        let begun = Instant::now();
        while threads.strong_count() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(10), "fails {fails}: it goes on");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
