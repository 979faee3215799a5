//! Runs the clients' own tests, which include the vectors and the transcripts, and the static
//! checks of their languages.

use std::io::Write;
use std::process::Command;

use crate::languages::{Language, done, python, root, workshop};

/// The broker that those tests may start.
const BROKER: &str = env!("CARGO_BIN_EXE_onetree");

#[test]
fn the_clients_own_tests_pass() {
    for language in Language::wanted() {
        match language {
            // The Rust tests are part of the workspace.
            Language::Rust => {}
            Language::JavaScript => {
                language.prepare();
                let said = done("npm test", npm(&["test"]).env("ONETREE_BIN", BROKER));
                tell_left_out("npm test", &said, &["# SKIP", "\u{fe63}"]);
            }
            Language::Python => {
                language.prepare();
                let mut tests = module("pytest", &["-q", "-rs", "-p", "no:cacheprovider"]);
                let said = done("pytest", tests.env("ONETREE_BIN", BROKER));
                tell_left_out("pytest", &said, &["SKIPPED"]);
            }
        }
    }
}

#[test]
fn the_clients_types_and_style_are_right() {
    for language in Language::wanted() {
        match language {
            // Clippy and rustfmt check the whole workspace.
            Language::Rust => {}
            Language::JavaScript => {
                language.prepare();
                done("npm run check", &mut npm(&["run", "check"]));
            }
            Language::Python => {
                language.prepare();
                let cache = workshop().join("mypy");
                done("mypy", module("mypy", &["--cache-dir"]).arg(cache));
                done("ruff check", &mut module("ruff", &["check", "--no-cache", "."]));
                let format = ["format", "--check", "--no-cache", "."];
                done("ruff format", &mut module("ruff", &format));
            }
        }
    }
}

fn npm(args: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command.args(args).current_dir(root().join("clients/js"));
    command
}

fn module(name: &str, args: &[&str]) -> Command {
    let mut command = python();
    command.args(["-m", name]).args(args).current_dir(root().join("clients/python"));
    command
}

/// Prints what a suite has skipped, even if it passes. It writes to standard error directly,
/// because the harness hides the output of tests that pass.
fn tell_left_out(what: &str, said: &str, marks: &[&str]) {
    let skipped = |line: &&str| marks.iter().any(|mark| line.contains(mark));
    for line in said.lines().filter(skipped) {
        let told = writeln!(std::io::stderr(), "LEFT OUT of {what}: {}", line.trim());
        told.unwrap();
    }
}
