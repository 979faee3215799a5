//! The random operations of clients.

use serde_json::{Map, Value, json};

use crate::ledger::{COUNT, Ledger};
use crate::random::Random;

/// Segments whose order differs between UTF-8 and UTF-16, and which sort around the separator.
const SEGMENTS: [&str; 8] = ["a", "a b", "a-b", "b", "ü", "\u{ff5e}", "\u{1f600}", "z"];

/// Returns a random operation for one life of a client.
pub(crate) fn operation(random: &mut Random, by: &str, number: u64) -> Value {
    let mut command = match random.within(0..21) {
        0..9 => json!({ "op": "put", "path": path(random) }),
        9..12 => json!({ "op": "append", "path": format!("/log/{}", random.within(0..3)) }),
        12..14 => return json!({ "op": "delete", "path": path(random) }),
        14 => return json!({ "op": "drop", "path": path(random) }),
        15 => {
            let key = format!("{:014x}{:04x}", random.within(1..number.max(2)), 0);
            return json!({ "op": "trim", "path": format!("/log/{}", random.within(0..3)), "to": key });
        }
        16 => {
            let (from, to) = (path(random), path(random));
            let put = json!({ "do": "put", "path": to, "json": number });
            let steps = json!([{ "do": "delete", "path": from }, put]);
            return json!({ "op": "txn", "if": [{ "path": from, "rev": 0 }], "do": steps });
        }
        17 => json!({ "op": "put", "path": path(random), "ttl_ms": random.within(1..500) }),
        18 => json!({ "op": "put", "path": path(random), "ephemeral": true }),
        19 => return Ledger::entry(by, number),
        _ => {
            return json!({ "op": "transact", "mirror": "all", "program": "increment", "path": COUNT });
        }
    };
    for (field, value) in value(random, number) {
        command[field] = value;
    }
    command
}

fn path(random: &mut Random) -> String {
    let segments = (0..random.within(1..4)).map(|_| format!("/{}", random.pick(&SEGMENTS)));
    format!("/t{}", segments.collect::<String>())
}

fn value(random: &mut Random, number: u64) -> Map<String, Value> {
    let value = match random.within(0..8) {
        0 => {
            json!({ "json": { "n": number, "list": [1.5, null, "\u{1f600}"], "deep": { "ü": true } } })
        }
        1 => json!({ "json": number }),
        2 => json!({ "text": format!("line {number}\n\u{ff5e}") }),
        3 => json!({ "type": "text/markdown", "text": format!("*{number}*") }),
        4 => json!({ "bytes": "/wD+gIE=" }),
        5 => json!({ "type": "image/png", "bytes": "iVBORw0KGgo=" }),
        6 => json!({ "text": "x".repeat(random.within(0..20_000) as usize) }),
        _ => json!({ "json": null }),
    };
    value.as_object().cloned().unwrap_or_default()
}

/// Returns a view that sees a part of the tree.
pub(crate) fn part(random: &mut Random) -> Value {
    match random.within(0..5) {
        0 => json!({ "path": "/t/a", "values": false }),
        1 => json!({ "path": "/t", "depth": "children" }),
        2 => json!({ "path": "/t", "match": ["*/b/**", "\u{1f600}"] }),
        3 => json!({ "path": "/", "every_ms": 50 }),
        _ => json!({ "path": "/t/b" }),
    }
}
