//! A store that has ended, in a process that goes on: another store may use its files.

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use onetree::store::Store;
use onetree::store::files::{self, OpenedStore, Watch, Watched};

use super::rng::Rng;
use super::simulated::Simulated;
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
