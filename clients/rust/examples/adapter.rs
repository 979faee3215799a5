//! Does what it is told, a line at a time: the Rust client's adapter of `spec/scenarios`. It judges
//! nothing; the runner does.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::BufRead;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use onetree_client::protocol::frame::{ClientFrame, Mode, ServerFrame, Signal, Sub};
use onetree_client::protocol::json;
use onetree_client::{
    Act, Append, Change, Changes, Client, Code, Codec, ConnectError, Delete, Done, DropTree, Entry,
    Error, Event, Found, List, Mirror, MirrorOptions, Options, Path, Put, Reconnect, Revision,
    Status, TransactError, Transacted, Trim, Tx, Txn, Value as Bytes, Verdict,
};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::task::LocalSet;

/// What went wrong: a code and a message.
type Failed = (String, String);
type Answer = Result<Value, Failed>;

#[derive(Default)]
struct Adapter {
    client: RefCell<Option<Client>>,
    mirrors: RefCell<HashMap<String, Rc<Copy>>>,
    asked: Arc<AtomicUsize>,
}

struct Copy {
    mirror: Mirror,
    changes: Mutex<Changes>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (lines, mut commands) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            // The other end goes with the process.
            let _ = lines.send(line);
        }
    });
    let adapter = Rc::new(Adapter::default());
    // Tasks of one thread begin in the order in which they were made: so do commands.
    let tasks = LocalSet::new();
    let reading = async {
        while let Some(line) = commands.recv().await {
            let adapter = adapter.clone();
            tokio::task::spawn_local(async move { adapter.line(&line).await });
        }
    };
    tasks.run_until(reading).await;
}

impl Adapter {
    async fn line(&self, line: &str) {
        let command: Map<String, Value> = serde_json::from_str(line).unwrap_or_default();
        let id = command.get("id").cloned().unwrap_or_default();
        let answer = match self.command(&command).await {
            Ok(ok) => json!({ "id": id, "ok": ok }),
            Err((code, message)) => {
                json!({ "id": id, "error": { "code": code, "message": message } })
            }
        };
        println!("{answer}");
    }

