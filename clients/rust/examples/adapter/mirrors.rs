//! What is told to a mirror.

use std::cell::RefCell;
use std::error::Error;
use std::time::Duration;

use onetree_client::protocol::frame::{Mode, Sub};
use onetree_client::protocol::json;
use onetree_client::{Change, Changes, Client, Event, Mirror, MirrorOptions, Path, Revision};
use serde_json::{Value, json};

use crate::{Answer, number, programs, text};

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

    pub(crate) async fn command(&self, op: &str, command: &Value) -> Answer {
        let mirror = &self.mirror;
        match op {
            "fresh" => mirror.fresh().await?,
            "resync" => {
                mirror.resync().await?;
                mirror.fresh().await?;
            }
            "at" => mirror.at(Revision::new(number(&command["rev"])).ok_or("rev")?).await?,
            "verify" => return Ok(json!(mirror.verify().await?)),
            "dump" => return Ok(json!(mirror.snapshot())),
            "events" => return Ok(self.events()),
            "earlier" => {
                let before = command["before"].as_str().map(Path::parse).transpose()?;
                let (log, limit) = (Path::parse(text(&command["log"]))?, number(&command["limit"]));
                return Ok(json!(mirror.earlier(&log, limit as u32, before.as_ref()).await?));
            }
            "transact" => return self.transact(command).await,
            _ => return Err(format!("no command {op}").into()),
        }
        Ok(json!({ "rev": mirror.rev() }))
    }

    fn events(&self) -> Value {
        let mut changes = self.changes.borrow_mut();
        let mut events = Vec::new();
        while let Some(event) = changes.try_next() {
            let mut told = json!(event);
            if let Event::Fresh { .. } | Event::Delta { .. } = event {
                told["changes"] = json!(changes.differences());
                told["gaps"] = json!(event.gaps());
            }
            events.push(told);
        }
        events.into()
    }

    async fn transact(&self, command: &Value) -> Answer {
        let paths = command["paths"].as_array().into_iter().flatten().chain(command.get("path"));
        let paths: Vec<Path> =
            paths.map(|path| Path::parse(text(path))).collect::<Result<_, _>>()?;
        let mut runs = 0;
        let ended = self.mirror.transact(|tx| {
            runs += 1;
            programs::run(text(&command["program"]), tx, &paths)
        });
        let mut told = json!(ended.await?);
        told["runs"] = runs.into();
        Ok(told)
    }
}
