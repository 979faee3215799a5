//! `serve`: runs a broker.

use std::fs::File;
use std::future::pending;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use clap::Args;
use onetree::config::{self, Config, ConfigError, Durability};
use onetree::store::MemoryStore;
use onetree::store::files::{Disk, Lock, LockError, OpenError};
use onetree::{Broker, Hooks, Running, StartError};
use serde_json::json;
use tokio::sync::oneshot;
use tracing::level_filters::LevelFilter;

use super::data;
use super::exit::{Failure, USAGE};
use super::log;
use super::output::Output;
use super::restore;
use super::stop::Stop;

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  # In memory; in a directory, where the tree survives crashes and power loss
  onetree serve --memory
  onetree serve --data ./onetree-data
  # For a network, with access for everyone in it
  onetree serve --listen 0.0.0.0:7400 --allow-anonymous
  # Your own file with the keys that you change; check it first
  onetree serve --print-config > broker.toml
  onetree serve --config broker.toml --check
  onetree serve --config broker.toml --set heartbeat_ms=5000
  # Log more than warnings: error, warn, info, debug, trace
  ONETREE_LOG=info onetree serve
  # On a free port: the URL is the last word of the first line that is printed, the console's
  # the last of the second
  onetree serve --listen 127.0.0.1:0

Ctrl-C and SIGTERM stop the broker cleanly: it says goodbye to its clients, and stores what it \
has accepted. So does SIGHUP on Linux, which is sent when the terminal is closed (except under \
nohup); it does not reload the settings. A second signal, at least a second later, stops the \
broker at once, without a goodbye to clients.";

/// Run a broker until Ctrl-C or SIGTERM
#[derive(Args)]
pub(crate) struct Serve {
    /// A file with the settings that differ from the defaults (see --print-config)
    #[arg(long, value_name = "FILE", env = "ONETREE_CONFIG")]
    config: Option<PathBuf>,

    /// The address and port to listen on; port 0: any free port
    #[arg(long, value_name = "ADDR", value_parser = address)]
    listen: Option<SocketAddr>,

    /// Keep the tree in this directory; it is created if needed
    #[arg(long, value_name = "DIR", env = "ONETREE_DATA")]
    data: Option<PathBuf>,

    /// Keep the tree in memory only: it is gone when the broker ends
    #[arg(long, conflicts_with = "data")]
    memory: bool,

    /// Let everyone who can reach the address read and write everything
    #[arg(long)]
    allow_anonymous: bool,

    /// Any other setting. It overrides the file and the environment (ONETREE_HEARTBEAT_MS=5000)
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,

    /// Check the settings and exit
    #[arg(long)]
    check: bool,

    /// Print the default settings, with an explanation of each, and exit
    #[arg(long, conflicts_with = "check")]
    print_config: bool,
}

/// Parses KEY=VALUE.
fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a setting is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Serve {
    /// Runs the broker.
    pub(crate) async fn run(&self, json: bool, output: &mut Output) -> Result<(), Failure> {
        if self.print_config {
            return output.bytes(config::DEFAULTS.as_bytes());
        }
        let config = self.load()?;
        let level = level()?;
        if self.check {
            if !config.listen.ip().is_loopback() && !config.allow_anonymous {
                return Err(not_started(&StartError::Exposed(config.listen)));
            }
            let line = if json { "{\"ok\":true}" } else { "the settings are right" };
            return output.line(line);
        }
        log::start(level).map_err(|error| no_thread(&error))?;
        // Do this before anyone can know that the broker is ready: a signal right after that must
        // not kill it.
        let mut stop = Stop::listen()?;
        let (running, _lock) = self.start(config).await?;
        let untold = async {
            match tell(&running, json).await {
                Ok(()) => pending().await,
                Err(failure) => failure,
            }
        };
        tokio::select! {
            failure = untold => {
                running.shutdown().await;
                return Err(failure);
            }
            result = running.wait() => {
                return result.map_err(|error| Failure::fault(error.to_string()));
            }
            () = stop.asked() => {}
        }
        if !json {
            log::say("shutting down; Ctrl-C again, a second from now or later, ends it at once");
        }
        let mut twice = false;
        let again = async {
            stop.asked().await;
            twice = true;
        };
        running.shutdown_until(again).await;
        let failed = |error: onetree::Failed| Failure::fault(error.to_string());
        let why = match twice {
            true => "ended at once, as asked twice, before the store had",
            false => "the store did not end in time",
        };
        let cut_short = || Err(Failure::fault(format!("{why}: it is as after a crash")));
        running.ended().map_or_else(cut_short, |ended| ended.map_err(failed))
    }

    /// Starts the broker. Returns it with the lock on its directory.
    async fn start(&self, config: Config) -> Result<(Running, Option<Lock>), Failure> {
        let started = match &self.data {
            Some(directory) => {
                data::no_file(directory).map_err(|failure| failure.next(NO_DATA))?;
                let lock = Lock::take(directory).map_err(|error| not_started(&error.into()))?;
                let storage = Arc::new(files(directory)?);
                let fresh = data::names(&storage)?.is_empty();
                let running = Broker::start_from(config, storage, Hooks::default()).await;
                if running.is_ok() {
                    if fresh {
                        // Every new broker begins like this, so it is no warning. But a disk that
                        // is not mounted looks the same, so it is reported.
                        let directory = directory.display();
                        log::say(&format!("there was no tree in {directory}: a new one begins"));
                    }
                    for left in restore::left(directory) {
                        let left = left.display();
                        tracing::warn!(
                            "{left} is left of a restore that was killed, and can be removed"
                        );
                    }
                }
                running.map(|running| (running, Some(lock)))
            }
            None => {
                if !self.memory {
                    log::say(
                        "the tree is in memory only and is lost when the broker ends (--data DIR keeps \
                         it; --memory hides this line)",
                    );
                }
                Broker::start(config, MemoryStore::new()).await.map(|running| (running, None))
            }
        };
        started.map_err(|error| not_started(&error))
    }

    fn load(&self) -> Result<Config, Failure> {
        // The environment may contain values that are not text. None of ours is one.
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let mut flags = self.settings.clone();
        if let Some(listen) = self.listen {
            flags.push(("listen".to_owned(), listen.to_string()));
        }
        if self.allow_anonymous {
            flags.push(("allow_anonymous".to_owned(), "true".to_owned()));
        }
        let config = Config::load(self.config.as_deref(), environment, flags).map_err(|error| {
            let next = match &error {
                ConfigError::Read { .. } => {
                    "give a file that can be read; without --config (ONETREE_CONFIG) there need be none"
                }
                ConfigError::Wrong { .. } => "correct it; serve --print-config explains every key",
            };
            Failure::new(USAGE, "config", error.to_string()).next(next)
        })?;
        match &self.data {
            Some(directory) if config.durability == Durability::Memory => {
                let directory = directory.display();
                let message = format!(
                    "durability = \"memory\" writes nothing, and reads nothing of {directory}"
                );
                Err(Failure::new(USAGE, "config", message)
                    .next("leave --data (ONETREE_DATA) out, or set another durability"))
            }
            _ => Ok(config),
        }
    }
}

