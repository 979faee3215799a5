//! What is told to a mirror.

use std::cell::RefCell;
use std::error::Error;
use std::time::Duration;

use onetree_client::protocol::frame::{Mode, Sub};
use onetree_client::protocol::json;
use onetree_client::{Change, Changes, Client, Mirror, MirrorOptions, Path, Revision, Verdict};
use serde_json::{Value, json};

use crate::fields::{Answer, number, text};
use crate::{programs, told};

pub(crate) struct Copy {
    mirror: Mirror,
    changes: RefCell<Changes>,
}

impl Copy {
    pub(crate) fn start(
        client: &Client,
        sub: Sub,
        command: &Value,
    ) -> Result<Copy, Box<dyn Error>> {
        let mut options = MirrorOptions::new().every(Duration::from_millis(sub.every_ms.into()));
        if let Some(file) = command["keep"].as_str() {
            options = options.keep(file)?;
        }
        if let Some(from) = command.get("from") {
            let lines = from["entries"].as_array().into_iter().flatten();
            let entries = lines.map(|line| json::parse_change_line(&line.to_string()));
            let entries: Vec<Change> = entries.collect::<Result<_, _>>()?;
            options = options.from(json::parse_cookie(&from["cookie"].to_string())?, entries);
        }
        if sub.signals {
            options = options.signals();
        }
        if sub.mode == Mode::Once {
            options = options.once();
        }
        let mirror = client.mirror(sub.view, options);
        let changes = RefCell::new(mirror.changes());
        Ok(Copy { mirror, changes })
    }

    pub(crate) async fn command(&self, command: &Value) -> Answer {
        let mirror = &self.mirror;
        match text(&command["do"]) {
            "verify" => {
                return Ok(match mirror.verify().await? {
                    Verdict::Same { .. } => json!({ "verdict": "same" }),
                    Verdict::Differs { .. } => json!({ "verdict": "differs" }),
                    Verdict::Unknown => json!({ "verdict": "unknown" }),
                });
            }
            "dump" => {
                let now = mirror.snapshot();
                let cookie = now.cookie().map(|cookie| told::parsed(&json::cookie(&cookie)));
                let entries: Vec<Value> = now.entries().map(|entry| told::line(&entry)).collect();
                return Ok(json!({ "rev": now.rev().get(), "cookie": cookie, "entries": entries }));
            }
            "events" => {
                let mut changes = self.changes.borrow_mut();
                let mut events = Vec::new();
                while let Some(event) = changes.try_next() {
                    events.push(told::event(&event, &changes));
                }
                return Ok(events.into());
            }
            "earlier" => {
                let before = command["before"].as_str().map(Path::parse).transpose()?;
                let (log, limit) = (Path::parse(text(&command["log"]))?, number(&command["limit"]));
                let page = mirror.earlier(&log, limit as u32, before.as_ref()).await?;
                return Ok(told::page(&page));
            }
            "transact" => return self.transact(command).await,
            "fresh" => mirror.fresh().await?,
            "resync" => {
                mirror.resync().await?;
                mirror.fresh().await?;
            }
            "at" => mirror.at(Revision::new(number(&command["rev"])).ok_or("rev")?).await?,
            other => return Err(format!("no command {other}").into()),
        }
        Ok(json!({ "rev": mirror.rev().get() }))
    }

    async fn transact(&self, command: &Value) -> Answer {
        let one = command["path"].as_str();
        let several = command["paths"].as_array().into_iter().flatten().map(text);
        let paths: Vec<Path> =
            one.into_iter().chain(several).map(Path::parse).collect::<Result<_, _>>()?;
        let mut runs = 0;
        let ended = self.mirror.transact(|tx| {
            runs += 1;
            programs::run(text(&command["program"]), tx, &paths)
        });
        let ended = ended.await?;
        let rev = ended.done.map(|done| done.rev.get());
        Ok(json!({ "result": ended.result, "rev": rev, "runs": runs }))
    }
}
