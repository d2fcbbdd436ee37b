//! The client assertion (OpenID Connect Core 9, RFC 7523 3): what is signed, and for whom.

use jsonwebtoken::{DecodingKey, Header, Validation};
use vestibule::config::ClientKey;

use super::*;

const NOW: UnixSeconds = 2_000_000_000;

fn signing(provider: &mut Provider, kind: &'static rcgen::SignatureAlgorithm) {
    let pem = rcgen::KeyPair::generate_for(kind).unwrap().serialize_pem();
    provider.client_secret = None;
    provider.client_authentication = ClientAuthentication::PrivateKeyJwt;
    provider.private_key = Some(ClientKey::read(pem.as_bytes()).unwrap());
}

/// What came with the last token request, its signature verified.
fn assertion(journey: &Journey) -> (Header, Value) {
    let sent = journey.provider.token_request();
    assert_eq!(sent.authorization, None);
    assert_eq!(sent.form["client_id"], CLIENT_ID);
    assert!(!sent.form.contains_key("client_secret"));
    assert_eq!(
        sent.form["client_assertion_type"],
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    let signed = &sent.form["client_assertion"];
    let header = jsonwebtoken::decode_header(signed).unwrap();
    let key = journey.config.providers[0].private_key.as_ref().unwrap();
    let mut validation = Validation::new(header.alg);
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_jwk(key.public()).unwrap();
    let claims = jsonwebtoken::decode::<Value>(signed, &key, &validation).unwrap();
    (header, claims.claims)
}

#[tokio::test]
async fn it_names_the_client_twice_and_the_token_endpoint_alone() {
    let journey = Journey::with(|it| signing(it, &rcgen::PKCS_ECDSA_P256_SHA256)).await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let response = journey.receive(&journey.callback_query().await).unwrap();
        // The ID token is long out of its time then; the request was made before.
        let late = journey.party().redeem(&response, &SystemRandom, NOW).await;
        assert!(matches!(late, Err(TokenFault::Invalid { .. })), "{late:?}");
        let (header, claims) = assertion(&journey);
        let key = journey.config.providers[0].private_key.as_ref().unwrap();
        assert_eq!(header.kid, key.public().common.key_id);
        let jti = claims["jti"].as_str().unwrap().to_owned();
        assert!(jti.len() >= 22, "{jti}");
        assert!(seen.insert(jti.clone()), "each is made once");
        let endpoint = format!("{}/token", journey.provider.issuer());
        let expected = json!({
            "iss": CLIENT_ID, "sub": CLIENT_ID, "aud": endpoint, "jti": jti,
            "iat": NOW, "nbf": NOW - 30, "exp": NOW + 60,
        });
        assert_eq!(claims, expected);
    }
    journey.sign_in().await.unwrap();
}

#[tokio::test]
async fn the_algorithm_is_one_that_the_provider_lists() {
    let listed = |list: Value| json!({ "token_endpoint_auth_signing_alg_values_supported": list });
    let journey = Journey::with(|it| signing(it, &rcgen::PKCS_RSA_SHA256)).await;
    for (metadata, expected) in [
        (json!({}), "RS256"),
        (listed(json!(["PS256", "RS256", "XX1"])), "RS256"),
        (listed(json!(["PS256", "ES256"])), "PS256"),
        // Nothing fits: the provider may know more than it says.
        (listed(json!(["ES256"])), "RS256"),
    ] {
        journey.provider.set_metadata(metadata.clone());
        journey.party().discover_once().await.unwrap();
        journey.sign_in().await.unwrap();
        let (header, _) = assertion(&journey);
        assert_eq!(format!("{:?}", header.alg), expected, "{metadata}");
    }
}

#[tokio::test]
async fn what_the_provider_does_not_list_is_said_before_and_after_it_refuses() {
    let journey = Journey::with(|it| {
        signing(it, &rcgen::PKCS_ECDSA_P256_SHA256);
        // The one thing that this provider looks at.
        it.client_id = "another".to_owned();
    })
    .await;
    for (metadata, expected) in [
        (
            json!({}),
            "it does not take our signature (private_key_jwt, ES256, kid ",
        ),
        (
            json!({"token_endpoint_auth_methods_supported": ["client_secret_basic", "tls\r\nforged"]}),
            "the provider does not list private_key_jwt for its token endpoint, but client_secret_basic, tls\u{fffd}\u{fffd}forged; set ",
        ),
        (
            json!({
                "token_endpoint_auth_methods_supported": ["private_key_jwt"],
                "token_endpoint_auth_signing_alg_values_supported": ["RS256"],
            }),
            "the provider takes client assertions signed by RS256, and private_key signs by ES256; make ",
        ),
    ] {
        journey.provider.set_metadata(metadata.clone());
        journey.party().discover_once().await.unwrap();
        let report = journey
            .party()
            .probe(&SystemRandom, &SystemClock)
            .await
            .unwrap();
        let reason = report.client_authentication.unwrap_err();
        assert!(reason.contains(expected), "{reason}");
        let response = journey.receive(&journey.callback_query().await).unwrap();
        let fault = journey.party().redeem(&response, &SystemRandom, now());
        match fault.await.unwrap_err() {
            TokenFault::ClientRefused { error, advice, .. } => {
                assert_eq!(error, "invalid_client");
                assert!(advice.starts_with(expected), "{advice}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn check_asks_the_token_endpoint_whether_it_knows_the_client() {
    let known = async |journey: &Journey| {
        let report = journey.party().probe(&SystemRandom, &SystemClock);
        report.await.unwrap().client_authentication
    };
    let journey = Journey::start().await;
    let expected = "client_secret_basic; the token endpoint refuses a made-up code (invalid_grant), and not this client";
    assert_eq!(known(&journey).await.unwrap(), expected);
    let sent = journey.provider.token_request().form;
    assert!(sent["code"].len() >= 43 && sent["code_verifier"].len() >= 43);
    let wrong = Journey::with(|it| it.client_secret = Some(Secret::new("wrong"))).await;
    let reason = known(&wrong).await.unwrap_err();
    let expected = "the token endpoint of provider lying refused this client: invalid_client; it does not take us for ";
    assert!(reason.starts_with(expected), "{reason}");
    // Some answer nothing useful to a code that they never gave: that is no fault of ours.
    let html = json!({"token_endpoint": format!("{}/nowhere", journey.provider.issuer())});
    journey.provider.set_metadata(html);
    let unknown = known(&journey).await.unwrap();
    assert!(unknown.contains("is not known: "), "{unknown}");
}

#[test]
fn a_client_without_its_key_does_not_start() {
    let config = config("http://127.0.0.1:1", |provider| {
        provider.client_authentication = ClientAuthentication::PrivateKeyJwt;
    });
    let fault = RelyingParties::new(&config).err().unwrap();
    assert!(fault.reason.starts_with("private_key"), "{fault}");
}
