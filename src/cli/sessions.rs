//! `sessions`: who is signed in, and signing people out, beside a running server: every node refuses what was ended
//! here within a second.

use std::io::{self, Write};

use serde_json::json;

use super::users::{existing_store, named, not_written, store_failure, write_row};
use super::{Failure, Sessions};
use crate::config::Config;
use crate::environment::{Clock as _, SystemClock, rfc3339};
use crate::store::{self, Access, ListedSession, Store};

/// Sessions read at a time.
const PAGE: u32 = 500;
const COLUMNS: [&str; 6] = [
    "SESSION",
    "USERNAME",
    "PROVIDER",
    "SIGNED IN",
    "ENDS",
    "LAST SEEN",
];
const WIDTHS: [usize; 6] = [22, 24, 12, 20, 20, 20];

/// Does what a subcommand asks for.
pub(super) fn run(config: &Config, command: Sessions) -> Result<(), Failure> {
    let runtime = super::run::control_runtime()?;
    runtime.block_on(async {
        match command {
            Sessions::List { user, json } => list(config, user.as_deref(), json).await,
            Sessions::End {
                user: Some(name), ..
            } => end_of(config, Some(&name)).await,
            Sessions::End { all: true, .. } => end_of(config, None).await,
            Sessions::End { ids, .. } => end(config, &ids).await,
        }
    })
}

async fn list(config: &Config, name: Option<&str>, json: bool) -> Result<(), Failure> {
    let store = existing_store(config, Access::Read).await?;
    let user = user_id(&store, name).await?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    match write_list(&mut out, &store, user.as_deref(), json).await? {
        Ok(()) => Ok(()),
        Err(fault) => not_written(fault),
    }
}

/// The outer result is the store's, the inner one that of writing.
async fn write_list(
    out: &mut impl Write,
    store: &Store,
    user: Option<&str>,
    json: bool,
) -> Result<io::Result<()>, Failure> {
    let (now, mut after, mut first) = (SystemClock.now(), String::new(), true);
    loop {
        let page = store.sessions(user, &after, PAGE, now).await;
        let page = page.map_err(|fault| store_failure(&fault))?;
        let written = match json {
            true => write_json(out, &page, first),
            false => write_table(out, &page, first),
        };
        if written.is_err() {
            return Ok(written);
        }
        first &= page.is_empty();
        match page.last() {
            Some(last) if page.len() == PAGE as usize => after.clone_from(&last.sid),
            _ => break,
        }
    }
    Ok(match (json, first) {
        (true, true) => writeln!(out, "[]"),
        (true, false) => writeln!(out, "\n]"),
        (false, _) => Ok(()),
    }
    .and_then(|()| out.flush()))
}

fn write_json(out: &mut impl Write, page: &[ListedSession], first: bool) -> io::Result<()> {
    for (index, session) in page.iter().enumerate() {
        let separator = if first && index == 0 { "[\n" } else { ",\n" };
        let seen_at = (session.seen_at > 0).then(|| rfc3339(session.seen_at));
        let shown = json!({
            "sid": session.sid,
            "username": session.username,
            "provider": session.provider,
            "created_at": rfc3339(session.created_at),
            "expires_at": rfc3339(session.expires_at),
            "renewable": session.renewable,
            "seen_at": seen_at,
        });
        write!(out, "{separator}{shown}")?;
    }
    Ok(())
}

fn write_table(out: &mut impl Write, page: &[ListedSession], first: bool) -> io::Result<()> {
    if first {
        write_row(out, &COLUMNS, &WIDTHS)?;
    }
    page.iter().try_for_each(|session| {
        let seen_at = match session.seen_at {
            0 => "-".to_owned(),
            at => rfc3339(at),
        };
        let cells = [
            session.sid.clone(),
            session.username.clone(),
            session.provider.clone(),
            rfc3339(session.created_at),
            rfc3339(session.expires_at),
            seen_at,
        ];
        write_row(out, &cells, &WIDTHS)
    })
}

async fn end(config: &Config, ids: &[String]) -> Result<(), Failure> {
    let store = existing_store(config, Access::Write).await?;
    for sid in ids {
        let found = store.session(sid).await;
        let found = found.map_err(|fault| store_failure(&fault))?;
        if found.is_none_or(|session| session.ended) {
            return Err(Failure::new(format!("no live session has the id {sid:?}"))
                .hint("vestibule sessions list shows those that are live; sessions named before this one have ended"));
        }
        let ended = store.end_session(sid, SystemClock.now()).await;
        ended.map_err(|fault| store_failure(&fault))?;
    }
    told(ids.len() as u64)
}

async fn end_of(config: &Config, name: Option<&str>) -> Result<(), Failure> {
    let store = existing_store(config, Access::Write).await?;
    let ended = match user_id(&store, name).await? {
        Some(user) => store.end_sessions_of(&user, SystemClock.now()).await,
        None => end_all(&store).await,
    };
    told(ended.map_err(|fault| store_failure(&fault))?)
}

/// Whoever signs in meanwhile may stay.
async fn end_all(store: &Store) -> Result<u64, store::Error> {
    let (now, mut after, mut ended) = (SystemClock.now(), String::new(), 0);
    while let Some((last, sessions)) = store.end_sessions_behind(&after, PAGE, now).await? {
        (after, ended) = (last, ended + sessions);
    }
    Ok(ended)
}

fn told(ended: u64) -> Result<(), Failure> {
    let sessions = match ended {
        1 => "1 session".to_owned(),
        many => format!("{many} sessions"),
    };
    writeln!(io::stdout(), "ended {sessions}").or_else(not_written)
}

async fn user_id(store: &Store, name: Option<&str>) -> Result<Option<String>, Failure> {
    match name {
        Some(name) => Ok(Some(named(store, name).await?.id)),
        None => Ok(None),
    }
}
