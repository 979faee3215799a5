//! `completions`: prints the script with which a shell completes our command lines.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::exit::Failure;
use super::output::Output;

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  # bash, for this session
  source <(onetree completions bash)
  # zsh, for good
  onetree completions zsh > ~/.zfunc/_onetree
  # fish, for good
  onetree completions fish > ~/.config/fish/completions/onetree.fish";

/// Print a completion script for a shell
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub(crate) fn run(&self, output: &mut Output) -> Result<(), Failure> {
        // Make it in memory: the generator panics when it cannot write, and a closed pipe is not a
        // bug.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "onetree", &mut script);
        output.bytes(&script)
    }
}
