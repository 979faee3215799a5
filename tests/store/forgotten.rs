//! After a start it is known which clients were forgotten, and no others count as forgotten: the
//! first write of any other client, whose answer a kill has lost, is done.

use std::time::Duration;

use onetree::store::Store;
use onetree::store::files::OpenedStore;
use onetree_core::State;
use onetree_protocol::Revision;

use super::rng::Rng;
use super::simulated::{Keep, Simulated};
use super::work::{Worker, keep, open, wait};

fn forgotten(state: &State) -> Revision {
    state.checkpoint().head().forgotten.unwrap()
}

/// Makes some commits and saves the tree. Returns the revision up to which the forgotten clients
/// wrote.
fn saved(storage: &Simulated, rng: Rng, commits: u64) -> Revision {
    let OpenedStore { mut store, state, .. } = open(storage, false).unwrap();
    let mut worker = Worker::new(state, rng);
    while worker.state.rev().get() < commits {
        keep(&mut store, &mut worker).unwrap();
    }
    let name = format!("tree-{:016x}.onetree", worker.state.rev().get());
    while !storage.files().iter().any(|(file, _)| *file == name) {
        store.save(worker.state.checkpoint());
        std::thread::sleep(Duration::from_millis(1));
    }
    wait(store.close()).unwrap();
    forgotten(&worker.state)
}

#[test]
fn a_saved_tree_says_who_was_forgotten() {
    let mut rng = Rng::any();
    let (mut nobody, mut some) = (0, 0);
    for commits in [1, 2, 3, 40, 150] {
        let storage = Simulated::default();
        let before = saved(&storage, Rng::new(rng.below(usize::MAX) as u64), commits);
        let image = storage.crash(Keep::Nothing);
        let opened = open(&image, false).unwrap();
        assert_eq!(forgotten(&opened.state), before, "{commits} commits");
        *if before == Revision::ZERO { &mut nobody } else { &mut some } += 1;
        // As versions wrote it that did not record this: it may have been any client.
        let (name, mut bytes) = tree(&image);
        bytes[32..40].fill(0);
        let crc = crc32fast::hash(&bytes[16..64]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        image.put(&name, bytes);
        let old = open(&image.kill(), false).unwrap();
        assert!(forgotten(&old.state) >= before && forgotten(&old.state) > Revision::ZERO);
    }
    assert!(nobody > 0 && some > 0, "{nobody} {some}");
}

/// Returns the last saved tree: the one before may not have been removed yet.
fn tree(image: &Simulated) -> (String, Vec<u8>) {
    let names = image.files().into_iter().map(|(name, _)| name);
    let name = names.filter(|name| name.starts_with("tree-")).max().unwrap();
    let content = image.content(&name);
    (name, content)
}
