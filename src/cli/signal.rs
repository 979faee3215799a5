//! `signal`: a message that is never stored.

use clap::Args;
use onetree_protocol::{Path, Value};

use super::Common;
use super::connect::Link;
use super::exit::Failure;
use super::value::ValueArgs;

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  # For those who watch with --signals now; nobody else ever sees it
  onetree signal /chat/rust/typing '{\"from\":\"ada\"}'
  # Without a VALUE: null
  onetree signal /build/wake";

/// Send a message to those who are there; it is never stored, and arrives at most once
#[derive(Args)]
pub(crate) struct Signal {
    /// Where
    path: Path,

    #[command(flatten)]
    value: ValueArgs,
}

impl Signal {
    /// Sends the signal.
    pub(crate) async fn run(&self, common: &Common) -> Result<(), Failure> {
        let value = if self.value.is_given() { self.value.read()? } else { Value::json("null") };
        let link = Link::open(common).await?;
        link.signal(&self.path, value).await?;
        link.close().await;
        Ok(())
    }
}
