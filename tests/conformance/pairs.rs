//! The random mode: two languages against one broker, through networks that fail, doing whatever
//! comes; at quiet points, and at the end, every mirror is what `export` prints.
//!
//! A seed throws the dice of a run again: what is done, and how the networks fail; not how fast the
//! machine is.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::adapter::{Adapter, Answer};
use crate::broker::Broker;
use crate::languages::Language;
use crate::oracle::{self, Followed};
use crate::proxy::{Faults, Proxy};
use crate::random::Random;

/// Each pair, unless ONETREE_CONFORMANCE_SECONDS says otherwise.
const SECONDS: u64 = 4;
/// Between two quiet points.
const ROUND: Duration = Duration::from_millis(1500);
/// Segments whose order differs between UTF-8 and UTF-16, and around the separator.
const SEGMENTS: [&str; 8] = ["a", "a b", "a-b", "b", "ü", "\u{ff5e}", "\u{1f600}", "z"];
/// Refusals that are answers like others here: the dice know nothing of the tree.
const MAY_BE: [&str; 2] = ["conflict", "log-key"];

/// A client of a pair, and its mirrors.
struct Side {
    language: Language,
    adapter: Adapter,
    proxy: Proxy,
    mirrors: Vec<(String, Followed)>,
    answers: Vec<(Value, Answer)>,
}

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

/// Each with each other; one alone with itself.
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
    let until = Instant::now() + length;
    let (mut operations, mut rounds, mut increments, mut kills) = (0, 0, 0, 0);
    while rounds == 0 || Instant::now() < until {
        let quiet = Instant::now() + ROUND.min(length);
        while Instant::now() < quiet {
            for side in &mut sides {
                for _ in 0..random.within(1..12) {
                    let command = operation(&mut random, operations);
                    operations += 1;
                    side.answers.push((command.clone(), side.adapter.begin(command)));
                }
            }
            tokio::time::sleep(Duration::from_millis(random.within(1..40))).await;
            if random.within(0..60) == 0 {
                broker.kill();
                tokio::time::sleep(Duration::from_millis(random.within(0..100))).await;
                broker.begin().await?;
                kills += 1;
            }
        }
        for side in &mut sides {
            increments += side.settle().await?;
        }
        rounds += 1;
        for side in &mut sides {
            side.compare(&broker).await?;
        }
        counted(&broker, increments).await?;
    }
    let cuts: u64 = sides.iter().map(|side| side.proxy.cuts()).sum();
    let stalls: u64 = sides.iter().map(|side| side.proxy.stalls()).sum();
    for side in &mut sides {
        side.proxy.calm();
        side.compare(&broker).await?;
    }
    let entries = broker.export().await?.len();
    Ok(format!(
        "{operations} operations, {increments} increments, {entries} entries, {rounds} times compared; \
         {cuts} cuts, {stalls} stalls, {kills} kills of the broker"
    ))
}

/// No increment is lost, none happens twice.
async fn counted(broker: &Broker, increments: u64) -> Result<(), String> {
    let tree = broker.export().await?;
    let count = tree.iter().find(|entry| entry["path"] == "/count").map(|entry| &entry["json"]);
    let count = count.and_then(Value::as_u64).unwrap_or(0);
    if count != increments {
        return Err(format!("{increments} increments were acknowledged, /count is {count}"));
    }
    Ok(())
}

impl Side {
    async fn start(
        language: Language,
        place: usize,
        broker: &Broker,
        random: &mut Random,
    ) -> Result<Side, String> {
        let faults = Faults { cut: Some(40..900), stall: Some(5..120) };
        let proxy = Proxy::start(broker.addr(), faults, random.split()).await;
        let proxy = proxy.map_err(|error| error.to_string())?;
        let started = tokio::task::spawn_blocking(move || Adapter::start(language));
        let adapter = started.await.map_err(|error| error.to_string())??;
        let codec = *random.pick(&["json", "msgpack"]);
        adapter
            .ok(json!({ "do": "connect", "url": proxy.url(), "codec": codec, "label": format!("side-{place}"),
                "reconnect": "always", "backoff_ms": [10, 100], "request_timeout_ms": 60_000 }))
            .await?;
        let mut mirrors = Vec::new();
        for (name, view) in [("all", json!({ "path": "/" })), ("part", part(random))] {
            let mut command = view.clone();
            (command["do"], command["mirror"]) = ("mirror".into(), name.into());
            adapter.ok(command).await?;
            let view = view.as_object().cloned().unwrap_or_default();
            mirrors.push((name.to_owned(), Followed::start(view, &[])));
        }
        Ok(Side { language, adapter, proxy, mirrors, answers: Vec::new() })
    }

