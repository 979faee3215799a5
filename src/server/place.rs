//! The socket that a request came from.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::StatusCode;
use tokio::sync::OwnedSemaphorePermit;

use super::Server;

/// The socket that requests come from, one after the other.
pub(super) struct Place {
    pub(super) server: Arc<Server>,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    /// The socket's permit. An upgraded connection takes it along.
    pub(super) permit: Mutex<Option<OwnedSemaphorePermit>>,
    /// The refusals that were logged, with their reasons.
    pub(super) logged: Mutex<Vec<(StatusCode, String)>>,
}

/// How many reasons are logged for one status of one socket. The socket may be a proxy's and stand
/// for many clients.
const REASONS: usize = 4;

impl Place {
    /// Whether this refusal, for this reason, has not been logged yet for this socket. So a client
    /// that sends nothing but bad requests cannot fill the log.
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
