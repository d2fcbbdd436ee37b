//! `explain`: what a sign-in with given claims would do.

use std::path::Path;

use super::Failure;
use crate::config::Config;

pub(super) fn explain(
    _config: Config,
    _claims: &Path,
    _provider: Option<&str>,
    _json: bool,
) -> Result<(), Failure> {
    Err(Failure::new("explain is not built yet"))
}
