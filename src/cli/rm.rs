//! `rm`: removes an entry, or a subtree.

use clap::Args;
use onetree_client::{Delete, DropTree};
use onetree_protocol::{Path, Revision};

use super::Common;
use super::connect::Link;
use super::exit::Failure;
use super::output::Output;
use super::put::revision;

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  onetree rm /config/theme
  # With everything under it, in one commit
  onetree rm /chat/rust --tree
  # Only if it is still what you have seen: exit code 3 otherwise
  onetree rm /jobs/7 --if-rev 813";

/// Remove an entry; it is no error if there is none. Prints the path and the revision
#[derive(Args)]
pub(crate) struct Rm {
    /// The path of the entry
    path: Path,

    /// Remove everything at and under the path
    #[arg(long)]
    tree: bool,

    /// Only if the entry is at this revision; with --tree, only if nothing at or under the path has
    /// changed after it
    #[arg(long, value_name = "N", value_parser = revision)]
    if_rev: Option<Revision>,
}

impl Rm {
    /// Removes the entry or the subtree.
    pub(crate) async fn run(&self, common: &Common, output: &mut Output) -> Result<(), Failure> {
        let link = Link::open(common).await?;
        let path = self.path.clone();
        let done = if self.tree {
            let drop = DropTree::new(path);
            let done = link.write(self.if_rev.into_iter().fold(drop, DropTree::if_rev)).await;
            done.map_err(|failure| failure.of_trees(std::slice::from_ref(&self.path)))?
        } else {
            let delete = Delete::new(path);
            link.write(self.if_rev.into_iter().fold(delete, Delete::if_rev)).await?
        };
        output.written(common, &self.path, done.rev)?;
        link.close().await;
        Ok(())
    }
}