    /// Waits for all answers; how many increments are among them.
    async fn settle(&mut self) -> Result<u64, String> {
        let mut increments = 0;
        for (command, answer) in std::mem::take(&mut self.answers) {
            let waited = answer.wait().await.map_err(|why| self.blame(&command, &why))?;
            match waited {
                Ok(_) => increments += u64::from(command["program"] == "increment"),
                Err((code, _)) if MAY_BE.contains(&code.as_str()) => {}
                Err((code, message)) => {
                    return Err(self.blame(&command, &format!("{code}: {message}")));
                }
            }
        }
        Ok(increments)
    }

    async fn compare(&mut self, broker: &Broker) -> Result<(), String> {
        for (name, followed) in &mut self.mirrors {
            let compared = oracle::compare(&self.adapter, name, followed, broker).await;
            compared.map_err(|why| format!("{}: {why}", self.language.word()))?;
            // Nobody looks at them here.
            let troubled =
                |event: &Value| event["event"] == "broken" || event["event"] == "corrupt";
            if let Some(event) = followed.unseen.iter().find(|event| troubled(event)) {
                return Err(format!("{}: {name}: {event}", self.language.word()));
            }
            followed.unseen.clear();
        }
        Ok(())
    }

    fn blame(&self, command: &Value, why: &str) -> String {
        let complaints = self.adapter.complaints();
        format!("{}: {command}: {why}\n{complaints}", self.language.word())
    }
}

/// A view that sees a part.
fn part(random: &mut Random) -> Value {
    match random.within(0..5) {
        0 => json!({ "path": "/t/a", "values": false }),
        1 => json!({ "path": "/t", "depth": "children" }),
        2 => json!({ "path": "/t", "match": ["*/b/**", "\u{1f600}"] }),
        3 => json!({ "path": "/", "every_ms": 50 }),
        _ => json!({ "path": "/t/b" }),
    }
}

fn path(random: &mut Random) -> String {
    let segments = (0..random.within(1..4)).map(|_| format!("/{}", random.pick(&SEGMENTS)));
    format!("/t{}", segments.collect::<String>())
}

fn value(random: &mut Random, number: u64) -> Map<String, Value> {
    let value = match random.within(0..8) {
        0 => {
            json!({ "json": { "n": number, "list": [1.5, null, "\u{1f600}"], "deep": { "ü": true } } })
        }
        1 => json!({ "json": number }),
        2 => json!({ "text": format!("line {number}\n\u{ff5e}") }),
        3 => json!({ "type": "text/markdown", "text": format!("*{number}*") }),
        4 => json!({ "bytes": "/wD+gIE=" }),
        5 => json!({ "type": "image/png", "bytes": "iVBORw0KGgo=" }),
        6 => json!({ "text": "x".repeat(random.within(0..20_000) as usize) }),
        _ => json!({ "json": null }),
    };
    value.as_object().cloned().unwrap_or_default()
}

/// Whatever comes.
fn operation(random: &mut Random, number: u64) -> Value {
    let mut command = match random.within(0..20) {
        0..9 => json!({ "do": "put", "path": path(random) }),
        9..12 => json!({ "do": "append", "path": format!("/log/{}", random.within(0..3)) }),
        12..14 => return json!({ "do": "delete", "path": path(random) }),
        14 => return json!({ "do": "drop", "path": path(random) }),
        15 => {
            let key = format!("{:014x}{:04x}", random.within(1..number.max(2)), 0);
            return json!({ "do": "trim", "path": format!("/log/{}", random.within(0..3)), "to": key });
        }
        16 => {
            let (from, to) = (path(random), path(random));
            let put = json!({ "do": "put", "path": to, "json": number });
            let steps = json!([{ "do": "delete", "path": from }, put]);
            return json!({ "do": "txn", "if": [{ "path": from, "rev": 0 }], "steps": steps });
        }
        17 => json!({ "do": "put", "path": path(random), "ttl_ms": random.within(1..500) }),
        18 => json!({ "do": "put", "path": path(random), "ephemeral": true }),
        _ => {
            return json!({ "do": "transact", "mirror": "all", "program": "increment", "path": "/count" });
        }
    };
    for (field, value) in value(random, number) {
        command[field] = value;
    }
    command
}
