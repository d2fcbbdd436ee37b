//! The token request: what goes out, and what may come back.

use std::time::Instant;

use super::*;

#[tokio::test]
async fn the_client_authenticates_as_configured() {
    use base64::Engine as _;
    let basic = Journey::start().await;
    basic.sign_in().await.unwrap();
    let sent = basic.provider.token_request();
    let header = sent.authorization.unwrap();
    let pair = header.strip_prefix("Basic ").unwrap();
    let pair = base64::engine::general_purpose::STANDARD
        .decode(pair)
        .unwrap();
    let pair = String::from_utf8(pair).unwrap();
    assert_eq!(pair, "vestibule:a+secret%2Bof%7E32+characters%3A+at+least");
    assert!(!sent.form.contains_key("client_secret"));
    assert_eq!(
        sent.form["redirect_uri"],
        "https://workflow.example.com/wfgen/auth/callback"
    );

    let post = Journey::with(|provider| {
        provider.client_authentication = ClientAuthentication::Post;
    })
    .await;
    post.sign_in().await.unwrap();
    let sent = post.provider.token_request();
    assert_eq!(sent.authorization, None);
    assert_eq!(sent.form["client_id"], CLIENT_ID);
    assert_eq!(sent.form["client_secret"], CLIENT_SECRET);

    let public = Journey::with(|provider| {
        provider.client_authentication = ClientAuthentication::None;
    })
    .await;
    public.sign_in().await.unwrap();
    let sent = public.provider.token_request();
    assert_eq!(sent.authorization, None);
    assert_eq!(sent.form["client_id"], CLIENT_ID);
    assert!(!sent.form.contains_key("client_secret"));
}

#[tokio::test]
async fn a_provider_in_trouble_is_down() {
    let journey = Journey::start().await;
    for (lie, expected) in [
        (Lie::Token500, "/token answered 500"),
        (Lie::Token429, "/token answered 429"),
        (Lie::TokenGarbage, "found another answer with status 200"),
        (Lie::TokenHtml, "found another answer with status 404"),
        (Lie::TokenRedirect, "found another answer with status 303"),
        (Lie::TokenHuge, "answered with more than 1048576 bytes"),
    ] {
        journey.provider.lie(lie);
        match journey.token_fault().await {
            TokenFault::Down(down) => {
                assert_eq!(down.provider, "lying");
                assert!(down.reason.contains(expected), "{lie:?}: {down}");
            }
            other => panic!("{lie:?}: {other:?}"),
        }
    }
    // What is known stays in use.
    assert_eq!(journey.party().availability(), Ok(()));
}

#[tokio::test]
async fn a_slow_provider_is_waited_for_ten_seconds() {
    let journey = Journey::start().await;
    journey.provider.lie(Lie::TokenSlow);
    let start = Instant::now();
    match journey.token_fault().await {
        TokenFault::Down(down) => assert!(down.reason.contains("no answer within 10 s"), "{down}"),
        other => panic!("{other:?}"),
    }
    assert!((9..15).contains(&start.elapsed().as_secs()));
}

#[tokio::test]
async fn a_provider_that_went_away_is_down() {
    let mut journey = Journey::start().await;
    let response = journey.receive(&journey.callback_query().await).unwrap();
    journey.provider.stop();
    match journey
        .party()
        .redeem(&response, &SystemRandom, now())
        .await
    {
        Err(TokenFault::Down(down)) => assert!(down.reason.contains("cannot be reached"), "{down}"),
        other => panic!("{other:?}"),
    }
    journey.provider.restart();
    journey
        .party()
        .redeem(&response, &SystemRandom, now())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_refusal_keeps_its_code_and_nothing_else() {
    let journey = Journey::start().await;
    for (lie, expected) in [
        (Lie::TokenInvalidGrant, "invalid_grant"),
        (Lie::TokenForgedError, "forgederror:line"),
    ] {
        journey.provider.lie(lie);
        match journey.token_fault().await {
            TokenFault::Refused { provider, error } => {
                assert_eq!((provider.as_str(), error.as_str()), ("lying", expected));
            }
            other => panic!("{lie:?}: {other:?}"),
        }
    }
    let wrong_secret = Journey::with(|provider| {
        provider.client_secret = Some(Secret::new("wrong"));
    })
    .await;
    match wrong_secret.token_fault().await {
        TokenFault::ClientRefused { error, advice, .. } => {
            assert_eq!(error, "invalid_client");
            assert!(
                advice.contains("compare client_id, client_secret"),
                "{advice}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn lesson_23_a_code_is_good_once_and_for_its_verifier_alone() {
    let journey = Journey::start().await;
    let query = journey.callback_query().await;
    let response = journey.receive(&query).unwrap();
    journey
        .party()
        .redeem(&response, &SystemRandom, now())
        .await
        .unwrap();
    match journey
        .party()
        .redeem(&response, &SystemRandom, now())
        .await
    {
        Err(TokenFault::Refused { error, .. }) => assert_eq!(error, "invalid_grant"),
        other => panic!("{other:?}"),
    }
    // A code that was stolen into another sign-in of the same browser fails by PKCE.
    let [mine, stolen] = [
        journey.callback_query().await,
        journey.callback_query().await,
    ];
    let code = |query: &str| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs
            .find(|(name, _)| name == "code")
            .unwrap()
            .1
            .into_owned()
    };
    let mixed = mine.replace(&code(&mine), &code(&stolen));
    let response = journey.receive(&mixed).unwrap();
    match journey
        .party()
        .redeem(&response, &SystemRandom, now())
        .await
    {
        Err(TokenFault::Refused { error, .. }) => assert_eq!(error, "invalid_grant"),
        other => panic!("{other:?}"),
    }
    assert_eq!(journey.provider.complaints().len(), 2);
}

#[tokio::test]
async fn a_response_of_another_provider_is_not_redeemed() {
    let [one, mut two] = [Journey::start().await, Journey::start().await];
    let response = one.receive(&one.callback_query().await).unwrap();
    two.config.providers[0].name = "second".to_owned();
    let parties = RelyingParties::new(&two.config).unwrap();
    let second = parties.by_name("second").unwrap();
    second.discover_once().await.unwrap();
    let fault = second
        .redeem(&response, &SystemRandom, now())
        .await
        .unwrap_err();
    assert!(fault.to_string().contains("another provider's"), "{fault}");
    assert_eq!(two.provider.requests().token, 0);
}
