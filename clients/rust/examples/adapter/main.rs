//! Does what it is told, a line at a time: the Rust client's adapter of `spec/scenarios`. It judges
//! nothing; the runner does. `mirrors`: what is told to a mirror; `programs`: its transactions.

mod mirrors;
mod programs;

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::io::stdin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use onetree_client::protocol::frame::ClientFrame;
use onetree_client::{Client, Codec, Options, Reconnect, Status, Write};
use serde_json::{Value, json};
use tokio::task::{LocalSet, spawn_blocking, spawn_local};

use mirrors::Copy;

/// What a command comes to.
type Answer = Result<Value, Box<dyn Error>>;

#[derive(Default)]
struct Adapter {
    client: RefCell<Option<Client>>,
    mirrors: RefCell<HashMap<String, Rc<Copy>>>,
    asked: Arc<AtomicUsize>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let adapter = Rc::new(Adapter::default());
    // Tasks of one thread begin in the order in which they were made: so do commands.
    let tasks = LocalSet::new();
    let reading = async {
        while let Ok(Some(Ok(line))) = spawn_blocking(|| stdin().lines().next()).await {
            let adapter = adapter.clone();
            spawn_local(async move { adapter.answer(&line).await });
        }
    };
    tasks.run_until(reading).await;
}

impl Adapter {
    async fn answer(&self, line: &str) {
        let command: Value = serde_json::from_str(line).unwrap_or_default();
        let mut answer = json!({ "id": command["id"] });
        match self.command(&command, line).await {
            Ok(ok) => answer["ok"] = ok,
            Err(error) => {
                let code = onetree_client::word(&*error).unwrap_or("adapter");
                answer["error"] = json!({ "code": code, "message": error.to_string() });
            }
        }
        println!("{answer}");
    }

    async fn command(&self, command: &Value, line: &str) -> Answer {
        let (op, mirror) = (text(&command["op"]), command["mirror"].as_str());
        if op == "connect" {
            self.client.replace(Some(Client::start(self.options(command)?)?));
            return Ok(json!({}));
        }
        let client = self.client.borrow().clone().ok_or("connect first")?;
        if let (Some(name), true) = (mirror, op != "sub") {
            let copy = self.mirrors.borrow().get(name).cloned();
            return copy.ok_or("no mirror of that name")?.command(op, command).await;
        }
        match op {
            "status" => return self.status(&client, command["wait"].as_str()).await,
            "close" => client.close().await,
            "leave" => client.leave().await,
            // All else is a frame.
            _ => match Codec::decode_client_text(line)? {
                ClientFrame::Signal(signal) => client.signal(signal.path, signal.value).await?,
                ClientFrame::Get(get) => return Ok(json!(client.get_many(get.paths).await?)),
                ClientFrame::List(list) => return Ok(json!(client.list(list.into()).await?)),
                ClientFrame::Sub(sub) => {
                    let copy = Rc::new(Copy::start(&client, *sub, command)?);
                    self.mirrors.borrow_mut().insert(mirror.unwrap_or_default().into(), copy);
                }
                frame => return Ok(json!(client.write(Write::try_from(frame)?).await?)),
            },
        }
        Ok(json!({}))
    }

    fn options(&self, command: &Value) -> Result<Options, Box<dyn Error>> {
        let mut options = Options::new(text(&command["url"]));
        for (field, value) in command.as_object().into_iter().flatten() {
            options = match field.as_str() {
                "codec" if value == "json" => options.codec(Codec::Json),
                "label" => options.label(text(value)),
                "token" => options.token(text(value)),
                "tokens" => {
                    let tokens: Vec<String> = serde_json::from_value(value.clone())?;
                    let asked = self.asked.clone();
                    options.token_from(move || {
                        let at = asked.fetch_add(1, Ordering::Relaxed).min(tokens.len() - 1);
                        let token = tokens[at].clone();
                        async move { Ok(token) }
                    })
                }
                "reconnect" if value == "never" => options.reconnect(Reconnect::Never),
                "reconnect" if value == "always" => options.reconnect(Reconnect::Always),
                "queue_bytes" => options.queue_bytes(number(value) as u32),
                "request_timeout_ms" => options.request_timeout(millis(value)),
                "backoff_ms" => options.backoff(millis(&value[0]), millis(&value[1])),
                _ => options,
            };
        }
        Ok(options)
    }

    async fn status(&self, client: &Client, wanted: Option<&str>) -> Answer {
        let mut status = client.status();
        let reached = |now: &Status| wanted.is_none_or(|wanted| now.as_str() == wanted);
        let now = status.wait_for(reached).await?.as_str();
        Ok(json!({ "status": now, "asked": self.asked.load(Ordering::Relaxed) }))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn millis(value: &Value) -> Duration {
    Duration::from_millis(number(value))
}
