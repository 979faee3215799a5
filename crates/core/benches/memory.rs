//! `cargo bench -p onetree-core --bench memory`: what an entry costs in memory beside the bytes of
//! its path and its value.

#[expect(dead_code, reason = "each benchmark uses its part")]
mod common;

use std::alloc::System;
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use common::{Row, VALUE_BYTES, entries, paths, print, value};
use onetree_protocol::Path;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that are asked for and not given back.
fn in_use() -> usize {
    let stats = COUNTING.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Bytes of memory that the process really has: with what the allocator adds.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0) * 4096
}

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
    // Only for the first: what it gave back is still resident when the next begins.
    let first = format!("{:.0}; {:.0} resident", random.asked, random.resident);
    print(&[
        row("bytes an entry above path and value, put in at random", first),
        row("the same, put in order", format!("{:.0}", sorted.asked)),
    ]);
}
