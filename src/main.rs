//! The ringway binary: an allocator, and the commands of `cli`.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

// Per-thread heaps suit one thread per core; a library leaves this choice to whoever makes the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
