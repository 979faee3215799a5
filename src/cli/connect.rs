//! The way to the broker.

use std::time::Duration;

use onetree::Config;
use onetree_client::{
    Act, Client, ConnectError, Done, Error, MirrorOptions, Options, Pending, Refusal, Snapshot, View,
    Write,
};
use onetree_protocol::limits::Limits;

use super::Common;
use super::exit::{FAULT, Failure, UNREACHABLE, USAGE};
use super::progress;

/// What the broker's log says who we are.
const AGENT: &str = concat!("onetree-cli/", env!("CARGO_PKG_VERSION"));

/// Where a broker with the built-in settings listens.
pub(crate) fn default_url() -> String {
    format!("ws://{}", Config::default().listen)
}

/// A connection to the broker. It is opened again by itself when it is lost; only that the first
/// attempt fails ends a command.
pub(crate) struct Link {
    /// The client.
    pub(crate) client: Client,
}

impl Link {
    /// Connects.
    pub(crate) async fn open(common: &Common) -> Result<Link, Failure> {
        let options = Options::new(&common.url).label("cli").agent(AGENT);
        let client = Client::connect(options).await.map_err(|error| not_connected(&error))?;
        Ok(Link { client })
    }
}
