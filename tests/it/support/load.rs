//! Load with a memory: every request that is not answered as it should be is told, with what happened.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::wire::Wire;

/// How a client of the load uses its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// Until the server says `Connection: close`.
    KeepAlive,
    /// Not at all.
    Never,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) answered: usize,
    pub(crate) faults: Vec<String>,
}

/// Sends GETs of `target` from half as many clients that reuse connections and half that do not, while
/// `meanwhile` runs.
pub(crate) fn during(
    address: SocketAddr,
    host: &str,
    target: &str,
    clients: usize,
    meanwhile: impl FnOnce(),
) -> Outcome {
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let faults = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (stop, answered, faults) = (&stop, &answered, &faults);
            let reuse = if client % 2 == 0 {
                Reuse::KeepAlive
            } else {
                Reuse::Never
            };
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(fault) = connection(address, host, target, reuse, stop, answered) {
                        faults.lock().unwrap().push(format!("{reuse:?}: {fault}"));
                    }
                }
            });
        }
        meanwhile();
        stop.store(true, Ordering::Relaxed);
    });
    Outcome {
        answered: answered.into_inner(),
        faults: faults.into_inner().unwrap(),
    }
}

fn connection(
    address: SocketAddr,
    host: &str,
    target: &str,
    reuse: Reuse,
    stop: &AtomicBool,
    answered: &AtomicUsize,
) -> Result<(), String> {
    let close = match reuse {
        Reuse::KeepAlive => "",
        Reuse::Never => "Connection: close\r\n",
    };
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{close}\r\n");
    let mut wire = Wire::connect(address).map_err(|fault| format!("connecting: {fault}"))?;
    for nth in 0.. {
        let told = |what: &str, fault: std::io::Error| format!("{what} request {nth}: {fault}");
        wire.send(&request)
            .map_err(|fault| told("sending", fault))?;
        let answer = wire
            .answer("GET")
            .map_err(|fault| told("waiting for", fault))?;
        if answer.status != 200 {
            return Err(format!("request {nth} got {}", answer.status));
        }
        answered.fetch_add(1, Ordering::Relaxed);
        if answer.header("connection") == Some("close") || stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}
