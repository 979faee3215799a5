//! A record of what clients were told that they did, and of what they asked without an answer. It
//! is compared with the tree.
//!
//! What was in flight when a client was killed may have happened or not. So that this cannot hide
//! errors, each operation has a mark of its own: a journal entry has the number of its operation,
//! an increment the number that it made.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

/// A log that is never trimmed.
pub(crate) const JOURNAL: &str = "/journal";
/// The entry that counts increments.
pub(crate) const COUNT: &str = "/count";

/// The record of a whole run with all its clients.
#[derive(Default)]
pub(crate) struct Ledger {
    /// The numbers that acknowledged increments made.
    made: BTreeSet<u64>,
    /// Increments whose result is unknown.
    open_increments: u64,
    /// How many of those had happened at the last check.
    happened: u64,
    /// For each operation's number: where its journal entry is; `None` if that is unknown.
    journal: BTreeMap<u64, Option<String>>,
}

impl Ledger {
    /// Makes the command for a journal entry of one life of a client.
    pub(crate) fn entry(by: &str, number: u64) -> Value {
        json!({ "op": "append", "path": JOURNAL, "json": { "by": by, "number": number } })
    }

    pub(crate) fn increments(&self) -> usize {
        self.made.len()
    }

    /// Notes that a command was acknowledged.
    pub(crate) fn note_done(&mut self, command: &Value, answer: &Value) -> Result<(), String> {
        if command["program"] == "increment" {
            let made = answer["result"].as_u64().ok_or_else(|| format!("no number: {answer}"))?;
            if !self.made.insert(made) {
                return Err(format!("two increments made {made}"));
            }
        } else if let Some(number) = journaled(command) {
            let name = answer["paths"][0].as_str();
            let name = name.ok_or_else(|| format!("an append without a path: {answer}"))?;
            self.journal.insert(number, Some(name.to_owned()));
        }
        Ok(())
    }

    /// Notes that it will stay unknown whether a command was done: its client is gone.
    pub(crate) fn note_unknown(&mut self, command: &Value) {
        if command["program"] == "increment" {
            self.open_increments += 1;
        } else if let Some(number) = journaled(command) {
            self.journal.insert(number, None);
        }
    }

    /// Checks the tree: everything that was acknowledged is there once, everything unknown at most
    /// once, and nothing else.
    pub(crate) fn check(&mut self, tree: &[Value]) -> Result<(), String> {
        self.check_count(tree)?;
        self.check_journal(tree)
    }

    fn check_count(&mut self, tree: &[Value]) -> Result<(), String> {
        let count = tree.iter().find(|entry| entry["path"] == COUNT);
        let count = count.and_then(|entry| entry["json"].as_u64()).unwrap_or(0);
        let (known, open) = (self.made.len() as u64, self.open_increments);
        let said = format!("{known} increments were acknowledged, {open} are unknown");
        if self.made.last() > Some(&count) || count < known + self.happened {
            let last = self.made.last();
            return Err(format!(
                "{said}, the last made {last:?}; {COUNT} is {count}: some are lost"
            ));
        }
        if count > known + open {
            return Err(format!("{said}; {COUNT} is {count}: some happened twice"));
        }
        // What has happened once must stay.
        self.happened = count - known;
        Ok(())
    }

    fn check_journal(&mut self, tree: &[Value]) -> Result<(), String> {
        let mut places = BTreeMap::new();
        let mut last_by: HashMap<&str, u64> = HashMap::new();
        let under = format!("{JOURNAL}/");
        for entry in tree {
            let path = entry["path"].as_str().unwrap_or_default();
            if !path.starts_with(&under) {
                continue;
            }
            let (by, number) = (&entry["json"]["by"], entry["json"]["number"].as_u64());
            let (by, number) =
                by.as_str().zip(number).ok_or_else(|| format!("not ours: {entry}"))?;
            if let Some(other) = places.insert(number, path) {
                return Err(format!("{number} is in the journal twice: {other} and {path}"));
            }
            if let Some(before) = last_by.insert(by, number).filter(|before| *before > number) {
                return Err(format!("in the journal {by} has {number} behind {before}"));
            }
        }
        for (number, known) in &mut self.journal {
            match (places.remove(number), &known) {
                (None, None) => {}
                // From now on it has to stay.
                (Some(place), None) => *known = Some(place.to_owned()),
                (place, Some(known)) if place == Some(known) => {}
                (place, Some(known)) => {
                    return Err(format!("{number} of the journal was at {known}, is at {place:?}"));
                }
            }
        }
        match places.first_key_value() {
            Some((number, path)) => Err(format!("{path}: {number} was refused, or not begun")),
            None => Ok(()),
        }
    }
}

/// Returns the number of the operation if a command is a journal entry.
fn journaled(command: &Value) -> Option<u64> {
    (command["path"] == JOURNAL).then(|| command["json"]["number"].as_u64()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INCREMENT: &str = "increment";

    fn tree(count: u64, journal: &[(u64, u64)]) -> Vec<Value> {
        let entry = |(place, number): &(u64, u64)| json!({ "path": format!("{JOURNAL}/{place}"), "json": { "by": "a", "number": number } });
        let count = json!({ "path": COUNT, "json": count });
        [count].into_iter().chain(journal.iter().map(entry)).collect()
    }

    /// Makes a ledger of two increments and two entries that are known, and one of each that is
    /// unknown.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        let increment = json!({ "program": INCREMENT });
        ledger.note_done(&increment, &json!({ "result": 1 })).unwrap();
        ledger.note_done(&increment, &json!({ "result": 2 })).unwrap();
        ledger.note_unknown(&increment);
        for (place, number) in [(1, 10), (2, 11)] {
            let paths = json!({ "paths": [format!("{JOURNAL}/{place}")] });
            ledger.note_done(&Ledger::entry("a", number), &paths).unwrap();
        }
        ledger.note_unknown(&Ledger::entry("a", 12));
        ledger
    }

    #[test]
    fn what_is_unknown_may_have_happened_or_not() {
        let known = [(1, 10), (2, 11)];
        let all = [(1, 10), (2, 11), (3, 12)];
        for (count, journal) in [(2, &known[..]), (3, &all[..]), (3, &known[..])] {
            ledger().check(&tree(count, journal)).unwrap();
        }
        // An unknown operation may turn out to have happened late, and must stay from then on.
        let mut ledger = ledger();
        ledger.check(&tree(2, &known)).unwrap();
        ledger.check(&tree(3, &all)).unwrap();
        assert!(ledger.check(&tree(2, &all)).is_err());
        assert!(ledger.check(&tree(3, &known)).is_err());
    }

    #[test]
    fn what_must_not_be_is_found() {
        for (count, journal, said) in [
            (1, &[(1, 10), (2, 11)][..], "some are lost"),
            (4, &[(1, 10), (2, 11)], "some happened twice"),
            (2, &[(1, 10)], "11 of the journal was at"),
            (2, &[(1, 10), (2, 11), (3, 11)], "11 is in the journal twice"),
            (2, &[(1, 10), (2, 11), (3, 12), (4, 12)], "12 is in the journal twice"),
            (2, &[(1, 11), (2, 10)], "10 behind 11"),
            (2, &[(1, 10), (2, 11), (3, 13)], "13 was refused, or not begun"),
        ] {
            let error = ledger().check(&tree(count, journal)).unwrap_err();
            assert!(error.contains(said), "{error}, not {said}");
        }
        let again = ledger().note_done(&json!({ "program": INCREMENT }), &json!({ "result": 2 }));
        assert_eq!(again, Err("two increments made 2".to_owned()));
    }
}
