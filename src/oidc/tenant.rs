//! Which of a provider's issuers made a token, where it has one for each tenant (`{tenantid}` of Entra ID's
//! discovery documents for many tenants).
//!
//! Apart from the checks of `iss` (OpenID Connect Core 3.1.3.7, step 2), which stay as they are for one issuer: here
//! is only said which one that is. `tid` tells it before anything is verified, the token is verified as that issuer's
//! alone, and what was verified is asked once more.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::signature::{NOT_COMPACT, Signed, claim_set};
use super::wording::{cleaned, kind};
use super::{ClaimSet, RelyingParties, RelyingParty, TokenFault};
use crate::config::{self, is_tenant_id};
use crate::environment::UnixSeconds;

/// Entra ID's claim for the tenant.
const TENANT: &str = "tid";

/// Why no issuer of a provider can have made a token. Expected and found; a tenant's id is in `iss` too, and is named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantFault {
    /// Its tenant is none of `issuer_tenants`.
    #[error("{0}")]
    NotAccepted(String),
    /// `tid` is absent or no tenant's id, or `iss` is another tenant's.
    #[error("{0}")]
    Invalid(String),
}

/// The issuer that a token of `provider` with these claims has: the only one, or the one of its tenant.
///
/// # Errors
/// [`TenantFault`].
pub fn issuer_of<'p>(
    provider: &'p config::Provider,
    claims: &ClaimSet,
) -> Result<&'p str, TenantFault> {
    if provider.issuer.tenants().is_empty() {
        return Ok(provider.issuer.as_written());
    }
    let expected = format!("`{TENANT}`: expected a tenant of `issuer_tenants`, found");
    let id = match claims.get(TENANT) {
        Some(Value::String(id)) if is_tenant_id(id) => id,
        other => {
            let found = match other {
                Some(Value::String(_)) => "no tenant's id",
                Some(other) => kind(other),
                None => "none",
            };
            return Err(TenantFault::Invalid(format!("{expected} {found}")));
        }
    };
    let issuer = provider.issuer.of_tenant(id);
    let issuer = issuer
        .ok_or_else(|| TenantFault::NotAccepted(format!("{expected} {}", not_accepted(id))))?;
    match claims.get("iss") {
        Some(Value::String(found)) if found != issuer => Err(TenantFault::Invalid(format!(
            "`iss`: expected {issuer}, since `{TENANT}` is that tenant's, found {}",
            cleaned(found)
        ))),
        _ => Ok(issuer),
    }
}

/// Whether claims name a tenant.
pub(super) fn is_named(claims: &ClaimSet) -> bool {
    claims.contains_key(TENANT)
}

fn not_accepted(id: &str) -> String {
    format!("{id}: if its people may come in, add it there")
}

impl RelyingParties {
    /// Why an `iss` is no provider's of ours, if it is that of a tenant which is not accepted.
    pub(super) fn not_accepted(&self, issuer: &str) -> Option<String> {
        self.iter().find_map(|party| {
            let id = party.config().issuer.tenant_in(issuer)?;
            Some(format!(
                "`iss`: expected a tenant of `issuer_tenants` of provider {}, found {}",
                party.name(),
                not_accepted(id)
            ))
        })
    }
}

impl RelyingParty {
    /// Verifies a JWT as one of the issuer that its tenant has; gives that issuer too.
    pub(super) async fn verify_of_tenant(
        &self,
        jwt: &str,
        types: &[&str],
        now: UnixSeconds,
    ) -> Result<(Signed, &str), TokenFault> {
        let issuer = self
            .unverified_issuer(jwt)
            .map_err(|fault| self.tenant_fault(fault))?;
        let signed = self.verify_typed(jwt, types, issuer, now).await?;
        match issuer_of(&self.provider, &signed.payload) {
            Ok(verified) if verified == issuer => Ok((signed, issuer)),
            Ok(_) => Err(self.invalid("`tid`: expected the one that was verified, found another")),
            Err(fault) => Err(self.tenant_fault(fault)),
        }
    }

    pub(super) fn tenant_fault(&self, fault: TenantFault) -> TokenFault {
        match fault {
            TenantFault::NotAccepted(reason) => TokenFault::OtherTenant {
                provider: self.name().to_owned(),
                reason,
            },
            TenantFault::Invalid(reason) => self.invalid(reason),
        }
    }

    fn unverified_issuer(&self, jwt: &str) -> Result<&str, TenantFault> {
        if self.provider.issuer.tenants().is_empty() {
            return Ok(self.provider.issuer.as_written());
        }
        let payload = jwt.split('.').nth(1);
        let payload = payload.and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let claims = payload
            .ok_or_else(|| NOT_COMPACT.to_owned())
            .and_then(|json| claim_set(&json))
            .map_err(TenantFault::Invalid)?;
        issuer_of(&self.provider, &claims)
    }

    /// Whether the authorization response may name that issuer (RFC 9207 2.4). Its tenant is not known yet: the ID
    /// token tells it, and is then held against this.
    pub(super) fn may_be_named(&self, issuer: &str) -> bool {
        let known = &self.provider.issuer;
        issuer == known.as_written() || known.tenant_in(issuer).is_some()
    }

    /// Holds the `iss` of the authorization response against the ID token's.
    pub(super) fn check_named(&self, named: Option<&str>, issuer: &str) -> Result<(), TokenFault> {
        let written = self.provider.issuer.as_written();
        match named.is_none_or(|named| named == issuer || named == written) {
            true => Ok(()),
            false => Err(self.invalid(format!(
                "`iss`: expected {issuer} in the authorization response as in the ID token, found another tenant's"
            ))),
        }
    }
}
