//! Checks everything about the documents and sources that can be checked: a project drifts where
//! nothing checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The most lines of a file: a longer file is about more than one thing.
const MOST_LINES: usize = 650;

/// The most characters of a line: the value that `rustfmt.toml` has for code, which rustfmt does
/// not apply to comments.
const MOST_WIDE: usize = 100;

/// Keys that say who may connect, and limit nothing.
const NO_LIMITS: [&str; 3] = ["listen", "allow_anonymous", "origins"];

/// The promises, each of which has a test of its name here and there. `durable` is a promise of the
/// store, not of the core.
const PROMISES: [&str; 9] = [
    "ordered",
    "durable",
    "snapshot",
    "atomic",
    "convergent",
    "complete",
    "bounded",
    "once",
    "verifiable",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns every file of the project below `folder` whose name ends with `ends`, sorted.
fn files(folder: &str, ends: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                let generated = ["target", "node_modules", "__pycache__"].contains(&&*name);
                if !generated && (!name.starts_with('.') || name == ".ci") {
                    folders.push(path);
                }
            } else if name.ends_with(ends) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut dead = Vec::new();
    for document in files("", ".md") {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") || target.contains(' ') {
                continue;
            }
            if !document.parent().unwrap().join(target).exists() {
                dead.push(format!("{}: {link}", shown(&document)));
            }
        }
    }
    assert!(dead.is_empty(), "dead links: {dead:#?}");
}

#[test]
fn paths_in_the_architecture_exist() {
    let text = read("ARCHITECTURE.md");
    let drawing = text.split("```").nth(1).unwrap();
    let mut missing = Vec::new();
    for line in drawing.lines().filter(|line| !line.starts_with("                ")) {
        // `name   what it is`; two spaces in front: inside the folder above.
        let Some(names) = line.split("  ").find(|part| !part.trim().is_empty()) else { continue };
        for name in names.split(", ").map(str::trim) {
            let name = name.trim_start_matches("crates/*/");
            let here = ["", "src/", "crates/core/"].map(|folder| root().join(folder).join(name));
            if !here.iter().any(|path| path.exists()) {
                missing.push(name.to_string());
            }
        }
    }
    assert!(missing.is_empty(), "ARCHITECTURE.md names what is not there: {missing:?}");
}

#[test]
fn the_readme_and_ci_run_the_same_tests() {
    let readme = read("README.md");
    let ci = read(".ci/run");
    let command = readme.lines().find(|line| line.trim().starts_with("cargo test")).unwrap();
    let ran = ci.lines().find(|line| line.starts_with("cargo test")).unwrap();
    assert_eq!(command.trim(), ran.trim());
}

#[test]
fn every_decision_is_in_the_index() {
    let index = read("docs/adr/README.md");
    for adr in files("docs/adr", ".md") {
        let name = adr.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name == "README.md" || index.contains(&format!("({name})")), "{name}");
    }
}

#[test]
fn every_promise_has_a_test_that_bears_its_name() {
    let readme = read("README.md");
    for promise in PROMISES {
        assert!(readme.contains(&format!("**{promise}**")), "README.md: {promise}");
        let below = if promise == "durable" { "tests/store" } else { "crates/core/tests" };
        for tests in [below, "tests/it"] {
            let named = [format!("fn {promise}("), format!("fn {promise}_")];
            let found = files(tests, ".rs").iter().any(|file| {
                let text = fs::read_to_string(file).unwrap();
                named.iter().any(|name| text.contains(name))
            });
            assert!(found, "no test named {promise} in {tests}");
        }
    }
}

#[test]
fn the_readme_shows_the_example_that_is_compiled() {
    let example = read("examples/hello.rs");
    let (_, code) = example.split_once("\n\n").unwrap();
    assert!(read("README.md").contains(&format!("```rust\n{code}```")), "README.md differs");
}

