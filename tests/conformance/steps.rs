//! Executes the steps of a scenario.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use onetree_client::Codec;
use serde_json::{Map, Value, json};

use crate::adapter::{Adapter, Answer, Refused};
use crate::broker::Broker;
use crate::kept::Kept;
use crate::languages::Language;
use crate::matching::{Names, filled, matches, short};
use crate::network::{self, Cut, Network};
use crate::oracle::{self, Followed};
use crate::scenario::Scenario;
use crate::scripted::Scripted;

/// How long to wait for something that must come.
const COMES: Duration = Duration::from_secs(30);
/// How often to look for it.
const LOOK: Duration = Duration::from_millis(10);

/// One play of a scenario.
struct Telling {
    language: Language,
    codec: Codec,
    broker: Option<Broker>,
    scripted: Option<Scripted>,
    clients: HashMap<String, Client>,
    networks: HashMap<String, Network>,
    answers: HashMap<String, Vec<Answer>>,
    names: Names,
}

struct Client {
    adapter: Adapter,
    /// Whether another story can use the adapter: not if it counts how often it gave a token.
    reusable: bool,
    mirrors: HashMap<String, Followed>,
}

/// Plays `scenario` with clients of `language`.
pub(crate) async fn run(
    scenario: &Scenario,
    language: Language,
    codec: Codec,
) -> Result<(), String> {
    let (mut broker, mut scripted) = (None, None);
    match &scenario.scripted {
        Some(connections) => scripted = Some(Scripted::start(connections.clone()).await?),
        None => broker = Some(Broker::start(scenario.durable, &scenario.config).await?),
    }
    let mut telling = Telling {
        language,
        codec,
        broker,
        scripted,
        clients: HashMap::new(),
        networks: HashMap::new(),
        answers: HashMap::new(),
        names: Names::new(),
    };
    if let Some(broker) = &telling.broker {
        let files = broker.directory.display().to_string();
        telling.names.insert("$files".to_owned(), files.into());
        let texts = 2 * network::kept_unread() / 8_000;
        telling.names.insert("$unread".to_owned(), texts.into());
    }
    for (place, step) in scenario.steps.iter().enumerate() {
        telling.step(step).await.map_err(|why| {
            let said = telling.clients.values().map(|client| client.adapter.complaints());
            let said: String = said.collect();
            let step = short(step);
            format!(
                "step {} {step}\n    {why}\n    {}",
                place + 1,
                said.trim().replace('\n', "\n    ")
            )
        })?;
    }
    for client in telling.clients.into_values().filter(|client| client.reusable) {
        client.adapter.give_back(language).await;
    }
    Ok(())
}

impl Telling {
    async fn step(&mut self, step: &Value) -> Result<(), String> {
        let step = filled(step, &self.names);
        let fields = step.as_object().ok_or("a step is an object")?;
        let word = |field: &str| fields.get(field).and_then(Value::as_str);
        if let Some(name) = word("start") {
            return self.start(name, fields).await;
        }
        if let Some(name) = word("kill") {
            self.client(name)?.adapter.kill();
            return Ok(());
        }
        if let Some(name) = word("network") {
            return self.network(name, fields).await;
        }
        if let Some(what) = word("broker") {
            let broker = self.broker.as_mut().ok_or("there is no broker")?;
            match what {
                "kill" => broker.kill(),
                "stop" => broker.stop().await?,
                "start" => broker.begin().await?,
                other => return Err(format!("no such thing: {other}")),
            }
            return Ok(());
        }
        if let Some(ms) = fields.get("wait_ms").and_then(Value::as_u64) {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            return Ok(());
        }
        if let Some(expected) = fields.get("export") {
            return self.export(expected, word("under")).await;
        }
        if let Some(expected) = fields.get("stats") {
            let broker = self.broker.as_ref().ok_or("there is no broker")?;
            return matches(expected, &broker.stats().await?, &mut self.names);
        }
        if let Some(expected) = fields.get("connections") {
            let scripted = self.scripted.as_ref().ok_or("there is no scripted broker")?;
            let until = Instant::now() + COMES;
            while let Err(why) = matches(expected, &scripted.seen(), &mut self.names.clone()) {
                if Instant::now() > until {
                    return Err(why);
                }
                tokio::time::sleep(LOOK).await;
            }
            return Ok(());
        }
        if let Some(file) = word("file") {
            let text = word("says").ok_or("the file says what?")?;
            let until = Instant::now() + COMES;
            while !std::fs::read_to_string(file).is_ok_and(|whole| whole.contains(text)) {
                if Instant::now() > until {
                    return Err(format!("{file} does not say {text}"));
                }
                tokio::time::sleep(LOOK).await;
            }
            return Ok(());
        }
        if let Some(name) = word("answer") {
            let answers = self.answers.remove(name).ok_or("nothing was left for later")?;
            return self.settle(answers, fields).await;
        }
        let name = word("on").ok_or("nothing that is known")?.to_owned();
        if let Some(mirror) = word("same") {
            let broker = self.broker.as_ref().ok_or("there is no broker")?;
            let client = self.clients.get_mut(&name).ok_or("no such client")?;
            let followed = client.mirrors.get_mut(mirror).ok_or("no such mirror")?;
            return oracle::compare(&client.adapter, mirror, followed, broker).await;
        }
        if let Some(mirror) = word("events") {
            return self.events(&name, mirror, fields).await;
        }
        self.command(&name, fields).await
    }

