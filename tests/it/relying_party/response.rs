//! Where browsers are sent, and what they come back with.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

#[tokio::test]
async fn the_authorization_request_is_whole_and_each_parameter_stands_once() {
    let journey = Journey::with(|provider| {
        provider.authorization_parameters = [("prompt", "login"), ("acr_values", "a b&c")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
    })
    .await;
    let url = journey.authorization_url("/wfgen/form?id=1", false);
    let sent = parameters(&url);
    assert_eq!(sent.len(), url.query_pairs().count());
    assert_eq!(sent["response_type"], "code");
    assert_eq!(sent["client_id"], CLIENT_ID);
    assert_eq!(
        sent["redirect_uri"],
        "https://workflow.example.com/wfgen/auth/callback"
    );
    assert_eq!(sent["code_challenge_method"], "S256");
    assert_eq!(sent["code_challenge"].len(), 43);
    assert_eq!(sent["nonce"].len(), 43);
    assert_eq!(sent["scope"], "openid profile email");
    assert_eq!(
        (sent["prompt"].as_str(), sent["acr_values"].as_str()),
        ("login", "a b&c")
    );
    assert!(!sent.contains_key("response_mode"));

    let url = journey.authorization_url("/wfgen", true);
    let other = parameters(&url);
    assert_eq!(other.len(), url.query_pairs().count());
    assert_eq!(other["prompt"], "select_account");
    for fresh in ["state", "nonce", "code_challenge"] {
        assert_ne!(sent[fresh], other[fresh], "{fresh}");
    }
}

#[tokio::test]
async fn each_provider_has_its_callback_and_the_first_two() {
    let servers = [LyingProvider::start().await, LyingProvider::start().await];
    let mut config = config(servers[0].issuer(), |_| {});
    config
        .providers
        .push(provider("second", servers[1].issuer()));
    let parties = RelyingParties::new(&config).unwrap();
    let sealer = Sealer::new(&config.session);
    let mut queries = Vec::new();
    for (party, callback) in parties.iter().zip(["callback", "callback/second"]) {
        party.discover_once().await.unwrap();
        let request = AuthorizationRequest {
            return_to: "/wfgen",
            select_account: false,
            restarts: 0,
            binding: BINDING,
        };
        let url = party
            .authorization_url(&request, &sealer, &SystemRandom, now())
            .unwrap();
        let sent = parameters(&url);
        let expected = format!("https://workflow.example.com/wfgen/auth/{callback}");
        assert_eq!(sent["redirect_uri"], expected);
        queries.push(format!(
            "code=x&state={}&iss={}",
            sent["state"],
            party.config().issuer.as_written()
        ));
    }
    let receive = |query: &str, callback| {
        AuthorizationResponse::receive(query, callback, Some(BINDING), &parties, &sealer, now())
            .map(|response| response.provider().to_owned())
    };
    assert_eq!(receive(&queries[0], None).as_deref(), Ok("lying"));
    assert_eq!(receive(&queries[0], Some("lying")).as_deref(), Ok("lying"));
    assert_eq!(
        receive(&queries[1], Some("second")).as_deref(),
        Ok("second")
    );
    for (query, callback) in [
        (&queries[0], Some("second")),
        (&queries[1], None),
        (&queries[1], Some("lying")),
        (&queries[1], Some("third")),
        (&queries[1], Some("")),
    ] {
        assert_eq!(receive(query, callback), Err(ResponseFault::ForeignState));
    }
    // A mix-up: the state of one provider with the issuer of another.
    let mixed = queries[0].replace(servers[0].issuer(), servers[1].issuer());
    assert_eq!(receive(&mixed, None), Err(ResponseFault::WrongIssuer));
}

#[tokio::test]
async fn lesson_23_lies_in_the_response_are_refused() {
    let journey = Journey::start().await;
    for (lie, expected) in [
        (Lie::ResponseIssuer, ResponseFault::WrongIssuer),
        (Lie::NoResponseIssuer, ResponseFault::WrongIssuer),
        (
            Lie::TwoStates,
            ResponseFault::Malformed("a parameter stands twice"),
        ),
        (
            Lie::TwoCodes,
            ResponseFault::Malformed("a parameter stands twice"),
        ),
        (Lie::NoCode, ResponseFault::Malformed("it has no code")),
        (
            Lie::AccessDenied,
            ResponseFault::Denied {
                provider: "lying".to_owned(),
                error: "access_denied".to_owned(),
                return_to: "/wfgen/form?id=1".to_owned(),
            },
        ),
    ] {
        journey.provider.lie(lie);
        match journey.sign_in().await {
            Err(Fault::Response(fault)) => assert_eq!(fault, expected, "{lie:?}"),
            other => panic!("{lie:?}: {other:?}"),
        }
    }
    assert_eq!(journey.provider.requests().token, 0);
}

#[tokio::test]
async fn every_protocol_parameter_stands_once_and_others_are_ignored() {
    let journey = Journey::start().await;
    let query = journey.callback_query().await;
    for name in [
        "code",
        "state",
        "iss",
        "error",
        "error_description",
        "error_uri",
        "session_state",
    ] {
        for twice in [
            format!("{query}&{name}=&{name}="),
            format!(
                "{name}=x&{query}&%{:02x}{}=x",
                name.as_bytes()[0],
                &name[1..]
            ),
        ] {
            let fault = journey.receive(&twice).unwrap_err();
            assert_eq!(
                fault,
                ResponseFault::Malformed("a parameter stands twice"),
                "{twice}"
            );
        }
    }
    let more = format!("{query}&x=1&x=2&session_state=1&CODE=1&scope=openid");
    let response = journey.receive(&more).unwrap();
    assert_eq!(response.return_to(), "/wfgen/form?id=1");
    assert_eq!(response.nonce().len(), 43);
}

#[tokio::test]
async fn checks_come_in_their_order() {
    let journey = Journey::start().await;
    let query = journey.callback_query().await;
    let receive = |query: &str, binding: Option<&str>| {
        AuthorizationResponse::receive(
            query,
            None,
            binding,
            &journey.parties,
            &journey.sealer,
            now(),
        )
        .unwrap_err()
    };
    let no_state = ResponseFault::Malformed("it has no state");
    for stateless in ["", "code=x", "state=&code=x", "error=access_denied"] {
        assert_eq!(receive(stateless, None), no_state, "{stateless}");
    }
    assert_eq!(receive(&query, None), ResponseFault::NoBinding);
    assert_eq!(receive(&query, Some("")), ResponseFault::NoBinding);
    // Another browser's, or a tab's that was overtaken: only the address is told.
    let other_binding = ResponseFault::OtherBinding {
        provider: "lying".to_owned(),
        return_to: "/wfgen/form?id=1".to_owned(),
        restarts: 0,
    };
    assert_eq!(receive(&query, Some("another browser")), other_binding);
    assert_eq!(
        receive("state=x&code=x", Some(BINDING)),
        ResponseFault::ForeignState
    );
    assert_eq!(
        receive(&format!("state={}", "x".repeat(20_000)), Some(BINDING)),
        ResponseFault::Malformed("it is longer than 16 KiB")
    );
    // Another key of the same process.
    let mut session = journey.config.session.clone();
    session.sealing_keys[0].secret = Secret::new("another key that is long enough!");
    let foreign = Sealer::new(&session);
    let fault = AuthorizationResponse::receive(
        &query,
        None,
        Some(BINDING),
        &journey.parties,
        &foreign,
        now(),
    );
    assert_eq!(fault.unwrap_err(), ResponseFault::ForeignState);
    // Late comes before what the provider says.
    let late = ResponseFault::Late {
        return_to: "/wfgen/form?id=1".to_owned(),
    };
    let denied = query
        .replace("code=", "error=x&code=")
        .replace("iss=", "iss=evil");
    for age in [602, 100_000, -62, i64::MIN / 2, i64::MAX / 2] {
        assert_eq!(
            journey
                .receive_at(&denied, now().saturating_add(age))
                .unwrap_err(),
            late,
            "{age}"
        );
    }
    for age in [-58, 0, 598] {
        journey.receive_at(&query, now() + age).unwrap();
    }
    assert_eq!(
        journey.receive(&denied).unwrap_err(),
        ResponseFault::WrongIssuer
    );
}

#[tokio::test]
async fn a_response_issuer_is_asked_for_where_it_is_announced() {
    let provider = LyingProvider::start().await;
    provider.set_metadata(json!({"authorization_response_iss_parameter_supported": null}));
    let journey = Journey::undiscovered(provider, |_| {});
    journey.party().discover_once().await.unwrap();
    journey.provider.lie(Lie::NoResponseIssuer);
    journey.sign_in().await.unwrap();
    journey.provider.lie(Lie::ResponseIssuer);
    assert!(matches!(
        journey.sign_in().await,
        Err(Fault::Response(ResponseFault::WrongIssuer))
    ));
    // A node that has just started takes the response before it knows the provider: redeeming checks.
    journey.provider.lie(Lie::NoResponseIssuer);
    let query = journey.callback_query().await;
    journey.provider.set_metadata(json!({}));
    let parties = RelyingParties::new(&journey.config).unwrap();
    let response = AuthorizationResponse::receive(
        &query,
        None,
        Some(BINDING),
        &parties,
        &journey.sealer,
        now(),
    );
    let response = response.unwrap();
    let party = parties.by_name("lying").unwrap();
    assert!(matches!(
        party.redeem(&response, &SystemRandom, now()).await,
        Err(TokenFault::Down(_))
    ));
    party.discover_once().await.unwrap();
    let fault = party
        .redeem(&response, &SystemRandom, now())
        .await
        .unwrap_err();
    assert!(fault.to_string().contains("names no issuer"), "{fault}");
}

#[tokio::test]
async fn logging_out_goes_on_to_the_provider() {
    let journey = Journey::start().await;
    let url = journey
        .party()
        .end_session_url(Some(&Secret::new("a.b.c")), &SystemRandom)
        .unwrap();
    assert!(
        url.as_str()
            .starts_with(&format!("{}/end-session?", journey.provider.issuer()))
    );
    let sent = parameters(&url);
    assert_eq!(sent.len(), 4);
    assert_eq!(sent["id_token_hint"], "a.b.c");
    assert_eq!(sent["client_id"], CLIENT_ID);
    let back = "https://workflow.example.com/wfgen/auth/logout/return";
    assert_eq!(sent["post_logout_redirect_uri"], back);
    for unusable in [
        None,
        Some(Secret::new("x".repeat(7000))),
        Some(Secret::new([0xff])),
    ] {
        let url = journey
            .party()
            .end_session_url(unusable.as_ref(), &SystemRandom)
            .unwrap();
        assert!(!parameters(&url).contains_key("id_token_hint"));
    }
    let local = Journey::with(|provider| provider.end_provider_session = false).await;
    assert_eq!(local.party().end_session_url(None, &SystemRandom), None);

    let provider = LyingProvider::start().await;
    provider.set_metadata(json!({"end_session_endpoint": null}));
    let without = Journey::undiscovered(provider, |_| {});
    without.party().discover_once().await.unwrap();
    assert_eq!(without.party().end_session_url(None, &SystemRandom), None);
}

/// Return addresses: any local path survives; over the cap people come to the base path.
#[tokio::test]
async fn any_return_address_survives_the_round_trip() {
    let journey = Journey::start().await;
    let strategy = ("/\\PC{0,500}", "[A-Za-z0-9_-]{1,64}");
    TestRunner::default()
        .run(&strategy, |(return_to, binding)| {
            let request = AuthorizationRequest {
                return_to: &return_to,
                select_account: false,
                restarts: 0,
                binding: &binding,
            };
            let url =
                journey
                    .party()
                    .authorization_url(&request, &journey.sealer, &SystemRandom, now());
            let sent = parameters(&url.unwrap());
            let issuer = journey.provider.issuer();
            let query = format!("code=x&state={}&iss={issuer}", sent["state"]);
            let receive = |binding: &str| {
                AuthorizationResponse::receive(
                    &query,
                    None,
                    Some(binding),
                    &journey.parties,
                    &journey.sealer,
                    now(),
                )
            };
            let response = receive(&binding).unwrap();
            let expected = if return_to.len() > 1536 {
                "/wfgen"
            } else {
                &return_to
            };
            prop_assert_eq!(response.return_to(), expected);
            prop_assert_eq!(response.nonce(), sent["nonce"].as_str());
            let other = matches!(receive("other"), Err(ResponseFault::OtherBinding { return_to, .. }) if return_to == expected);
            prop_assert!(other);
            Ok(())
        })
        .unwrap();
    let long = format!("/wfgen/{}", "x".repeat(1600));
    let state = &parameters(&journey.authorization_url(&long, false))["state"];
    let query = format!("code=x&state={state}&iss={}", journey.provider.issuer());
    assert_eq!(journey.receive(&query).unwrap().return_to(), "/wfgen");
    // The longest state leaves room for the rest of a URL.
    let longest = format!("/{}", "x".repeat(1535));
    assert!(journey.authorization_url(&longest, false).as_str().len() < 3_000);
}

/// Nothing but a genuine query gets through, whatever is done to it.
#[tokio::test]
async fn no_changed_query_is_taken() {
    let journey = Journey::start().await;
    let query = journey.callback_query().await;
    let state = {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs
            .find(|(name, _)| name == "state")
            .unwrap()
            .1
            .into_owned()
    };
    let runner = || TestRunner::default();
    runner()
        .run(&"\\PC{0,200}", |noise| {
            prop_assert!(journey.receive(&noise).is_err());
            Ok(())
        })
        .unwrap();
    runner()
        .run(&proptest::collection::vec(any::<u8>(), 0..300), |noise| {
            let encoded: String = url::form_urlencoded::byte_serialize(&noise).collect();
            let forged = format!("code=x&state={encoded}");
            prop_assert!(journey.receive(&forged).is_err());
            Ok(())
        })
        .unwrap();
    runner()
        .run(&(0..state.len(), "[A-Za-z0-9_=.~-]"), |(at, character)| {
            let mut changed = state.clone();
            changed.replace_range(at..=at, &character);
            let forged = query.replace(&state, &changed);
            prop_assert_eq!(journey.receive(&forged).is_ok(), changed == state);
            Ok(())
        })
        .unwrap();
}
