//! The Rust client's adapter of `spec/scenarios`. It carries out the runner's commands, one line at
//! a time. It judges nothing; the runner does.

mod programs;

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::future::ready;
use std::io::stdin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use onetree_client::protocol::{ClientFrame, frame::Sub, json};
use onetree_client::{
    Changes, Client, Codec, Mirror, MirrorOptions, Options, Path, Reconnect, Revision, Status,
    Write,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::{LocalSet, spawn_blocking, spawn_local};

type Outcome<T> = Result<T, Box<dyn Error>>;
type Named = (Mirror, RefCell<Option<Changes>>);

#[derive(Default)]
struct Adapter {
    client: RefCell<Option<Client>>,
    mirrors: RefCell<HashMap<String, Rc<Named>>>,
}

static ASKED: AtomicUsize = AtomicUsize::new(0);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let adapter: &'static Adapter = Box::leak(Box::default());
    let reading = async {
        // Tasks on one thread start in the order in which they were made, and so do commands.
        while let Ok(Some(Ok(line))) = spawn_blocking(|| stdin().lines().next()).await {
            spawn_local(async move { println!("{}", adapter.answer(&line).await) });
        }
    };
    LocalSet::new().run_until(reading).await;
}

impl Adapter {
    async fn answer(&self, line: &str) -> Value {
        let c: Value = serde_json::from_str(line).unwrap_or_default();
        match self.command(&c, line).await {
            Ok(Value::Null) => json!({ "id": c["id"], "ok": {} }),
            Ok(ok) => json!({ "id": c["id"], "ok": ok }),
            Err(error) => {
                let code = onetree_client::word(&*error).unwrap_or("adapter");
                json!({ "id": c["id"], "error": { "code": code, "message": error.to_string() } })
            }
        }
    }

    async fn command(&self, c: &Value, line: &str) -> Outcome<Value> {
        let (op, name): (String, String) = (of(&c["op"]), of(&c["mirror"]));
        if op == "connect" {
            self.client.replace(Some(Client::start(options(c)?)?));
            return Ok(Value::Null);
        }
        let client = self.client.borrow().clone().ok_or("connect first")?;
        if op != "sub" && !name.is_empty() {
            let named = self.mirrors.borrow().get(&name).cloned();
            return of_mirror(&*named.ok_or("no mirror of that name")?, &op, c).await;
        }
        Ok(match &op[..] {
            "status" => {
                let wanted = c["wait"].as_str();
                let reached = |now: &Status| wanted.is_none_or(|wanted| now.as_str() == wanted);
                let now = client.until(reached).await?;
                json!({ "status": now.as_str(), "asked": ASKED.load(Ordering::Relaxed) })
            }
            "close" => json!(client.close().await),
            "leave" => json!(client.leave().await),
            // Everything else is a frame.
            _ => match Codec::decode_client_text(line)? {
                ClientFrame::Signal(signal) => {
                    json!(client.signal(signal.path, signal.value).await?)
                }
                ClientFrame::Get(get) => json!(client.get_many(get.paths).await?),
                ClientFrame::List(list) => json!(client.list(list.into()).await?),
                ClientFrame::Sub(sub) => {
                    let mirror = start(&client, *sub, c)?;
                    let changes = (c["late"] != true).then(|| mirror.changes());
                    let changes = RefCell::new(changes);
                    self.mirrors.borrow_mut().insert(name, Rc::new((mirror, changes)));
                    Value::Null
                }
                frame => json!(client.write(Write::try_from(frame)?).await?),
            },
        })
    }
}

fn options(c: &Value) -> Outcome<Options> {
    let mut options = Options::new(of::<String>(&c["url"]));
    for (field, value) in c.as_object().into_iter().flatten() {
        options = match &field[..] {
            "codec" if value == "json" => options.codec(Codec::Json),
            "label" => options.label(of::<String>(value)),
            "token" => options.token(of::<String>(value)),
            "tokens" => {
                let tokens: Vec<String> = of(value);
                options.token_from(move || {
                    let asked = ASKED.fetch_add(1, Ordering::Relaxed);
                    ready(Ok(tokens[asked.min(tokens.len() - 1)].clone()))
                })
            }
            "reconnect" if value == "never" => options.reconnect(Reconnect::Never),
            "reconnect" if value == "always" => options.reconnect(Reconnect::Always),
            "queue_bytes" => options.queue_bytes(of(value)),
            "request_timeout_ms" => options.request_timeout(millis(value)),
            "backoff_ms" => options.backoff(millis(&value[0]), millis(&value[1])),
            _ => options,
        };
    }
    Ok(options)
}

fn start(client: &Client, sub: Sub, c: &Value) -> Outcome<Mirror> {
    let mut options: MirrorOptions = (&sub).into();
    if let Some(file) = c["keep"].as_str() {
        options = options.keep(file)?;
    }
    if let Some(saved) = c.get("from") {
        let entries = saved["entries"].as_array().into_iter().flatten();
        let entries = entries.map(|entry| json::parse_change_line(&entry.to_string()));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        options = options.from_cookie(json::parse_cookie(&saved["cookie"].to_string())?, entries);
    }
    Ok(client.mirror(sub.view, options))
}

async fn of_mirror((m, changes): &Named, op: &str, c: &Value) -> Outcome<Value> {
    let path = |value: &Value| Path::parse(&of::<String>(value));
    Ok(match op {
        "fresh" => json!({ "rev": m.fresh().await? }),
        "resync" => json!({ "rev": m.resync().await? }),
        "at" => json!({ "rev": m.at(Revision::new(of(&c["rev"])).ok_or("no rev")?).await? }),
        "verify" => json!(m.verify().await?),
        "dump" => json!(m.snapshot()),
        "events" => events(changes.borrow_mut().get_or_insert_with(|| m.changes())),
        "earlier" => {
            let before = c.get("before").map(path).transpose()?;
            json!(m.earlier(&path(&c["log"])?, of(&c["limit"]), before.as_ref()).await?)
        }
        "transact" => {
            let paths = c["paths"].as_array().into_iter().flatten().chain(c.get("path"));
            let paths: Vec<Path> = paths.map(path).collect::<Result<_, _>>()?;
            let program: String = of(&c["program"]);
            json!(m.transact(|tx| programs::run(&program, tx, &paths)).await?)
        }
        _ => return Err(format!("no command {op}").into()),
    })
}

fn events(changes: &mut Changes) -> Value {
    let mut events = Vec::new();
    while let Some(event) = changes.try_next() {
        let mut told = json!(event);
        if told.get("changes").is_some() {
            told["changes"] = json!(changes.differences());
            told["gaps"] = json!(event.gaps());
        }
        events.push(told);
    }
    events.into()
}

/// Returns the value of a field; the default if the field has another type.
fn of<T: DeserializeOwned + Default>(value: &Value) -> T {
    T::deserialize(value).unwrap_or_default()
}

fn millis(value: &Value) -> Duration {
    Duration::from_millis(of(value))
}
