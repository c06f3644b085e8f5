//! The program: allocator, crypto provider, command line, exit code.

use std::process::ExitCode;

/// Under many small allocations from several threads it needs less CPU than the system's, and it
/// gives memory back after a burst.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    itwin_auth_proxy::cli::main()
}
