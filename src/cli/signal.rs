//! `signal`: a message that is never stored.

use clap::Args;
use onetree_protocol::{MediaType, Path, Value};

use super::Common;
use super::connect::Link;
use super::exit::Failure;
use super::value::{ValueArgs, media_type};

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  # For those who watch with --signals now; nobody else ever sees it
  onetree signal /chat/rust/typing '{\"from\":\"ada\"}'
  # What another program says; without a VALUE: null
  date | onetree signal /build/done -
  onetree signal /build/wake";

/// Send a message to those who are there; it is never stored, and arrives at most once
#[derive(Args)]
pub(crate) struct Signal {
    /// Where
    path: Path,

    /// What to send: JSON where it parses as JSON, else text. `-`: standard input, every byte of
    /// it; nothing: null. A text that begins with - comes behind --
    // Without a VALUE nothing is read: in a script standard input is often what others are to read.
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    value: Option<String>,

    /// The media type, where the value is not what it looks like; application/json: what is no JSON
    /// is an error
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
