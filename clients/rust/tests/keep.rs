//! The file that a mirror is kept in.

mod broker;
mod peer;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use onetree_client::mirror::State;
use onetree_client::protocol::Epoch;
use onetree_client::protocol::frame::{ClientFrame, Fresh, Refresh};
use onetree_client::{
    Act, Change, Client, Delete, Keep, KeepError, MirrorOptions, Path, Reason, RefreshKind,
    Revision, Saver, Snapshot, Value, View,
};
use tokio::runtime;

/// A directory for one test, removed when it ends.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let name = format!("onetree-keep-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left is among the temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A whole mirror with one entry, at `rev`.
fn whole(rev: u64) -> Snapshot {
    whole_in(Epoch(1), rev)
}

fn whole_in(history: Epoch, rev: u64) -> Snapshot {
    let rev = Revision::new(rev).unwrap();
    let view = View::tree(Path::root());
    let mut state = State::new(view.clone(), None);
    let (kind, why) = (RefreshKind::Full, Reason::NoCookie);
    state.handle_refresh(&Refresh { sub: 1, kind, why, from: None });
    let act = Act::Put(Some(Value::json("{\"x\": 1}")));
    state.handle_entries(vec![Change { path: Path::parse("/a").unwrap(), rev, act }]);
    let view = view.fingerprint();
    state.handle_fresh(&Fresh { sub: 1, rev, view, digest: None }, history);
    state.snapshot().clone()
}

