//! What belongs to https on the public side: `[server.tls]`, `server.hsts`, `server.redirect_listen`.

use std::net::SocketAddr;
use std::time::Duration;

use super::address;
use crate::config::file::Section;
use crate::config::value::Value;
use crate::config::{PublicUrl, Tls, TlsFile};

const SECOND: Duration = Duration::from_secs(1);
const LONGEST_HSTS: Duration = Duration::from_secs(3650 * 86_400);

/// `[server.tls]`: the files are there and belong together.
pub(super) fn tls(section: &Section<'_>) -> Option<Tls> {
    let path = |value: &Value<'_>| Some(value.document().resolve(&value.name_text()?));
    let (certificate, private_key) = (
        section.get("certificate", path),
        section.get("private_key", path),
    );
    let tls = Tls {
        certificate: certificate?,
        private_key: private_key?,
    };
    match tls.read().and_then(|files| tls.pair(&files)) {
        Ok(_) => Some(tls),
        Err(fault) => {
            let name = match fault.which {
                TlsFile::Certificate => "certificate",
                TlsFile::PrivateKey => "private_key",
            };
            let found = format!("{}: {}", fault.file.display(), fault.found);
            section.refuse(name, found, fault.expected, fault.hint)
        }
    }
}

/// `server.hsts`; `None` inside when it is off.
pub(super) fn hsts(value: &Value<'_>, public_url: Option<&PublicUrl>) -> Option<Option<Duration>> {
    if value.as_text() == Some("off") {
        return Some(None);
    }
    let duration = value.duration(SECOND..=LONGEST_HSTS)?;
    match public_url {
        Some(url) if !url.https => value.refuse(
            r#""off", since public_url is http"#,
            "browsers heed it over https alone (RFC 6797 7.2)",
        ),
        _ => Some(Some(duration)),
    }
}

/// `server.redirect_listen`.
pub(super) fn redirect_listen(
    value: &Value<'_>,
    public_url: Option<&PublicUrl>,
    listen: Option<&[SocketAddr]>,
) -> Option<Vec<SocketAddr>> {
    let addresses = value.set(|item| {
        let address = address::listen(item)?;
        match listen.is_some_and(|taken| taken.contains(&address)) && address.port() != 0 {
            true => item.refuse("an address other than those of listen", ""),
            false => Some(address),
        }
    })?;
    match public_url {
        Some(url) if !url.https && !addresses.is_empty() => value.refuse(
            "no addresses, since public_url is http",
            "there is no https to redirect to; make public_url https",
        ),
        _ => Some(addresses),
    }
}