    fn client(&self, name: &str) -> Result<&Client, String> {
        self.clients.get(name).ok_or_else(|| format!("no client {name}"))
    }

    /// Starts a client with a network of its own, and connects it.
    async fn start(&mut self, name: &str, fields: &Map<String, Value>) -> Result<(), String> {
        let addr = match (&self.broker, &self.scripted) {
            (Some(broker), _) => broker.addr(),
            (None, Some(scripted)) => scripted.addr(),
            (None, None) => return Err("there is no broker".to_owned()),
        };
        if !self.networks.contains_key(name) {
            let network = Network::start(addr).await.map_err(|error| error.to_string())?;
            self.networks.insert(name.to_owned(), network);
        }
        let language = self.language;
        let started = tokio::task::spawn_blocking(move || Adapter::take(language));
        let adapter = started.await.map_err(|error| error.to_string())??;
        let codec = match self.codec {
            Codec::Json => "json",
            Codec::MsgPack => "msgpack",
        };
        let mut connect = json!({ "op": "connect", "url": self.networks[name].url(),
            "codec": codec, "label": name, "backoff_ms": [10, 200], "reconnect": "always" });
        for (field, value) in fields.get("connect").and_then(Value::as_object).into_iter().flatten()
        {
            connect[field] = value.clone();
        }
        adapter.ok(connect.clone()).await?;
        let reusable = connect.get("tokens").is_none();
        let client = Client { adapter, reusable, mirrors: HashMap::new() };
        self.clients.insert(name.to_owned(), client);
        Ok(())
    }

    async fn network(&mut self, name: &str, fields: &Map<String, Value>) -> Result<(), String> {
        let network = self.networks.get(name).ok_or_else(|| format!("no network {name}"))?;
        for (field, value) in fields {
            let on = value == &json!(true);
            match field.as_str() {
                "network" => {}
                "cut" => network.cut(if value == "left" { Cut::Left } else { Cut::Reset }),
                "stalled" => network.change(|now| now.stalled = on),
                "mute" => network.change(|now| now.mute = on),
                "deaf" => network.change(|now| now.deaf = on),
                "closed" => network.change(|now| now.closed = on),
                "delay_ms" => {
                    let delay = Duration::from_millis(value.as_u64().unwrap_or(0));
                    network.change(|now| now.delay = delay);
                }
                "bytes_per_second" => network.change(|now| now.bytes_per_second = value.as_u64()),
                "connections" => {
                    matches(value, &json!(network.connections()), &mut self.names)?;
                }
                other => return Err(format!("no such weather: {other}")),
            }
        }
        Ok(())
    }

    /// Compares the tree under a path with what is expected.
    async fn export(&mut self, expected: &Value, under: Option<&str>) -> Result<(), String> {
        let broker = self.broker.as_ref().ok_or("there is no broker")?;
        let until = Instant::now() + COMES;
        loop {
            let tree = broker.export().await?;
            let inside = |entry: &Value| {
                let path = entry["path"].as_str().unwrap_or_default();
                under.is_none_or(|top| {
                    path.strip_prefix(top)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                })
            };
            let tree: Value = tree.into_iter().filter(inside).collect();
            let mut names = self.names.clone();
            match matches(expected, &tree, &mut names) {
                Ok(()) => {
                    self.names = names;
                    return Ok(());
                }
                // The difference may be an entry that expires, or that a session's end removes, so
                // try again.
                Err(why) if Instant::now() > until => return Err(why),
                Err(_) => tokio::time::sleep(10 * LOOK).await,
            }
        }
    }

    /// Takes a mirror's events until one is as wanted. The events before it must include the
    /// expected ones in this order; others may be between them.
    async fn events(
        &mut self,
        name: &str,
        mirror: &str,
        fields: &Map<String, Value>,
    ) -> Result<(), String> {
        let client = self.clients.get_mut(name).ok_or("no such client")?;
        let followed = client.mirrors.get_mut(mirror).ok_or("no such mirror")?;
        let until = Instant::now() + COMES;
        let wanted = fields.get("until").ok_or("events until what?")?;
        let taken = loop {
            followed.take(client.adapter.events(mirror).await?)?;
            let is_it = |event: &Value| matches(wanted, event, &mut self.names.clone()).is_ok();
            if let Some(place) = followed.unseen.iter().position(is_it) {
                let rest = followed.unseen.split_off(place + 1);
                break std::mem::replace(&mut followed.unseen, rest);
            }
            if Instant::now() > until {
                return Err(format!("only {}", short(&json!(followed.unseen))));
            }
            tokio::time::sleep(LOOK).await;
        };
        if let Some(last) = taken.last() {
            matches(wanted, last, &mut self.names)?;
        }
        if let Some(count) = fields.get("count") {
            let names = self.names.clone();
            let is_one = |event: &&Value| matches(&count["of"], event, &mut names.clone()).is_ok();
            let many = json!(taken.iter().filter(is_one).count());
            matches(&count["is"], &many, &mut self.names)
                .map_err(|why| format!("how many are {}: {why}", count["of"]))?;
        }
        let mut rest = taken.iter();
        for expected in fields.get("expect").and_then(Value::as_array).into_iter().flatten() {
            let mut names = self.names.clone();
            let found = rest.any(|event| {
                let mut tried = names.clone();
                let holds = matches(expected, event, &mut tried).is_ok();
                if holds {
                    names = tried;
                }
                holds
            });
            if !found {
                return Err(format!("no {expected} in {}", short(&json!(taken))));
            }
            self.names = names;
        }
        for unwanted in fields.get("never").and_then(Value::as_array).into_iter().flatten() {
            let names = self.names.clone();
            let is_it = |event: &&Value| matches(unwanted, event, &mut names.clone()).is_ok();
            if let Some(event) = taken.iter().find(is_it) {
                return Err(format!("{} came", short(event)));
            }
        }
        Ok(())
    }

