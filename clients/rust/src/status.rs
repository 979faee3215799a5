//! The state of a client's connection, for an application that follows it.

use tokio::sync::watch;

use crate::event::Status;

/// The states of a client's connection, from [`crate::Client::statuses`]: the one of now, then each
/// change.
///
/// A slow reader gets the latest state; states that came and went meanwhile are left out. This does
/// not keep the client alive.
#[derive(Debug)]
#[must_use = "it tells nothing until it is asked"]
pub struct Statuses {
    status: watch::Receiver<Status>,
    ended: bool,
}

impl Statuses {
    /// The first state that `next` returns is the one of now.
    pub(crate) fn new(mut status: watch::Receiver<Status>) -> Statuses {
        status.mark_changed();
        Statuses { status, ended: false }
    }

    /// Waits for a state that was not returned yet, and returns it. Returns `None` after
    /// [`Status::Ended`]. Nothing is lost if the future is dropped before it is done.
    pub async fn next(&mut self) -> Option<Status> {
        if self.ended {
            return None;
        }
        // The last state is `Ended`. If the sender is gone, `Ended` was returned already.
        self.status.changed().await.ok()?;
        let now = self.status.borrow_and_update().clone();
        self.ended = matches!(now, Status::Ended { .. });
        Some(now)
    }
}
