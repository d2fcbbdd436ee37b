use http::Method;
use http::header::{CONTENT_LENGTH, TE};
use proptest::prelude::*;

use super::proxied::named_address;
use super::*;
use crate::config::Identity as Section;

fn strip_list() -> StripList {
    StripList::of(&Section {
        user_header: HeaderName::from_static("x-forwarded-user"),
        forward_session_cookie: true,
        headers: vec![(HeaderName::from_static("x-mail"), config::UserField::Email)],
        strip: vec!["X-Company-*".into()],
        assertion: Some(config::Assertion {
            header: HeaderName::from_static("x-signed"),
            audience: String::new(),
            lifetime: std::time::Duration::from_secs(60),
            algorithm: config::SessionAlgorithm::HS256,
            key: config::Secret::new([0; 32]),
            published_keys: Vec::new(),
        }),
    })
}

#[test]
fn names_are_compared_as_the_coarsest_server_folds_them() {
    let list = strip_list();
    for name in [
        "X-Forwarded-User",
        "x_forwarded_user",
        "X.Forwarded.User",
        "x--forwarded__user",
        "-x-forwarded-user-",
        "REMOTE_USER",
        "x-wfgen-impersonate-username",
        "X_WfGen_anything",
        "x.iisnode.auth",
        "proxy",
        "X-Mail",
        "x_mail",
        "X-Signed",
        "x.signed-",
        "x-company-name",
        "x-original-url",
        "x_http_method_override",
        "x|forwarded~user",
        "X-Forwarded-Host",
        "forwarded",
    ] {
        assert!(list.owns(name), "{name}");
    }
    for name in [
        "x-forwarded-users",
        "host",
        "x-requested-with",
        "x-wfgenx",
        "proxy-x",
        "user-agent",
        "xforwardeduser",
    ] {
        assert!(!list.owns(name), "{name}");
    }
}

#[test]
fn a_forwarded_address_may_have_a_port() {
    for text in [
        "10.1.2.3",
        "10.1.2.3:567",
        "2001:db8::1",
        "[2001:db8::1]:567",
    ] {
        assert!(named_address(text).is_some(), "{text}");
    }
    for text in ["", "unknown", "10.1.2", "10.1.2.3:x", "_hidden"] {
        assert_eq!(named_address(text), None, "{text}");
    }
}

#[test]
fn connection_fields_go_first_and_framing_stays() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (
            "connection",
            "close, X-Forwarded-User, content-length, Host, x-hop",
        ),
        ("x-hop", "1"),
        ("host", "h"),
        ("content-length", "3"),
        ("te", "trailers"),
        ("keep-alive", "5"),
        ("upgrade", "websocket"),
    ] {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    assert_eq!(without_connection_fields(&Method::GET, &mut headers), None);
    assert_eq!(headers.len(), 3, "{headers:?}");
    assert!(
        headers.contains_key(HOST)
            && headers.contains_key(CONTENT_LENGTH)
            && headers.contains_key(TE)
    );
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    assert_eq!(
        without_connection_fields(&Method::GET, &mut headers).unwrap(),
        "websocket"
    );
}

proptest! {
    #[test]
    fn every_spelling_with_other_separators_and_case_is_owned(
        separators in proptest::collection::vec("[-_.!#$%&'*+^`|~]{1,3}", 2),
        upper in proptest::collection::vec(any::<bool>(), 14),
    ) {
        let mut letters = upper.into_iter();
        let mut word = |word: &str| word.chars().map(|c| match letters.next() {
            Some(true) => c.to_ascii_uppercase(),
            _ => c,
        }).collect::<String>();
        let name = format!("{}{}{}{}{}", word("x"), separators[0], word("forwarded"), separators[1], word("user"));
        prop_assert!(strip_list().owns(&name), "{}", name);
    }
}
