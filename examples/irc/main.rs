//! The main job, with everything that can go wrong: IRC conversations are replayed at full speed
//! while mirrors are cut off, stop reading, come late, and are killed. In the end each mirror must
//! be right, byte for byte.
//!
//! `cargo run --release --example irc -- --help` lists the options. Without a directory of logs it
//! invents conversations.
//!
//! # Layout
//!
//! - `replay`: the run; `writers`, `mirrors`, `killed`: its participants
//! - `proxy`: the network between them, which fails
//! - `conversations`: what is said; `random`: random numbers that can be repeated
//! - `program`: the command line program, which is one of the mirrors

mod conversations;
mod killed;
mod mirrors;
mod program;
mod proxy;
mod random;
mod replay;
mod writers;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;

use conversations::Conversation;
use random::Random;
use replay::Replay;

/// Replay IRC conversations through a network that fails, and see whether every copy is right
#[derive(Parser)]
struct Options {
    /// A directory of logs, a line a message; without, conversations are made up
    #[arg(long, value_name = "DIR", env = "ONETREE_IRC")]
    logs: Option<PathBuf>,

    /// At most so many lines of all conversations together
    #[arg(long, value_name = "N", default_value_t = 60_000)]
    lines: usize,

    /// Say everything so many times over, in other channels
    #[arg(long, value_name = "N", default_value_t = 4)]
    rounds: usize,

    /// The dice: the same seed cuts and stalls at the same moments of each connection
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Keep only so many entries of each log: the broker trims them while they are followed
    #[arg(long, value_name = "N")]
    keep: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = options.seed.unwrap_or(now.subsec_nanos().into());
    match run(options, seed).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("not every copy is right; --seed {seed} throws the same dice");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(options: Options, seed: u64) -> Result<bool, String> {
    let program = build()?;
    let mut random = Random::new(seed);
    let mut conversations = match &options.logs {
        Some(directory) => conversations::read(directory, options.lines)
            .map_err(|error| format!("{}: {error}", directory.display()))?,
        None => conversations::invent(options.lines, &mut random),
    };
    conversations::repeat(&mut conversations, options.rounds);
    conversations::spoil(&mut conversations, &mut random);
    let lines: usize = conversations.iter().map(Conversation::len).sum();
    println!("{lines} lines of {} conversations; seed {seed}", conversations.len());
    println!("replaying them while mirrors are cut off, stalled and killed: some 20 seconds\n");
    let replay = Replay { conversations, seed, program, keep: options.keep };
    let outcome = replay.run().await?;
    println!("{outcome}");
    Ok(outcome.is_right())
}

/// Builds the command line program with the profile of this example, and returns its path.
fn build() -> Result<PathBuf, String> {
    let wrong = |error: std::io::Error| format!("cannot find the program: {error}");
    let example = std::env::current_exe().map_err(wrong)?;
    // target/<profile>/examples/irc
    let profile = example.parent().and_then(Path::parent).ok_or("run this with cargo")?;
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        eprintln!(
            "building `onetree`, which keeps one of the mirrors (the first build takes minutes)"
        );
        build.args(["build", "--bin", "onetree"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().map_err(wrong)?;
        if !built.success() {
            return Err("the program does not build".to_owned());
        }
    }
    let program = profile.join(format!("onetree{}", std::env::consts::EXE_SUFFIX));
    match program.exists() {
        true => Ok(program),
        false => Err(format!("{} is not there: run this with cargo", program.display())),
    }
}
