//! What a vector holds, as bytes.

use serde_json::Value as Json;

/// Bytes from their hex digits.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).expect("a hex digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The bytes under `field` of a vector; under `field` and `_hex` when they are no UTF-8.
pub(crate) fn bytes(vector: &Json, field: &str) -> Option<Vec<u8>> {
    match (field, vector[field].as_str()) {
        ("msgpack", hex) => hex.map(unhex),
        (_, Some(text)) => Some(text.as_bytes().to_vec()),
        (_, None) => vector[format!("{field}_hex")].as_str().map(unhex),
    }
}

/// The other ways to write a vector that are to be read.
pub(crate) fn also(vector: &Json, field: &str) -> Vec<Vec<u8>> {
    let ways = vector[format!("also_{field}")].as_array();
    let way = |way: &Json| match (field, way.as_str().expect("text")) {
        ("msgpack", hex) => unhex(hex),
        (_, text) => text.as_bytes().to_vec(),
    };
    ways.map(|ways| ways.iter().map(way).collect()).unwrap_or_default()
}
