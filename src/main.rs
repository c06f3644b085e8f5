//! The program: allocator, crypto provider, command line, exit code.

use std::process::ExitCode;

/// Under many small allocations from several threads it needs less CPU than the system's, and it
/// gives memory back after a burst.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The allocator's settings, read before the first allocation. hyper reads into a buffer of 8 KiB
/// that it can seldom use twice, so each request takes and gives back two of them: with room for
/// 200 in a thread's cache, as there is for smaller sizes, that costs 40 ns instead of a
/// microsecond. What is not used for a second goes back to the system, also when nobody allocates:
/// a thread of the allocator's sees to it, which `cli` starts when it may.
#[expect(
    unsafe_code,
    reason = "the name under which the allocator looks for it"
)]
#[unsafe(export_name = "_rjem_malloc_conf")]
static SETTINGS: &[u8; 89] =
    b"tcache_nslots_small_min:200,dirty_decay_ms:1000,muzzy_decay_ms:0,background_thread:false\0";

fn main() -> ExitCode {
    itwin_auth_proxy::cli::main()
}
