//! Secrets and PEM files: read when the configuration is, so that a missing one stops the start and
//! not the first sign-in.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::config::Secret;
use crate::config::value::Value;

/// Larger files are no secret and no PEM: somebody named the wrong file.
const MAX_FILE: u64 = 1 << 20;

/// `{ file = "PATH" }` or `{ env = "NAME" }`, read; never empty.
pub(super) fn secret(value: &Value<'_>) -> Option<Secret> {
    let Some(entries) = value.as_entries() else {
        return value.refuse(
            EXPECTED,
            "secrets are never written in this file: put it into a file of its own",
        );
    };
    match entries.as_slice() {
        [("file", path)] => from_file(path),
        [("env", name)] => from_environment(name),
        _ => {
            let names: Vec<&str> = entries.iter().map(|(name, _)| *name).collect();
            let found = format!("a table with {names:?}");
            value.refuse_found(found, EXPECTED, "give exactly one of the two")
        }
    }
}

const EXPECTED: &str = r#"{ file = "PATH" } or { env = "NAME" }"#;

fn from_environment(name: &Value<'_>) -> Option<Secret> {
    let variable = name.name_text()?;
    let hint = "set the variable in the environment of the process";
    let expected = "an environment variable that holds the secret";
    match std::env::var_os(&variable).map(|value| value.into_encoded_bytes()) {
        Some(bytes) if !bytes.is_empty() => Some(Secret::new(bytes)),
        Some(_) => name.refuse_found(format!("an empty variable {variable}"), expected, hint),
        None => name.refuse_found(format!("no variable {variable}"), expected, hint),
    }
}

fn from_file(value: &Value<'_>) -> Option<Secret> {
    let path = value.document().resolve(&value.name_text()?);
    let mut bytes = read(value, &path)?;
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        let found = format!("an empty file {}", path.display());
        return value.refuse_found(found, "a file that holds the secret", "");
    }
    if readable_by_all(&path) {
        value.warn(&format!(
            "{} can be read by every user of this machine; chmod o-rwx it",
            path.display()
        ));
    }
    Some(Secret::new(bytes))
}

/// Certificates in PEM; `""` is none.
pub(super) fn authority(value: &Value<'_>) -> Option<Option<Vec<u8>>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let name = value.text()?;
    if name.is_empty() {
        return Some(None);
    }
    let path = value.document().resolve(name);
    let bytes = read(value, &path)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes).filter(|one| one.is_ok());
    if certificates.count() == 0 {
        let found = format!("no certificate in {}", path.display());
        let hint = "the file has lines -----BEGIN CERTIFICATE-----; convert DER with openssl x509";
        return value.refuse_found(found, "a PEM file with at least one certificate", hint);
    }
    Some(Some(bytes))
}

fn read(value: &Value<'_>, path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let result = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    match result {
        Err(error) => value.refuse_found(
            format!("{}: {error}", path.display()),
            "a readable file",
            "relative paths start from the configuration file's folder",
        ),
        Ok(_) if bytes.len() as u64 > MAX_FILE => value.refuse_found(
            format!("{}: more than 1 MiB", path.display()),
            "a file of at most 1 MiB",
            "",
        ),
        Ok(_) => Some(bytes),
    }
}

#[cfg(unix)]
fn readable_by_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn readable_by_all(_path: &Path) -> bool {
    false
}

impl crate::config::document::Document<'_> {
    /// A path of the file, resolved against its folder.
    pub(in crate::config) fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }
}
