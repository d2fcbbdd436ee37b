//! UserInfo: asked when the configuration says so, joined without overriding, never another person's.

use super::*;

async fn asking(when: UserInfo) -> Journey {
    Journey::with(|provider| provider.user_info = when).await
}

#[tokio::test]
async fn it_is_asked_when_the_configuration_says_so() {
    let complete = json!({"preferred_username": "alice", "family_name": "Liddell"});
    for (when, sent, expected) in [
        (UserInfo::Never, json!({}), 0),
        (UserInfo::Always, complete.clone(), 1),
        (UserInfo::WhenMissing, complete.clone(), 0),
        (
            UserInfo::WhenMissing,
            json!({"preferred_username": "alice"}),
            1,
        ),
        (UserInfo::WhenMissing, json!({"family_name": "Liddell"}), 1),
        (
            UserInfo::WhenMissing,
            json!({"preferred_username": "alice", "family_name": null}),
            1,
        ),
        (
            UserInfo::WhenMissing,
            json!({"preferred_username": "", "family_name": "Liddell"}),
            1,
        ),
    ] {
        let journey = asking(when).await;
        journey.provider.set_claims(sent.clone());
        journey.sign_in().await.unwrap();
        assert_eq!(
            journey.provider.requests().user_info,
            expected,
            "{when:?} {sent}"
        );
        assert_eq!(journey.provider.complaints(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_email_as_username_asks_for_its_verification_too() {
    let journey = Journey::with(|provider| {
        provider.user_info = UserInfo::WhenMissing;
        provider.username_claim = "email".to_owned();
    })
    .await;
    journey
        .provider
        .set_claims(json!({"email": "a@example.com", "family_name": "Liddell"}));
    journey
        .provider
        .set_user_info(json!({"email_verified": true}));
    let tokens = journey.sign_in().await.unwrap();
    let copied = journey.session_claims(tokens.claims.set());
    assert_eq!(
        copied[&journey.config.session.username_claim],
        "a@example.com"
    );
}

#[tokio::test]
async fn a_mapping_of_email_to_username_asks_for_its_verification_too() {
    let journey = Journey::configured(|config| {
        config.providers[0].user_info = UserInfo::WhenMissing;
        let Connector::SelfProvisioning(directory) = &mut config.directories[0].connector else {
            unreachable!()
        };
        let username = directory.mapping.iter_mut();
        let username = username.filter(|(field, _)| *field == UserField::Username);
        username.for_each(|(_, rule)| rule.source = Source::Claims(vec!["email".to_owned()]));
    })
    .await;
    let complete = json!({"preferred_username": "a", "email": "a@example.com", "family_name": "A"});
    journey.provider.set_claims(complete);
    journey
        .provider
        .set_user_info(json!({"email_verified": true}));
    let tokens = journey.sign_in().await.unwrap();
    assert_eq!(tokens.claims.set()["email_verified"], true);
}

#[tokio::test]
async fn it_fills_gaps_and_overrides_nothing() {
    for signed in [false, true] {
        let journey = asking(UserInfo::Always).await;
        journey
            .provider
            .set_claims(json!({"name": "from the token", "email": "", "phone": null}));
        journey.provider.set_user_info(json!({
            "name": "from UserInfo", "email": "a@example.com", "phone": 5, "locale": {"odd": true},
            "azp": "evil", "sid": "evil", "exp": 1, "nonce": "evil", "nbf": 1,
        }));
        if signed {
            journey.provider.sign_user_info();
        }
        let tokens = journey.sign_in().await.unwrap();
        let set = tokens.claims.set();
        assert_eq!(set["name"], "from the token");
        assert_eq!(set["email"], "a@example.com");
        assert_eq!(set["phone"], 5);
        assert_eq!(set["locale"], json!({"odd": true}));
        assert_ne!(set["nonce"], "evil");
        for protocol in ["azp", "sid", "nbf"] {
            assert_eq!(set.get(protocol), None, "{protocol}");
        }
        assert!(tokens.claims.expires_at() > now());
    }
}

#[tokio::test]
async fn its_subject_is_the_id_tokens() {
    // Whatever claim identifies people here.
    let journey = Journey::with(|provider| {
        provider.user_info = UserInfo::Always;
        provider.subject_claim = "oid".to_owned();
    })
    .await;
    journey.provider.set_claims(json!({"oid": "stable"}));
    journey.sign_in().await.unwrap();
    for (lie, expected) in [
        (
            Lie::UserInfoOtherSubject,
            "UserInfo: `sub`: expected the ID token's, found another",
        ),
        (
            Lie::UserInfoNoSubject,
            "UserInfo: `sub`: expected the ID token's, found none",
        ),
        (
            Lie::UserInfoArray,
            "UserInfo: expected a JSON object of claims, found an array",
        ),
        (Lie::UserInfo403, "UserInfo: expected status 200, found 403"),
        (
            Lie::AccessTokenWithLineBreak,
            "expected an access token of visible ASCII",
        ),
        (
            Lie::AccessTokenNotAscii,
            "expected an access token of visible ASCII",
        ),
    ] {
        journey.provider.lie(lie);
        let reason = journey.refusal().await;
        assert!(reason.contains(expected), "{lie:?}: {reason}");
    }
}

#[tokio::test]
async fn a_signed_answer_is_the_providers_and_for_us() {
    let journey = asking(UserInfo::Always).await;
    journey.provider.sign_user_info();
    journey.sign_in().await.unwrap();
    for (lie, expected) in [
        (
            Lie::UserInfoForeignKey,
            "the signature was not made by a key of the provider",
        ),
        (Lie::UserInfoAudience, "UserInfo: `aud`: expected vestibule"),
        (
            Lie::UserInfoIssuer,
            "UserInfo: `iss`: expected http://127.0.0.1",
        ),
        (
            Lie::UserInfoOtherSubject,
            "UserInfo: `sub`: expected the ID token's, found another",
        ),
    ] {
        journey.provider.lie(lie);
        let reason = journey.refusal().await;
        assert!(reason.contains(expected), "{lie:?}: {reason}");
    }
}

#[tokio::test]
async fn without_its_answer_nobody_is_mapped() {
    let journey = asking(UserInfo::WhenMissing).await;
    journey.provider.lie(Lie::UserInfo500);
    match journey.token_fault().await {
        TokenFault::Down(down) => assert!(down.reason.contains("/userinfo answered 500"), "{down}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_provider_without_it_is_not_asked() {
    let provider = LyingProvider::start().await;
    provider.set_metadata(json!({"userinfo_endpoint": null}));
    let journey = Journey::undiscovered(provider, |provider| provider.user_info = UserInfo::Always);
    journey.party().discover_once().await.unwrap();
    journey.sign_in().await.unwrap();
    assert_eq!(journey.provider.requests().user_info, 0);
}