/// Prints where the broker can be reached, on a thread of its own: a terminal that is stopped
/// (Ctrl-S) blocks whoever writes to it.
async fn tell(running: &Running, json: bool) -> Result<(), Failure> {
    let (url, console) = (running.url(), running.console());
    let words = match json {
        true => format!("{}\n", json!({ "url": url, "console": console })),
        false => format!("listening on {url}\nconsole at {console}\n"),
    };
    let write = move || {
        // The standard output of the library is locked by the main thread.
        let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        output.write_all(words.as_bytes())
    };
    let (told, written) = oneshot::channel();
    // Start the thread here, because the runtime would panic if it could not start one.
    thread::Builder::new()
        .name("told".to_owned())
        .spawn(move || drop(told.send(write())))
        .map_err(|error| no_thread(&error))?;
    let written = written.await.map_err(|error| Failure::fault(error.to_string()))?;
    written.map_err(|error| Failure::output(&error))
}

fn no_thread(error: &io::Error) -> Failure {
    Failure::fault(format!("cannot start a thread: {error}"))
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| config::NO_ADDRESS)
}

/// The error when the broker did not start.
fn not_started(error: &StartError) -> Failure {
    let (code, next) = match error {
        StartError::Files(OpenError::Backup { .. }) => {
            ("backup", "make a directory of it: onetree restore --data DIR BACKUP")
        }
        StartError::Files(error) => return data::unreadable(error),
        StartError::Exposed(_) => ("exposed", "add --allow-anonymous, or --listen 127.0.0.1:7400"),
        StartError::Listen { source, .. } => ("listen", instead(source.kind())),
        StartError::Locked(LockError::InUse { .. }) => {
            ("in-use", "end the other broker, or give another --data")
        }
        StartError::Locked(LockError::Io { error, .. }) => {
            ("no-data", data::advice(error, NO_DATA))
        }
        StartError::Random(_) => ("random", "give the system a source of randomness"),
    };
    Failure::new(USAGE, code, error.to_string()).next(next)
}

/// What to do if the tree cannot be stored.
const NO_DATA: &str = "give a --data that is a directory, or can become one, and can be written to";

/// Returns what to do if the broker cannot listen.
fn instead(why: ErrorKind) -> &'static str {
    match why {
        ErrorKind::AddrInUse => "end what listens there, or give another --listen",
        ErrorKind::AddrNotAvailable => {
            "give a --listen that is an address of this machine; 0.0.0.0 stands for all that it has"
        }
        ErrorKind::PermissionDenied => {
            "give a --listen with a port above 1023, or let the program have a lower one"
        }
        _ => "give another --listen",
    }
}

/// Opens the files of a directory.
fn files(directory: &Path) -> Result<Disk, Failure> {
    Disk::new(directory.to_owned()).map_err(|error| {
        Failure::new(USAGE, "no-data", format!("cannot use {}: {error}", directory.display()))
            .next("give another --data")
    })
}

/// Returns how much of the broker's log is printed: warnings, or what ONETREE_LOG says.
fn level() -> Result<LevelFilter, Failure> {
    match std::env::var("ONETREE_LOG") {
        Ok(level) => level.parse().map_err(|_| {
            Failure::new(USAGE, "config", format!("ONETREE_LOG: {level:?} is no level"))
                .next("give one of off, error, warn, info, debug, trace")
        }),
        Err(_) => Ok(LevelFilter::WARN),
    }
}
