//! The `vestibule` program: sets up what the whole process shares and hands over to the command line.

use std::process::ExitCode;

/// Many small allocations a request on several threads: what mimalloc is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // An error says that a provider is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    vestibule::cli::main()
}
