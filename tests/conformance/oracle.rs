//! Compares a mirror's dump and its events with the tree.

use std::collections::BTreeMap;
use std::time::Duration;

use onetree_client::protocol::frame::ClientFrame;
use onetree_client::{Client, Codec, Options, Path, View};
use serde_json::{Map, Value, json};

use crate::adapter::Adapter;
use crate::broker::Broker;
use crate::matching::{same, short};

/// How often the tree may change while it is compared.
const LOOKS: u32 = 40;

/// What the runner knows of one mirror.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    /// The fields of its view.
    pub(crate) view: Map<String, Value>,
    /// The copy that its events make, from the beginning.
    pub(crate) copy: BTreeMap<String, Value>,
    /// Events that no step has looked at yet.
    pub(crate) unseen: Vec<Value>,
}

impl Followed {
    pub(crate) fn start(view: Map<String, Value>, from: &[Value]) -> Followed {
        let by_path = |entry: &Value| (path_of(entry), entry.clone());
        Followed { view, copy: from.iter().map(by_path).collect(), unseen: Vec::new() }
    }

    /// Applies events like an application that keeps its own copy, and checks that the old value in
    /// a change is the one in the copy.
    pub(crate) fn take(&mut self, events: Vec<Value>) -> Result<(), String> {
        for event in &events {
            for change in event["changes"].as_array().into_iter().flatten() {
                let path = path_of(change);
                let before = self.copy.remove(&path);
                let (old, new) = (change.get("old"), change.get("new"));
                let whole = |one: &Value| !one.is_null();
                let (old, new) = (old.filter(|one| whole(one)), new.filter(|one| whole(one)));
                if !content_is(before.as_ref(), old) {
                    let before = before.map_or("nothing".to_owned(), |entry| short(&entry));
                    return Err(format!("{}: there was {before}", short(change)));
                }
                let above = |entry: &Value| change["rev"].as_u64() < entry["rev"].as_u64();
                if change["rev"].as_u64().is_none() || new.is_some_and(above) {
                    return Err(format!("the revision of {}", short(change)));
                }
                if let Some(new) = new {
                    let mut entry = new.clone();
                    (entry["path"], entry["rev"]) = (path.clone().into(), change["rev"].clone());
                    self.copy.insert(path, entry);
                }
            }
        }
        self.unseen.extend(events);
        Ok(())
    }

    /// Whether the events make exactly these entries.
    pub(crate) fn is_the_same(&self, what: &str, mut entries: Vec<Value>) -> Result<(), String> {
        // The copy is in the order of path texts, which is not the order of paths.
        entries.sort_by_key(path_of);
        let copy: Vec<Value> = self.copy.values().cloned().collect();
        is_the_same(what, &copy, &entries)
    }
}

/// Whether two entries have the same revision and value. They may name their path or not.
fn content_is(one: Option<&Value>, other: Option<&Value>) -> bool {
    let content = |entry: &Value| {
        let mut fields = entry.as_object().cloned().unwrap_or_default();
        fields.remove("path");
        Value::Object(fields)
    };
    match (one, other) {
        (Some(one), Some(other)) => same(&content(one), &content(other)),
        (None, None) => true,
        _ => false,
    }
}

fn path_of(entry: &Value) -> String {
    entry["path"].as_str().unwrap_or_default().to_owned()
}

/// Opens a client of the runner's own, which is not affected by failures.
pub(crate) async fn observer(broker: &Broker) -> Result<Client, String> {
    Client::connect(Options::new(broker.url())).await.map_err(|error| error.to_string())
}

pub(crate) async fn present(client: &Client) -> Result<u64, String> {
    let found = client.get_many(Vec::new()).await.map_err(|error| error.to_string())?;
    Ok(found.rev.get())
}

/// Compares a mirror at the present with the tree: first its dump, exactly, then the copy that its
/// events make.
pub(crate) async fn compare(
    adapter: &Adapter,
    name: &str,
    followed: &mut Followed,
    broker: &Broker,
) -> Result<(), String> {
    let observer = observer(broker).await?;
    for _ in 0..LOOKS {
        let rev = present(&observer).await?;
        adapter.ok(json!({ "op": "at", "mirror": name, "rev": rev })).await?;
        let tree = seen_by(&followed.view, broker.export().await?)?;
        let dump = adapter.ok(json!({ "op": "dump", "mirror": name })).await?;
        if dump["rev"] != json!(rev) || present(&observer).await? != rev {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        let dumped = dump["entries"].as_array().ok_or("a dump has entries")?;
        is_the_same(&format!("{name} at {rev}"), dumped, &tree)?;
        if dump["cookie"]["rev"] != json!(rev) {
            return Err(format!("{name}: the cookie of {rev} is {}", dump["cookie"]));
        }
        let events = adapter.events(name).await?;
        // An entry may have expired since the dump. Then the events are ahead of the dump and of
        // the tree.
        let ahead = events.iter().any(|event| event["rev"].as_u64() > Some(rev));
        followed.take(events)?;
        if ahead {
            continue;
        }
        return followed.is_the_same(&format!("what the events of {name} make"), tree);
    }
    Err(format!("{name}: the tree does not come to rest"))
}

/// Whether two lists of entries are the same, in the same order.
fn is_the_same(what: &str, found: &[Value], expected: &[Value]) -> Result<(), String> {
    let differs = |(found, expected): &(&Value, &Value)| !same(found, expected);
    if let Some((found, expected)) = found.iter().zip(expected).find(differs) {
        let (found, expected) = (short(found), short(expected));
        return Err(format!("{what}: {found} stands where the tree has {expected}"));
    }
    if found.len() != expected.len() {
        let more = found.get(expected.len()).or(expected.get(found.len())).map(short);
        let (found, expected) = (found.len(), expected.len());
        return Err(format!("{what}: {found} entries, the tree has {expected}: {more:?}"));
    }
    Ok(())
}

/// Returns what a view sees of the tree; with a tail, the newest entries of each log.
fn seen_by(fields: &Map<String, Value>, tree: Vec<Value>) -> Result<Vec<Value>, String> {
    let view = view(fields)?;
    let mut seen = Vec::new();
    for mut entry in tree {
        let path = Path::parse(&path_of(&entry)).map_err(|error| error.to_string())?;
        if !view.sees(&path) {
            continue;
        }
        if !view.values {
            entry = json!({ "path": entry["path"], "rev": entry["rev"] });
        }
        seen.push(entry);
    }
    Ok(seen)
}

fn view(fields: &Map<String, Value>) -> Result<View, String> {
    let mut sub = Map::new();
    for field in ["path", "depth", "match", "values"] {
        if let Some(value) = fields.get(field) {
            sub.insert(field.to_owned(), value.clone());
        }
    }
    sub.insert("op".to_owned(), "sub".into());
    sub.insert("id".to_owned(), 1.into());
    sub.insert("sub".to_owned(), 1.into());
    let text = Value::Object(sub).to_string();
    match Codec::Json.decode_client(text.as_bytes()) {
        Ok(ClientFrame::Sub(sub)) => Ok(sub.view),
        Ok(_) => Err("no view".to_owned()),
        Err(error) => Err(format!("{text}: {error}")),
    }
}
