//! Which processes belong together: those with one store. SO_REUSEPORT lets a second process listen on
//! a port that is taken, which a restart without a gap needs, and which would otherwise share traffic
//! between strangers; so a port that another installation has is refused as without it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::StorePlace;

/// This process's share in its installation; it ends with the process, however that ends.
#[derive(Debug)]
pub(super) struct Installation {
    /// No other process of this installation ran when this one started.
    pub(super) alone: bool,
    _shared: Option<File>,
}

impl Installation {
    /// Joins the processes with this store. Where files cannot be locked every process is alone.
    pub(super) fn join(store: &StorePlace) -> Self {
        let path = lock_file(store);
        match join(&path) {
            Ok((alone, file)) => Self {
                alone,
                _shared: Some(file),
            },
            Err(error) => {
                tracing::debug!(%error, path = %path.display(), "cannot be locked");
                Self {
                    alone: true,
                    _shared: None,
                }
            }
        }
    }
}

/// Beside the SQLite file. A database on a server has no place on this machine: there its url names the file, so
/// that nodes with one database are strangers only where they are on two machines, and share no port.
fn lock_file(store: &StorePlace) -> PathBuf {
    match store {
        StorePlace::Sqlite(file) => {
            let mut path = OsString::from(file);
            path.push("-running");
            path.into()
        }
        StorePlace::Postgres { url, .. } => {
            let digest = digest(&SHA256, url.as_str().as_bytes());
            let name = URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16]);
            std::env::temp_dir().join(format!("vestibule-{name}-running"))
        }
    }
}

fn join(path: &Path) -> io::Result<(bool, File)> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    let alone = match file.try_lock() {
        Ok(()) => {
            file.unlock()?;
            true
        }
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(error)) => return Err(error),
    };
    // Nobody holds it alone for longer than the lines above take.
    file.lock_shared()?;
    Ok((alone, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_with_one_store_know_of_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| StorePlace::Sqlite(folder.path().join(name));
        let (one, other) = (place("a.db"), place("b.db"));
        let first = Installation::join(&one);
        assert!(first.alone);
        assert!(Installation::join(&other).alone);
        let second = Installation::join(&one);
        assert!(!second.alone);
        drop(first);
        assert!(!Installation::join(&one).alone);
        drop(second);
        assert!(Installation::join(&one).alone);
    }
}
