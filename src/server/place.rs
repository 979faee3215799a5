//! Where a request came in.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::StatusCode;
use tokio::sync::OwnedSemaphorePermit;

use super::Server;

/// Where requests come in, one after the other.
pub(super) struct Place {
    pub(super) server: Arc<Server>,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    /// The socket's place among those that there may be; an upgraded connection takes it along.
    pub(super) permit: Mutex<Option<OwnedSemaphorePermit>>,
    /// The refusals that the log has been told of.
    pub(super) logged: Mutex<Vec<StatusCode>>,
}

impl Place {
    /// Whether this is the first refusal of its kind here: who asks for nothing else cannot fill the log.
    pub(super) fn is_first(&self, status: StatusCode) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let first = !logged.contains(&status);
        if first {
            logged.push(status);
        }
        first
    }
}
