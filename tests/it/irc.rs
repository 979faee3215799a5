//! The main use case on real conversations, as in `examples/irc`, over a network that fails.
//!
//! The logs are those in the directory ONETREE_IRC, or in `shared/data/irc` beside the project; if
//! there are none, conversations of the same shape are generated. ONETREE_SEED repeats the random
//! choices of a run; ONETREE_ROUNDS makes it that many times as long.

#[path = "../../examples/irc/conversations.rs"]
mod conversations;
#[path = "../../examples/irc/killed.rs"]
mod killed;
#[path = "../../examples/irc/mirrors.rs"]
mod mirrors;
#[path = "../../examples/irc/program.rs"]
mod program;
#[path = "../../examples/irc/proxy.rs"]
pub(crate) mod proxy;
#[path = "../../examples/irc/random.rs"]
pub(crate) mod random;
#[path = "../../examples/irc/replay.rs"]
mod replay;
#[path = "../../examples/irc/writers.rs"]
mod writers;

use std::path::PathBuf;

use crate::world::seed;
use conversations::Conversation;
use random::Random;
use replay::Replay;

/// Returns real logs if there are any, otherwise generated ones.
fn said(most: usize, random: &mut Random) -> Vec<Conversation> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/irc");
    let logs = std::env::var_os("ONETREE_IRC").map_or_else(beside, PathBuf::from);
    let mut conversations = match logs.is_dir() {
        true => conversations::read(&logs, most).unwrap(),
        false => conversations::invent(most, random),
    };
    let rounds = std::env::var("ONETREE_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    conversations::repeat(&mut conversations, rounds);
    conversations::spoil(&mut conversations, random);
    conversations
}

async fn replay(conversations: Vec<Conversation>, seed: u64, keep: Option<u64>) {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_onetree"));
    let replay = Replay { conversations, seed, program, keep };
    let outcome = replay.run().await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    println!("{outcome}");
    assert!(outcome.is_right(), "ONETREE_SEED={seed}\n{outcome}");
    // Otherwise nothing was shown.
    for verdict in &outcome.verdicts[1..] {
        assert!(
            verdict.troubles > 0,
            "seed {seed}: nothing happened to the one that {}",
            verdict.name
        );
    }
    assert!(outcome.cuts > 0, "seed {seed}: no writer was cut off");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_copy_of_the_conversations_is_right() {
    let seed = seed();
    let said = said(60_000, &mut Random::new(seed));
    replay(said, seed, None).await;
}

/// Logs are trimmed while they are followed; subscribers are told what was trimmed before they saw
/// it.
#[tokio::test(flavor = "multi_thread")]
async fn every_copy_is_right_where_logs_are_trimmed() {
    let seed = seed();
    let mut random = Random::new(seed);
    let mut said = conversations::invent(12_000, &mut random);
    conversations::spoil(&mut said, &mut random);
    replay(said, seed, Some(100)).await;
}
