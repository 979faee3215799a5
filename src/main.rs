//! The `onetree` program: the broker, and commands that connect to a broker.

mod cli;

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Places a tree of a million entries in huge pages without any setting of the system
/// (docs/adr/0009-allocator.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
