//! The programs of `transact`.

use onetree_client::{Abort, Entry, Path, Transaction, Value as Bytes};
use serde_json::{Value, json};

/// Runs one program once.
pub(crate) fn run(program: &str, tx: &mut Transaction, paths: &[Path]) -> Result<Value, Abort> {
    match program {
        "increment" => {
            let count = tx.get(&paths[0])?.and_then(|entry| plain(&entry).as_i64()).unwrap_or(0);
            tx.put(paths[0].clone(), Bytes::json(&(count + 1).to_string()));
            Ok(json!(count + 1))
        }
        "take" => take(tx, &paths[0]),
        "take-either" => tx.or_else(|tx| take(tx, &paths[0]), |tx| take(tx, &paths[1])),
        "move" => {
            let mut inside = tx.under(&paths[0])?.into_iter().filter(|(path, _)| *path != paths[0]);
            let Some((from, entry)) = inside.next() else { return tx.retry() };
            let to = paths[1].child(from.name().unwrap_or_default())?;
            let result = plain(&entry);
            tx.delete(from);
            tx.put(to, entry.value.unwrap_or_else(|| Bytes::json("null")));
            Ok(result)
        }
        "fail" => {
            tx.put(paths[0].clone(), Bytes::json("1"));
            Err("the application throws".into())
        }
        _ => Err(format!("no program {program}").into()),
    }
}

fn take(tx: &mut Transaction, path: &Path) -> Result<Value, Abort> {
    let Some(entry) = tx.get(path)? else { return tx.retry() };
    tx.delete(path.clone());
    Ok(plain(&entry))
}

/// Returns an entry's value: the value of its JSON, else its text or the base64 of its bytes.
fn plain(entry: &Entry) -> Value {
    let told = json!(entry);
    ["json", "text", "bytes"].iter().find_map(|field| told.get(field)).cloned().unwrap_or_default()
}
