//! The files of `spec/`, for tests.

use std::fs;
use std::path::PathBuf;

use serde_json::Value as Json;

/// Returns the text of a file of `spec/`.
pub(crate) fn text(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns a file of `spec/` that is JSON.
pub(crate) fn json(name: &str) -> Json {
    serde_json::from_str(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns the list `field` of an object.
pub(crate) fn list<'a>(object: &'a Json, field: &str) -> &'a [Json] {
    object[field].as_array().unwrap_or_else(|| panic!("no list {field} in {object}"))
}
