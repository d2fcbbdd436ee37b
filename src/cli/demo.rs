//! `demo`: the proxy between an OpenID provider and an application of its own, on loopback.

use std::io::{self, Write as _};
use std::path::Path;

use super::Failure;
use super::run::{self, control_runtime, told_to_stop};
use crate::demo::{self, Error};

/// Runs the demo until it is stopped; `once` signs one person in by itself, `print_config` prints the
/// configuration.
///
/// # Errors
/// What the demo could not do.
pub(super) fn demo(once: bool, print_config: bool) -> Result<(), Failure> {
    let mut out = io::stdout();
    if print_config {
        out.write_all(demo::proxy_toml().as_bytes())?;
        return Ok(());
    }
    let runtime = control_runtime()?;
    let done = runtime.block_on(async {
        match once {
            true => demo::once(&mut out).await,
            false => {
                let stop = told_to_stop().map_err(Error::Output)?;
                demo::run(&mut out, users_list, stop).await
            }
        }
    });
    runtime.shutdown_background();
    done.map_err(failure)
}

fn failure(error: Error) -> Failure {
    let hint = error.hint().map(str::to_owned);
    match error {
        Error::Start(fault) => run::failure(fault),
        Error::Configuration(_) => Failure {
            message: error.to_string(),
            hint,
            code: Failure::BAD_CONFIGURATION,
        },
        _ => Failure {
            message: error.to_string(),
            hint,
            code: 1,
        },
    }
}

/// The command that lists the demo's users, as this program was started.
fn users_list(proxy_toml: &Path) -> String {
    let program = match std::env::var_os("CARGO") {
        Some(_) if cfg!(debug_assertions) => "cargo run --".to_owned(),
        Some(_) => "cargo run --release --".to_owned(),
        None => std::env::args()
            .next()
            .unwrap_or_else(|| "vestibule".into()),
    };
    format!("{program} -c {} users list", proxy_toml.display())
}
