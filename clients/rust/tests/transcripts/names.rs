//! The placeholders of transcripts.

use std::collections::BTreeMap;

use onetree_client::Digest;
use onetree_client::protocol::DigestKey;
use serde_json::{Value as Json, json};

use crate::mirror::Tree;

/// The value that [`Names::fill`] gives for `digest_key`.
const KEY: DigestKey = DigestKey(0xdddd_dddd_dddd_dddd_dddd_dddd_dddd_dddd);

/// The values of a transcript's placeholders.
#[derive(Default)]
pub(super) struct Names {
    chosen: BTreeMap<String, Json>,
    digests: BTreeMap<String, Digest>,
}

impl Names {
    /// Fills a value in for each placeholder, except for digests, which are computed once it is
    /// known of what; see [`Names::digest`].
    pub(super) fn fill(&mut self, value: &Json, field: &str) -> Json {
        match value {
            Json::Object(fields) => {
                let digest =
                    |(field, value): &(&String, &Json)| *field == "digest" && is_placeholder(value);
                let fields = fields.iter().filter(|field| !digest(field));
                fields.map(|(field, value)| (field.clone(), self.fill(value, field))).collect()
            }
            Json::Array(all) => all.iter().map(|one| self.fill(one, field)).collect(),
            Json::String(name) if is_placeholder(value) => self.choose(name, field),
            _ => value.clone(),
        }
    }

    fn choose(&mut self, name: &str, field: &str) -> Json {
        let number = self.chosen.len();
        let made = match field {
            "epoch" => return json!("e".repeat(32)),
            "digest_key" => return json!("d".repeat(32)),
            "heartbeat_ms" => return json!(1000),
            "durable" => return json!(false),
            "message" => return json!("so it is"),
            "retry_ms" => return json!(100),
            "limits" => {
                return json!({
                    "frame_bytes": 1 << 20, "value_bytes": 1 << 16,
                    "subscriptions": 9, "in_flight": 99,
                });
            }
            // A digest of one subscription in `sync`.
            _ if field.parse::<u32>().is_ok() => return Json::Null,
            "rev" => json!(1000 + number),
            "session" => json!(format!("s{number}")),
            "view" => json!(format!("{number:016x}")),
            _ => panic!("nothing is known to stand for {field}"),
        };
        self.chosen.entry(name.to_owned()).or_insert(made).clone()
    }

    /// Returns the digest of `tree` for a placeholder. It is the same wherever the name occurs.
    pub(super) fn digest(&mut self, field: &Json, tree: &Tree) -> Option<Digest> {
        let name = field.as_str().filter(|_| is_placeholder(field))?;
        let mut digest = Digest::default();
        tree.iter().for_each(|(path, entry)| digest.insert(KEY.hash(path, entry.rev)));
        if name != "$any" {
            let named = *self.digests.entry(name.to_owned()).or_insert(digest);
            assert_eq!(named, digest, "{name}");
        }
        Some(digest)
    }
}

fn is_placeholder(value: &Json) -> bool {
    value.as_str().is_some_and(|text| text.starts_with('$'))
}