    async fn command(&self, command: &Map<String, Value>) -> Answer {
        let number = |field: &str| command.get(field).and_then(Value::as_u64);
        match text(command, "do")? {
            "about" => Ok(json!({ "language": "rust", "version": env!("CARGO_PKG_VERSION"),
                "can": ["keep", "transact", "token-hook", "earlier", "old-and-new"] })),
            "connect" => self.connect(command),
            "status" => {
                let mut status = self.client()?.status();
                if let Some(wanted) = command.get("wait").and_then(Value::as_str) {
                    let waited = status.wait_for(|now| word(now) == wanted).await;
                    waited.map_err(|_| wrong("the client has ended"))?;
                }
                let now = word(&status.borrow());
                Ok(json!({ "status": now, "asked": self.asked.load(Ordering::Relaxed) }))
            }
            "put" | "append" | "delete" | "drop" | "trim" | "txn" => self.write(command).await,
            "signal" => {
                let ClientFrame::Signal(f) = frame(command)? else { return Err(wrong("signal")) };
                self.client()?.signal(f.path, f.value).await.map_err(failed)?;
                Ok(json!({}))
            }
            "get" => {
                let ClientFrame::Get(f) = frame(command)? else { return Err(wrong("get")) };
                Ok(found(self.client()?.get_many(f.paths).await.map_err(failed)?, "changes"))
            }
            "list" => {
                let list = list(command)?;
                Ok(found(self.client()?.list(list).await.map_err(failed)?, "changes"))
            }
            "mirror" => self.mirror(command),
            "fresh" => {
                let copy = self.copy(command)?;
                copy.mirror.fresh().await.map_err(failed)?;
                Ok(json!({ "rev": copy.mirror.rev().get() }))
            }
            "resync" => {
                let copy = self.copy(command)?;
                copy.mirror.resync().await.map_err(failed)?;
                copy.mirror.fresh().await.map_err(failed)?;
                Ok(json!({ "rev": copy.mirror.rev().get() }))
            }
            "at" => {
                let copy = self.copy(command)?;
                let rev = number("rev").and_then(Revision::new).ok_or_else(|| wrong("rev"))?;
                copy.mirror.at(rev).await.map_err(failed)?;
                Ok(json!({ "rev": copy.mirror.rev().get() }))
            }
            "verify" => Ok(match self.copy(command)?.mirror.verify().await.map_err(failed)? {
                Verdict::Same { .. } => json!({ "verdict": "same" }),
                Verdict::Differs { .. } => json!({ "verdict": "differs" }),
                Verdict::Unknown => json!({ "verdict": "unknown" }),
            }),
            "dump" => {
                let now = self.copy(command)?.mirror.snapshot();
                let cookie = now.cookie().map(|cookie| parsed(&json::cookie(&cookie)));
                let entries: Vec<Value> = now.entries().map(|entry| line(&entry)).collect();
                Ok(json!({ "rev": now.rev().get(), "cookie": cookie, "entries": entries }))
            }
            "events" => {
                let copy = self.copy(command)?;
                let mut changes = copy.changes.lock().await;
                let mut events = Vec::new();
                while let Some(event) = changes.try_next() {
                    events.push(told(&event, &changes));
                }
                Ok(events.into())
            }
            "earlier" => {
                let limit = number("limit").unwrap_or(0) as u32;
                let before = command.get("before").map(|_| path(command, "before")).transpose()?;
                let (copy, log) = (self.copy(command)?, path(command, "log")?);
                let page = copy.mirror.earlier(&log, limit, before.as_ref()).await;
                Ok(found(page.map_err(failed)?, "entries"))
            }
            "transact" => self.transact(command).await,
            "close" | "leave" => {
                let client = self.client()?;
                match text(command, "do")? {
                    "close" => client.close().await,
                    _ => client.leave().await,
                }
                Ok(json!({}))
            }
            other => Err(wrong(&format!("no command {other}"))),
        }
    }

    fn connect(&self, command: &Map<String, Value>) -> Answer {
        let millis = |value: &Value| Duration::from_millis(value.as_u64().unwrap_or(0));
        let mut options = Options::new(text(command, "url")?);
        for (field, value) in command {
            let words = value.as_str().unwrap_or_default();
            options = match field.as_str() {
                "codec" if words == "json" => options.codec(Codec::Json),
                "label" => options.label(words),
                "token" => options.token(words),
                "tokens" => {
                    let tokens: Vec<String> =
                        serde_json::from_value(value.clone()).map_err(|e| wrong(&e.to_string()))?;
                    let asked = self.asked.clone();
                    options.token_from(move || {
                        let at = asked.fetch_add(1, Ordering::Relaxed).min(tokens.len() - 1);
                        let token = tokens[at].clone();
                        async move { Ok(token) }
                    })
                }
                "reconnect" => options.reconnect(match words {
                    "never" => Reconnect::Never,
                    "always" => Reconnect::Always,
                    _ => Reconnect::AfterFirst,
                }),
                "queue_bytes" => options.queue_bytes(value.as_u64().unwrap_or(0) as u32),
                "request_timeout_ms" => options.request_timeout(millis(value)),
                "backoff_ms" => options.backoff(millis(&value[0]), millis(&value[1])),
                _ => options,
            };
        }
        let client = Client::start(options).map_err(not_connected)?;
        self.client.replace(Some(client));
        Ok(json!({}))
    }

    fn client(&self) -> Result<Client, Failed> {
        self.client.borrow().clone().ok_or_else(|| wrong("connect first"))
    }

    fn copy(&self, command: &Map<String, Value>) -> Result<Rc<Copy>, Failed> {
        let name = text(command, "mirror")?;
        self.mirrors.borrow().get(name).cloned().ok_or_else(|| wrong("no mirror of that name"))
    }

