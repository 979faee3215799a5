//! How a client stands, for who follows it.

use tokio::sync::watch;

use crate::event::Status;

/// How a client stands, now and whenever that changes, from [`crate::Client::statuses`].
///
/// Who is slow gets the latest: what came and went meanwhile is not told. It keeps no client alive.
#[derive(Debug)]
#[must_use = "it tells nothing until it is asked"]
pub struct Statuses {
    status: watch::Receiver<Status>,
    ended: bool,
}

impl Statuses {
    /// The first that it tells is the one of now.
    pub(crate) fn new(mut status: watch::Receiver<Status>) -> Statuses {
        status.mark_changed();
        Statuses { status, ended: false }
    }

    /// How the client stands, where that was not told yet; `None` behind [`Status::Ended`]. Nothing
    /// is lost when this is dropped before it is done.
    pub async fn next(&mut self) -> Option<Status> {
        if self.ended {
            return None;
        }
        // Its last word is `Ended`: where nobody is left to say more, that was told.
        self.status.changed().await.ok()?;
        let now = self.status.borrow_and_update().clone();
        self.ended = matches!(now, Status::Ended { .. });
        Some(now)
    }
}
