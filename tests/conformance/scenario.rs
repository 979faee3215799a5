//! The files of `spec/scenarios`.

use std::fs;

use serde_json::{Map, Value};

use crate::languages::root;

/// One story.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// The row of the table that it belongs to.
    pub(crate) feature: String,
    pub(crate) config: Map<String, Value>,
    /// Whether the broker's tree survives it.
    pub(crate) durable: bool,
    /// What a scripted broker does with each connection, in order; `None`: the real broker is used.
    pub(crate) scripted: Option<Vec<Value>>,
    pub(crate) steps: Vec<Value>,
}

const FIELDS: [&str; 6] = ["about", "feature", "config", "store", "scripted", "steps"];

impl Scenario {
    /// Returns all scenarios, by name.
    pub(crate) fn all() -> Vec<Scenario> {
        let folder = root().join("spec/scenarios");
        let mut all = Vec::new();
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|ends| ends == "json") {
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                let text = fs::read_to_string(&path).unwrap();
                all.push(Scenario::parse(name, &text));
            }
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    fn parse(name: String, text: &str) -> Scenario {
        let file: Map<String, Value> =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let unknown = file.keys().find(|key| !FIELDS.contains(&key.as_str()));
        assert!(unknown.is_none(), "{name}: no such field: {unknown:?}");
        let word = |field: &str| file.get(field).and_then(Value::as_str);
        assert!(word("about").is_some(), "{name} does not say what it is about");
        let list = |field: &str| file.get(field).and_then(Value::as_array).cloned();
        Scenario {
            feature: word("feature").unwrap_or_else(|| panic!("{name}: no feature")).to_owned(),
            config: file.get("config").and_then(Value::as_object).cloned().unwrap_or_default(),
            durable: word("store") == Some("data"),
            scripted: list("scripted"),
            steps: list("steps").unwrap_or_else(|| panic!("{name}: no steps")),
            name,
        }
    }
}

/// The README must list exactly the files that exist.
#[test]
fn every_scenario_is_in_the_index() {
    let index = fs::read_to_string(root().join("spec/scenarios/README.md")).unwrap();
    let missing: Vec<String> = Scenario::all()
        .into_iter()
        .map(|scenario| scenario.name)
        .filter(|name| !index.contains(&format!("({name}.json)")))
        .collect();
    assert!(missing.is_empty(), "spec/scenarios/README.md does not list {missing:?}");
}