    fn mirror(&self, command: &Map<String, Value>) -> Answer {
        let ClientFrame::Sub(Sub { view, mode, signals, every_ms, .. }) = frame(command)? else {
            return Err(wrong("mirror"));
        };
        let mut options = MirrorOptions::new().every(Duration::from_millis(every_ms.into()));
        if let Some(file) = command.get("keep").and_then(Value::as_str) {
            options = options.keep(file).map_err(|error| ("keep".to_owned(), error.to_string()))?;
        }
        if let Some(from) = command.get("from") {
            let cookie = json::parse_cookie(&from["cookie"].to_string());
            let lines = from["entries"].as_array().into_iter().flatten();
            let entries: Result<Vec<Change>, _> =
                lines.map(|line| json::parse_change_line(&line.to_string())).collect();
            options = options.from(
                cookie.map_err(|e| wrong(&e.to_string()))?,
                entries.map_err(|e| wrong(&e.to_string()))?,
            );
        }
        if signals {
            options = options.signals();
        }
        if mode == Mode::Once {
            options = options.once();
        }
        let mirror = self.client()?.mirror(view, options);
        let changes = Mutex::new(mirror.changes());
        let name = text(command, "mirror")?.to_owned();
        self.mirrors.borrow_mut().insert(name, Rc::new(Copy { mirror, changes }));
        Ok(json!({}))
    }

    async fn write(&self, command: &Map<String, Value>) -> Answer {
        let client = self.client()?;
        let done = match frame(command)? {
            ClientFrame::Put(f) => {
                let mut put = Put::new(f.path, f.value);
                if let Some(expect) = f.expect {
                    put = put.if_rev(expect.rev);
                }
                if let Some(ms) = f.ttl_ms {
                    put = put.ttl(Duration::from_millis(ms));
                }
                client.write(if f.ephemeral { put.ephemeral() } else { put }).await
            }
            ClientFrame::Append(f) => {
                let mut append = Append::new(f.path, f.value);
                if let Some(ms) = f.ttl_ms {
                    append = append.ttl(Duration::from_millis(ms));
                }
                client.write(if f.ephemeral { append.ephemeral() } else { append }).await
            }
            ClientFrame::Delete(f) => {
                let delete = Delete::new(f.path);
                client
                    .write(match f.expect {
                        Some(expect) => delete.if_rev(expect.rev),
                        None => delete,
                    })
                    .await
            }
            ClientFrame::Drop(f) => {
                let drop = DropTree::new(f.path);
                client
                    .write(match f.expect {
                        Some(expect) => drop.if_rev(expect.rev),
                        None => drop,
                    })
                    .await
            }
            ClientFrame::Trim(f) => client.write(Trim::new(f.path, f.to)).await,
            ClientFrame::Txn(f) => {
                let txn = f.conditions.into_iter().fold(Txn::new(), Txn::when);
                client.write(f.changes.into_iter().fold(txn, Txn::then)).await
            }
            _ => return Err(wrong("no write")),
        };
        Ok(written(&done.map_err(failed)?))
    }

