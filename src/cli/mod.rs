//! The command line, `onetree`.
//!
//! # Layout
//!
//! - [`Cli`], [`Command`]: the arguments of the program
//! - one module for each command: its arguments, its examples, and what it does
//! - [`connect`]: the connection to the broker, [`connection`]: reports about it
//! - [`stop`]: how a command is asked to end, [`exit`]: how it ends
//! - [`output`], [`visible`], [`progress`]: what is shown; [`value`], [`duration`], [`input`],
//!   [`lines`]: what is read
//! - [`acknowledge`]: the answers to many writes; [`data`]: directories without a broker,
//!   [`counted`]: how much of one was read or written
//! - [`log`]: the messages of `serve` while it runs

mod acknowledge;
mod append;
mod backup;
mod bench;
mod check;
mod completions;
mod connect;
mod connection;
mod counted;
mod data;
mod duration;
mod exit;
mod export;
mod get;
mod import;
mod input;
mod lines;
mod log;
mod ls;
mod output;
mod progress;
mod put;
mod restore;
mod rm;
mod serve;
mod signal;
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

/// A publish-subscribe broker that keeps one true tree of topics, and commands to use it
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
    broker: BrokerUrl,

    /// For programs: print one JSON text a line, also for errors
    #[arg(long, global = true)]
    json: bool,

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
  # Follow everything; when started again, go on from there
  onetree watch / --state mirror.jsonl";

const CODES: &str = "\
Exit codes: 0 ok, 1 refused, 2 usage, 3 conflict, 4 not found, 5 unreachable, 6 fault
(onetree --help says more)";

/// The options of every command that connects to a broker.
pub(crate) struct Common {
    /// The URL of the broker.
    pub(crate) url: String,
    /// Whether the output is for a program.
    pub(crate) json: bool,
}

// The broker to connect to. The environment and the default are not given to clap, because they
// would appear in every usage message. And this is not a doc comment, because clap would take that
// for the help of each command.
#[derive(Args)]
struct BrokerUrl {
    #[arg(long, value_name = "URL", help = connect::url_help())]
    url: Option<String>,
}

// A command that connects to a broker.
#[derive(Args)]
struct Talk<C: Args> {
    #[command(flatten)]
    command: C,
    #[command(flatten)]
    broker: BrokerUrl,
}

#[derive(Subcommand)]
enum Command {
    #[command(after_help = serve::EXAMPLES)]
    Serve(serve::Serve),
    #[command(after_help = put::EXAMPLES)]
    Put(Talk<put::Put>),
    #[command(after_help = get::EXAMPLES)]
    Get(Talk<get::Get>),
    #[command(after_help = append::EXAMPLES)]
    Append(Talk<append::Append>),
    #[command(after_help = signal::EXAMPLES)]
    Signal(Talk<signal::Signal>),
    #[command(after_help = rm::EXAMPLES)]
    Rm(Talk<rm::Rm>),
    #[command(after_help = ls::EXAMPLES)]
    Ls(Talk<ls::Ls>),
    #[command(after_help = tree::EXAMPLES)]
    Tree(Talk<tree::Tree>),
    #[command(after_help = txn::EXAMPLES)]
    Txn(Talk<txn::Txn>),
    #[command(after_help = export::EXAMPLES)]
    Export(Talk<export::Export>),
    #[command(after_help = import::EXAMPLES)]
    Import(Talk<import::Import>),
    #[command(after_help = watch::EXAMPLES)]
    Watch(Talk<watch::Watch>),
    #[command(after_help = backup::EXAMPLES)]
    Backup(backup::Backup),
    #[command(after_help = restore::EXAMPLES)]
    Restore(restore::Restore),
    #[command(after_help = check::EXAMPLES)]
    Check(check::Check),
    #[command(after_help = bench::EXAMPLES)]
    Bench(Talk<bench::Bench>),
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Completions),
}

/// Runs the command that the arguments of the process describe.
pub(crate) fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error, &arguments),
    };
    let mut output = Output::stdout();
    let result = cli.run(&mut output).and_then(|()| output.flush());
    let code = match result {
        Ok(()) => ExitCode::from(exit::OK),
        Err(failure) => {
            // Print what was printed before the error first. If that fails, report the error that
            // is already known.
            let _ = output.flush();
            failure.report(cli.json)
        }
    };
    log::end();
    code
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
        // A thread that is blocked in a read of standard input cannot be ended, and is not waited
        // for.
        runtime.shutdown_background();
        result
    }

    async fn dispatch(&self, output: &mut Output) -> Result<(), Failure> {
        stop::outlive_long_files()?;
        match &self.command {
            Command::Serve(command) => command.run(self.alone()?, output).await,
            Command::Put(talk) => talk.command.run(&self.common(talk), output).await,
            Command::Get(talk) => talk.command.run(&self.common(talk), output).await,
            Command::Append(talk) => talk.command.run(&self.common(talk), output).await,
            Command::Signal(talk) => talk.command.run(&self.common(talk)).await,
            Command::Rm(talk) => talk.command.run(&self.common(talk), output).await,
            Command::Ls(talk) => talk.command.run(&self.common(talk), output).await,
            Command::Tree(talk) => talk.command.run(&self.common(talk), output).await,
            Command::Txn(talk) => talk.command.run(&self.common(talk), output).await,
            Command::Export(talk) => talk.command.run(&self.common(talk), output).await,
            Command::Import(talk) => talk.command.run(&self.common(talk), output).await,
            Command::Watch(talk) => talk.command.run(&self.common(talk), output).await,
            Command::Backup(command) => command.run(self.alone()?, output),
            Command::Restore(command) => command.run(self.alone()?, output),
            Command::Check(command) => command.run(self.alone()?, output),
            Command::Bench(talk) => talk.command.run(&self.common(talk), output).await,
            Command::Completions(command) => {
                self.alone()?;
                command.run(output)
            }
        }
    }

    /// Returns the options for a command that connects to a broker. A `--url` behind the command's
    /// name has priority over one in front of it.
    fn common<C: Args>(&self, talk: &Talk<C>) -> Common {
        let said = talk.broker.url.as_ref().or(self.broker.url.as_ref());
        Common { url: said.cloned().unwrap_or_else(connect::url), json: self.json }
    }

    /// Returns whether the output is for a program, for a command that connects to no broker.
    fn alone(&self) -> Result<bool, Failure> {
        match self.broker.url {
            Some(_) => {
                Err(Failure::usage("this command talks to no broker, and so takes no --url"))
            }
            None => Ok(self.json),
        }
    }
}

/// Prints the help, the version, or what is wrong with the arguments.
fn not_understood(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if !asked && arguments.iter().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let text = text.trim_end().strip_prefix("error: ").unwrap_or(&text).to_owned();
        return Failure::usage(text).report(true);
    }
    // Ignore an error here: nobody is left to be told.
    let _ = error.print();
    ExitCode::from(if asked { exit::OK } else { exit::USAGE })
}