#[test]
fn every_frame_is_specified() {
    let spec = read("spec/PROTOCOL.md");
    for frames in ["client", "server"] {
        let text = read(&format!("crates/protocol/src/frame/{frames}.rs"));
        let named = text.lines().filter_map(|line| line.strip_prefix("/// `")?.split_once('`'));
        let mut count = 0;
        for (op, _) in named {
            count += 1;
            let quoted =
                spec.contains(&format!("\"op\":\"{op}\"")) || spec.contains(&format!("`{op}`"));
            assert!(quoted, "spec/PROTOCOL.md does not say `{op}`");
        }
        assert!(count >= 11, "{count} frames found in {frames}.rs");
    }
}

#[test]
fn every_key_of_the_configuration_says_why() {
    let text = read("broker.toml");
    let keys: BTreeSet<&str> = onetree::config::KEYS.iter().copied().collect();
    let lines: Vec<&str> = text.lines().collect();
    let mut seen = BTreeSet::new();
    for (place, line) in lines.iter().enumerate() {
        let Some((key, _)) = line.split_once('=') else { continue };
        let key = key.trim_start_matches("# ").trim();
        if keys.contains(key) {
            seen.insert(key);
            // Keys that belong together stand together, under one comment.
            let above = lines[..place].iter().rev().take_while(|line| !line.is_empty());
            let told = above.into_iter().any(|line| line.starts_with("# "));
            assert!(told, "broker.toml: {key} has no comment above it");
        }
    }
    let silent: Vec<_> = keys.difference(&seen).filter(|key| **key != "retention").collect();
    assert!(silent.is_empty(), "broker.toml leaves out {silent:?}");
}

#[test]
fn every_limit_of_the_configuration_has_a_test_that_bears_its_name() {
    let tests =
        ["limits", "answers", "disk"].map(|name| read(&format!("tests/it/{name}.rs"))).concat();
    let untested: Vec<_> = onetree::config::KEYS
        .iter()
        .filter(|key| !NO_LIMITS.contains(key))
        .filter(|key| !tests.contains(&format!("#[tokio::test]\nasync fn {key}() {{")))
        .collect();
    assert!(
        untested.is_empty(),
        "none of tests/it/{{limits,answers,disk}}.rs crosses {untested:?}"
    );
}

#[test]
fn files_are_small_and_finished() {
    let unfinished = ["tod\u{6f}!(", "unimplemented\u{21}(", "FIXM\u{45}", "dbg\u{21}("];
    let mut wrong = Vec::new();
    for file in files("", ".rs") {
        let text = fs::read_to_string(&file).unwrap();
        if text.lines().count() > MOST_LINES {
            wrong.push(format!("{}: {} lines", shown(&file), text.lines().count()));
        }
        wrong.extend(
            unfinished
                .iter()
                .filter(|word| text.contains(*word))
                .map(|word| format!("{}: {word}", shown(&file))),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn comments_are_no_wider_than_code() {
    let mut wide = Vec::new();
    for file in files("", ".rs") {
        let text = fs::read_to_string(&file).unwrap();
        for (at, line) in text.lines().enumerate() {
            // A row of a table cannot be wrapped.
            let comment = line.trim_start().starts_with("//") && !line.contains("| ");
            if comment && line.chars().count() > MOST_WIDE {
                wide.push(format!("{}:{}", shown(&file), at + 1));
            }
        }
    }
    assert!(wide.is_empty(), "{wide:#?}");
}

/// What is not text has no readable history; the frozen files of the store are meant to stay
/// unchanged.
#[test]
fn everything_is_text_but_the_fixtures() {
    let binary = |path: &PathBuf| fs::read(path).unwrap().contains(&0);
    let all = files("", "").into_iter().filter(|path| !shown(path).starts_with("tests/fixtures/"));
    let binaries: Vec<String> = all.filter(binary).map(|path| shown(&path)).collect();
    assert!(binaries.is_empty(), "{binaries:#?}");
}

#[test]
fn the_core_stays_pure() {
    assert!(read("crates/core/src/lib.rs").contains("#![no_std]"));
    for file in files("crates/core/src", ".rs") {
        let text = fs::read_to_string(&file).unwrap();
        for word in ["std::time", "std::net", "std::fs", "HashMap", "tokio"] {
            assert!(!text.contains(word), "{} says {word}", shown(&file));
        }
    }
}