    async fn transact(&self, command: &Map<String, Value>) -> Answer {
        let (copy, program) = (self.copy(command)?, text(command, "program")?);
        let one = || path(command, "path");
        let all: Vec<Path> = match command.get("paths") {
            Some(paths) => serde_json::from_value::<Vec<String>>(paths.clone())
                .ok()
                .and_then(|paths| paths.iter().map(|text| Path::parse(text).ok()).collect())
                .ok_or_else(|| wrong("paths"))?,
            None => Vec::new(),
        };
        let mut runs = 0;
        let take = |tx: &mut Tx, path: &Path| match tx.get(path)? {
            Some(entry) => {
                tx.delete(path.clone());
                Ok(plain(&entry))
            }
            None => tx.retry(),
        };
        let ended: Result<Transacted<Value>, TransactError> = match program {
            "increment" => {
                let path = one()?;
                copy.mirror
                    .transact(|tx| {
                        runs += 1;
                        let n =
                            tx.get(&path)?.and_then(|entry| plain(&entry).as_i64()).unwrap_or(0);
                        tx.put(path.clone(), Bytes::json(&(n + 1).to_string()));
                        Ok(json!(n + 1))
                    })
                    .await
            }
            "take" => {
                let path = one()?;
                let run = |tx: &mut Tx| {
                    runs += 1;
                    take(tx, &path)
                };
                copy.mirror.transact(run).await
            }
            "take-either" => {
                let run = |tx: &mut Tx| {
                    runs += 1;
                    tx.or_else(|tx| take(tx, &all[0]), |tx| take(tx, &all[1]))
                };
                copy.mirror.transact(run).await
            }
            "move" => {
                let run = |tx: &mut Tx| {
                    runs += 1;
                    let inside = |(path, _): &(Path, Entry)| *path != all[0];
                    let Some((from, entry)) = tx.under(&all[0])?.into_iter().find(inside) else {
                        return tx.retry();
                    };
                    let to = all[1].child(from.name().unwrap_or_default())?;
                    tx.delete(from);
                    let result = plain(&entry);
                    tx.put(to, entry.value.unwrap_or_else(|| Bytes::json("null")));
                    Ok(result)
                };
                copy.mirror.transact(run).await
            }
            "fail" => {
                let path = one()?;
                copy.mirror
                    .transact(|tx| {
                        runs += 1;
                        tx.put(path.clone(), Bytes::json("1"));
                        Err("the application throws".into())
                    })
                    .await
            }
            other => return Err(wrong(&format!("no program {other}"))),
        };
        let Transacted { result, done } = ended.map_err(|error| match error {
            TransactError::Client(error) => failed(error),
            TransactError::OutsideView(_) => ("outside-view".to_owned(), error.to_string()),
            TransactError::Failed(_) => ("application".to_owned(), error.to_string()),
        })?;
        Ok(json!({ "result": result, "rev": done.map(|done| done.rev.get()), "runs": runs }))
    }
}

fn wrong(message: &str) -> Failed {
    ("adapter".to_owned(), message.to_owned())
}

fn failed(error: Error) -> Failed {
    let code = match &error {
        Error::Refused(refusal) => refusal.code.as_str(),
        Error::Timeout { .. } => "timeout",
        Error::Lost => "lost",
        Error::QueueFull => "queue-full",
        Error::Closed { why: Some(_) } => error.code().map_or("ended", Code::as_str),
        Error::Closed { why: None } => "closed",
    };
    (code.to_owned(), error.to_string())
}

fn not_connected(error: ConnectError) -> Failed {
    (error.code().map_or("url", Code::as_str).to_owned(), error.to_string())
}

fn text<'a>(command: &'a Map<String, Value>, field: &str) -> Result<&'a str, Failed> {
    command.get(field).and_then(Value::as_str).ok_or_else(|| wrong(field))
}

fn path(command: &Map<String, Value>, field: &str) -> Result<Path, Failed> {
    Path::parse(text(command, field)?).map_err(|error| ("bad-path".to_owned(), error.to_string()))
}

/// The frame that a command's fields are those of.
fn frame(command: &Map<String, Value>) -> Result<ClientFrame, Failed> {
    let mut fields = command.clone();
    let op = match text(command, "do")? {
        "mirror" => "sub",
        op => op,
    };
    if op == "txn" {
        // `do` is the command's word, `steps` the frame's list.
        fields.insert("do".to_owned(), command.get("steps").cloned().unwrap_or(json!([])));
    } else {
        fields.remove("do");
    }
    fields.insert("op".to_owned(), op.into());
    fields.insert("id".to_owned(), 0.into());
    fields.insert("sub".to_owned(), 0.into());
    let bytes = serde_json::to_vec(&fields).map_err(|error| wrong(&error.to_string()))?;
    Codec::Json.decode_client(&bytes).map_err(|e| (e.code.as_str().to_owned(), e.to_string()))
}

fn list(command: &Map<String, Value>) -> Result<List, Failed> {
    let ClientFrame::List(f) = frame(command)? else { return Err(wrong("list")) };
    let mut list = List::new(f.path).depth(f.depth).limit(f.limit);
    if let Some(after) = f.after {
        list = list.after(after);
    }
    if let Some(before) = f.before {
        list = list.before(before);
    }
    if f.reverse {
        list = list.reverse();
    }
    Ok(if f.values { list } else { list.without_values() })
}

