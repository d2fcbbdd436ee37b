//! `run`: serves requests until the process is told to stop.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::Failure;
use crate::config::Config;
use crate::server::{self, PassedSockets};
use crate::telemetry::log;

/// Threads of the control runtime: sign-ins wait for others more than they compute.
const CONTROL_THREADS: usize = 2;
/// How often the service manager hears that a start goes on, and how long it then has from there (systemd's own
/// patience is 90 s).
const STILL_STARTING: Duration = Duration::from_secs(5);
const MORE_TIME_MICROSECONDS: u32 = 60_000_000;
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
    runtime.block_on(serve(config))?;
    runtime.shutdown_background();
    Ok(())
}

/// Serves until the first signal, drains until the second; the service manager is told of both ends.
async fn serve(config: Config) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(Failure::from)?;
    let passed = PassedSockets::from_environment().map_err(failure)?;
    let (ready, listening) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let (cut, cut_short) = oneshot::channel::<()>();
    // Without the senders nobody serves any more.
    let (stopped, cut_short) = (async { drop(stopped.await) }, async {
        drop(cut_short.await)
    });
    let serving = server::serve(config, passed, ready, stopped, cut_short);
    let announcing = async {
        if !has_started(listening, &mut signals).await {
            return;
        }
        signals.next().await;
        tell(NotifyState::Stopping);
        let _ = stop.send(());
        signals.next().await;
        let _ = cut.send(());
        std::future::pending().await
    };
    tokio::select! {
        served = serving => served.map_err(failure),
        () = announcing => Ok(()),
    }
}

/// Waits for the listeners, and tells of them; `false` where the process was told to stop before. A file of many people
/// that is new is applied first, in transactions that a stop does not harm.
async fn has_started(
    mut listening: oneshot::Receiver<server::Listening>,
    signals: &mut Signals,
) -> bool {
    loop {
        tokio::select! {
            opened = &mut listening => {
                if opened.is_ok() {
                    tell(NotifyState::Ready);
                }
                return true;
            }
            () = signals.next() => return false,
            () = tokio::time::sleep(STILL_STARTING) => {
                tell(NotifyState::ExtendTimeoutUsec(MORE_TIME_MICROSECONDS));
            }
        }
    }
}

/// Tells the service manager, where there is one (sd_notify(3)).
fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
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

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Resolves at SIGTERM or SIGINT.
pub(crate) fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut signals = Signals::listen()?;
    Ok(async move { signals.next().await })
}

/// A start that failed, with what to do.
pub(crate) fn failure(fault: server::StartFault) -> Failure {
    let hint = match &fault {
        server::StartFault::Listen { source, .. } => not_listening(source.kind()),
        server::StartFault::Passed { .. } | server::StartFault::Unwanted { .. } => {
            "the .socket units of the service may have ListenStream= only, with FileDescriptorName=public or admin"
        }
        server::StartFault::OpenAdmin { .. } => {
            "let ListenStream= of the socket named admin be on 127.0.0.1, or set admin.token"
        }
        server::StartFault::Store(error) => error
            .hint()
            .unwrap_or("can this user write the file of store.url and its folder"),
        server::StartFault::Key(_) | server::StartFault::AssertionKey(_) => {
            "vestibule keys generate makes fitting keys"
        }
        server::StartFault::Tls(_) => {
            "put certificate and key of one pair into the files of server.tls"
        }
        server::StartFault::Upstream(_) => "vestibule check --online tells how each server is",
        server::StartFault::Provider(_)
        | server::StartFault::Receiver(_)
        | server::StartFault::Worker(_) => "vestibule check --online tells more",
    };
    Failure::new(fault.to_string()).hint(hint)
}

fn not_listening(kind: std::io::ErrorKind) -> &'static str {
    use std::io::ErrorKind;
    match kind {
        ErrorKind::AddrInUse => {
            "another installation or program listens there: end it, or change the address"
        }
        ErrorKind::AddrNotAvailable => {
            "this machine has no such address: name one of its own, or 0.0.0.0 or [::] for all"
        }
        ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege: use the socket unit, give CAP_NET_BIND_SERVICE, or take a higher port"
        }
        _ => "look at server.listen, server.redirect_listen and admin.listen",
    }
}
