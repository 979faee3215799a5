//! Finds the word that a user probably meant when a key is unknown.

/// Returns the known word nearest to `word`, if it is near enough: at most a third of the letters
/// differ.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let (distance, nearest) =
        known.iter().map(|candidate| (distance(word, candidate), *candidate)).min()?;
    let near = distance <= word.len().max(nearest.len()) / 3;
    near.then_some(nearest)
}

/// Returns the Levenshtein distance: how many letters to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
