//! The demo's folder: the proxy.toml that it runs, the secrets that the file names, and the directory.
//!
//! Stands apart because it is all that the demo leaves behind, and what a second terminal works with.
//! Readable by its owner only; taken over only where an earlier demo made it; one demo at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::environment::{Random, random_text};

use super::Error;
use super::settings::{Addresses, Verbosity, issuer, proxy_toml};

/// Held while a demo runs, and the mark of a folder that a demo made.
const LOCK: &str = "demo.lock";

/// A folder that belongs to this run.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
    temporary: bool,
}

/// What was written for a run.
#[derive(Debug)]
pub(super) struct Written {
    /// The proxy's configuration.
    pub(super) proxy_toml: PathBuf,
    /// The client secret, which the provider must know too.
    pub(super) client_secret: String,
    /// Whether users of an earlier run were dropped: they belong to another issuer.
    pub(super) emptied: bool,
}

impl Folder {
    /// Makes the folder, or takes over what an earlier demo left.
    ///
    /// # Errors
    /// [`Error::ForeignFolder`], [`Error::Busy`], [`Error::File`].
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
            Err(error) => return Err(Error::file(path, error)),
            Ok(found) if !found.is_dir() => {
                return Err(Error::foreign(path, "something that is no folder"));
            }
            Ok(_) => require_own(path)?,
        }
        Self::lock(path, false)
    }

    /// A new folder among the system's temporary ones; it goes when this value does.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn temporary(random: &dyn Random) -> Result<Self, Error> {
        let name = format!("vestibule-demo-{}", random_text::<12>(random));
        let path = std::env::temp_dir().join(name);
        create(&path)?;
        Self::lock(&path, true)
    }

    fn lock(path: &Path, temporary: bool) -> Result<Self, Error> {
        let file = path.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&file)
            .map_err(|error| Error::file(&file, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Busy {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(Error::file(&file, error)),
        }
        // Only now is it sure that nobody else works here.
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(|error| Error::file(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
            temporary,
        })
    }

    /// The port of the provider in the run before, whose people the directory knows.
    pub(super) fn provider_port_before(&self) -> Option<u16> {
        let text = fs::read_to_string(self.path.join("proxy.toml")).ok()?;
        let line = text.lines().find(|line| line.starts_with("issuer = "))?;
        let (_, issuer) = line.split_once('"')?;
        let (issuer, _) = issuer.split_once('"')?;
        url::Url::parse(issuer).ok()?.port()
    }

    /// Writes secrets and configuration. The session's keys stay from run to run, so that a restart
    /// logs nobody out.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn write(
        &self,
        addresses: Addresses,
        verbosity: Verbosity,
        random: &dyn Random,
    ) -> Result<Written, Error> {
        let emptied = self
            .provider_port_before()
            .is_some_and(|port| port != addresses.provider)
            && self.drop_directory()?;
        let client_secret = random_text::<32>(random);
        self.put(".gitignore", "*\n")?;
        self.put("client_secret", &client_secret)?;
        for name in ["session_key", "sealing_key"] {
            let kept = fs::read(self.path.join(name)).is_ok_and(|secret| secret.len() >= 32);
            if !kept {
                self.put(name, &random_text::<48>(random))?;
            }
        }
        self.put("proxy.toml", &proxy_toml(addresses, verbosity))?;
        debug_assert_eq!(
            self.provider_port_before(),
            url::Url::parse(&issuer(addresses))
                .ok()
                .and_then(|url| url.port())
        );
        Ok(Written {
            proxy_toml: self.path.join("proxy.toml"),
            client_secret,
            emptied,
        })
    }

    /// Whether there was a directory to drop.
    fn drop_directory(&self) -> Result<bool, Error> {
        let mut dropped = false;
        for name in ["vestibule.db", "vestibule.db-wal", "vestibule.db-shm"] {
            let file = self.path.join(name);
            match fs::remove_file(&file) {
                Ok(()) => dropped = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::file(&file, error)),
            }
        }
        Ok(dropped)
    }

    /// Writes a file as a whole: who reads it sees the old or the new one.
    fn put(&self, name: &str, content: &str) -> Result<(), Error> {
        let file = self.path.join(name);
        let half = self.path.join(format!("{name}.new"));
        let write = || -> io::Result<()> {
            match fs::remove_file(&half) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut open = OpenOptions::new();
            let mut writer = open.create_new(true).write(true).mode(0o600).open(&half)?;
            writer.write_all(content.as_bytes())?;
            fs::rename(&half, &file)
        };
        write().map_err(|error| Error::file(&file, error))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            // What stays is a folder that only its owner can read, among temporary ones.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn create(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().mode(0o700).create(path);
    made.map_err(|error| Error::file(path, error))
}

fn require_own(path: &Path) -> Result<(), Error> {
    let mut entries = fs::read_dir(path).map_err(|error| Error::file(path, error))?;
    match entries.next().is_none() || path.join(LOCK).is_file() {
        true => Ok(()),
        false => Err(Error::foreign(path, "files that no demo made")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::settings::PREFERRED;
    use crate::environment::SystemRandom;

    fn write(folder: &Folder, provider: u16) -> Written {
        let addresses = Addresses {
            provider,
            ..PREFERRED
        };
        folder
            .write(addresses, Verbosity::Requests, &SystemRandom)
            .unwrap()
    }

    #[test]
    fn the_folder_is_private_and_reused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("vestibule-demo");
        let folder = Folder::open(&path).unwrap();
        assert_eq!(folder.provider_port_before(), None);
        let first = write(&folder, 8082);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("session_key")), 0o600);
        let key = fs::read(path.join("session_key")).unwrap();
        fs::write(path.join("vestibule.db"), "users").unwrap();
        drop(folder);

        let folder = Folder::open(&path).unwrap();
        let second = write(&folder, 8082);
        assert_eq!(fs::read(path.join("session_key")).unwrap(), key);
        assert_ne!(first.client_secret, second.client_secret);
        assert!(!second.emptied && path.join("vestibule.db").exists());

        let third = write(&folder, 8083);
        assert!(third.emptied && !path.join("vestibule.db").exists());
        assert_eq!(folder.provider_port_before(), Some(8083));
    }

    #[test]
    fn one_demo_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("vestibule-demo");
        let _folder = Folder::open(&path).unwrap();
        assert!(matches!(Folder::open(&path), Err(Error::Busy { .. })));
    }

    #[test]
    fn what_no_demo_made_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("vestibule-demo");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("proxy.toml"), "precious").unwrap();
        assert!(matches!(
            Folder::open(&path),
            Err(Error::ForeignFolder { .. })
        ));
        assert_eq!(fs::read(path.join("proxy.toml")).unwrap(), b"precious");

        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(
            Folder::open(&link),
            Err(Error::ForeignFolder { .. })
        ));
    }

    #[test]
    fn a_temporary_folder_goes() {
        let folder = Folder::temporary(&SystemRandom).unwrap();
        let path = folder.path.clone();
        write(&folder, 1);
        drop(folder);
        assert!(!path.exists());
    }
}
