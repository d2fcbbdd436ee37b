//! `providers.issuer` and `providers.issuer_tenants`, which need each other.

use url::Url;

use super::address::{http_url, is_loopback};
use crate::config::file::Section;
use crate::config::value::Value;
use crate::config::{Issuer, PERSONAL_ACCOUNTS, TENANT_PLACE, is_tenant_id};

/// Hosts of Entra ID, and those of its version 1 issuers where they are another cloud's not too.
const CLOUDS: &[(&str, Option<&str>)] = &[
    ("login.microsoftonline.com", Some("sts.windows.net")),
    ("login.windows.net", Some("sts.windows.net")),
    ("sts.windows.net", Some("sts.windows.net")),
    ("login.microsoftonline.us", None),
    (
        "login.partner.microsoftonline.cn",
        Some("sts.chinacloudapi.cn"),
    ),
    ("sts.chinacloudapi.cn", Some("sts.chinacloudapi.cn")),
];

const WHERE_IDS_ARE: &str = "the overview page of each tenant shows its \"Tenant ID\"";

/// Both keys.
pub(super) fn issuer(section: &Section<'_>) -> Option<Issuer> {
    let written = section.get("issuer", written);
    let tenants = section.get("issuer_tenants", tenants);
    let (written, tenants) = (written?, tenants?);
    if written.contains(PERSONAL_ACCOUNTS) || tenants.iter().any(|id| id == PERSONAL_ACCOUNTS) {
        section.warn(
            "issuer",
            "whoever makes a personal Microsoft account signs in here; say in access.rules who comes in",
        );
    }
    match (written.contains(TENANT_PLACE), tenants.is_empty()) {
        (false, true) => Some(Issuer::one(written)),
        (true, false) => Some(Issuer::of_tenants(&written, tenants)),
        (true, true) => section.refuse(
            "issuer_tenants",
            "no tenant, beside an issuer with {tenantid}",
            "the ids of the tenants whose people may come in",
            &format!("add issuer_tenants = [\"…\"]; {WHERE_IDS_ARE}"),
        ),
        (false, false) => section.refuse(
            "issuer_tenants",
            "tenants, beside an issuer without {tenantid}",
            "an issuer with {tenantid} in the place of the tenant's id, or no tenants",
            &format!(
                "for one tenant leave issuer_tenants out; for several write issuer = {:?}",
                template("login.microsoftonline.com", true)
            ),
        ),
    }
}

fn template(host: &str, is_version_2: bool) -> String {
    let of_version_1 = CLOUDS.iter().find(|(known, _)| *known == host);
    match (is_version_2, of_version_1) {
        (false, Some((_, Some(host)))) => format!("https://{host}/{TENANT_PLACE}/"),
        _ => format!("https://{host}/{TENANT_PLACE}/v2.0"),
    }
}

/// The issuer to the letter, perhaps with one `{tenantid}`.
fn written(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let expected = r#"the issuer as the provider's discovery document says it, such as "https://login.example.com""#;
    let issuer = text.strip_suffix("/.well-known/openid-configuration");
    if let Some(hint) = hint_for_many_tenants(issuer.unwrap_or(text)) {
        let expected = "the issuer that tokens name, which tells the tenant";
        return value.refuse(expected, &hint);
    }
    if let Some(issuer) = issuer {
        let issuer = format!("leave out the discovery path: {issuer:?}");
        return value.refuse(expected, &issuer);
    }
    if text.contains(['{', '}']) {
        check_template(value, text)?;
    }
    let url = http_url(value, text, expected)?;
    if url.scheme() == "http" && !is_loopback(&url) {
        value.warn("whoever is on the way to the provider can sign in as anybody; use https");
    }
    Some(text.to_owned())
}

fn check_template(value: &Value<'_>, text: &str) -> Option<()> {
    let expected = format!(
        "{TENANT_PLACE} once, as one whole part of the path, such as {:?}",
        template("login.microsoftonline.com", true)
    );
    let address = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (host, path) = address.split_once('/').unwrap_or((address, ""));
    if host.contains(['{', '}']) {
        return value.refuse(expected, "whoever chose the host would choose the keys");
    }
    let braces = |part: &&str| part.contains(['{', '}']);
    let parts: Vec<&str> = path.split('/').filter(braces).collect();
    match parts.as_slice() {
        [TENANT_PLACE] => Some(()),
        [TENANT_PLACE, ..] if parts.iter().all(|part| *part == TENANT_PLACE) => {
            value.refuse(expected, "a token names one tenant")
        }
        _ => value.refuse(
            expected,
            "copy issuer from the discovery document; nothing else stands in braces",
        ),
    }
}

/// What to write in the place of a name for several tenants of Entra ID: no token has such an issuer.
fn hint_for_many_tenants(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let host = url.host_str()?;
    let mut path = url.path_segments()?;
    let name = path.next()?;
    let is_version_2 = path.next() == Some("v2.0");
    CLOUDS.iter().find(|(known, _)| *known == host)?;
    match name {
        "common" | "organizations" => Some(format!(
            "write issuer = {:?} and the ids of the tenants whose people may come in: issuer_tenants = [\"…\"]; {WHERE_IDS_ARE}",
            template(host, is_version_2)
        )),
        "consumers" => Some(format!(
            "personal accounts are a tenant of their own: issuer = \"https://{host}/{PERSONAL_ACCOUNTS}/v2.0\""
        )),
        _ => None,
    }
}

/// Ids of tenants, each once in whatever case; tokens have them in lower case.
fn tenants(value: &Value<'_>) -> Option<Vec<String>> {
    let mut seen: Vec<String> = Vec::new();
    value.items(|item| {
        let id = item.text()?.to_ascii_lowercase();
        let expected = "a tenant's id, such as \"aaaabbbb-0000-cccc-1111-dddd2222eeee\"";
        if !is_tenant_id(&id) {
            let hint = match id.as_str() {
                "common" | "organizations" => {
                    "name each tenant whose people may come in".to_owned()
                }
                "consumers" => {
                    format!("the tenant of personal accounts is \"{PERSONAL_ACCOUNTS}\"")
                }
                _ => format!("tokens name tenants by their ids, not by a domain; {WHERE_IDS_ARE}"),
            };
            return item.refuse(expected, &hint);
        }
        if seen.contains(&id) {
            return item.refuse("each tenant once", "remove the second one");
        }
        seen.push(id.clone());
        Some(id)
    })
}
