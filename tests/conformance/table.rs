//! The table of features and languages in `clients/README.md`: which scenarios were seen to pass.

use std::collections::BTreeMap;
use std::fs;

use crate::languages::{Language, root};

const BEGIN: &str = "<!-- what the conformance suite saw pass: begin -->\n";
const END: &str = "<!-- what the conformance suite saw pass: end -->\n";

/// For each feature and language: whether all of its scenarios passed, in both codecs.
#[derive(Default)]
pub(crate) struct Passed(BTreeMap<String, BTreeMap<Language, bool>>);

impl Passed {
    pub(crate) fn note(&mut self, feature: &str, language: Language, passed: bool) {
        let so_far = self.0.entry(feature.to_owned()).or_default().entry(language).or_insert(true);
        *so_far &= passed;
    }

    /// Returns a line for each feature, with those of `languages` that were seen.
    fn lines(&self, languages: &[Language]) -> Vec<Vec<String>> {
        let line = |(feature, seen): (&String, &BTreeMap<Language, bool>)| {
            let word = |language| if seen.get(language) == Some(&true) { "yes" } else { "no" };
            let words = languages.iter().map(|language| word(language).to_owned());
            [feature.clone()].into_iter().chain(words).collect()
        };
        self.0.iter().map(line).collect()
    }
}

/// Compares the table with the results; with ONETREE_CONFORMANCE_WRITE=1 it writes the table
/// instead.
pub(crate) fn check(passed: &Passed, languages: &[Language]) {
    let file = root().join("clients/README.md");
    let text = fs::read_to_string(&file).expect("clients/README.md");
    let (before, rest) = text.split_once(BEGIN).expect("the table has no beginning");
    let (table, after) = rest.split_once(END).expect("the table has no end");
    if std::env::var("ONETREE_CONFORMANCE_WRITE").is_ok_and(|word| word == "1") {
        let titles = languages.iter().map(|language| language.title().to_owned());
        let head: Vec<String> = ["feature".to_owned()].into_iter().chain(titles).collect();
        let rule = vec!["---".to_owned(); head.len()];
        let lines = [head, rule].into_iter().chain(passed.lines(languages));
        let table: String = lines.map(|cells| format!("| {} |\n", cells.join(" | "))).collect();
        fs::write(file, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    // Compare only the languages that ran.
    let mut rows = table.lines().map(|line| {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    });
    let head = rows.next().unwrap_or_default();
    let place = |language: &Language| head.iter().position(|title| title == language.title());
    let places: Option<Vec<usize>> = languages.iter().map(place).collect();
    let places = places.unwrap_or_else(|| panic!("clients/README.md has not all of {languages:?}"));
    let said: Vec<Vec<String>> = rows
        .skip(1)
        .map(|row| [0].iter().chain(&places).filter_map(|at| row.get(*at)).cloned().collect())
        .collect();
    let write = "ONETREE_CONFORMANCE_WRITE=1 writes the table anew";
    assert_eq!(said, passed.lines(languages), "clients/README.md says otherwise; {write}");
}
