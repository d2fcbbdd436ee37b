//! `run`: serves requests until the process is told to stop.

use super::Failure;
use crate::config::Config;

pub(super) fn run(_config: Config) -> Result<(), Failure> {
    Err(Failure::new("run is not built yet"))
}
