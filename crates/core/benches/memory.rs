//! `cargo bench -p onetree-core --bench memory`: how much memory an entry takes besides the bytes
//! of its path and its value.

#[expect(dead_code, reason = "each benchmark uses its part")]
mod common;
#[path = "common/counting.rs"]
mod counting;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{Row, VALUE_BYTES, entries, paths, print, value};
use counting::{in_use, resident};
use onetree_protocol::Path;

struct Cost {
    asked: f64,
    resident: f64,
}

fn cost<T>(paths: &[Path], make: impl FnOnce(&[Path]) -> T) -> Cost {
    let content: usize = paths.iter().map(|path| path.as_str().len() + VALUE_BYTES).sum();
    let each = |bytes: usize| (bytes as f64 - content as f64) / paths.len() as f64;
    let before = (in_use(), resident());
    let made = make(paths);
    let after = (in_use(), resident());
    drop(made);
    Cost { asked: each(after.0 - before.0), resident: each(after.1.saturating_sub(before.1)) }
}

fn main() {
    let mut ordered = paths(entries());
    let random = cost(&ordered, common::tree);
    ordered.sort();
    let sorted = cost(&ordered, common::tree);
    let bare = cost(&ordered, |paths| {
        let entry = |(n, path): (usize, &Path)| (Arc::<str>::from(path.as_str()), value(n).bytes);
        paths.iter().enumerate().map(entry).collect::<BTreeMap<_, _>>()
    });
    let row = |figure, measured| Row {
        figure,
        goal: "200",
        measured,
        floor: format!("{:.0} BTreeMap of shared path to shared bytes", bare.asked),
    };
    // Resident memory is given only for the first: what it freed is still resident when the next
    // one begins.
    let first = format!("{:.0}; {:.0} resident", random.asked, random.resident);
    print(&[
        row("bytes an entry above path and value, put in at random", first),
        row("the same, put in order", format!("{:.0}", sorted.asked)),
    ]);
}
