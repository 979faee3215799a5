//! `cargo bench --bench scenarios`: whole servers under load, each in a process of its own, with
//! one lean load generator for all of them. It measures the floors beside the broker and, with
//! `--peers`, the servers that a user would choose instead. `-- --help` lists the options;
//! `docs/performance.md` has the results.
//!
//! # Layout
//!
//! - `rows`: the scenarios, that is, what is measured; `scenario`, `goal`, `figures`: their parts
//! - `target`: the servers; `process`: starting them, and what /proc reports; `floor`: our own two
//!   floors
//! - `load`: the load generator; `dialect`: the protocol of each kind of server
//! - `args`, `report`: the options and the output

mod args;
mod dialect;
mod figures;
mod floor;
mod goal;
mod load;
mod process;
mod report;
mod rows;
mod scenario;
mod target;

use std::process::ExitCode;

use args::{Args, HELP};
use report::{Block, Row};

fn main() -> ExitCode {
    let ran = match std::env::args().nth(1).as_deref() {
        // The floors run as separate processes of this program.
        Some("--floor-a") => floor::a().map(|()| true).map_err(|error| error.to_string()),
        Some("--floor-b") => floor::b().map(|()| true).map_err(|error| error.to_string()),
        _ => Args::parse(std::env::args().skip(1)).map(|args| {
            args.map_or_else(
                || {
                    print!("{HELP}");
                    true
                },
                |args| run(&args),
            )
        }),
    };
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Runs everything that was requested. Returns whether all of it could be measured.
fn run(args: &Args) -> bool {
    let mut blocks = Vec::new();
    for target in args.targets.iter().filter(|target| !target.is_installed()) {
        let program = target.program().unwrap_or_default();
        eprintln!("{} is skipped: {program} is not installed", target.name());
    }
    let all = rows::all();
    let exact = |name: &String| all.iter().any(|scenario| scenario.name == *name);
    for scenario in &all {
        if !args.wants(&scenario.name, scenario.long, exact) {
            continue;
        }
        if args.list {
            println!("{}{}", scenario.name, if scenario.long { " (long)" } else { "" });
            continue;
        }
        let fitting = |target: &&target::Target| target.is_installed() && (scenario.fits)(**target);
        let mut rows: Vec<Row> =
            args.targets.iter().filter(fitting).map(|target| Row::new(*target)).collect();
        for round in 1..=args.rounds {
            for row in &mut rows {
                eprintln!("{} {} {round}/{}", scenario.name, row.target().name(), args.rounds);
                let figures = (scenario.measure)(args, row.target());
                row.add(figures);
            }
        }
        let block = Block::new(&scenario.name, &scenario.goals, rows, args.trial);
        block.print_json();
        blocks.push(block);
    }
    blocks.iter().for_each(Block::print_table);
    !blocks.iter().any(Block::failed)
}
