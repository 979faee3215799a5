//! The command line, `onetree`.
//!
//! # Layout
//!
//! - [`Cli`], [`Command`]: what can be said
//! - one module for each command: its arguments, its examples, what it does
//! - [`connect`]: the way to the broker, [`connection`]: what is told of it; [`exit`]: how a command ends
//! - [`output`], [`visible`], [`progress`]: what is shown; [`value`], [`duration`], [`input`]: what is read
//! - [`acknowledge`]: the answers to many writes; [`data`]: directories without a broker
//! - [`state`]: the file in which `watch` keeps its mirror

mod acknowledge;
mod append;
mod backup;
mod bench;
mod check;
mod completions;
mod connect;
mod connection;
mod data;
mod duration;
mod exit;
mod export;
mod get;
mod import;
mod input;
mod lines;
mod ls;
mod output;
mod progress;
mod put;
mod restore;
mod rm;
mod serve;
mod signal;
mod state;
mod stop;
mod tree;
mod txn;
mod value;
mod visible;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use tokio::runtime;

use exit::Failure;
use output::Output;

/// A broker that keeps one true tree of topics, and commands that talk to one that runs
#[derive(Parser)]
#[command(
    name = "onetree",
    version,
    after_help = format!("{EXAMPLES}\n\n{CODES}"),
    after_long_help = format!("{EXAMPLES}\n\n{}", exit::TABLE),
    disable_help_subcommand = false,
    max_term_width = 100,
)]
pub(crate) struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  # A broker in memory, for this machine
  onetree serve
  # From another terminal
  onetree put /config/theme '{\"dark\":true}'
  onetree append /chat/rust/log 'hello'
  # Everything, as it changes; it goes on where it stopped
  onetree watch / --state mirror.jsonl";

const CODES: &str = "\
Exit codes: 0 ok, 1 refused, 2 usage, 3 conflict, 4 not found, 5 unreachable, 6 fault
(onetree --help says more)";

/// What every command takes.
#[derive(Args)]
pub(crate) struct Common {
    /// The broker to talk to
    #[arg(
        long,
        global = true,
        env = "ONETREE_URL",
        default_value_t = connect::default_url(),
        value_name = "URL"
    )]
    pub(crate) url: String,

    /// For programs: one JSON text a line, errors too
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
enum Command {
    #[command(after_help = serve::EXAMPLES)]
    Serve(serve::Serve),
    #[command(after_help = put::EXAMPLES)]
    Put(put::Put),
    #[command(after_help = get::EXAMPLES)]
    Get(get::Get),
    #[command(after_help = append::EXAMPLES)]
    Append(append::Append),
    #[command(after_help = signal::EXAMPLES)]
    Signal(signal::Signal),
    #[command(after_help = rm::EXAMPLES)]
    Rm(rm::Rm),
    #[command(after_help = ls::EXAMPLES)]
    Ls(ls::Ls),
    #[command(after_help = tree::EXAMPLES)]
    Tree(tree::Tree),
    #[command(after_help = txn::EXAMPLES)]
    Txn(txn::Txn),
    #[command(after_help = export::EXAMPLES)]
    Export(export::Export),
    #[command(after_help = import::EXAMPLES)]
    Import(import::Import),
    #[command(after_help = watch::EXAMPLES)]
    Watch(watch::Watch),
    #[command(after_help = backup::EXAMPLES)]
    Backup(backup::Backup),
    #[command(after_help = restore::EXAMPLES)]
    Restore(restore::Restore),
    #[command(after_help = check::EXAMPLES)]
    Check(check::Check),
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::Bench),
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Completions),
}

/// Does what the arguments of the process say.
pub(crate) fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error, &arguments),
    };
    let mut output = Output::stdout();
    let result = cli.run(&mut output).and_then(|()| output.flush());
    match result {
        Ok(()) => ExitCode::from(exit::OK),
        Err(failure) => {
            // What was printed before the error comes before it; when that fails, the error that
            // is already known is the one to tell.
            let _ = output.flush();
            failure.report(cli.common.json)
        }
    }
}

impl Cli {
    fn run(&self, output: &mut Output) -> Result<(), Failure> {
        let runtime = match self.command {
            // Many connections at once.
            Command::Serve(_) | Command::Bench(_) => {
                runtime::Builder::new_multi_thread().enable_all().build()
            }
            _ => runtime::Builder::new_current_thread().enable_all().build(),
        };
        let runtime =
            runtime.map_err(|error| Failure::fault(format!("cannot start a runtime: {error}")))?;
        let result = runtime.block_on(self.dispatch(output));
        // A thread that waits in a read of standard input cannot be ended, and is not waited for.
        runtime.shutdown_background();
        result
    }

    async fn dispatch(&self, output: &mut Output) -> Result<(), Failure> {
        let common = &self.common;
        match &self.command {
            Command::Serve(command) => command.run(common, output).await,
            Command::Put(command) => command.run(common, output).await,
            Command::Get(command) => command.run(common, output).await,
            Command::Append(command) => command.run(common, output).await,
            Command::Signal(command) => command.run(common).await,
            Command::Rm(command) => command.run(common, output).await,
            Command::Ls(command) => command.run(common, output).await,
            Command::Tree(command) => command.run(common, output).await,
            Command::Txn(command) => command.run(common, output).await,
            Command::Export(command) => command.run(common, output).await,
            Command::Import(command) => command.run(common, output).await,
            Command::Watch(command) => command.run(common, output).await,
            Command::Backup(command) => command.run(common, output),
            Command::Restore(command) => command.run(common, output),
            Command::Check(command) => command.run(common, output),
            Command::Bench(command) => command.run(common, output).await,
            Command::Completions(command) => command.run(output),
        }
    }
}

/// Help, the version, or arguments that are wrong.
fn not_understood(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if !asked && arguments.iter().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let text = text.trim_end().strip_prefix("error: ").unwrap_or(&text).to_owned();
        return Failure::usage(text).report(true);
    }
    // Nobody is left to tell when it cannot be written.
    let _ = error.print();
    ExitCode::from(if asked { exit::OK } else { exit::USAGE })
}
