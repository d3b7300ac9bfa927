//! The one binary: `refloat`, which also answers as `velero` and as a plugin of kubectl.

use std::{process::ExitCode, time::Duration};

/// Gives memory back sooner and wastes less of it than the system's allocator, with many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refloat_cli::exit::failed(&error.into()),
    };
    let code = runtime.block_on(refloat_cli::run(std::env::args_os().collect()));
    runtime.shutdown_timeout(Duration::from_millis(200));
    code
}
