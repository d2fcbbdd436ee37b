//! Every fault of an ID token is refused; odd claims of an honest one are not.

use super::*;
use crate::support::lying_provider::{CURVE, EDWARDS};

/// Each lie, and what its refusal must name.
const LIES: &[(Lie, &str)] = &[
    (Lie::Issuer, "`iss`: expected `http://127.0.0.1"),
    (
        Lie::IssuerArray,
        "`iss`: expected a string that is not empty, found an array",
    ),
    (Lie::NoIssuer, "`iss`: expected, found none"),
    (
        Lie::Audience,
        "`aud`: must contain `vestibule` (found audiences: `other`)",
    ),
    (Lie::NoAudience, "`aud`: expected, found none"),
    (
        Lie::ExtraAudience,
        "`azp`: expected vestibule since `aud` names others too",
    ),
    (Lie::Azp, "`azp`: expected vestibule, found other"),
    (Lie::AzpNumber, "`azp`: expected a string, found a number"),
    (Lie::Expired, "`exp`: expected after 20"),
    (Lie::ExpiryText, "`exp`: expected a number, found a string"),
    (Lie::NoExpiry, "`exp`: expected, found none"),
    (Lie::NoIssueTime, "`iat`: expected, found none"),
    (Lie::IssuedInFuture, "`iat`: expected not after 20"),
    (Lie::NotBeforeInFuture, "`nbf`: expected not after 20"),
    (Lie::NoSubject, "`sub`: expected, found none"),
    (
        Lie::EmptySubject,
        "`sub`: expected a string that is not empty, found an empty string",
    ),
    (
        Lie::NumberSubject,
        "`sub`: expected a string that is not empty, found a number",
    ),
    (
        Lie::LongSubject,
        "`sub`: expected at most 255 characters, found 256",
    ),
    (Lie::TwoSubjects, "expected each claim once"),
    (
        Lie::Nonce,
        "`nonce`: expected this sign-in's, found another",
    ),
    (Lie::NoNonce, "`nonce`: expected, found none"),
    (
        Lie::PayloadArray,
        "expected a JSON object of claims, found an array",
    ),
    (
        Lie::Signature,
        "the signature was not made by a key of the provider",
    ),
    (
        Lie::ChangedPayload,
        "the signature was not made by a key of the provider",
    ),
    (
        Lie::ForeignKey,
        "the signature was not made by a key of the provider",
    ),
    (
        Lie::UnknownKid,
        "`kid`: expected one of the provider's 1 keys, found unknown",
    ),
    (
        Lie::AlgNone,
        "`alg`: expected one of RS256, ES256, EdDSA (`algorithms`), found none",
    ),
    (Lie::Hs256ByClientSecret, "`alg`: expected one of"),
    (Lie::Hs256ByPublicKey, "`alg`: expected one of"),
    (Lie::CriticalHeader, "`crit`: expected none"),
    (
        Lie::LogoutTokenType,
        "`typ`: expected JWT, found logout+jwt",
    ),
    (
        Lie::NoIdToken,
        "expected an ID token in the token response, found none",
    ),
];

