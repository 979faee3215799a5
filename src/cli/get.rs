//! `get`: reads an entry.

use clap::Args;
use onetree_protocol::{Act, Path, json};

use super::Common;
use super::connect::Link;
use super::exit::{Failure, NOT_FOUND};
use super::output::{self, Output};
use super::visible::visible_lines;

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  # The bytes, exactly
  onetree get /logo > logo.png
  # With its path, revision and type
  onetree get /config/theme --json
  # Only the revision, for put --if-rev
  onetree get /config/theme --json | jq .rev
  # Exit code 4: there is no such entry
  onetree get /nothing || echo $?";

/// Print the value of an entry, unchanged; on a terminal, control characters are escaped
#[derive(Args)]
pub(crate) struct Get {
    /// The path of the entry
    path: Path,

    /// Print the bytes unchanged on a terminal, too
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

impl Get {
    /// Reads the entry.
    pub(crate) async fn run(&self, common: &Common, output: &mut Output) -> Result<(), Failure> {
        let link = Link::open(common).await?;
        let entry = link.get(&self.path).await?;
        link.close().await;
        let Some(entry) = entry else {
            let message = format!("there is no entry at {}", self.path);
            return Err(Failure::new(NOT_FOUND, "not-found", message)
                .at(Some(self.path.clone()), None)
                .next("onetree tree shows what is under a path"));
        };
        if common.json {
            return output.line(&json::change_line(&entry));
        }
        let Act::Put(Some(value)) = &entry.act else {
            return Err(Failure::fault("the broker sent an entry without its value"));
        };
        if !output.terminal {
            return output.bytes(&value.bytes);
        }
        match std::str::from_utf8(&value.bytes) {
            _ if self.raw => output.bytes(&value.bytes)?,
            Ok(text) => output.bytes(visible_lines(text).as_bytes())?,
            Err(_) => {
                let (media, bytes) = (&value.media, value.bytes.len());
                output::aside(&format!(
                    "{media}, {bytes} bytes: not for a terminal (> FILE, or --raw)"
                ));
                return Ok(());
            }
        }
        if value.bytes.ends_with(b"\n") { Ok(()) } else { output.line("") }
    }
}
