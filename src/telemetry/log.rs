//! The log: lines on standard error, as text or JSON. Never a token, a claim's value or a query.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config;

/// `log.level` is not a filter that tracing understands.
#[derive(Debug, thiserror::Error)]
#[error("log.level: expected a level or tracing directives, found {found:?}: {source}")]
pub struct FilterFault {
    found: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Starts writing the log of this process. A second start changes nothing.
///
/// # Errors
/// [`FilterFault`].
pub fn start(log: &config::Log) -> Result<(), FilterFault> {
    let fault = |source| FilterFault {
        found: log.level.clone(),
        source,
    };
    let filter = EnvFilter::builder().parse(&log.level).map_err(fault)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // Tests start several servers in one process; the first one's log serves all.
    let _ = match log.json {
        true => lines.json().flatten_event(true).try_init(),
        false => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
    Ok(())
}
