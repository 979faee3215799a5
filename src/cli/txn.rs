//! `txn`: makes several changes, all or nothing.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use onetree_protocol::frame::{Condition, Do, Txn as Frame};
use onetree_protocol::{ClientFrame, Codec, Path, json};
use serde_json::{Value, json};

use super::Common;
use super::connect::Link;
use super::exit::{Failure, USAGE};
use super::input;
use super::output::Output;
use super::visible::visible;
use onetree::config::unknown;

/// Examples, for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  # Take an order only if the stock has not changed: exit code 3 otherwise
  onetree txn - <<'EOF'
  {\"if\": [{\"path\": \"/stock/7\", \"rev\": 640}, {\"tree\": \"/orders/9\", \"rev\": 655}],
   \"do\": [{\"do\": \"put\", \"path\": \"/stock/7\", \"json\": {\"left\": 2}},
          {\"do\": \"append\", \"path\": \"/orders/9/lines\", \"json\": {\"item\": 7}},
          {\"do\": \"delete\", \"path\": \"/cart/3\"}]}
  EOF
  # \"rev\": 0 in \"if\" means that there is no such entry. \"do\" may also be drop, or trim with
  # \"to\". \"ttl_ms\" removes an entry after that time. For \"ephemeral\" use put --ephemeral
  onetree txn change.json --json";

/// Make several changes, all or nothing. Prints the revision and the paths that were assigned
#[derive(Args)]
pub(crate) struct Txn {
    /// A file of JSON, {"if": […], "do": […]} as in the protocol; -: standard input
    file: PathBuf,
}

impl Txn {
    /// Commits the transaction.
    pub(crate) async fn run(&self, common: &Common, output: &mut Output) -> Result<(), Failure> {
        let from = input::open(&self.file).map_err(|failure| {
            failure
                .next("give a file, or - for standard input: echo '{\"do\":[…]}' | onetree txn -")
        })?;
        let link = Link::open(common).await?;
        let frame = self.read(from, link.limits()?.frame_bytes).await?;
        let trees: Vec<Path> = frame.conditions.iter().filter_map(tree).collect();
        let txn =
            frame.conditions.into_iter().fold(onetree_client::Txn::new(), |txn, c| txn.when(c));
        let txn = frame.changes.into_iter().fold(txn, |txn, step| txn.then(step));
        let done = link.write(txn).await.map_err(|failure| failure.of_trees(&trees))?;
        link.close().await;
        if common.json {
            let paths: Vec<&str> = done.paths.iter().map(|path| path.as_str()).collect();
            return output.line(&json!({ "rev": done.rev.get(), "paths": paths }).to_string());
        }
        output.line(&done.rev.to_string())?;
        done.paths.iter().try_for_each(|path| output.line(&visible(path.as_str())))
    }

    /// Reads a transaction, for a broker that takes frames of `limit` bytes.
    async fn read(&self, from: Box<dyn Read + Send>, limit: u32) -> Result<Frame, Failure> {
        // In JSON a character of text takes at most six bytes; what stands between the texts is
        // little.
        let limit = u64::from(limit) * 6;
        let text = input::all(from, limit).await;
        let text = text.map_err(|error| input::unreadable(&self.file, &error))?;
        let text = text.ok_or_else(|| {
            let message =
                format!("{} is longer than any transaction can be", input::name(&self.file));
            Failure::new(USAGE, "frame-too-large", message)
                .next("split it, or give the broker a larger frame_bytes")
        })?;
        parse(&text).map_err(|why| {
            let message = format!("{} is no transaction: {why}", input::name(&self.file));
            Failure::new(USAGE, "bad-frame", message).next("onetree txn --help shows one")
        })
    }
}

/// Parses the text of a transaction as the protocol does, so that what is valid here is valid
/// there.
fn parse(text: &[u8]) -> Result<Frame, String> {
    // Check the text by itself first: a text that is not JSON could mean something else inside a
    // frame.
    json::check(text).map_err(|error| error.to_string())?;
    let text = text.trim_ascii();
    let Some(fields) = text.strip_prefix(b"{") else {
        return Err("it is no object".to_owned());
    };
    if fields.trim_ascii() == b"}" {
        return Err("it has neither \"if\" nor \"do\"".to_owned());
    }
    known_keys(text)?;
    let frame = [b"{\"op\":\"txn\",\"id\":0,", fields].concat();
    match Codec::Json.decode_client(&frame) {
        // The session ends with the command, and an ephemeral entry would end with the session.
        Ok(ClientFrame::Txn(frame)) if frame.changes.iter().any(is_ephemeral) => {
            Err("an \"ephemeral\" entry would be gone at once; put --ephemeral holds one"
                .to_owned())
        }
        Ok(ClientFrame::Txn(frame)) => Ok(frame),
        Ok(_) => Err("it is another frame".to_owned()),
        Err(error) => Err(error.message),
    }
}

/// Returns the path of the subtree that a condition is about.
fn tree(condition: &Condition) -> Option<Path> {
    if let Condition::Tree { path, .. } = condition { Some(path.clone()) } else { None }
}

fn is_ephemeral(change: &Do) -> bool {
    matches!(change, Do::Put { ephemeral: true, .. } | Do::Append { ephemeral: true, .. })
}

/// The keys of a transaction.
const KEYS: &[&str] = &["if", "do"];

/// The keys of a condition.
const IF: &[&str] = &["path", "tree", "rev"];

/// Returns the keys of a change, by its kind.
fn keys_of(change: &Value) -> &'static [&'static str] {
    match change.get("do").and_then(Value::as_str) {
        Some("delete" | "drop") => &["do", "path"],
        Some("trim") => &["do", "path", "to"],
        // A missing or unknown kind is refused later, for that reason.
        _ => &["do", "path", "type", "json", "text", "bytes", "ttl_ms", "ephemeral"],
    }
}

/// Refuses unknown keys. The protocol ignores them, but such a key may be a condition with a typing
/// error.
fn known_keys(text: &[u8]) -> Result<(), String> {
    let look = |item: &Value, known: &[&str]| {
        let mut keys = item.as_object().into_iter().flat_map(|fields| fields.keys());
        match keys.find(|key| !known.contains(&key.as_str())) {
            // The clients use the key 'value': they see from the value what its type is.
            Some(key) if key == "value" && known.contains(&"json") => {
                Err("unknown key 'value'; a value is in 'json', 'text' or 'bytes'".to_owned())
            }
            Some(key) => Err(unknown(key, known)),
            None => Ok(()),
        }
    };
    let all: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    look(&all, KEYS)?;
    let each = |list: &str, keys: fn(&Value) -> &'static [&'static str]| {
        let items = all.get(list).and_then(Value::as_array).into_iter().flatten();
        let mut looked = items.map(|item| look(item, keys(item))).enumerate();
        looked.try_for_each(|(n, looked)| looked.map_err(|why| format!("{list}[{n}]: {why}")))
    };
    each("if", |_| IF)?;
    each("do", keys_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_read_as_on_the_wire() {
        let text = br#" {"if": [{"path":"/a","rev":0}], "do": [{"do":"delete","path":"/b"}]} "#;
        let frame = parse(text).unwrap();
        assert_eq!((frame.conditions.len(), frame.changes.len()), (1, 1));
        for wrong in [
            &b""[..],
            b"{}",
            b"[]",
            b"{\"do\":[{\"do\":\"delete\",\"path\":\"b\"}]}",
            b"{\"do\":[{\"do\":\"undo\",\"path\":\"/b\"}]}",
            b"{\"op\":\"bye\"}",
            b"{\"do\":[]},{\"do\":[]}",
            b"{\"iff\":[],\"do\":[{\"do\":\"delete\",\"path\":\"/b\"}]}",
            b"{\"if\":[{\"path\":\"/a\",\"revision\":0,\"rev\":0}],\"do\":[]}",
            b"{\"do\":[{\"do\":\"put\",\"path\":\"/b\",\"json\":1,\"ttl\":5}]}",
        ] {
            assert!(parse(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }
}
