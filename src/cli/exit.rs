//! How a command ends: the exit codes, and the report of an error.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use onetree_protocol::{Action, Code, Path, Revision};
use serde_json::{Map, json};

use super::log;
use super::visible::{quoted, visible};

/// Success. Also when the reader of the output has gone away (`| head`), and after Ctrl-C if that
/// is the way to end the command.
pub(crate) const OK: u8 = 0;
/// The broker refused; the error's code says why.
pub(crate) const REFUSED: u8 = 1;
/// The command line, or a file or an input that it names, is wrong. Nothing was sent, except the
/// lines of an input before the wrong one; the error says how many were acknowledged.
pub(crate) const USAGE: u8 = 2;
/// A precondition did not hold (`--if-rev`, `--if-absent`, `if` of a transaction).
pub(crate) const CONFLICT: u8 = 3;
/// `get`: there is no entry at the path.
pub(crate) const NOT_FOUND: u8 = 4;
/// No broker can be reached at the URL, or the broker went away. In the second case a write that
/// was sent may have happened, and the error says so.
pub(crate) const UNREACHABLE: u8 = 5;
/// Something that should not happen: the peer broke the protocol, a disk is full, a bug in this
/// program.
pub(crate) const FAULT: u8 = 6;
/// `append --lines` and `import`: asked to end before everything was sent and answered. Shells use
/// the same code for a command that Ctrl-C has killed.
pub(crate) const INTERRUPTED: u8 = 130;

/// The table of exit codes, for the long help.
pub(crate) const TABLE: &str = "\
Exit codes:
  0  success (also when the reader of the output is gone, or Ctrl-C ends a command that runs on)
  1  the broker refused the request; the code of the error says why
  2  the command line, or a file or input that it names, is invalid; nothing was sent, except the
     lines of an input before the invalid one
  3  a condition did not hold (--if-rev, --if-absent, \"if\" of a transaction)
  4  get: there is no entry at the path
  5  no broker can be reached at the URL, or it was away for 30 s (a write that was sent before may
     have happened: the error says so)
  6  something that should not happen: a protocol error, a full or damaged disk, a bug
  130  append --lines, import: stopped by Ctrl-C or SIGTERM; the command says how many lines were
     acknowledged";

/// How a command can end early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// With an error that is reported.
    Told(Box<Report>),
    /// The reader of the output has gone away: that is no error, and nothing is reported.
    PipeClosed,
}

/// An error as it is reported: to people in words, with `--json` in fields.
#[derive(Debug)]
pub(crate) struct Report {
    exit: u8,
    code: &'static str,
    message: String,
    path: Option<Path>,
    rev: Option<Revision>,
    /// More errors of the same kind, for people; for programs they are in `more`.
    also: Vec<String>,
    next: Option<String>,
    more: Map<String, serde_json::Value>,
}

impl Failure {
    /// Makes an error with its exit code, its code word and its message.
    pub(crate) fn new(exit: u8, code: &'static str, message: impl Into<String>) -> Failure {
        Failure::Told(Box::new(Report {
            exit,
            code,
            message: message.into(),
            path: None,
            rev: None,
            also: Vec::new(),
            next: None,
            more: Map::new(),
        }))
    }

