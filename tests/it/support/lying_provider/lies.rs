//! What the lying provider can be told to lie about, and how an ID token is made honest or forged.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::keys::{EDWARDS, FIRST, FOREIGN, SigningKey};
use super::{CLIENT_ID, CLIENT_SECRET};

/// One lie. Whatever it does not name stays honest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    // The ID token's claims
    Issuer,
    IssuerArray,
    NoIssuer,
    Audience,
    NoAudience,
    ExtraAudience,
    Azp,
    AzpNumber,
    Expired,
    ExpiryText,
    NoExpiry,
    NoIssueTime,
    IssuedInFuture,
    NotBeforeInFuture,
    NoSubject,
    EmptySubject,
    NumberSubject,
    LongSubject,
    TwoSubjects,
    Nonce,
    NoNonce,
    PayloadArray,
    // The ID token's signature
    Signature,
    ForeignKey,
    UnknownKid,
    /// Another unknown `kid` each time.
    EndlessKids,
    AlgNone,
    Hs256ByClientSecret,
    Hs256ByPublicKey,
    CriticalHeader,
    LogoutTokenType,
    ChangedPayload,
    // The authorization response
    ResponseIssuer,
    NoResponseIssuer,
    TwoStates,
    TwoCodes,
    NoCode,
    AccessDenied,
    // The token endpoint
    Token500,
    Token429,
    TokenSlow,
    /// Honest after two seconds.
    TokenLate,
    /// Honest after six.
    TokenLater,
    TokenGarbage,
    TokenHtml,
    TokenInvalidGrant,
    TokenForgedError,
    TokenHuge,
    TokenRedirect,
    NoIdToken,
    AccessTokenWithLineBreak,
    AccessTokenNotAscii,
    // UserInfo
    UserInfoOtherSubject,
    UserInfoNoSubject,
    UserInfo500,
    UserInfo403,
    UserInfoArray,
    UserInfoForeignKey,
    UserInfoAudience,
    UserInfoIssuer,
    // Discovery
    DiscoveryIssuer,
    Discovery500,
    DiscoveryNoTokenEndpoint,
    DiscoveryGarbage,
    JwksGarbage,
    JwksEmpty,
    Jwks500,
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64
}

/// What an ID token is made from.
pub(crate) struct Draft<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) nonce: &'a str,
    pub(crate) lifetime: i64,
    /// Claims of the person; they replace the protocol's own of the same name.
    pub(crate) claims: &'a Map<String, Value>,
    pub(crate) key: &'a SigningKey,
    pub(crate) kid: &'a str,
    pub(crate) lie: Option<Lie>,
    /// Of the JOSE header.
    pub(crate) typ: &'a str,
}

