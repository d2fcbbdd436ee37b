//! `providers.issuer` with `providers.issuer_tenants`: who makes a provider's tokens. A type of its own, since an
//! issuer with `{tenantid}` is no token's `iss` and nobody's identity: whoever needs one has to say which.

/// What stands for a tenant's id in an issuer, as Entra ID writes it.
pub const TENANT_PLACE: &str = "{tenantid}";

/// The tenant of everybody with a personal Microsoft account.
pub const PERSONAL_ACCOUNTS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// Version 1 issuers of Entra ID, and where their document for all tenants is documented to be.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "https://sts.windows.net/{tenantid}/",
        "https://login.microsoftonline.com/common/",
    ),
    (
        "https://sts.chinacloudapi.cn/{tenantid}/",
        "https://login.partner.microsoftonline.cn/common/",
    ),
];

/// Who makes a provider's tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    written: String,
    tenants: Vec<Tenant>,
}

/// A tenant whose people may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// `tid` of its tokens: a GUID in lower case.
    pub id: String,
    /// `iss` of its tokens.
    pub issuer: String,
}

impl Issuer {
    /// That issuer alone.
    pub fn one(written: impl Into<String>) -> Self {
        Self {
            written: written.into(),
            tenants: Vec::new(),
        }
    }

    /// One for each tenant, whose id stands in the place of `{tenantid}`.
    pub fn of_tenants(template: &str, ids: impl IntoIterator<Item = String>) -> Self {
        let tenant = |id: String| Tenant {
            issuer: template.replace(TENANT_PLACE, &id),
            id,
        };
        Self {
            written: template.to_owned(),
            tenants: ids.into_iter().map(tenant).collect(),
        }
    }

    /// To the letter as the configuration and the discovery document have it; perhaps with `{tenantid}`.
    pub fn as_written(&self) -> &str {
        &self.written
    }

    /// The tenants that are accepted; empty where there is one issuer.
    pub fn tenants(&self) -> &[Tenant] {
        &self.tenants
    }

    /// Every `iss` that is accepted.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let one = self.tenants.is_empty().then_some(self.written.as_str());
        let of_tenants = self.tenants.iter().map(|it| it.issuer.as_str());
        one.into_iter().chain(of_tenants)
    }

    /// The `iss` of all tokens, where there is only one.
    pub fn only(&self) -> Option<&str> {
        let mut all = self.all();
        all.next().filter(|_| all.next().is_none())
    }

    /// Whether that `iss` is accepted.
    pub fn names(&self, issuer: &str) -> bool {
        self.all().any(|one| one == issuer)
    }

    /// The `iss` of a tenant's tokens, if the tenant is accepted.
    pub fn of_tenant(&self, id: &str) -> Option<&str> {
        let tenant = self.tenants.iter().find(|it| it.id == id);
        tenant.map(|it| it.issuer.as_str())
    }

    /// The tenant that an `iss` names, accepted or not.
    pub fn tenant_in<'i>(&self, issuer: &'i str) -> Option<&'i str> {
        tenant_in(&self.written, issuer)
    }

    /// The URL of the discovery document (OpenID Connect Discovery 1.0, 4). One for many tenants is at a name in
    /// their place: `organizations`, whose sign-in page takes work and school accounts, and `common` where personal
    /// accounts may come in too, or where a version 1 endpoint documents no other. That is on another host than
    /// version 1 issuers name.
    pub fn discovery_url(&self) -> String {
        let elsewhere = ELSEWHERE.iter().find(|(issuer, _)| *issuer == self.written);
        if let Some((_, base)) = elsewhere {
            return format!("{base}.well-known/openid-configuration");
        }
        let personal = self.of_tenant(PERSONAL_ACCOUNTS).is_some();
        let all = match self.written.ends_with("/v2.0") && !personal {
            true => "organizations",
            false => "common",
        };
        let base = self.written.replace(TENANT_PLACE, all);
        let slash = if base.ends_with('/') { "" } else { "/" };
        format!("{base}{slash}.well-known/openid-configuration")
    }
}

