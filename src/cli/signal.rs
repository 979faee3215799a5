//! `signal`: sends a message that is never stored.

use clap::Args;
use onetree_protocol::{MediaType, Path, Value};

use super::Common;
use super::connect::Link;
use super::exit::Failure;
use super::value::{ValueArgs, media_type};

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  # Received by those who run watch --signals now, and by nobody later
  onetree signal /chat/rust/typing '{\"from\":\"ada\"}'
  # The output of another program; without a VALUE: null
  date | onetree signal /build/done -
  onetree signal /build/wake";

/// Send a message to current subscribers only; it is not stored and arrives at most once
#[derive(Args)]
pub(crate) struct Signal {
    /// The path of the signal
    path: Path,

    /// The value: JSON if it parses as JSON, otherwise text. `-`: all bytes of standard input. If
    /// left out: null. Put -- before a text that begins with -
    // Without a VALUE nothing is read: in a script, standard input is often meant for other
    // commands.
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    value: Option<String>,

    /// The media type, if it is not what VALUE looks like. With application/json, a value that is
    /// not JSON is an error
    #[arg(long = "type", value_name = "MEDIA", value_parser = media_type, requires = "value")]
    media: Option<MediaType>,
}

impl Signal {
    /// Sends the signal.
    pub(crate) async fn run(&self, common: &Common) -> Result<(), Failure> {
        let (link, value) = match &self.value {
            Some(value) => ValueArgs::new(value.clone(), self.media.clone()).read(common).await?,
            None => (Link::open(common).await?, Value::json("null")),
        };
        link.signal(&self.path, value).await?;
        link.close().await;
        Ok(())
    }
}