impl Draft<'_> {
    pub(crate) fn token(&self) -> String {
        let mut header = json!({"alg": self.key.algorithm(), "kid": self.kid, "typ": self.typ});
        let payload = self.payload();
        match self.lie {
            Some(Lie::Signature) => {
                let honest = compact(&header, &payload, |input| self.key.sign(input));
                let (input, signature) = honest.rsplit_once('.').unwrap();
                let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
                signature[7] ^= 1;
                format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
            }
            Some(Lie::ChangedPayload) => {
                let honest = compact(&header, &payload, |input| self.key.sign(input));
                let parts: Vec<&str> = honest.split('.').collect();
                let changed = payload.replacen("person-1", "person-2", 1);
                let changed = URL_SAFE_NO_PAD.encode(changed);
                format!("{}.{changed}.{}", parts[0], parts[2])
            }
            Some(Lie::ForeignKey) => compact(&header, &payload, |input| FOREIGN.sign(input)),
            Some(Lie::UnknownKid) => {
                header["kid"] = "unknown".into();
                compact(&header, &payload, |input| FOREIGN.sign(input))
            }
            Some(Lie::EndlessKids) => {
                // The quickest of the keys: there may be thousands.
                let header = json!({"alg": "EdDSA", "kid": super::random_text()});
                compact(&header, &payload, |input| EDWARDS.sign(input))
            }
            Some(Lie::AlgNone) => compact(&json!({"alg": "none"}), &payload, |_| Vec::new()),
            Some(Lie::Hs256ByClientSecret) => {
                compact(&json!({"alg": "HS256"}), &payload, |input| {
                    hs256(CLIENT_SECRET.as_bytes(), input)
                })
            }
            Some(Lie::Hs256ByPublicKey) => {
                header["alg"] = "HS256".into();
                compact(&header, &payload, |input| {
                    hs256(&FIRST.public_bytes(), input)
                })
            }
            Some(Lie::CriticalHeader) => {
                header["crit"] = json!(["exp"]);
                compact(&header, &payload, |input| self.key.sign(input))
            }
            Some(Lie::LogoutTokenType) => {
                header["typ"] = "logout+jwt".into();
                compact(&header, &payload, |input| self.key.sign(input))
            }
            _ => compact(&header, &payload, |input| self.key.sign(input)),
        }
    }

    fn payload(&self) -> String {
        let now = now();
        let mut claims = json!({
            "iss": self.issuer,
            "sub": "person-1",
            "aud": CLIENT_ID,
            "exp": now + self.lifetime,
            "iat": now,
            "nonce": self.nonce,
        });
        if self.nonce.is_empty() {
            claims.as_object_mut().unwrap().remove("nonce");
        }
        for (name, value) in self.claims {
            claims[name] = value.clone();
        }
        let mut set = |name: &str, value: Value| claims[name] = value;
        match self.lie {
            Some(Lie::Issuer) => set("iss", "https://other.example".into()),
            Some(Lie::IssuerArray) => set("iss", json!([self.issuer])),
            Some(Lie::Audience) => set("aud", "other".into()),
            Some(Lie::ExtraAudience) => set("aud", json!([CLIENT_ID, "other"])),
            Some(Lie::Azp) => set("azp", "other".into()),
            Some(Lie::AzpNumber) => set("azp", 5.into()),
            Some(Lie::Expired) => set("exp", (now - 3600).into()),
            Some(Lie::ExpiryText) => set("exp", (now + 3600).to_string().into()),
            Some(Lie::IssuedInFuture) => set("iat", (now + 3600).into()),
            Some(Lie::NotBeforeInFuture) => set("nbf", (now + 3600).into()),
            Some(Lie::EmptySubject) => set("sub", "".into()),
            Some(Lie::NumberSubject) => set("sub", 5.into()),
            Some(Lie::LongSubject) => set("sub", "x".repeat(256).into()),
            Some(Lie::Nonce) => set("nonce", "other".into()),
            _ => {}
        }
        let absent = match self.lie {
            Some(Lie::NoIssuer) => "iss",
            Some(Lie::NoAudience) => "aud",
            Some(Lie::NoExpiry) => "exp",
            Some(Lie::NoIssueTime) => "iat",
            Some(Lie::NoSubject) => "sub",
            Some(Lie::NoNonce) => "nonce",
            _ => "",
        };
        claims.as_object_mut().unwrap().remove(absent);
        match self.lie {
            Some(Lie::TwoSubjects) => claims.to_string().replacen('{', r#"{"sub":"person-2","#, 1),
            Some(Lie::PayloadArray) => json!([claims]).to_string(),
            _ => claims.to_string(),
        }
    }
}

/// A JWT in its compact serialisation.
pub(crate) fn compact(
    header: &Value,
    payload: &str,
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> String {
    let encode = |text: &[u8]| URL_SAFE_NO_PAD.encode(text);
    let input = format!(
        "{}.{}",
        encode(header.to_string().as_bytes()),
        encode(payload.as_bytes())
    );
    let signature = sign(input.as_bytes());
    format!("{input}.{}", encode(&signature))
}

fn hs256(secret: &[u8], input: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::sign(&key, input).as_ref().to_vec()
}
