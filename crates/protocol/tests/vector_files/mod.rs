//! The content of a vector, as bytes.

use serde_json::Value as Json;

/// Returns the bytes that these hex digits stand for.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).expect("a hex digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Returns the bytes under `field` of a vector; they are under `field` and `_hex` if they are not
/// UTF-8.
pub(crate) fn bytes(vector: &Json, field: &str) -> Option<Vec<u8>> {
    match (field, vector[field].as_str()) {
        ("msgpack", hex) => hex.map(unhex),
        (_, Some(text)) => Some(text.as_bytes().to_vec()),
        (_, None) => vector[format!("{field}_hex")].as_str().map(unhex),
    }
}

/// Returns the other encodings of a vector that a decoder must accept.
pub(crate) fn also(vector: &Json, field: &str) -> Vec<Vec<u8>> {
    let ways = vector[format!("also_{field}")].as_array();
    let way = |way: &Json| match (field, way.as_str().expect("text")) {
        ("msgpack", hex) => unhex(hex),
        (_, text) => text.as_bytes().to_vec(),
    };
    ways.map(|ways| ways.iter().map(way).collect()).unwrap_or_default()
}
