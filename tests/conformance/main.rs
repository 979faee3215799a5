//! One test suite for the clients of all languages. It plays the stories from `spec/scenarios` to
//! each client through its adapter, against the built broker, over networks that fail. What a
//! mirror dumps is compared with what `onetree export` prints.
//!
//! It needs node, npm and Python 3.11 or later, and installs the clients into the build directory
//! and `clients/js/node_modules`. ONETREE_CONFORMANCE=rust,javascript,python names the languages to
//! run, if some are missing; ONETREE_CONFORMANCE_ONLY is a part of the names of the scenarios to
//! run. ONETREE_CONFORMANCE_WRITE=1 writes the table of `clients/README.md`.
//!
//! In the random mode the broker and the clients are killed. It takes ONETREE_CONFORMANCE_SECONDS
//! for each pair of languages, starts from ONETREE_CONFORMANCE_SEED, and runs
//! ONETREE_CONFORMANCE_SEEDS seeds one after another.
//!
//! # Layout
//!
//! - `languages`: what each language needs; `adapter`: a running adapter and its answers
//! - `broker`: the program; `address`: its address; `network`: failures between; `scripted`: a
//!   scripted broker, for what the real one never sends
//! - `scenario`: the files; `steps`: what each step does; `matching`: what counts as expected
//! - `oracle`: compares a mirror's dump and its events with the tree
//! - `kept`: the file in which a mirror is kept
//! - `pairs`: the random mode; `side`: a client of a pair over its lives; `operations`: what it
//!   does; `ledger`: what it was told that it did, compared with the tree
//! - `table`: which scenarios pass; `suites`: the clients' own tests, types and style

mod adapter;
#[path = "../it/address.rs"]
mod address;
mod broker;
mod kept;
mod languages;
mod ledger;
mod matching;
mod network;
mod operations;
mod oracle;
mod pairs;
#[path = "../../examples/irc/proxy.rs"]
mod proxy;
#[path = "../../examples/irc/random.rs"]
mod random;
mod scenario;
mod scripted;
mod side;
mod steps;
mod suites;
mod table;

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use onetree_client::Codec;

use languages::Language;
use scenario::Scenario;

/// The longest that anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many of the slowest stories are named.
const SLOWEST: usize = 8;

/// How many stories are played at once.
const TOGETHER: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_passes_for_every_client() {
    let began = Instant::now();
    let languages = Language::wanted();
    let only = std::env::var("ONETREE_CONFORMANCE_ONLY").unwrap_or_default();
    let scenarios = Scenario::all();
    let mut runs = Vec::new();
    for scenario in scenarios.iter().filter(|scenario| scenario.name.contains(&only)) {
        for codec in Codec::ALL {
            // Play the languages side by side, so that a slow one does not hold up the others until
            // the end.
            runs.extend(languages.iter().map(|language| (scenario, *language, codec)));
        }
    }
    let told = stream::iter(runs).map(|(scenario, language, codec)| async move {
        let began = Instant::now();
        let outcome = tokio::time::timeout(PATIENCE, steps::run(scenario, language, codec)).await;
        let outcome = outcome.unwrap_or_else(|_| Err("it does not come to its end".to_owned()));
        (scenario, language, codec, outcome, began.elapsed())
    });
    let mut told: Vec<_> = told.buffer_unordered(TOGETHER).collect().await;
    let mut failed = Vec::new();
    let mut passed = table::Passed::default();
    told.sort_by_key(|(.., took)| std::cmp::Reverse(*took));
    for (scenario, language, .., took) in told.iter().take(SLOWEST) {
        println!("{:5.1} s  {} · {}", took.as_secs_f32(), scenario.name, language.word());
    }
    for (scenario, language, codec, outcome, _) in told {
        passed.note(&scenario.feature, language, outcome.is_ok());
        if let Err(why) = outcome {
            let (name, codec) = (&scenario.name, format!("{codec:?}").to_lowercase());
            failed.push(format!("{name} · {} · {codec}: {why}", language.word()));
        }
    }
    failed.sort();
    let (seconds, stories) = (began.elapsed().as_secs_f32(), scenarios.len());
    println!("{stories} scenarios, {} languages, {seconds:.0} s", languages.len());
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    if only.is_empty() {
        table::check(&passed, &languages);
    }
}
