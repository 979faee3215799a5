//! The file in which a mirror is kept, as another process reads it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

pub(crate) struct Kept {
    /// The revision of its cookie.
    pub(crate) rev: u64,
    pub(crate) entries: Vec<Value>,
}

impl Kept {
    /// Reads the file; `None` if nothing was saved yet.
    pub(crate) fn read(file: &Path) -> Result<Option<Kept>, String> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", file.display())),
        };
        let parse = |line: &str| {
            serde_json::from_str::<Value>(line)
                .map_err(|error| format!("{}: {line}: {error}", file.display()))
        };
        let mut lines = text.lines();
        let Some(head) = lines.next() else { return Ok(None) };
        let rev = parse(head)?["rev"].as_u64().ok_or_else(|| format!("no cookie: {head}"))?;
        let entries = lines.map(parse).collect::<Result<Vec<Value>, String>>()?;
        Ok(Some(Kept { rev, entries }))
    }
}