    /// The error when the command line is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(USAGE, "usage", message)
    }

    /// The error for something that should not happen.
    pub(crate) fn fault(message: impl Into<String>) -> Failure {
        Failure::new(FAULT, "internal", message)
    }

    /// The error when standard output cannot be written. A closed pipe is no error.
    pub(crate) fn output(error: &io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::PipeClosed;
        }
        Failure::new(FAULT, "output", format!("cannot write standard output: {error}"))
    }

    /// The error when the broker answered with `code`.
    pub(crate) fn refused(code: Code, message: impl Into<String>) -> Failure {
        let exit = match code {
            Code::Conflict => CONFLICT,
            Code::TooManyConnections | Code::TooManySessions | Code::ShuttingDown => UNREACHABLE,
            Code::BadFrame | Code::UnknownOp | Code::HelloExpected | Code::Internal => FAULT,
            _ => REFUSED,
        };
        Failure::new(exit, code.as_str(), message).next(next_after(code))
    }

    /// Whether the broker has gone away or cannot be reached. A broker that is full is there.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Failure::Told(report) if matches!(report.code, "lost" | "unreachable"))
    }

    /// Sets the path and the revision that the error is about.
    pub(crate) fn at(self, path: Option<Path>, rev: Option<Revision>) -> Failure {
        self.edit(|report| {
            report.path = path;
            report.rev = rev;
        })
    }

    /// Sets what the user can do next.
    pub(crate) fn next(self, next: impl Into<String>) -> Failure {
        self.edit(|report| report.next = Some(next.into()))
    }

    /// For a write with conditions on the subtrees at `trees`. If such a condition did not hold,
    /// one entry's revision does not tell enough, so this sets another next step.
    pub(crate) fn of_trees(self, trees: &[Path]) -> Failure {
        self.edit(|report| match (report.exit, &report.path, report.rev) {
            (CONFLICT, Some(path), Some(rev)) if trees.contains(path) => {
                report.next = Some(format!(
                    "look at all that is there (onetree export {}), and decide again; the least revision that holds \
                     now is {rev}",
                    quoted(path.as_str())
                ));
            }
            _ => {}
        })
    }

    /// Adds an error of the same kind, which is shown on a line of its own.
    pub(crate) fn also(self, words: String) -> Failure {
        self.edit(|report| report.also.push(words))
    }

    /// Adds a field to the error under `--json`. People read it in the message.
    pub(crate) fn with(self, name: &str, value: impl Into<serde_json::Value>) -> Failure {
        self.edit(|report| {
            report.more.insert(name.to_owned(), value.into());
        })
    }

    /// Appends `words` to the message.
    pub(crate) fn and(self, words: &str) -> Failure {
        self.edit(|report| report.message.push_str(words))
    }

    fn edit(mut self, edit: impl FnOnce(&mut Report)) -> Failure {
        if let Failure::Told(report) = &mut self {
            edit(report);
        }
        self
    }

    /// Prints the error on standard error, and returns the exit code.
    pub(crate) fn report(self, json: bool) -> ExitCode {
        let report = match self {
            Failure::PipeClosed => return ExitCode::from(OK),
            Failure::Told(report) => report,
        };
        let text = if json { report.json() } else { report.words(io::stderr().is_terminal()) };
        log::say(&text);
        ExitCode::from(report.exit)
    }
}

impl Report {
    fn words(&self, colour: bool) -> String {
        let colour = colour && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let (red, plain) = if colour { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        let message = visible(&self.message);
        let mut text = format!("{red}error:{plain} {}: {message}", self.code);
        for also in &self.also {
            text.push_str("\n  also: ");
            text.push_str(&visible(also));
        }
        if let Some(next) = &self.next {
            text.push_str("\n  next: ");
            text.push_str(next);
        }
        text
    }

    fn json(&self) -> String {
        let mut error = Map::new();
        error.insert("code".into(), self.code.into());
        error.insert("message".into(), self.message.as_str().into());
        if let Some(path) = &self.path {
            error.insert("path".into(), path.as_str().into());
        }
        if let Some(rev) = self.rev {
            error.insert("rev".into(), rev.get().into());
        }
        error.extend(self.more.clone());
        if let Some(next) = &self.next {
            error.insert("next".into(), next.as_str().into());
        }
        json!({ "error": error }).to_string()
    }
}

/// Returns what a user at a command line can do about `code`.
fn next_after(code: Code) -> &'static str {
    match code {
        Code::Conflict => "read it again (get --json shows its rev), and decide again",
        Code::LogKey => "append to the log instead: the broker gives out its keys",
        Code::TreeFull => {
            "remove something (rm), or give the broker a larger tree_entries or tree_bytes"
        }
        Code::ValueTooLarge => {
            "write less at once, or give the broker a larger value_bytes; a text that must be escaped, \
             as --type application/octet-stream or with a larger frame_bytes"
        }
        Code::TooManyChanges => {
            "split the transaction, or give the broker a larger commit_changes or commit_conditions"
        }
        Code::ReadOnly => "make room on the broker's disk, or look into its log for what fails",
        Code::TooManyConnections => "try again later, or give the broker a larger connections",
        Code::TooManySessions => "try again later, or give the broker a larger sessions",
        Code::OutcomeUnknown => "look whether it took effect before you write it again",
        Code::Internal => "look into the broker's log, and report it",
        code => match code.action() {
            Action::Retry => "try again in a moment",
            Action::Resync => "start again from nothing",
            Action::Reauth => "give another token",
            Action::Fix => "change the command: the same again fails again",
            Action::Stop => "this broker does not do that",
        },
    }
}
