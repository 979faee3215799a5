//! The task that saves a mirror with [`crate::MirrorOptions::keep`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use onetree_protocol::Cookie;

use super::{Keep, Saver};
use crate::live::Shared;
use crate::mirror::Snapshot;

/// Saves what the application was shown, until the mirror has ended and all of it was.
pub(crate) async fn run(shared: Arc<Shared>, keep: Arc<Keep>, saved: Snapshot) {
    let mut latest = saved.cookie();
    let mut saver = Saver::new(keep, latest);
    let mut last = saved;
    loop {
        let now = shared.shown();
        if goes_back(latest, now.cookie()) {
            // A reader that began later is at the beginning again.
        } else {
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
            // That it is time for the next one does not make up for one that failed.
            due = saver.due() => if saving { shared.note_kept(due) },
        }
    }
    shared.note_kept(saver.save_last(&last).await);
}

/// Whether `now` is an earlier moment of the same history.
fn goes_back(latest: Option<Cookie>, now: Option<Cookie>) -> bool {
    latest.zip(now).is_some_and(|(latest, now)| latest.epoch == now.epoch && now.rev < latest.rev)
}
