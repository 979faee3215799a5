//! A chat: a broker, a page that talks to it, and a replayer of IRC logs, in one process.
//!
//! `cargo run --example chat -- --help` says what can be chosen; README.md says the rest.
//!
//! # Layout
//!
//! - `pages`: the small HTTP server of the page and of the JavaScript client
//! - `replay`: plays a log into `#ubuntu`

#[path = "../irc/conversations.rs"]
#[expect(dead_code, reason = "shared with the irc example, which does more with it")]
mod conversations;
mod pages;
#[path = "../irc/random.rs"]
#[expect(dead_code, reason = "shared with the irc example, which does more with it")]
mod random;
mod replay;

use std::net::Ipv4Addr;
use std::process::ExitCode;

use clap::Parser;
use onetree::store::MemoryStore;
use onetree::{Broker, Config};
use tokio::net::TcpListener;

/// Chat in the browser and in the terminal, through a broker in this process
#[derive(Parser)]
struct Options {
    /// Where the page is served, on loopback; 0: the system chooses
    #[arg(long, value_name = "PORT", default_value_t = 7480)]
    port: u16,

    /// Where the broker listens, on loopback; 0: the system chooses
    #[arg(long, value_name = "PORT", default_value_t = 7400)]
    broker_port: u16,

    /// Play an IRC log, a line a message, into #ubuntu; `generate` makes one up
    #[arg(long, value_name = "FILE|generate")]
    replay: Option<String>,

    /// Lines a second of the replay
    #[arg(long, value_name = "X", default_value_t = 2.0, value_parser = speed)]
    speed: f64,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(speed) if (0.001..=100_000.0).contains(&speed) => Ok(speed),
        _ => Err("lines a second, from 0.001 to 100000".to_owned()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(options: Options) -> Result<(), String> {
    // What is wrong with the log is reported before anything runs.
    let lines = options.replay.as_deref().map(replay::lines).transpose()?;

    let page = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await;
    let page =
        page.map_err(|error| format!("port {}: {error}; --port chooses another", options.port))?;
    let port = page.local_addr().map_err(|error| error.to_string())?.port();

    let broker = Broker::start(config(options.broker_port, port)?, MemoryStore::new()).await;
    let broker = broker.map_err(|error| format!("{error}; --broker-port chooses another"))?;

    println!("open http://127.0.0.1:{port} in two windows");
    println!("the broker is {}; Ctrl-C ends it, and forgets what was said", broker.url());
    tokio::spawn(pages::serve(page, broker.url()));
    if let Some(lines) = lines {
        println!("playing {} lines into #ubuntu, {} a second", lines.len(), options.speed);
        tokio::spawn(replay::play(broker.url(), lines, options.speed));
    }
    let stopped = tokio::signal::ctrl_c().await.map_err(|error| error.to_string());
    broker.shutdown().await;
    stopped
}

/// Returns the configuration of the broker: whoever loses the network is away after 10 s, and logs
/// have an end.
fn config(port: u16, page: u16) -> Result<Config, String> {
    let text = format!(
        "origins = [\"http://127.0.0.1:{page}\", \"http://localhost:{page}\"]\n\
         session_grace_ms = 10000\n\
         heartbeat_ms = 5000\n\
         [[retention]]\n\
         pattern = \"chat/*/log\"\n\
         keep = 100000\n"
    );
    let mut config = Config::from_str("chat", &text).map_err(|error| error.to_string())?;
    config.listen = (Ipv4Addr::LOCALHOST, port).into();
    Ok(config)
}