#[tokio::test]
async fn every_lie_is_refused_and_says_which_check() {
    let journey = Journey::start().await;
    for (lie, expected) in LIES {
        journey.provider.lie(*lie);
        let reason = journey.refusal().await;
        assert!(reason.contains(expected), "{lie:?}: {reason}");
    }
    journey.provider.be_honest();
    journey.sign_in().await.unwrap();
    assert_eq!(journey.provider.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn standard_claims_of_another_type_break_no_sign_in() {
    let journey = Journey::start().await;
    let odd = json!({
        "name": 5, "family_name": ["x"], "locale": {}, "address": "x", "phone_number": 1, "acr": 1,
        "amr": "pwd", "auth_time": "1", "email_verified": "true", "updated_at": "2020-01-01T00:00:00Z",
        "picture": 7, "gender": [], "birthdate": null, "zoneinfo": false, "at_hash": 1, "sid": [],
        "name#fr": 1, "name#not a language!": {},
    });
    journey.provider.set_claims(odd.clone());
    let tokens = journey.sign_in().await.unwrap();
    for (name, value) in odd.as_object().unwrap() {
        assert_eq!(&tokens.claims.set()[name], value, "{name}");
    }
}

#[tokio::test]
async fn audiences_as_real_providers_shape_them() {
    let journey = Journey::start().await;
    for honest in [
        json!({"aud": [CLIENT_ID]}),
        json!({"aud": [CLIENT_ID, CLIENT_ID]}),
        json!({"aud": [CLIENT_ID], "azp": CLIENT_ID}),
        json!({"aud": [CLIENT_ID, "account"], "azp": CLIENT_ID}),
        json!({"azp": null}),
    ] {
        journey.provider.set_claims(honest);
        journey.sign_in().await.unwrap();
    }
    for foreign in [
        json!({"aud": []}),
        json!({"aud": [["vestibule"]]}),
        json!({"aud": ["account", "other"], "azp": CLIENT_ID}),
        json!({"aud": [CLIENT_ID, "account"], "azp": "account"}),
        json!({"aud": {"vestibule": true}}),
    ] {
        journey.provider.set_claims(foreign);
        assert!(journey.refusal().await.contains('`'));
    }
}

#[tokio::test]
async fn listed_algorithms_are_accepted_and_no_other() {
    let journey = Journey::start().await;
    for key in [&*CURVE, &*EDWARDS] {
        journey.provider.rotate_to(key, "next");
        journey.party().discover_once().await.unwrap();
        journey.sign_in().await.unwrap();
    }
    let narrow =
        Journey::with(|provider| provider.algorithms = vec![IdTokenAlgorithm::EdDSA]).await;
    let reason = narrow.refusal().await;
    assert!(
        reason.contains("expected one of EdDSA (`algorithms`), found RS256"),
        "{reason}"
    );
}

#[tokio::test]
async fn hs256_needs_to_be_listed_and_a_secret() {
    let listed = |provider: &mut Provider| provider.algorithms.push(IdTokenAlgorithm::HS256);
    let journey = Journey::with(listed).await;
    journey.provider.lie(Lie::Hs256ByClientSecret);
    journey.sign_in().await.unwrap();
    journey.provider.lie(Lie::Hs256ByPublicKey);
    let reason = journey.refusal().await;
    assert!(
        reason.contains("not made with the client secret"),
        "{reason}"
    );

    let public = Journey::with(|provider| {
        listed(provider);
        provider.client_secret = None;
        provider.client_authentication = ClientAuthentication::None;
    })
    .await;
    for lie in [Lie::Hs256ByClientSecret, Lie::Hs256ByPublicKey] {
        public.provider.lie(lie);
        let reason = public.refusal().await;
        assert!(reason.contains("HS256 needs a client secret"), "{reason}");
    }
}

#[tokio::test]
async fn clocks_may_differ_by_the_skew_and_no_more() {
    let journey = Journey::start().await;
    let redeem = async |ahead: i64| {
        let query = journey.callback_query().await;
        let response = journey.receive(&query).unwrap();
        journey
            .party()
            .redeem(&response, &SystemRandom, now() + ahead)
            .await
    };
    // The ID token lives an hour; `iat` is now.
    redeem(3600 + 20).await.unwrap();
    redeem(-20).await.unwrap();
    assert!(
        matches!(redeem(3600 + 40).await, Err(TokenFault::Invalid { reason, .. }) if reason.contains("`exp`"))
    );
    assert!(
        matches!(redeem(-40).await, Err(TokenFault::Invalid { reason, .. }) if reason.contains("`iat`"))
    );
    // Times that are no times, on both sides.
    assert!(redeem(i64::MAX / 2).await.is_err());
    for absurd in [
        json!({"exp": 1e300}),
        json!({"exp": -1}),
        json!({"iat": u64::MAX}),
        json!({"nbf": "0"}),
    ] {
        journey.provider.set_claims(absurd);
        let reason = journey.refusal().await;
        assert!(reason.contains('`'), "{reason}");
    }
    let fractions = json!({"exp": now() as f64 + 60.5, "iat": now() as f64 - 0.5});
    journey.provider.set_claims(fractions);
    journey.sign_in().await.unwrap();
}

#[tokio::test]
async fn another_claim_may_identify_people() {
    let journey = Journey::with(|provider| provider.subject_claim = "oid".to_owned()).await;
    journey.provider.set_claims(json!({"oid": "stable"}));
    let tokens = journey.sign_in().await.unwrap();
    assert_eq!(tokens.claims.subject(), "stable");
    assert_eq!(tokens.claims.set()["sub"], "person-1");
    for (sent, expected) in [
        (json!({}), "`oid`: expected, found none"),
        (json!({"oid": 5}), "found a number"),
        (json!({"oid": ""}), "found an empty string"),
        (json!({"oid": null}), "found null"),
        (
            json!({"oid": "é".repeat(256)}),
            "expected at most 255 characters, found 256",
        ),
    ] {
        journey.provider.set_claims(sent);
        let reason = journey.refusal().await;
        assert!(
            reason.contains("`oid`") && reason.contains(expected),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn lesson_27_ten_thousand_unknown_keys_make_one_fetch_an_interval() {
    let journey = Journey::start().await;
    let before = journey.provider.requests().jwks;
    journey.provider.lie(Lie::EndlessKids);
    let start = now();
    let redeem = async |at: UnixSeconds| {
        let response = journey.receive(&journey.callback_query().await).unwrap();
        match journey.party().redeem(&response, &SystemRandom, at).await {
            Err(TokenFault::Invalid { reason, .. } | TokenFault::UnknownKey { reason, .. }) => {
                assert!(reason.contains("`kid`"));
            }
            other => panic!("{other:?}"),
        }
    };
    for _ in 0..200 {
        futures_util::future::join_all((0..50).map(|_| redeem(start))).await;
    }
    assert_eq!(journey.provider.requests().token, 10_000);
    assert_eq!(journey.provider.requests().jwks, before + 1);
    redeem(start + 9).await;
    assert_eq!(journey.provider.requests().jwks, before + 1);
    redeem(start + 10).await;
    redeem(start + 11).await;
    assert_eq!(journey.provider.requests().jwks, before + 2);
    // The known key still serves meanwhile.
    journey.provider.be_honest();
    journey.sign_in().await.unwrap();
    assert_eq!(journey.provider.requests().jwks, before + 2);
}

#[tokio::test]
async fn a_genuine_rotation_heals_at_once() {
    let journey = Journey::start().await;
    journey.sign_in().await.unwrap();
    journey.provider.rotate();
    journey.sign_in().await.unwrap();
    assert_eq!(journey.provider.requests().jwks, 2);
    // Twenty sign-ins meet the next rotation at once; whoever waits uses what the first fetched.
    journey.provider.rotate_to(&CURVE, "third");
    let later = now() + 11;
    let redeem = async || {
        let response = journey.receive(&journey.callback_query().await).unwrap();
        journey
            .party()
            .redeem(&response, &SystemRandom, later)
            .await
            .unwrap();
    };
    futures_util::future::join_all((0..20).map(|_| redeem())).await;
    assert_eq!(journey.provider.requests().jwks, 3);
}

#[tokio::test]
async fn broken_keys_replace_no_good_ones() {
    let journey = Journey::start().await;
    let mut at = now();
    for lie in [Lie::JwksGarbage, Lie::JwksEmpty, Lie::Jwks500] {
        journey.provider.lie(lie);
        journey.provider.rotate();
        let response = journey.receive(&journey.callback_query().await).unwrap();
        at += 11;
        let fault = journey
            .party()
            .redeem(&response, &SystemRandom, at)
            .await
            .unwrap_err();
        // Not the person's fault: the key may well be the provider's.
        assert!(matches!(fault, TokenFault::UnknownKey { .. }), "{fault:?}");
        journey.provider.rotate_back();
        journey.sign_in().await.unwrap();
    }
    assert_eq!(journey.provider.requests().jwks, 4);
}