    /// Sends a command to a client; with `each`, once for each of its numbers.
    async fn command(&mut self, name: &str, fields: &Map<String, Value>) -> Result<(), String> {
        let mut command = fields.clone();
        for ours in ["on", "expect", "error", "either", "later", "each", "all", "set"] {
            command.remove(ours);
        }
        if command.get("op") == Some(&json!("sub")) {
            self.note_mirror(name, &command)?;
        }
        let each = fields.get("each").and_then(Value::as_array).map(Vec::as_slice);
        let numbers = match each {
            Some([from, to]) => from.as_u64().unwrap_or(0)..to.as_u64().unwrap_or(0),
            _ => 0..1,
        };
        let command = Value::Object(command);
        let adapter = &self.client(name)?.adapter;
        let answers: Vec<Answer> = numbers
            .map(|n| {
                let number = Names::from([("$n".to_owned(), json!(n))]);
                adapter.begin(filled(&command, &number))
            })
            .collect();
        match fields.get("later").and_then(Value::as_str) {
            Some(later) => {
                self.answers.entry(later.to_owned()).or_default().extend(answers);
                Ok(())
            }
            None => self.settle(answers, fields).await,
        }
    }

    /// Notes what the runner must know of a mirror to judge it.
    fn note_mirror(&mut self, name: &str, command: &Map<String, Value>) -> Result<(), String> {
        let mirror = command.get("mirror").and_then(Value::as_str).ok_or("mirror")?;
        let mut from = Vec::new();
        if let Some(saved) = command.get("from") {
            from = saved["entries"].as_array().cloned().unwrap_or_default();
        }
        if let Some(file) = command.get("keep").and_then(Value::as_str) {
            let kept = Kept::read(file.as_ref())?;
            from = kept.map(|kept| kept.entries).unwrap_or_default();
        }
        let client = self.clients.get_mut(name).ok_or("no such client")?;
        client.mirrors.insert(mirror.to_owned(), Followed::start(command.clone(), &from));
        Ok(())
    }

    /// Waits for answers and compares them: `expect` applies to each of them, `all` is the list of
    /// them, `set` is their results in any order; `error` is a code, and `either` lists codes that
    /// are acceptable too.
    async fn settle(
        &mut self,
        answers: Vec<Answer>,
        fields: &Map<String, Value>,
    ) -> Result<(), String> {
        let mut came: Vec<Result<Value, Refused>> = Vec::new();
        for answer in answers {
            came.push(answer.wait().await?);
        }
        if let Some(codes) = fields.get("error") {
            for answer in &came {
                let Err((code, _)) = answer else {
                    return Err(format!("expected the error {codes}, found {answer:?}"));
                };
                let listed = codes.as_array().is_some_and(|all| all.contains(&json!(code)));
                if codes != &json!(code) && !listed {
                    return Err(format!("expected the error {codes}, found {answer:?}"));
                }
            }
            return Ok(());
        }
        let mut values = Vec::new();
        let allowed = |code: &String| {
            let codes = fields.get("either").and_then(Value::as_array);
            codes.is_some_and(|codes| codes.contains(&json!(code)))
        };
        for answer in came {
            if answer.as_ref().is_err_and(|(code, _)| allowed(code)) {
                continue;
            }
            values.push(answer.map_err(|(code, message)| format!("{code}: {message}"))?);
        }
        if let Some(expected) = fields.get("all") {
            matches(expected, &values.clone().into(), &mut self.names)?;
        }
        if let Some(set) = fields.get("set").and_then(Value::as_array) {
            // The same values, in any order.
            let mut found: Vec<String> =
                values.iter().map(|one| one["result"].to_string()).collect();
            let mut expected: Vec<String> = set.iter().map(Value::to_string).collect();
            found.sort();
            expected.sort();
            if found != expected {
                return Err(format!("expected {expected:?} in any order, found {found:?}"));
            }
        }
        if let Some(expected) = fields.get("expect") {
            for value in &values {
                matches(expected, value, &mut self.names)?;
            }
        }
        Ok(())
    }
}
