//! `tree`: draws a subtree.

use clap::Args;
use onetree_protocol::{Change, LogKey, Path, View};

use super::Common;
use super::connect::Link;
use super::exit::Failure;
use super::output::{Output, plural, preview, thousands};
use super::progress;
use super::visible::visible;

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  # Two levels of everything
  onetree tree / --levels 2
  # With values
  onetree tree /config --values
  # Every entry of each log; otherwise a log is one line
  onetree tree /chat/rust --logs";

/// How many characters of a value are drawn beside its name.
const VALUE_CHARS: usize = 60;

/// Draw a subtree, at one revision
#[derive(Args)]
pub(crate) struct Tree {
    /// The path at the top of the subtree
    #[arg(default_value = "/")]
    path: Path,

    /// Draw this many levels below the top, and count what is deeper
    #[arg(long, value_name = "N")]
    levels: Option<usize>,

    /// Show values, too
    #[arg(long)]
    values: bool,

    /// Show each entry of a log
    #[arg(long)]
    logs: bool,
}

impl Tree {
    /// Reads the subtree and draws it.
    pub(crate) async fn run(&self, common: &Common, output: &mut Output) -> Result<(), Failure> {
        let link = Link::open(common).await?;
        let view = View { values: self.values, ..View::tree(self.path.clone()) };
        let bar = progress::count(!common.json, "entries")?;
        let entries: Vec<Change> = link.once(view, &bar).await?.entries().collect();
        bar.finish_and_clear();
        link.close().await;
        if common.json {
            for entry in &entries {
                output.line(&onetree_protocol::json::change_line(entry))?;
            }
            return Ok(());
        }
        let drawn = Drawing { tree: self, lines: Vec::new() }.draw(&entries);
        for line in drawn {
            output.line(&line)?;
        }
        let n = entries.len() as u64;
        output.line(&format!("{} {}", thousands(n), plural(n, "entry", "entries")))
    }
}

/// The lines that were drawn so far.
struct Drawing<'a> {
    tree: &'a Tree,
    lines: Vec<String>,
}

impl Drawing<'_> {
    /// Draws `entries`. They are in path order, so that the entries of each topic are consecutive.
    fn draw(mut self, entries: &[Change]) -> Vec<String> {
        let top = &self.tree.path;
        let (own, below) = split_own(entries, top.as_str());
        let label = own.map(|own| self.label(own)).unwrap_or_default();
        self.lines.push(format!("{}{label}", visible(top.as_str())));
        self.children(below, top.depth(), "");
        self.lines
    }

    /// Draws the topics of `entries`. `depth` is the depth of their parent.
    fn children(&mut self, entries: &[Change], depth: usize, indent: &str) {
        if entries.is_empty() {
            return;
        }
        if self.tree.levels.is_some_and(|levels| depth >= self.tree.path.depth() + levels) {
            self.lines
                .push(format!("{indent}└── … {} more below", thousands(entries.len() as u64)));
            return;
        }
        let mut runs = entries.chunk_by(|a, b| name(a, depth) == name(b, depth)).peekable();
        while let Some(run) = runs.next() {
            let topic = name(&run[0], depth);
            if !self.tree.logs && LogKey::parse(topic).is_some() {
                // Draw the whole log as one line: its keys are neighbours.
                let (mut count, mut newest) = (run.len(), topic);
                while let Some(run) =
                    runs.next_if(|run| LogKey::parse(name(&run[0], depth)).is_some())
                {
                    count += run.len();
                    newest = name(&run[0], depth);
                }
                let branch = if runs.peek().is_some() { "├──" } else { "└──" };
                let count = thousands(count as u64);
                self.lines.push(format!("{indent}{branch} … {count} in the log, up to {newest}"));
                continue;
            }
            let (branch, under) =
                if runs.peek().is_some() { ("├──", "│   ") } else { ("└──", "    ") };
            let end = run[0].path.as_str().len().min(prefix_len(&run[0], depth + 1));
            let (own, below) = split_own(run, &run[0].path.as_str()[..end]);
            let label = own.map(|own| self.label(own)).unwrap_or_default();
            self.lines.push(format!("{indent}{branch} {}{label}", visible(topic)));
            self.children(below, depth + 1, &format!("{indent}{under}"));
        }
    }

    /// Returns the text beside the name of an entry.
    fn label(&self, entry: &Change) -> String {
        match &entry.act {
            onetree_protocol::Act::Put(Some(value)) => {
                format!("  {} {}", entry.rev, preview(value, VALUE_CHARS))
            }
            _ => format!("  {}", entry.rev),
        }
    }
}

/// Returns the segment of the entry's path behind the first `depth` segments.
fn name(entry: &Change, depth: usize) -> &str {
    entry.path.segments().nth(depth).unwrap_or_default()
}

/// Returns the length of the entry's path up to and including its first `depth` segments, in bytes.
fn prefix_len(entry: &Change, depth: usize) -> usize {
    entry.path.segments().take(depth).map(|segment| 1 + segment.len()).sum()
}

/// Separates the entry at `topic` itself, which comes first if it exists, from the entries under
/// it.
fn split_own<'a>(entries: &'a [Change], topic: &str) -> (Option<&'a Change>, &'a [Change]) {
    match entries.split_first() {
        Some((own, below)) if own.path.as_str() == topic => (Some(own), below),
        _ => (None, entries),
    }
}

#[cfg(test)]
mod tests {
    use onetree_protocol::{Act, Revision, Value};

    use super::*;

    fn check(top: &str, levels: Option<usize>, logs: bool, paths: &[&str], expected: &[&str]) {
        let entry = |(i, path): (usize, &&str)| Change {
            path: Path::parse(path).unwrap(),
            rev: Revision::new(i as u64 + 1).unwrap(),
            act: Act::Put(Some(Value::text("v\n"))),
        };
        let entries: Vec<Change> = paths.iter().enumerate().map(entry).collect();
        let tree = Tree { path: Path::parse(top).unwrap(), levels, values: true, logs };
        assert_eq!(Drawing { tree: &tree, lines: Vec::new() }.draw(&entries), expected);
    }

    #[test]
    fn topics_with_and_without_entries() {
        check(
            "/",
            None,
            false,
            &["/a/b", "/a/b/c", "/a/b-c", "/d", "/e/f/g"],
            &[
                "/",
                "├── a",
                "│   ├── b  1 v\\n",
                "│   │   └── c  2 v\\n",
                "│   └── b-c  3 v\\n",
                "├── d  4 v\\n",
                "└── e",
                "    └── f",
                "        └── g  5 v\\n",
            ],
        );
        check("/x", None, false, &["/x"], &["/x  1 v\\n"]);
        check("/x", None, false, &[], &["/x"]);
    }

    #[test]
    fn logs_and_levels_are_counted() {
        let paths = [
            "/l",
            "/l/000000000000010000",
            "/l/000000000000020000",
            "/l/000000000000020000/x",
            "/l/z",
        ];
        check(
            "/l",
            None,
            false,
            &paths,
            &["/l  1 v\\n", "├── … 3 in the log, up to 000000000000020000", "└── z  5 v\\n"],
        );
        check(
            "/l",
            Some(1),
            true,
            &paths,
            &[
                "/l  1 v\\n",
                "├── 000000000000010000  2 v\\n",
                "├── 000000000000020000  3 v\\n",
                "│   └── … 1 more below",
                "└── z  5 v\\n",
            ],
        );
    }
}
