//! `ls`: lists a page of entries.

use clap::{Args, ValueEnum};
use onetree_client::List;
use onetree_protocol::{Depth, Path, Revision, json};

use super::Common;
use super::connect::Link;
use super::exit::Failure;
use super::output::{self, Output};
use super::visible::{quoted, visible};

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  onetree ls /config
  # The newest ten of a log, and the ten before these
  onetree ls /chat/rust/log --reverse --limit 10
  onetree ls /chat/rust/log --reverse --limit 10 --before /chat/rust/log/00000000000a230000
  # Everything under a path, page by page; how to go on stands in \"more\" and \"last\"
  onetree ls / --depth tree --json | jq '{more, last}'";

/// List entries at and under a path, a page at a time, at one revision
#[derive(Args)]
pub(crate) struct Ls {
    /// The path to list
    #[arg(default_value = "/")]
    path: Path,

    /// How deep to go below the path
    #[arg(long, value_enum, default_value_t = Reach::Children)]
    depth: Reach,

    /// Only entries after this path
    #[arg(long, value_name = "PATH")]
    after: Option<Path>,

    /// Only entries before this path
    #[arg(long, value_name = "PATH")]
    before: Option<Path>,

    /// The most entries to list; the broker may send fewer. 0: as many as it sends
    #[arg(long, value_name = "N", default_value_t = 100, allow_negative_numbers = true)]
    limit: u32,

    /// In reverse order: the newest entries of a log first
    #[arg(long)]
    reverse: bool,

    /// Only paths and revisions, no values
    #[arg(long)]
    no_values: bool,
}

/// `--depth`.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Reach {
    /// Only the path itself
    Entry,
    /// The path and its direct children
    Children,
    /// Everything at and under the path
    Tree,
}

impl From<Reach> for Depth {
    fn from(reach: Reach) -> Depth {
        match reach {
            Reach::Entry => Depth::Entry,
            Reach::Children => Depth::Children,
            Reach::Tree => Depth::Tree,
        }
    }
}

impl Ls {
    /// Prints the page.
    pub(crate) async fn run(&self, common: &Common, output: &mut Output) -> Result<(), Failure> {
        let link = Link::open(common).await?;
        let mut list = List::new(self.path.clone()).depth(self.depth.into()).limit(self.limit);
        list = self.after.iter().cloned().fold(list, List::after);
        list = self.before.iter().cloned().fold(list, List::before);
        list = if self.reverse { list.reverse() } else { list };
        list = if self.no_values { list.without_values() } else { list };
        let page = link.list(list).await?;
        link.close().await;
        let last = page.entries.last().map(|entry| &entry.path);
        if common.json {
            let entries: Vec<String> = page.entries.iter().map(json::change_line).collect();
            let (rev, entries) = (page.rev, entries.join(","));
            let rest = serde_json::json!({ "more": page.more, "last": last.map(Path::as_str) });
            let rest = rest.to_string();
            let rest = rest.trim_start_matches('{');
            return output.line(&format!("{{\"rev\":{rev},\"entries\":[{entries}],{rest}"));
        }
        for entry in &page.entries {
            let line = match entry.rev {
                // A topic that has something under it, but no entry of its own.
                Revision::ZERO => format!("+ {} -", visible(entry.path.as_str())),
                _ => output.change(entry),
            };
            output.line(line.strip_prefix("+ ").unwrap_or(&line))?;
        }
        output.flush()?;
        match last {
            Some(last) if page.more => {
                let option = if self.reverse { "--before" } else { "--after" };
                output::aside(&format!("there is more: {option} {}", quoted(last.as_str())));
            }
            None if matches!(self.depth, Reach::Children)
                && self.after.is_none()
                && self.before.is_none() =>
            {
                // A child without an entry is shown when something is below it.
                output::aside(&format!("nothing is at or under {}", visible(self.path.as_str())));
            }
            _ => {}
        }
        Ok(())
    }
}
