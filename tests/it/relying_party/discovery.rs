//! Discovery: without the provider, with it, and with it gone again; the report for operators.

use vestibule::oidc::DiscoverySchedule;

use super::*;
use crate::support::lying_provider;

/// Polls until it holds.
async fn wait_for(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain for {what}");
}

#[tokio::test]
async fn lesson_15_a_provider_that_is_down_at_start_heals_without_a_restart() {
    let mut provider = LyingProvider::start().await;
    provider.stop();
    let mut journey = Journey::undiscovered(provider, |_| {});
    let party = Arc::clone(journey.party());
    let down = party.availability().unwrap_err();
    assert_eq!(down.reason, "it was not asked yet");
    let running = tokio::spawn(Arc::clone(&party).stay_discovered());
    wait_for("the first failure", || {
        party
            .availability()
            .is_err_and(|down| down.reason.contains("cannot be reached"))
    })
    .await;
    let request = AuthorizationRequest {
        return_to: "/wfgen",
        select_account: false,
        restarts: 0,
        binding: BINDING,
    };
    let url = party.authorization_url(&request, &journey.sealer, &SystemRandom, now());
    assert_eq!(url.unwrap_err().provider, "lying");
    assert_eq!(party.end_session_url(None, &SystemRandom), None);

    journey.provider.restart();
    wait_for("the provider to be discovered", || {
        party.availability().is_ok()
    })
    .await;
    journey.sign_in().await.unwrap();
    running.abort();
}

#[tokio::test]
async fn a_document_that_cannot_be_used_is_refused_and_named() {
    let provider = LyingProvider::start().await;
    let journey = Journey::undiscovered(provider, |_| {});
    let party = journey.party();
    for (lie, expected) in [
        (Lie::DiscoveryIssuer, "unexpected issuer URI"),
        (
            Lie::Discovery500,
            "/.well-known/openid-configuration answered 500",
        ),
        (Lie::DiscoveryGarbage, "/.well-known/openid-configuration"),
        (Lie::DiscoveryNoTokenEndpoint, "names no token_endpoint"),
        (Lie::Jwks500, "/jwks answered 500"),
        (Lie::JwksGarbage, "/jwks cannot be read"),
        (Lie::JwksEmpty, "no key that can be used"),
    ] {
        journey.provider.lie(lie);
        let down = party.discover_once().await.unwrap_err();
        assert!(down.reason.contains(expected), "{lie:?}: {down}");
        assert_eq!(party.availability(), Err(down));
    }
    journey.provider.be_honest();
    party.discover_once().await.unwrap();
    // From now on what was good stays.
    journey.provider.lie(Lie::DiscoveryIssuer);
    party.discover_once().await.unwrap_err();
    assert_eq!(party.availability(), Ok(()));
}

#[tokio::test]
async fn the_issuer_is_compared_to_the_letter() {
    let provider = LyingProvider::start().await;
    for spelling in ["/", "/x/.."] {
        let issuer = format!("{}{spelling}", provider.issuer());
        let config = config(&issuer, |_| {});
        let parties = RelyingParties::new(&config).unwrap();
        let party = parties.by_name("lying").unwrap();
        assert!(party.discover_once().await.is_err(), "{issuer}");
    }
}

#[tokio::test]
async fn the_last_good_answer_serves_while_the_provider_is_away_but_not_for_ever() {
    let mut journey = Journey::start().await;
    let schedule = DiscoverySchedule {
        first_retry: Duration::from_millis(20),
        longest_retry: Duration::from_millis(50),
        refresh: Duration::from_millis(100),
        stale: Duration::from_millis(1500),
    };
    let party = Arc::clone(journey.party());
    let running = tokio::spawn(Arc::clone(&party).stay_discovered_by(schedule));
    wait_for("a refresh", || journey.provider.requests().discovery >= 3).await;
    journey.provider.stop();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(party.availability(), Ok(()));
    wait_for("the answer to be too old", || party.availability().is_err()).await;
    journey.provider.restart();
    wait_for("the provider to come back", || party.availability().is_ok()).await;
    journey.sign_in().await.unwrap();
    running.abort();
}

#[tokio::test]
async fn retries_back_off() {
    let provider = LyingProvider::start().await;
    provider.lie(Lie::Discovery500);
    let journey = Journey::undiscovered(provider, |_| {});
    let running = tokio::spawn(Arc::clone(journey.party()).stay_discovered());
    tokio::time::sleep(Duration::from_millis(2500)).await;
    // At 0, 0.5, 1.5 and 3.5 s, give or take a quarter.
    let asked = journey.provider.requests().discovery;
    assert!((2..=4).contains(&asked), "{asked}");
    running.abort();
}

#[tokio::test]
async fn the_report_says_what_operators_compare() {
    let journey = Journey::with(|provider| {
        provider.algorithms = vec![IdTokenAlgorithm::ES256, IdTokenAlgorithm::PS512];
        provider.user_info = UserInfo::Always;
    })
    .await;
    let issuer = journey.provider.issuer().to_owned();
    let report = journey
        .party()
        .probe(&SystemRandom, &SystemClock)
        .await
        .unwrap();
    assert_eq!(report.issuer, issuer);
    assert_eq!(report.authorization_endpoint, format!("{issuer}/authorize"));
    assert_eq!(report.token_endpoint, Some(format!("{issuer}/token")));
    assert_eq!(report.userinfo_endpoint, Some(format!("{issuer}/userinfo")));
    assert_eq!(
        report.end_session_endpoint,
        Some(format!("{issuer}/end-session"))
    );
    assert_eq!(report.jwks_uri, format!("{issuer}/jwks"));
    assert_eq!(report.keys.len(), 1);
    assert_eq!(report.keys[0].id.as_deref(), Some("first"));
    assert_eq!(report.keys[0].kind, "RSA");
    assert_eq!(report.keys[0].algorithm.as_deref(), Some("RS256"));
    assert_eq!(report.announced_algorithms, ["RS256", "ES256", "EdDSA"]);
    assert_eq!(report.common_algorithms, ["ES256"]);
    assert_eq!(report.pkce_s256, Some(true));
    assert!(!report.user_info_lacks);
    assert!(
        (-2..=2).contains(&report.clock_ahead.unwrap()),
        "{report:?}"
    );

    struct Ahead;
    impl Clock for Ahead {
        fn now(&self) -> UnixSeconds {
            lying_provider::now() + 300
        }
    }
    journey.provider.set_metadata(json!({
        "code_challenge_methods_supported": ["plain"], "userinfo_endpoint": null,
        "end_session_endpoint": null,
    }));
    let report = journey.party().probe(&SystemRandom, &Ahead).await.unwrap();
    assert!((298..=302).contains(&report.clock_ahead.unwrap()));
    assert_eq!(report.pkce_s256, Some(false));
    assert!(report.user_info_lacks);
    assert_eq!(report.end_session_endpoint, None);
    // What is in use stays.
    assert!(
        journey
            .party()
            .end_session_url(None, &SystemRandom)
            .is_some()
    );
    journey
        .provider
        .set_metadata(json!({"code_challenge_methods_supported": null}));
    assert_eq!(
        journey
            .party()
            .probe(&SystemRandom, &SystemClock)
            .await
            .unwrap()
            .pkce_s256,
        None
    );
    journey.provider.lie(Lie::Discovery500);
    assert!(
        journey
            .party()
            .probe(&SystemRandom, &SystemClock)
            .await
            .is_err()
    );
}
