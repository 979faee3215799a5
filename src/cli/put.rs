//! `put`: writes an entry.

use std::time::Duration;

use clap::Args;
use onetree_protocol::{Path, Revision};

use super::Common;
use super::connect::Link;
use super::duration;
use super::exit::Failure;
use super::output::{self, Output};
use super::stop::Stop;
use super::value::ValueArgs;

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  # JSON if it parses as JSON, otherwise text
  onetree put /config/theme '{\"dark\":true}'
  onetree put /config/motto 'hello, world'
  onetree put /config/list -- '- a text that begins with -'
  # With a type, invalid JSON is an error instead of a text
  onetree put /config/theme --type application/json < theme.json
  # Any bytes
  onetree put /logo --type image/png < logo.png
  # Only if nobody else was first: exit code 3 otherwise
  onetree put /jobs/7 '\"mine\"' --if-absent
  onetree put /config/theme '{\"dark\":false}' --if-rev 813
  # For half a minute; for as long as this command runs
  onetree put /cache/a 1 --ttl 30s
  onetree put /presence/ada '\"here\"' --ephemeral";

/// Write an entry. Prints its path and revision
#[derive(Args)]
pub(crate) struct Put {
    /// The path of the entry
    path: Path,

    #[command(flatten)]
    value: ValueArgs,

    /// Only if the entry is at this revision (0: only if there is no entry)
    #[arg(long, value_name = "N", value_parser = revision)]
    if_rev: Option<Revision>,

    /// Only if there is no entry
    #[arg(long, conflicts_with = "if_rev")]
    if_absent: bool,

    /// Remove the entry after this time: 250ms, 30s, 5m, 12h, 7d
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    ttl: Option<Duration>,

    /// Keep the entry only while this command runs: until Ctrl-C, or for --ttl
    #[arg(long)]
    ephemeral: bool,
}

/// Parses a revision of the command line.
pub(crate) fn revision(text: &str) -> Result<Revision, String> {
    text.parse()
        .ok()
        .and_then(Revision::new)
        .ok_or_else(|| "a revision is a whole number below 2^53".to_owned())
}

impl Put {
    /// Writes the entry.
    pub(crate) async fn run(&self, common: &Common, output: &mut Output) -> Result<(), Failure> {
        let (link, value) = self.value.read(common).await?;
        let rev = if self.if_absent { Some(Revision::ZERO) } else { self.if_rev };
        let mut put = onetree_client::Put::new(self.path.clone(), value);
        put = rev.into_iter().fold(put, onetree_client::Put::if_rev);
        put = self.ttl.into_iter().fold(put, onetree_client::Put::ttl);
        if self.ephemeral {
            let mut stop = Stop::listen()?;
            tokio::select! {
                held = self.hold(&link, put.ephemeral(), common, output) => held?,
                () = stop.asked() => {}
            }
        } else {
            let done = link.write(put).await?;
            output.written(common, &self.path, done.rev)?;
        }
        link.close().await;
        Ok(())
    }

    /// Writes the entry and holds it until its session is lost or its time is over.
    async fn hold(
        &self,
        link: &Link,
        put: onetree_client::Put,
        common: &Common,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let done = link.write(put).await?;
        output.written(common, &self.path, done.rev)?;
        output.flush()?;
        let tell = |words: &str| {
            if !common.json {
                output::aside(words);
            }
        };
        let Some(ttl) = self.ttl else {
            tell("it stays until Ctrl-C");
            return Err(link.hold().await);
        };
        tell(&format!("it stays until Ctrl-C, at most {ttl:?}"));
        match tokio::time::timeout(ttl, link.hold()).await {
            Ok(failure) => Err(failure),
            Err(_) => {
                tell(&format!("it is gone after {ttl:?}"));
                Ok(())
            }
        }
    }
}