#[test]
fn what_is_saved_is_loaded_and_one_that_is_not_whole_is_not_saved() {
    let directory = Directory::new("saved");
    let keep = Keep::open(directory.0.join("mirror.jsonl")).unwrap();
    assert!(keep.load().unwrap().is_none());
    keep.save(&Snapshot::default()).unwrap();
    assert!(keep.load().unwrap().is_none());
    for rev in [3, 4] {
        keep.save(&whole(rev)).unwrap();
        let loaded = keep.load().unwrap().unwrap();
        assert_eq!(loaded.cookie(), whole(rev).cookie());
        assert!(loaded.entries().eq(whole(rev).entries()));
    }
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link_even_if_what_it_leads_to_does_not_exist_yet() {
    use std::os::unix::fs::symlink;
    let directory = Directory::new("link");
    let [real, link, other, round] =
        ["real", "link", "other", "round"].map(|n| directory.0.join(n));
    fs::create_dir(&real).unwrap();
    symlink("real/mirror.jsonl", &link).unwrap();
    symlink(&link, &other).unwrap();
    let keep = Keep::open(&other).unwrap();
    assert!(matches!(Keep::open(real.join("mirror.jsonl")), Err(KeepError::InUse { .. })));
    keep.save(&whole(3)).unwrap();
    assert!(link.is_symlink() && other.is_symlink());
    assert!(real.join("mirror.jsonl").is_file());
    // One that leads to itself leads to no file.
    symlink("round", &round).unwrap();
    assert!(matches!(Keep::open(&round), Err(KeepError::Use { .. })));
}

#[test]
fn a_file_is_of_one_mirror_and_one_that_is_none_is_left_as_it_is() {
    let directory = Directory::new("one");
    let file = directory.0.join("mirror.jsonl");
    let first = MirrorOptions::new().keep(&file).unwrap();
    let second = MirrorOptions::new().keep(&file).unwrap_err();
    assert_eq!(second, KeepError::InUse { path: file.clone() });
    drop(first);
    fs::write(&file, "hello\n").unwrap();
    let error = MirrorOptions::new().keep(&file).unwrap_err();
    assert!(matches!(error, KeepError::Broken { line: 1, .. }), "{error:?}");
    assert_eq!(fs::read(&file).unwrap(), b"hello\n");
    for no_file in [directory.0.clone(), PathBuf::new(), directory.0.join("none/..")] {
        let error = MirrorOptions::new().keep(&no_file).unwrap_err();
        assert!(matches!(error, KeepError::Use { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_save_that_fails_is_told_and_made_up_for() {
    let directory = Directory::new("fails");
    let file = directory.0.join("mirror.jsonl");
    let mut saver = Saver::new(Keep::open(&file).unwrap(), None);
    // The temporary file cannot be written.
    let beside = directory.0.join("mirror.jsonl.tmp");
    fs::create_dir(&beside).unwrap();
    let error = saver.save_last(&whole(3)).await.unwrap_err();
    assert!(matches!(error, KeepError::Write { .. }), "{error:?}");
    assert!(!file.exists());
    assert!(!saver.is_saving());
    fs::remove_dir(&beside).unwrap();
    saver.save_last(&whole(3)).await.unwrap();
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .ends_with("{\"path\":\"/a\",\"rev\":3,\"json\":{\"x\": 1}}\n")
    );
}

#[tokio::test]
async fn a_file_is_free_and_whole_when_its_mirror_is_closed() {
    let directory = Directory::new("closed");
    let file = directory.0.join("mirror.jsonl");
    let (listener, options) = peer::listen().await;
    let broker = tokio::spawn(async move { peer::Peer::with_mirror(&listener).await });
    let client = Client::connect(options).await.unwrap();
    let view = View::tree(Path::root());
    let mirror = client.mirror(view.clone(), MirrorOptions::new().keep(&file).unwrap());
    mirror.fresh().await.unwrap();
    mirror.close().await.unwrap();
    let again = Keep::open(&file).unwrap();
    assert_eq!(again.load().unwrap().unwrap().rev(), Revision::new(5).unwrap());
    // A mirror that is not kept has nothing to wait for.
    client.mirror(view, MirrorOptions::new()).close().await.unwrap();
    drop(broker.await.unwrap());
}

#[tokio::test]
async fn what_a_mirror_has_shown_that_is_closed_holds_up_no_write() {
    let directory = Directory::new("history");
    let file = directory.0.join("mirror.jsonl");
    Keep::open(&file).unwrap().save(&whole_in(Epoch(2), 3)).unwrap();
    let (listener, options) = peer::listen().await;
    let broker = tokio::spawn(async move {
        let (mut peer, _) = peer::Peer::accept(&listener, 4).await;
        loop {
            if let ClientFrame::Delete(delete) = peer.read().await {
                peer.done(delete.id, 6).await;
                return peer;
            }
        }
    });
    let client = Client::connect(options).await.unwrap();
    let kept = MirrorOptions::new().keep(&file).unwrap();
    let mirror = client.mirror(View::tree(Path::root()), kept);
    let delete = || Delete::new(broker::path("/a")).if_rev(broker::rev(3));
    // The write is about the history that the mirror shows, which is not the broker's.
    assert!(client.write(delete()).await.unwrap_err().is_conflict());
    mirror.close().await.unwrap();
    client.write(delete()).await.unwrap();
    drop(broker.await.unwrap());
}

/// The application reads only until the mirror is whole, and then looks at the mirror itself: what
/// it shows counts from then on.
#[tokio::test]
async fn a_reader_that_has_left_holds_back_nothing_that_was_looked_at() {
    let directory = Directory::new("left");
    let file = directory.0.join("mirror.jsonl");
    for (looks, saved) in [(false, None), (true, Some(broker::rev(6)))] {
        let (listener, options) = peer::listen().await;
        let broker = tokio::spawn(async move { peer::Peer::with_mirror(&listener).await });
        let client = Client::connect(options).await.unwrap();
        let kept = MirrorOptions::new().keep(&file).unwrap();
        let mirror = client.mirror(View::tree(Path::root()), kept);
        mirror.fresh().await.unwrap();
        assert!(mirror.changes().next().await.is_some());
        let mut peer = broker.await.unwrap();
        peer.put("/a", 6).await;
        mirror.at(broker::rev(6)).await.unwrap();
        if looks {
            assert!(mirror.get(&broker::path("/a")).is_some());
        }
        mirror.close().await.unwrap();
        let loaded = Keep::open(&file).unwrap().load().unwrap();
        assert_eq!(loaded.map(|snapshot| snapshot.rev()), saved, "looks: {looks}");
    }
}

#[test]
fn a_mirror_is_saved_whichever_runtime_it_was_made_on_and_when_it_cannot_be_says_so() {
    let directory = Directory::new("runtimes");
    let file = directory.0.join("mirror.jsonl");
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    };
    let (one, two) = (runtime(), runtime());
    let (client, peers) = one.block_on(async {
        let (listener, options) = peer::listen().await;
        let peers = tokio::spawn(async move { peer::Peer::with_mirror(&listener).await });
        (Client::connect(options).await.unwrap(), peers)
    });
    let mirror = two.block_on(async {
        let kept = MirrorOptions::new().keep(&file).unwrap();
        let mirror = client.mirror(View::tree(Path::root()), kept);
        mirror.fresh().await.unwrap();
        mirror
    });
    two.shutdown_background();
    one.block_on(mirror.close()).unwrap();
    let loaded = Keep::open(&file).unwrap().load().unwrap();
    assert_eq!(loaded.unwrap().rev(), broker::rev(5));
    let kept = MirrorOptions::new().keep(&file).unwrap();
    let mirror = client.mirror(View::tree(Path::root()), kept);
    drop(one.block_on(peers).unwrap());
    one.shutdown_timeout(Duration::from_secs(10));
    let three = runtime();
    assert!(matches!(three.block_on(mirror.close()), Err(KeepError::Write { .. })));
    assert!(Keep::open(&file).is_ok());
}

/// However many handles are closing at once, and even if one of them has given up.
#[test]
fn who_closes_a_client_returns_when_its_mirrors_are_saved() {
    let directory = Directory::new("closes");
    let file = directory.0.join("mirror.jsonl");
    let runtime =
        runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    runtime.unwrap().block_on(async {
        let (listener, options) = peer::listen().await;
        let broker = tokio::spawn(async move { peer::Peer::with_mirror(&listener).await });
        let client = Client::connect(options).await.unwrap();
        let how = MirrorOptions::new().keep(&file).unwrap();
        let mirror = client.mirror(View::tree(Path::root()), how);
        // Nothing is saved until this is released.
        let (go, gone) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || gone.recv());
        mirror.fresh().await.unwrap();
        drop(broker.await.unwrap());
        let short = Duration::from_millis(50);
        assert!(tokio::time::timeout(short, client.clone().close()).await.is_err());
        let closing = [(); 2].map(|()| tokio::spawn(client.clone().close()));
        tokio::time::sleep(short).await;
        assert!(!closing.iter().any(|closing| closing.is_finished()));
        assert!(!file.exists());
        drop(go);
        for closing in closing {
            tokio::time::timeout(Duration::from_secs(10), closing).await.unwrap().unwrap();
            assert!(file.exists());
        }
        client.close().await;
    });
}
