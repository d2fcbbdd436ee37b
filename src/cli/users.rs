//! `users`: the users of the directories.

use super::Failure;
use crate::config::Config;

pub(super) fn list(_config: Config, _json: bool) -> Result<(), Failure> {
    Err(Failure::new("users list is not built yet"))
}

pub(super) fn show(_config: Config, _name: &str, _json: bool) -> Result<(), Failure> {
    Err(Failure::new("users show is not built yet"))
}
