//! Runs the stories of `examples` and the console as a newcomer would: with Python, and in a
//! headless browser. Their pictures are left under `target`.
//!
//! Needs node 20 with npm, Python 3.11 and Chromium. If one is missing the test fails and says so;
//! `ONETREE_WITHOUT=browser,python` leaves out what you cannot have.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

#[test]
fn a_cache_is_never_stale() {
    python_story("cache");
}

#[test]
fn two_folders_become_one() {
    python_story("files");
}

#[test]
fn people_chat_in_a_browser_and_in_a_terminal() {
    if is_without("browser") || is_without("python") {
        return;
    }
    let folder = root().join("examples/chat/test");
    install(&folder);
    let mut test = Command::new("node");
    test.arg("chat.mjs").current_dir(folder);
    test.env("CHAT_BIN", chat());
    done("the chat's test", test.env("PYTHON", python()));
}

#[test]
fn the_console_works_in_a_browser() {
    if is_without("browser") {
        return;
    }
    let folder = root().join("tests/browser");
    install(&folder);
    let mut test = Command::new("npm");
    done("the console's test", test.arg("test").current_dir(folder).env("ONETREE", program()));
}

fn python_story(name: &str) {
    if is_without("python") {
        return;
    }
    let mut story = Command::new(python());
    story.arg(root().join("examples").join(name).join("run.py"));
    done(&format!("the story '{name}'"), story.env("ONETREE_BIN", program()));
}

/// Returns the Python that the stories share, with the client installed.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let stage = root().join("examples/stage/stage.py");
        done(
            "Python 3.11 or later (or ONETREE_WITHOUT=python)",
            Command::new("python3").arg(stage),
        );
        root().join("target/examples-python/bin/python")
    })
}

/// Returns the chat's program, built with the same profile as the broker.
fn chat() -> PathBuf {
    let profile = program().parent().unwrap();
    let mut cargo = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args(["build", "--workspace", "--all-features", "--locked", "--example", "chat"]);
    cargo.arg("--target-dir").arg(profile.parent().unwrap()).current_dir(root());
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    done("cargo build", &mut cargo);
    profile.join("examples/chat")
}

/// Installs the dependencies of what node runs, as they are locked.
fn install(folder: &Path) {
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(folder);
    done("npm ci of node 20 or later (or ONETREE_WITHOUT=browser)", &mut npm);
}

fn is_without(what: &str) -> bool {
    let left_out = env::var("ONETREE_WITHOUT").unwrap_or_default();
    left_out.split(',').any(|one| one.trim() == what)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_onetree"))
}

/// Runs a command that must succeed.
fn done(what: &str, command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}"));
    let Output { status, stdout, stderr } = output;
    let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    assert!(status.success(), "{what} fails with {status}:\n{said}");
    println!("{said}");
}
