//! File descriptors: every connection takes one, and one more towards the application while a request
//! is answered. The system's default of 1024 is for interactive programs; a process may raise its own.

use std::fmt;

use rlimit::Resource;

use crate::config::Limits;

/// The store, the log, listeners, connections to providers.
const BESIDE_CONNECTIONS: u64 = 256;

/// The system grants fewer descriptors than `server.limits.connections` needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shortage {
    needed: u64,
    granted: u64,
    connections: usize,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            needed,
            granted,
            connections,
        } = self;
        write!(
            f,
            "server.limits.connections = {connections} may need {needed} open files, the system grants {granted} here: raise LimitNOFILE of the service (ulimit -n), or lower the limit"
        )
    }
}

/// Raises this process's limit to what may be needed.
pub(crate) fn raise(limits: &Limits) -> Result<(), Shortage> {
    let needed = 2 * limits.connections as u64 + BESIDE_CONNECTIONS;
    // A system that does not say its limits is asked for none.
    let Ok((soft, hard)) = Resource::NOFILE.get() else {
        return Ok(());
    };
    let wanted = needed.min(hard).max(soft);
    let granted = match wanted > soft && Resource::NOFILE.set(wanted, hard).is_err() {
        true => soft,
        false => wanted,
    };
    match granted >= needed {
        true => Ok(()),
        false => Err(Shortage {
            needed,
            granted,
            connections: limits.connections,
        }),
    }
}
