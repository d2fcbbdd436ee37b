//! `users push`: what receivers have still to be told of.

use std::io::{self, Write as _};

use super::{existing_store, named, not_written, store_failure, write_row};
use crate::cli::Failure;
use crate::config::Config;
use crate::environment::{Clock as _, SystemClock, rfc3339};
use crate::store::{Access, Push, PushState};

/// Pushes read at a time.
const PAGE: u32 = 500;
const WIDTHS: [usize; 6] = [30, 8, 20, 20, 8, 0];

/// Prints what waits and what was rejected, by username.
pub(super) async fn list(config: &Config) -> Result<(), Failure> {
    let store = existing_store(config, Access::Read).await?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let columns = [
        "USERNAME",
        "STATE",
        "SINCE",
        "NEXT TRY",
        "ATTEMPTS",
        "RECEIVER, LAST ANSWER",
    ];
    let mut written = write_row(&mut out, &columns, &WIDTHS);
    let (mut name, mut target) = (String::new(), String::new());
    while written.is_ok() {
        let page = store.undelivered_pushes((&name, &target), PAGE).await;
        let page = page.map_err(|fault| store_failure(&fault))?;
        let Some(last) = page.last() else {
            return out.flush().or_else(not_written);
        };
        (name, target) = (last.username.clone(), last.target.clone());
        written = page
            .iter()
            .try_for_each(|push| write_row(&mut out, &cells(push), &WIDTHS));
    }
    written.or_else(not_written)
}

fn cells(push: &Push) -> [String; 6] {
    let next = match push.state {
        PushState::Pending => rfc3339(push.due_at),
        _ => "-".to_owned(),
    };
    let answer = push.last_error.as_deref().unwrap_or("-");
    [
        push.username.clone(),
        push.state.as_str().to_owned(),
        rfc3339(push.pending_since),
        next,
        push.attempts.to_string(),
        format!("{}: {answer}", push.target),
    ]
}

/// Makes pushes due now, of one user or (no name) of all.
pub(super) async fn retry(config: &Config, name: &str) -> Result<(), Failure> {
    let store = existing_store(config, Access::Write).await?;
    let user = match name {
        "" => None,
        name => Some(named(&store, name).await?.id),
    };
    let due = store.retry_pushes(user.as_deref(), SystemClock.now()).await;
    let due = due.map_err(|fault| store_failure(&fault))?;
    writeln!(io::stdout(), "{due} pushes are due now").or_else(not_written)
}

/// Gives up what waits of a user.
pub(super) async fn discard(config: &Config, name: &str) -> Result<(), Failure> {
    let store = existing_store(config, Access::Write).await?;
    let user = named(&store, name).await?;
    let given_up = store.discard_pushes(&user.id).await;
    let given_up = given_up.map_err(|fault| store_failure(&fault))?;
    writeln!(
        io::stdout(),
        "{given_up} pushes are given up until the user changes"
    )
    .or_else(not_written)
}
