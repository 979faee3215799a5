//! A client of a pair over its lives: it is killed, and the next process continues from what was
//! kept.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::adapter::{Adapter, Answer};
use crate::broker::Broker;
use crate::kept::Kept;
use crate::languages::Language;
use crate::ledger::Ledger;
use crate::operations::{operation, part};
use crate::oracle::{self, Followed};
use crate::proxy::{Faults, Proxy};
use crate::random::Random;

/// How long it may take, on a busy machine, until something of a mirror is kept.
const KEPT_WITHIN: Duration = Duration::from_secs(30);

/// Refusals that count as answers here: the random operations do not know the tree.
const MAY_BE: [&str; 2] = ["conflict", "log-key"];

pub(crate) struct Side {
    language: Language,
    place: usize,
    /// How many lives there were before this one.
    life: u64,
    adapter: Adapter,
    pub(crate) proxy: Proxy,
    mirrors: Vec<Mirror>,
    /// The commands that were sent, in order, with their answers.
    asked: Vec<(Value, Answer)>,
    /// How many mirrors with a file came back by resuming, and how many from nothing.
    pub(crate) resumed: u64,
    pub(crate) refreshed: u64,
}

/// A mirror. With a file it outlives the process.
struct Mirror {
    name: &'static str,
    view: Value,
    keep: Option<PathBuf>,
    followed: Followed,
    /// The last revision that its events have shown.
    shown: u64,
    /// Whether something was kept, as long as the mirror has not shown how it comes back.
    begins: Option<bool>,
}

impl Side {
    pub(crate) async fn start(
        language: Language,
        place: usize,
        broker: &Broker,
        random: &mut Random,
    ) -> Result<Side, String> {
        let faults = Faults { cut: Some(40..900), stall: Some(5..120) };
        let proxy = Proxy::start(broker.addr(), faults, random.split()).await;
        let proxy = proxy.map_err(|error| error.to_string())?;
        let mirror = |name, view, keeps: bool| {
            let file = broker.directory.join(format!("{place}-{name}.jsonl"));
            let keep = keeps.then_some(file);
            Mirror { name, view, keep, followed: Followed::default(), shown: 0, begins: None }
        };
        let all = mirror("all", json!({ "path": "/" }), true);
        let part = mirror("part", part(random), random.within(0..2) == 0);
        let mut side = Side {
            language,
            place,
            life: 0,
            adapter: process(language).await?,
            proxy,
            mirrors: vec![all, part],
            asked: Vec::new(),
            resumed: 0,
            refreshed: 0,
        };
        side.connect(random).await?;
        Ok(side)
    }

    async fn connect(&mut self, random: &mut Random) -> Result<(), String> {
        let codec = *random.pick(&["json", "msgpack"]);
        let connect = json!({ "op": "connect", "url": self.proxy.url(), "codec": codec, "label": self.by(),
            "reconnect": "always", "backoff_ms": [10, 100], "request_timeout_ms": 60_000 });
        self.adapter.ok(connect).await?;
        for mirror in &mut self.mirrors {
            self.adapter.ok(mirror.begin(self.life > 0)?).await?;
        }
        Ok(())
    }

    /// Returns the name of this life.
    fn by(&self) -> String {
        format!("side-{}-{}", self.place, self.life)
    }

    /// Sends a random operation.
    pub(crate) fn ask(&mut self, random: &mut Random, number: u64) {
        let command = operation(random, &self.by(), number);
        self.asked.push((command.clone(), self.adapter.begin(command)));
    }

    /// Makes it show its mirrors' events: what is not shown is not kept.
    pub(crate) fn look(&mut self) {
        for mirror in &self.mirrors {
            let command = json!({ "op": "events", "mirror": mirror.name });
            self.asked.push((command.clone(), self.adapter.begin(command)));
        }
    }

    /// Whether everything that is to be kept was kept at least once.
    pub(crate) fn has_kept(&self) -> bool {
        self.mirrors.iter().filter_map(|mirror| mirror.keep.as_ref()).all(|file| file.exists())
    }

