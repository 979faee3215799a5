//! `export`: prints a subtree as JSON Lines.

use clap::Args;
use onetree_protocol::{Path, View, json};

use super::Common;
use super::connect::Link;
use super::exit::Failure;
use super::output::Output;
use super::progress;

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  onetree export / > everything.jsonl
  onetree export /config | jq -c '{path, json}'
  # Compare two trees
  diff before.jsonl <(onetree export /)";

/// Print a subtree as JSON Lines in path order, at one revision
#[derive(Args)]
pub(crate) struct Export {
    /// The path at the top of the subtree
    #[arg(default_value = "/")]
    path: Path,
}

impl Export {
    /// Prints the subtree.
    pub(crate) async fn run(&self, common: &Common, output: &mut Output) -> Result<(), Failure> {
        let link = Link::open(common).await?;
        let bar = progress::count(!common.json, "entries")?;
        let entries = link.once(View::tree(self.path.clone()), &bar).await?;
        bar.finish_and_clear();
        entries.entries().try_for_each(|entry| output.line(&json::change_line(&entry)))?;
        output.flush()?;
        link.close().await;
        Ok(())
    }
}
