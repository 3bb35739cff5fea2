//! The `ringway` binary: the allocator, and the commands of `cli`.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

// Per-thread heaps suit one thread per core; the library leaves the choice of an allocator to the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