    /// Waits until everything that is to be kept was kept at least once.
    pub(crate) async fn keeps(&self) -> Result<(), String> {
        let until = Instant::now() + KEPT_WITHIN;
        while !self.has_kept() {
            if Instant::now() > until {
                return Err(format!("{}: nothing is kept", self.language.word()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Kills it, and starts it again.
    pub(crate) async fn kill(
        &mut self,
        random: &mut Random,
        ledger: &mut Ledger,
    ) -> Result<(), String> {
        self.adapter.kill();
        let all_shown = self.settle(ledger, true).await?;
        for mirror in &mut self.mirrors {
            let ended = mirror.end(all_shown);
            ended.map_err(|why| format!("{}: {}: {why}", self.language.word(), mirror.name))?;
        }
        self.adapter = process(self.language).await?;
        self.life += 1;
        self.connect(random).await
    }

    /// Waits for all answers. None may be missing, unless the client was `killed`. Returns whether
    /// all events that were asked for have come.
    pub(crate) async fn settle(
        &mut self,
        ledger: &mut Ledger,
        killed: bool,
    ) -> Result<bool, String> {
        let mut all_shown = true;
        for (command, answer) in std::mem::take(&mut self.asked) {
            let settled =
                match answer.wait_or_end().await.map_err(|why| self.blame(&command, &why))? {
                    None if killed => {
                        ledger.note_unknown(&command);
                        all_shown &= command["op"] != "events";
                        Ok(())
                    }
                    None => Err("the adapter has ended".to_owned()),
                    Some(Ok(answer)) if command["op"] == "events" => self.show(&command, answer),
                    Some(Ok(answer)) => ledger.note_done(&command, &answer),
                    Some(Err((code, _))) if MAY_BE.contains(&code.as_str()) => Ok(()),
                    Some(Err((code, message))) => Err(format!("{code}: {message}")),
                };
            settled.map_err(|why| self.blame(&command, &why))?;
        }
        Ok(all_shown)
    }

    fn show(&mut self, command: &Value, events: Value) -> Result<(), String> {
        let events = events.as_array().cloned().ok_or("no events")?;
        let mirror = self.mirrors.iter_mut().find(|mirror| command["mirror"] == mirror.name);
        let mirror = mirror.ok_or("no such mirror")?;
        mirror.followed.take(events)?;
        let began = mirror.judge()?;
        self.note_began(began);
        Ok(())
    }

    /// Notes how a mirror came back, if its events show it: by resuming, or from nothing.
    fn note_began(&mut self, resumed: Option<bool>) {
        self.resumed += u64::from(resumed == Some(true));
        self.refreshed += u64::from(resumed == Some(false));
    }

    pub(crate) async fn compare(&mut self, broker: &Broker) -> Result<(), String> {
        for at in 0..self.mirrors.len() {
            let mirror = &mut self.mirrors[at];
            let compared =
                oracle::compare(&self.adapter, mirror.name, &mut mirror.followed, broker);
            let compared = compared.await.and_then(|()| mirror.judge());
            let blame = |why| format!("{}: {}: {why}", self.language.word(), mirror.name);
            let began = compared.map_err(blame)?;
            self.note_began(began);
        }
        Ok(())
    }

    fn blame(&self, command: &Value, why: &str) -> String {
        let complaints = self.adapter.complaints();
        format!("{}: {command}: {why}\n{complaints}", self.by())
    }
}

impl Mirror {
    /// Returns the command that opens the mirror in a new process; `again`: after one that was
    /// killed.
    fn begin(&mut self, again: bool) -> Result<Value, String> {
        let mut command = self.view.clone();
        (command["op"], command["mirror"]) = ("sub".into(), self.name.into());
        let mut kept = None;
        if let Some(file) = &self.keep {
            command["keep"] = file.display().to_string().into();
            kept = Kept::read(file)?;
            self.begins = again.then_some(kept.is_some());
        }
        self.shown = kept.as_ref().map_or(0, |kept| kept.rev);
        let entries = kept.map(|kept| kept.entries).unwrap_or_default();
        self.followed =
            Followed::start(self.view.as_object().cloned().unwrap_or_default(), &entries);
        Ok(command)
    }

    /// Checks, after its process was killed, that what is kept is a state that was shown.
    /// `all_shown`: all events that were shown are known.
    fn end(&mut self, all_shown: bool) -> Result<(), String> {
        let Some(file) = &self.keep else { return Ok(()) };
        let Some(kept) = Kept::read(file)? else { return Ok(()) };
        if let Some(entry) =
            kept.entries.iter().find(|entry| entry["rev"].as_u64() > Some(kept.rev))
        {
            return Err(format!("with the cookie of {} {} is kept", kept.rev, entry));
        }
        // Commits that the view does not see advance the cookie without an event.
        if all_shown && kept.rev >= self.shown {
            let what = format!("kept at {}, shown until {}", kept.rev, self.shown);
            return self.followed.is_the_same(&what, kept.entries);
        }
        Ok(())
    }

    /// Checks the events that came. Returns whether the mirror came back by resuming, if they show
    /// it.
    fn judge(&mut self) -> Result<Option<bool>, String> {
        let mut began = None;
        for event in std::mem::take(&mut self.followed.unseen) {
            match event["event"].as_str() {
                // Other events may have the broker's revision instead of the mirror's.
                Some("fresh" | "delta" | "synced") => {
                    self.shown = self.shown.max(event["rev"].as_u64().unwrap_or(0));
                }
                Some("broken" | "corrupt") => return Err(event.to_string()),
                Some("refreshing") => {
                    let Some(kept) = self.begins.take() else { continue };
                    let resumes = event["why"] == "cookie";
                    if kept != resumes {
                        let kept = if kept { "something" } else { "nothing" };
                        return Err(format!("{kept} was kept, and the mirror begins with {event}"));
                    }
                    began = Some(resumes);
                }
                _ => {}
            }
        }
        Ok(began)
    }
}

async fn process(language: Language) -> Result<Adapter, String> {
    let started = tokio::task::spawn_blocking(move || Adapter::start(language));
    started.await.map_err(|error| error.to_string())?
}
