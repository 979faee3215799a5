//! The languages: what each needs, and how its adapter is started.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::{env, fs};

/// A language for which there is a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Language {
    Rust,
    JavaScript,
    Python,
}

const ALL: [Language; 3] = [Language::Rust, Language::JavaScript, Language::Python];

/// The oldest Python that the client runs on.
const PYTHON: (u32, u32) = (3, 11);
const NODE: u32 = 20;

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the directory where things are installed and kept between runs.
pub(crate) fn workshop() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("conformance")
}

impl Language {
    /// Returns all languages for which there is a client, or those that ONETREE_CONFORMANCE names.
    pub(crate) fn wanted() -> Vec<Language> {
        let Ok(named) = env::var("ONETREE_CONFORMANCE") else {
            let there = |language: &Language| language.source().exists();
            return ALL.into_iter().filter(there).collect();
        };
        let of = |word: &str| ALL.into_iter().find(|language| language.word() == word);
        let named = named.split(',').map(str::trim).filter(|word| !word.is_empty());
        named
            .map(|word| of(word).unwrap_or_else(|| panic!("ONETREE_CONFORMANCE: {word}")))
            .collect()
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::JavaScript => "javascript",
            Language::Python => "python",
        }
    }

    /// Returns its name for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Language::Rust => "Rust",
            Language::JavaScript => "JavaScript",
            Language::Python => "Python",
        }
    }

    /// Returns the source file of its adapter.
    fn source(self) -> PathBuf {
        root().join(match self {
            Language::Rust => "clients/rust/examples/adapter/main.rs",
            Language::JavaScript => "clients/js/conformance/adapter.js",
            Language::Python => "clients/python/conformance/adapter.py",
        })
    }

    /// Returns the command of its adapter. What the adapter needs is installed once.
    pub(crate) fn adapter(self) -> Command {
        static READY: [OnceLock<()>; 3] = [const { OnceLock::new() }; 3];
        READY[self as usize].get_or_init(|| self.install());
        match self {
            Language::Rust => Command::new(beside_the_broker("examples/adapter")),
            Language::JavaScript => {
                let mut command = Command::new("node");
                command.arg(self.source());
                command
            }
            Language::Python => {
                let mut command = python();
                command.arg(self.source());
                command
            }
        }
    }

    fn install(self) {
        match self {
            Language::Rust => build_adapter(),
            Language::JavaScript => install_js(),
            Language::Python => install_python(),
        }
    }

    /// Installs what the client's own tests need.
    pub(crate) fn prepare(self) {
        drop(self.adapter());
    }
}

/// Returns a file of this build: the broker is in the directory of the build profile.
fn beside_the_broker(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_onetree")).parent().unwrap().join(name)
}

fn build_adapter() {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(["build", "--workspace", "--all-features", "--locked", "--example", "adapter"]);
    let directory = beside_the_broker("");
    command.arg("--target-dir").arg(directory.parent().unwrap());
    if directory.ends_with("release") {
        command.arg("--release");
    }
    done("cargo build", command.current_dir(root()));
}

fn install_js() {
    let node = version("node", &["--version"], "JavaScript needs node 20 or later and npm");
    let major = node.trim_start_matches('v').split('.').next().and_then(|n| n.parse().ok());
    assert!(major >= Some(NODE), "JavaScript needs node {NODE} or later, and this is {node}");
    version("npm", &["--version"], "JavaScript needs npm");
    let folder = root().join("clients/js");
    let lock = fs::read(folder.join("package-lock.json")).expect("clients/js/package-lock.json");
    let stamp = folder.join("node_modules/.onetree-installed");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return;
    }
    done("npm ci", Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(folder));
    fs::create_dir_all(stamp.parent().unwrap()).unwrap();
    fs::write(stamp, lock).unwrap();
}

/// Returns the Python of the environment that the suite keeps, with the client's present sources.
pub(crate) fn python() -> Command {
    let mut command = Command::new(workshop().join("python/bin/python"));
    command.env("PYTHONPATH", root().join("clients/python/src"));
    // Compile once, and not beside the sources.
    command.env("PYTHONPYCACHEPREFIX", workshop().join("python-compiled"));
    command
}

fn install_python() {
    let need = format!("Python needs python3 {}.{} or later", PYTHON.0, PYTHON.1);
    let found = version("python3", &["-c", "import sys; print(*sys.version_info[:2])"], &need);
    let numbers: Vec<u32> = found.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    assert!(numbers >= vec![PYTHON.0, PYTHON.1], "{need}, and this is {found}");
    let (folder, home) = (root().join("clients/python"), workshop().join("python"));
    let said = |name: &str| fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let wanted = [said("pyproject.toml"), said("requirements-dev.txt")].concat();
    let stamp = home.join("installed");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return;
    }
    fs::create_dir_all(workshop()).unwrap();
    done("python3 -m venv", Command::new("python3").args(["-m", "venv"]).arg(&home));
    // Install from a copy, because building a package leaves files beside its sources.
    let copy = workshop().join("python-package");
    // Remove what an earlier run has left.
    let _ = fs::remove_dir_all(&copy);
    done("cp", Command::new("cp").arg("-R").arg(&folder).arg(&copy));
    let mut install = Command::new(home.join("bin/python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    install.arg("--constraint").arg(folder.join("requirements-dev.txt"));
    let mut package = copy.into_os_string();
    package.push("[dev]");
    done("pip install", install.arg(package));
    fs::write(stamp, wanted).unwrap();
}

/// Checks a program's version, and returns what the program prints about it.
fn version(program: &str, args: &[&str], need: &str) -> String {
    let other = "; ONETREE_CONFORMANCE=rust runs what needs neither";
    match Command::new(program).args(args).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        Ok(output) => panic!("{need}: {program} fails{other}\n{}", said(&output)),
        Err(error) => panic!("{need}: {program}: {error}{other}"),
    }
}

/// Runs a command that must succeed. Returns what it printed.
pub(crate) fn done(what: &str, command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}"));
    let said = said(&output);
    assert!(output.status.success(), "{what} fails:\n{said}");
    said
}

fn said(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&all).into_owned()
}
