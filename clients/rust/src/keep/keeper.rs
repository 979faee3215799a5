//! The task that saves a mirror with [`crate::MirrorOptions::keep`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use onetree_protocol::Cookie;

use super::{Keep, KeepError, Saver};
use crate::errors::GONE;
use crate::mirror::Snapshot;
use crate::shared::Shared;

/// Saves what the application was shown, until the mirror has ended and the application was shown
/// all of it.
pub(crate) fn run(
    shared: Arc<Shared>,
    keep: Arc<Keep>,
    saved: Snapshot,
) -> impl Future<Output = ()> {
    // Made here and not in the task, which may never begin: its runtime may end before.
    let unsaved = Some(keep.unwritten(GONE.to_owned()));
    let held = Held { shared: shared.clone(), unsaved };
    async move {
        // Dropped after the saver, which has the file.
        let mut held = held;
        save(&shared, keep, saved).await;
        held.unsaved = None;
    }
}

/// The file is in use as long as this lives.
struct Held {
    shared: Arc<Shared>,
    /// The error that says that the mirror was not saved, until it is saved for the last time.
    unsaved: Option<KeepError>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(error) = self.unsaved.take() {
            self.shared.note_kept(Err(error));
        }
        self.shared.kept.send_replace(false);
    }
}

async fn save(shared: &Shared, keep: Arc<Keep>, saved: Snapshot) {
    let mut latest = saved.cookie();
    let mut saver = Saver::new(keep, latest);
    let mut last = saved;
    loop {
        let now = shared.shown();
        // A reader that began later starts at the beginning again. What was shown before is saved
        // already, or will be when that reader has come as far.
        let back = goes_back(latest, now.cookie());
        if !back {
            if !now.entries.ptr_eq(&last.entries) {
                saver.note_change();
            }
            saver.save_when_due(&now);
            (latest, last) = (now.cookie().or(latest), now);
        }
        if shared.finished.load(Ordering::Acquire) || shared.is_all_shown() {
            break;
        }
        let saving = saver.is_saving();
        tokio::select! {
            () = shared.moved.notified() => {}
            // If it is only time for the next save, the error of the last one stays.
            due = saver.due(), if saving || !back => if saving { shared.note_kept(due) },
        }
    }
    shared.note_kept(saver.save_last(&last).await);
}

/// Returns whether `now` is an earlier revision of the same history.
fn goes_back(latest: Option<Cookie>, now: Option<Cookie>) -> bool {
    latest.zip(now).is_some_and(|(latest, now)| latest.epoch == now.epoch && now.rev < latest.rev)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::time::Duration;

    use onetree_protocol::{Act, Change, Epoch, Fingerprint, Path, Revision, Value, View};
    use tokio::time::sleep;

    use super::*;
    use crate::event::Event;

    /// `/a` as of `rev`.
    fn at(rev: u64) -> Snapshot {
        let rev = Revision::new(rev).unwrap();
        let view = Fingerprint::parse("0001020304050607").unwrap();
        let act = Act::Put(Some(Value::text("x")));
        let entry = Change { path: Path::parse("/a").unwrap(), rev, act };
        Snapshot::saved(Cookie { epoch: Epoch(1), rev, view }, [entry])
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_began_later_keeps_nobody_awake() {
        let folder = std::env::temp_dir().join(format!("onetree-keeper-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let keep = Arc::new(Keep::open(folder.join("mirror.jsonl")).unwrap());
        let saved = at(1);
        let shared = Shared::new(1, View::tree(Path::root()), Some(saved.clone()), true);
        let mut first = shared.changes();
        let story = async {
            for rev in [2, 3] {
                let event = Event::Fresh { rev: at(rev).rev(), changes: Arc::default() };
                shared.publish(Some(event), at(rev), true);
                while first.try_next().is_some() {}
                sleep(Duration::from_millis(10)).await;
            }
            let second = shared.changes();
            sleep(Duration::from_secs(60)).await;
            assert_eq!(keep.load().unwrap().unwrap().rev(), at(2).rev());
            drop(second);
            sleep(Duration::from_secs(1)).await;
            assert_eq!(keep.load().unwrap().unwrap().rev(), at(3).rev());
        };
        let mut keeper = pin!(run(shared.clone(), keep.clone(), saved));
        let mut wakes = 0;
        let keeper = poll_fn(|context| {
            wakes += 1;
            assert!(wakes < 50, "it does not sleep");
            keeper.as_mut().poll(context)
        });
        tokio::select! {
            () = keeper => panic!("the mirror has not ended"),
            () = story => {}
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn who_begins_to_read_behind_the_end_holds_up_no_last_save() {
        let folder = std::env::temp_dir().join(format!("onetree-late-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let keep = Arc::new(Keep::open(folder.join("mirror.jsonl")).unwrap());
        let shared = Shared::new(1, View::tree(Path::root()), None, true);
        let event = Event::Fresh { rev: at(2).rev(), changes: Arc::default() };
        shared.publish(Some(event), at(2), true);
        shared.end();
        let _late = shared.changes();
        run(shared.clone(), keep.clone(), Snapshot::default()).await;
        assert_eq!(keep.load().unwrap().map(|saved| saved.rev()), Some(at(2).rev()));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
