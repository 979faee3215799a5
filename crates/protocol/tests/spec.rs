//! The code agrees with the documents from which clients are written.

use onetree_protocol::Code;
use serde_json::{Value as Json, json};

#[path = "spec_files/mod.rs"]
mod spec;

#[test]
fn the_table_of_codes_is_the_one_of_the_code() {
    let table = spec::json("codes.json");
    let listed = spec::list(&table, "codes");
    let known = Code::ALL.iter().map(|code| {
        let closes = code.close().is_some();
        json!({
            "code": code.as_str(),
            "action": code.action().as_str(),
            "close": code.close(),
            "reconnect": if closes { json!(code.reconnect()) } else { Json::Null },
            "meaning": code.meaning(),
        })
    });
    assert_eq!(listed, known.collect::<Vec<_>>());
    let uses = Code::ALL.iter().filter(|code| code.uses_seq()).map(|code| json!(code.as_str()));
    assert_eq!(spec::list(&table, "uses_seq"), uses.collect::<Vec<_>>());
}

#[test]
fn each_meaning_is_one_sentence() {
    for code in Code::ALL {
        let meaning = code.meaning();
        assert!(meaning.ends_with('.') && !meaning.contains(". "), "{}: {meaning}", code.as_str());
    }
}

#[test]
fn a_code_has_one_word_and_one_close_code() {
    for code in Code::ALL {
        assert_eq!(Code::parse(code.as_str()), Some(*code));
        if let Some(close) = code.close() {
            assert_eq!(Code::from_close(close), Some(*code), "{close}");
            assert!((4000..5000).contains(&close), "{close} is not an application's");
        }
    }
}

#[test]
fn the_protocol_names_every_code_and_its_action() {
    let text = spec::text("PROTOCOL.md");
    let row = |code: &Code| format!("| `{}` | {} |", code.as_str(), code.action().as_str());
    let missing: Vec<_> = Code::ALL.iter().map(row).filter(|row| !text.contains(row)).collect();
    assert!(missing.is_empty(), "rows that the table of PROTOCOL.md lacks: {missing:#?}");
}

#[test]
fn close_codes_in_the_protocol_are_those_of_the_table() {
    let text = spec::text("PROTOCOL.md");
    // The number in "RFC 4648" is not a close code; those in "(4400)" and "closes with 4503" are.
    let rest = text.replace("RFC ", "RFC");
    let words = rest.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() == 4);
    let closes: Vec<u16> = words.filter_map(|word| word.parse().ok()).collect();
    let closes = closes.into_iter().filter(|number| (4001..4999).contains(number));
    let unknown: Vec<u16> = closes.filter(|close| Code::from_close(*close).is_none()).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
