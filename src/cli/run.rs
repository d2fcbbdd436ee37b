//! `run`: serves requests until the process is told to stop.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::Failure;
use crate::config::Config;
use crate::server;
use crate::telemetry::log;

/// Threads of the control runtime: sign-ins wait for others more than they compute.
const CONTROL_THREADS: usize = 2;
/// Deep recursion happens on the control runtime only, and has room there.
const CONTROL_STACK: usize = 8 * 1024 * 1024;

pub(super) fn run(config: Config) -> Result<(), Failure> {
    log::start(&config.log).map_err(|fault| Failure {
        code: Failure::BAD_CONFIGURATION,
        ..Failure::new(fault.to_string()).hint("use error, warn, info, debug or trace")
    })?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = control_runtime()?;
    let (ready, _) = oneshot::channel();
    runtime.block_on(async {
        let stop = told_to_stop().map_err(Failure::from)?;
        server::serve(config, ready, stop).await.map_err(failure)
    })?;
    runtime.shutdown_background();
    Ok(())
}

/// The runtime that sign-ins, the store and the admin listener run on.
pub(crate) fn control_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_stack_size(CONTROL_STACK)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("the control runtime did not start: {error}")))
}

/// Resolves at SIGTERM or SIGINT.
pub(crate) fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// A start that failed, with what to do.
pub(crate) fn failure(fault: server::StartFault) -> Failure {
    let hint = match &fault {
        server::StartFault::Listen { .. } => {
            "is another process listening there, or is the port below 1024"
        }
        server::StartFault::Store(error) => error
            .hint()
            .unwrap_or("can this user write the file of store.url and its folder"),
        server::StartFault::Key(_) => "vestibule keys generate makes fitting keys",
        server::StartFault::Tls(_) => {
            "put certificate and key of one pair into the files of server.tls"
        }
        server::StartFault::Upstream(_) => "vestibule check --online tells how each server is",
        server::StartFault::Provider(_) | server::StartFault::Worker(_) => {
            "vestibule check --online tells more"
        }
    };
    Failure::new(fault.to_string()).hint(hint)
}
