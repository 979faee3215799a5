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
    /// The refusals that the log has been told of, with their reasons.
    pub(super) logged: Mutex<Vec<(StatusCode, String)>>,
}

/// So many reasons of one status the log is told of one socket: it may be a proxy's, and stand for
/// many clients.
const REASONS: usize = 4;

impl Place {
    /// Whether the log has not been told of this refusal yet, for this reason: who asks for nothing
    /// else cannot fill it.
    pub(super) fn is_news(&self, status: StatusCode, why: &str) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let mut same = logged.iter().filter(|(before, _)| *before == status);
        let news = same.clone().count() < REASONS && same.all(|(_, reason)| reason != why);
        if news {
            logged.push((status, why.to_owned()));
        }
        news
    }
}
