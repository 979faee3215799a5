//! Where a request came in.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::Server;

/// Where a request came in.
pub(super) struct Place {
    pub(super) server: Arc<Server>,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

/// The socket's place among those that there may be; an upgraded connection takes it along.
pub(super) type Permit = std::sync::Mutex<Option<OwnedSemaphorePermit>>;