/// The tenant's id that stands in an issuer where the template has `{tenantid}`.
pub fn tenant_in<'i>(template: &str, issuer: &'i str) -> Option<&'i str> {
    let (before, behind) = template.split_once(TENANT_PLACE)?;
    let id = issuer.strip_prefix(before)?.strip_suffix(behind)?;
    is_tenant_id(id).then_some(id)
}

/// Whether that is a tenant's id as tokens have it: a GUID in lower case.
pub fn is_tenant_id(text: &str) -> bool {
    let hexadecimal = |c: u8| c.is_ascii_digit() || matches!(c, b'a'..=b'f');
    text.len() == 36
        && text.bytes().enumerate().all(|(place, c)| match place {
            8 | 13 | 18 | 23 => c == b'-',
            _ => hexadecimal(c),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "11111111-1111-1111-1111-11111111111a";
    const OTHER: &str = "22222222-2222-2222-2222-22222222222b";
    const V2: &str = "https://login.microsoftonline.com/{tenantid}/v2.0";

    #[test]
    fn an_issuer_is_one_or_one_for_each_tenant() {
        let one = Issuer::one("https://id.example");
        assert_eq!(one.only(), Some("https://id.example"));
        assert!(one.names("https://id.example") && !one.names("https://id.example/"));
        assert_eq!(one.tenant_in("https://id.example"), None);
        let two = Issuer::of_tenants(V2, [ONE.to_owned(), OTHER.to_owned()]);
        let of_one = format!("https://login.microsoftonline.com/{ONE}/v2.0");
        assert_eq!(two.of_tenant(ONE), Some(&*of_one));
        assert!(two.names(&of_one) && !two.names(V2));
        assert_eq!((two.only(), two.all().count()), (None, 2));
        assert_eq!(two.tenant_in(&of_one), Some(ONE));
        for other in [
            V2,
            "https://login.microsoftonline.com/common/v2.0",
            &format!("{of_one}/"),
            &format!("https://login.microsoftonline.com/{ONE}/x/v2.0"),
        ] {
            assert_eq!(two.tenant_in(other), None, "{other}");
        }
        let single = Issuer::of_tenants(V2, [ONE.to_owned()]);
        assert_eq!(single.only(), Some(&*of_one));
    }

    #[test]
    fn the_discovery_document_is_where_the_tenants_people_sign_in() {
        let at = |template: &str, ids: &[&str]| {
            let ids = ids.iter().map(|id| (*id).to_owned());
            Issuer::of_tenants(template, ids).discovery_url()
        };
        let login = "https://login.microsoftonline.com";
        let document = ".well-known/openid-configuration";
        assert_eq!(
            at(V2, &[ONE]),
            format!("{login}/organizations/v2.0/{document}")
        );
        assert_eq!(
            at(V2, &[ONE, PERSONAL_ACCOUNTS]),
            format!("{login}/common/v2.0/{document}")
        );
        assert_eq!(
            at("http://127.0.0.1:1/{tenantid}/", &[ONE]),
            format!("http://127.0.0.1:1/common/{document}")
        );
        assert_eq!(
            at("https://sts.windows.net/{tenantid}/", &[ONE]),
            format!("{login}/common/{document}")
        );
    }

    #[test]
    fn a_tenant_is_a_guid_in_lower_case() {
        assert!(is_tenant_id(ONE) && is_tenant_id(PERSONAL_ACCOUNTS));
        for other in [
            "",
            "common",
            "contoso.onmicrosoft.com",
            &ONE.to_uppercase(),
            &ONE.replace('-', "0"),
            &format!("{{{}", &ONE[1..]),
            &format!("{ONE}0"),
        ] {
            assert!(!is_tenant_id(other), "{other}");
        }
    }
}
