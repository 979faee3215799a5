//! The `onetree` program: a broker, and the commands that talk to one.

mod cli;

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A tree of a million entries in huge pages, without a setting (docs/adr/0009-allocator.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