/// What the library wrote as JSON, as JSON.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// An entry, as `export` prints it.
fn line(entry: &Change) -> Value {
    parsed(&json::change_line(entry))
}

fn entry(path: &Path, entry: &Entry) -> Value {
    line(&Change { path: path.clone(), rev: entry.rev, act: Act::Put(entry.value.clone()) })
}

/// An entry's value: what its JSON says, else its text or the base64 of its bytes.
fn plain(of: &Entry) -> Value {
    let line = entry(&Path::root(), of);
    ["json", "text", "bytes"].iter().find_map(|field| line.get(*field)).cloned().unwrap_or_default()
}

fn found(found: Found, field: &str) -> Value {
    let entries: Vec<Value> = found.entries.iter().map(line).collect();
    json!({ "rev": found.rev.get(), field: entries, "more": found.more })
}

fn written(done: &Done) -> Value {
    let names: Vec<&str> = done.paths.iter().map(Path::as_str).collect();
    match names.is_empty() {
        true => json!({ "rev": done.rev.get() }),
        false => json!({ "rev": done.rev.get(), "names": names }),
    }
}

fn word(status: &Status) -> &'static str {
    match status {
        Status::Connecting => "connecting",
        Status::Online(_) => "online",
        Status::Offline { .. } => "offline",
        Status::Ended { .. } => "ended",
    }
}

/// The logs that have lost entries which the mirror never had.
fn gaps(changes: &[Change]) -> Vec<&str> {
    let gap = |change: &&Change| matches!(change.act, Act::Trim { gap: true, .. });
    let mut logs: Vec<&str> = changes.iter().filter(gap).map(|log| log.path.as_str()).collect();
    logs.sort_unstable();
    logs.dedup();
    logs
}

/// An event, with what it has changed.
fn told(event: &Event, changes: &Changes) -> Value {
    let changed = || -> Vec<Value> {
        let each = changes.differences().into_iter().map(|difference| {
            let path = &difference.path;
            let mut one = json!({ "path": path.as_str(), "rev": difference.rev.get() });
            if let Some(old) = &difference.old {
                one["old"] = entry(path, old);
            }
            if let Some(new) = &difference.new {
                one["new"] = entry(path, new);
            }
            one
        });
        each.collect()
    };
    let millis = |wait: &Duration| wait.as_millis() as u64;
    match event {
        Event::Refreshing { kind, why } => {
            json!({ "event": "refreshing", "kind": kind.as_str(), "why": why.as_str() })
        }
        Event::Fresh { rev, changes } => json!({ "event": "fresh", "rev": rev.get(),
            "changes": changed(), "gaps": gaps(changes) }),
        Event::Delta { since, rev, changes } => json!({ "event": "delta", "since": since.get(),
            "rev": rev.get(), "changes": changed(), "gaps": gaps(changes) }),
        Event::Signal { path, value } => {
            let (path, value) = (path.clone(), value.clone());
            let frame = ServerFrame::Signal(Signal { path, value });
            let mut signal = parsed(&String::from_utf8_lossy(&Codec::Json.encode_server(&frame)));
            signal["event"] = "signal".into();
            signal
        }
        Event::Synced { rev, verified } => {
            json!({ "event": "synced", "rev": rev.get(), "verified": verified })
        }
        Event::Corrupt { .. } => json!({ "event": "corrupt" }),
        Event::Broken { why } => json!({ "event": "broken", "why": why }),
        Event::Circling { retry_in } => {
            json!({ "event": "circling", "retry_ms": millis(retry_in) })
        }
        Event::Offline { error, retry_in } => json!({ "event": "offline",
            "error": error.to_string(), "retry_ms": retry_in.as_ref().map(millis) }),
        Event::Online { resumed } => json!({ "event": "online", "resumed": resumed }),
        Event::Ended { error } => {
            json!({ "event": "ended", "code": error.clone().map(|error| failed(error).0) })
        }
    }
}
