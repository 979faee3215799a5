//! The random mode: two languages against one broker, over networks that fail, with random
//! operations, while the broker and the clients are killed. At quiet points, and at the end, every
//! mirror equals what `export` prints.
//!
//! A seed repeats the operations and the failures of the networks, but not the speed of the
//! machine.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::broker::Broker;
use crate::languages::Language;
use crate::ledger::Ledger;
use crate::random::Random;
use crate::side::Side;

/// The time for each pair, unless ONETREE_CONFORMANCE_SECONDS sets it.
const SECONDS: u64 = 4;
/// The time between two quiet points.
const ROUND: Duration = Duration::from_millis(1500);
/// One turn in this many kills the broker or a client, or makes a client look at its mirrors'
/// events.
const BROKER_KILL: u64 = 60;
const CLIENT_KILL: u64 = 20;
const LOOK: u64 = 4;
/// One kill of a client in this many may come before anything was kept: waiting for that takes a
/// second.
const EARLY: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pairs_of_languages_agree_whatever_happens() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let length = Duration::from_secs(number("ONETREE_CONFORMANCE_SECONDS").unwrap_or(SECONDS));
    let fresh =
        || std::time::UNIX_EPOCH.elapsed().map_or(1, |now| now.as_nanos() as u64 % 1_000_000);
    let first = number("ONETREE_CONFORMANCE_SEED").unwrap_or_else(fresh);
    for seed in first..first + number("ONETREE_CONFORMANCE_SEEDS").unwrap_or(1) {
        for (one, other) in pairs(&Language::wanted()) {
            let name = format!("{} and {}", one.word(), other.word());
            println!("ONETREE_CONFORMANCE_SEED={seed} {name}");
            let outcome = run([one, other], seed, length).await;
            let said = outcome
                .unwrap_or_else(|why| panic!("ONETREE_CONFORMANCE_SEED={seed} {name}: {why}"));
            println!("    {said}");
        }
    }
}

/// Returns each language with each other; a single language with itself.
fn pairs(languages: &[Language]) -> Vec<(Language, Language)> {
    if let [one] = languages {
        return vec![(*one, *one)];
    }
    let behind = |at: usize| languages[at + 1..].iter().map(move |other| (languages[at], *other));
    (0..languages.len()).flat_map(behind).collect()
}

async fn run(pair: [Language; 2], seed: u64, length: Duration) -> Result<String, String> {
    let mut random = Random::new(seed);
    let config = json!({ "heartbeat_ms": 300, "session_grace_ms": 60_000 });
    let mut broker = Broker::start(true, config.as_object().unwrap()).await?;
    let mut sides = Vec::new();
    for (place, language) in pair.into_iter().enumerate() {
        sides.push(Side::start(language, place, &broker, &mut random).await?);
    }
    let mut ledger = Ledger::default();
    let until = Instant::now() + length;
    let (mut operations, mut rounds, mut broker_kills, mut client_kills) = (0, 0, 0, 0);
    while rounds == 0 || Instant::now() < until {
        let quiet = Instant::now() + ROUND.min(length);
        while Instant::now() < quiet {
            for side in &mut sides {
                for _ in 0..random.within(1..12) {
                    side.ask(&mut random, operations);
                    operations += 1;
                }
                if random.within(0..LOOK) == 0 {
                    side.look();
                }
            }
            tokio::time::sleep(Duration::from_millis(random.within(1..40))).await;
            if random.within(0..BROKER_KILL) == 0 {
                broker.kill();
                tokio::time::sleep(Duration::from_millis(random.within(0..100))).await;
                broker.begin().await?;
                broker_kills += 1;
            }
            if random.within(0..CLIENT_KILL) == 0 {
                let side = random.within(0..sides.len() as u64) as usize;
                let early = random.within(0..EARLY) == 0;
                if early || sides[side].has_kept() {
                    sides[side].kill(&mut random, &mut ledger).await?;
                    client_kills += 1;
                }
            }
        }
        for side in &mut sides {
            side.settle(&mut ledger, false).await?;
        }
        rounds += 1;
        for side in &mut sides {
            side.compare(&broker).await?;
            side.keeps().await?;
        }
        ledger.check(&broker.export().await?)?;
    }
    for side in &mut sides {
        side.proxy.calm();
        side.compare(&broker).await?;
    }
    let tree = broker.export().await?;
    ledger.check(&tree)?;
    let sum = |of: fn(&Side) -> u64| sides.iter().map(of).sum::<u64>();
    let (cuts, stalls) = (sum(|side| side.proxy.cuts()), sum(|side| side.proxy.stalls()));
    let (resumed, refreshed) = (sum(|side| side.resumed), sum(|side| side.refreshed));
    let (increments, entries) = (ledger.increments(), tree.len());
    Ok(format!(
        "{operations} operations, {increments} increments, {entries} entries, {rounds} times compared; \
         {cuts} cuts, {stalls} stalls, {broker_kills} kills of the broker, {client_kills} of clients: \
         of the mirrors that are kept {resumed} came back by resuming, {refreshed} by a refresh"
    ))
}
