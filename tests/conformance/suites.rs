//! The clients' own tests, among them those that play the vectors and the transcripts.

use std::process::Command;

use crate::languages::{Language, done, python, root};

#[test]
fn the_clients_own_tests_pass() {
    for language in Language::wanted() {
        match language {
            // They are part of the workspace.
            Language::Rust => {}
            Language::JavaScript => {
                language.prepare();
                done(
                    "npm test",
                    Command::new("npm").arg("test").current_dir(root().join("clients/js")),
                );
            }
            Language::Python => {
                language.prepare();
                let mut tests = python();
                tests.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]);
                done("pytest", tests.current_dir(root().join("clients/python")));
            }
        }
    }
}
