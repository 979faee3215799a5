//! What is told to a client.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use onetree_client::protocol::frame::ClientFrame;
use onetree_client::{Client, Codec, Options, Path, Reconnect, Status};
use serde_json::{Value, json};

use crate::fields::{Answer, millis, number, text};
use crate::mirrors::Copy;
use crate::told;

#[derive(Default)]
pub(crate) struct Adapter {
    client: RefCell<Option<Client>>,
    mirrors: RefCell<HashMap<String, Rc<Copy>>>,
    asked: Arc<AtomicUsize>,
}

impl Adapter {
    pub(crate) async fn command(&self, command: &Value) -> Answer {
        match text(&command["do"]) {
            "connect" => self.connect(command),
            "status" => self.status(command).await,
            "close" => {
                self.client()?.close().await;
                Ok(json!({}))
            }
            "leave" => {
                self.client()?.leave().await;
                Ok(json!({}))
            }
            "fresh" | "resync" | "at" | "verify" | "dump" | "events" | "earlier" | "transact" => {
                let copy = self.mirrors.borrow().get(text(&command["mirror"])).cloned();
                copy.ok_or("no mirror of that name")?.command(command).await
            }
            _ => self.request(command).await,
        }
    }

    fn client(&self) -> Result<Client, &'static str> {
        self.client.borrow().clone().ok_or("connect first")
    }

    fn connect(&self, command: &Value) -> Answer {
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
                "reconnect" => options.reconnect(match text(value) {
                    "never" => Reconnect::Never,
                    "always" => Reconnect::Always,
                    _ => Reconnect::AfterFirst,
                }),
                "queue_bytes" => options.queue_bytes(number(value) as u32),
                "request_timeout_ms" => options.request_timeout(millis(value)),
                "backoff_ms" => options.backoff(millis(&value[0]), millis(&value[1])),
                _ => options,
            };
        }
        self.client.replace(Some(Client::start(options)?));
        Ok(json!({}))
    }

    async fn status(&self, command: &Value) -> Answer {
        let word = |status: &Status| match status {
            Status::Connecting => "connecting",
            Status::Online(_) => "online",
            Status::Offline { .. } => "offline",
            Status::Ended { .. } => "ended",
        };
        let mut status = self.client()?.status();
        if let Some(wanted) = command["wait"].as_str() {
            status.wait_for(|now| word(now) == wanted).await?;
        }
        let now = word(&status.borrow());
        Ok(json!({ "status": now, "asked": self.asked.load(Ordering::Relaxed) }))
    }

    /// A command whose fields are those of a frame.
    async fn request(&self, command: &Value) -> Answer {
        let client = self.client()?;
        let done = match frame(command)? {
            ClientFrame::Put(put) => client.write(put).await?,
            ClientFrame::Append(append) => client.write(append).await?,
            ClientFrame::Delete(delete) => client.write(delete).await?,
            ClientFrame::Drop(drop) => client.write(drop).await?,
            ClientFrame::Trim(trim) => client.write(trim).await?,
            ClientFrame::Txn(txn) => client.write(txn).await?,
            ClientFrame::Signal(signal) => {
                client.signal(signal.path, signal.value).await?;
                return Ok(json!({}));
            }
            ClientFrame::Get(get) => return Ok(told::page(&client.get_many(get.paths).await?)),
            ClientFrame::List(list) => return Ok(told::page(&client.list(list.into()).await?)),
            ClientFrame::Sub(sub) => {
                let copy = Copy::start(&client, *sub, command)?;
                let name = text(&command["mirror"]).to_owned();
                self.mirrors.borrow_mut().insert(name, Rc::new(copy));
                return Ok(json!({}));
            }
            _ => return Err(format!("no command {}", command["do"]).into()),
        };
        let mut answer = json!({ "rev": done.rev.get() });
        if !done.paths.is_empty() {
            answer["names"] = done.paths.iter().map(Path::as_str).collect();
        }
        Ok(answer)
    }
}

/// The frame that a command's fields are those of.
fn frame(command: &Value) -> Result<ClientFrame, Box<dyn Error>> {
    let mut fields = command.as_object().cloned().unwrap_or_default();
    // `do` is the command's word, `steps` the list of a `txn`.
    let op = fields.remove("do").unwrap_or_default();
    if let Some(steps) = fields.remove("steps") {
        fields.insert("do".to_owned(), steps);
    }
    fields.insert("op".to_owned(), if op == "mirror" { "sub".into() } else { op });
    fields.insert("id".to_owned(), 0.into());
    fields.insert("sub".to_owned(), 0.into());
    Ok(Codec::Json.decode_client(&serde_json::to_vec(&fields)?)?)
}
