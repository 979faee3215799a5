//! `cargo bench --bench store`: what the disk costs, each figure beside a loop that only writes and
//! syncs, on the same disk in the same run. `-- --test` runs everything once, in seconds; `--
//! commits`, `start`, `readers` and `pauses` run only that part; `saving`, `trimming`, `compacting`
//! and `expiring` only that pause. ONETREE_BENCH_DIR: a directory on the disk to be measured.
//!
//! # Layout
//!
//! - [`commits`]: durable writes per second
//! - [`start`]: how long a start takes
//! - [`readers`]: `get` and deliveries beside writers
//! - [`pauses`]: the longest silence of a subscriber while the store does its housekeeping
//! - [`figures`], [`directory`], [`content`], [`program`], [`steady`]: what they share

mod commits;
mod content;
mod directory;
mod figures;
mod pauses;
mod program;
mod readers;
mod start;
mod steady;

/// The allocator of the program: see ADR 9.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let trial = arguments.iter().any(|argument| argument == "--test");
    let parts: Vec<&String> =
        arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| *wanted == part);
    if wanted("commits") {
        commits::run(trial);
    }
    if wanted("start") {
        start::run(trial);
    }
    if wanted("readers") {
        readers::run(trial);
    }
    for chore in pauses::CHORES {
        if wanted("pauses") || wanted(chore.word) {
            pauses::run(chore, trial);
        }
    }
}
