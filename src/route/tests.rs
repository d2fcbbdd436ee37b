use proptest::prelude::*;

use super::*;

fn route(path: &str, access: Access) -> config::Route {
    config::Route {
        path: path.into(),
        access,
        methods: vec![],
        keep_headers: vec![],
        require: None,
        machine: false,
        log_path: true,
    }
}

fn routes(base: &str, routes: &[(&str, Access)]) -> Routes {
    let entry = |(path, access): &(&str, Access)| Entry {
        route: route(path, *access),
        rule: None,
        path: path.to_ascii_lowercase(),
    };
    Routes {
        base: base.into(),
        auth: format!("{base}/auth").to_ascii_lowercase(),
        entries: routes.iter().map(entry).collect(),
    }
}

fn found(routes: &Routes, path: &str) -> String {
    match routes.find(&Method::GET, path) {
        Err(_) => "400".into(),
        Ok(Destination::Application { access, .. }) => format!("{access:?}"),
        Ok(Destination::Own(endpoint)) => format!("own {endpoint:?}"),
        Ok(Destination::Canonical(to)) => format!("308 {to}"),
        Ok(Destination::Base) => "base".into(),
        Ok(Destination::NotFound) => "404".into(),
    }
}

#[test]
fn a_path_that_could_mean_two_things_is_refused() {
    let routes = routes("/wfgen", &[("/wfgen/ws/", Access::Open)]);
    for path in [
        "/wfgen/ws/../admin",
        "/wfgen/ws/.",
        "/wfgen/ws/..",
        "/wfgen/ws/%2e%2e/admin",
        "/wfgen/ws/.%2E/admin",
        "/wfgen/ws/..%2fadmin",
        "/wfgen/ws/..\\admin",
        "/wfgen/ws/%5c..%5cadmin",
        "/wfgen//ws/",
        "//wfgen/ws/",
        "/wfgen/ws/%00",
        "/wfgen/ws/%0d%0a",
        "/wfgen/ws/%7f",
        "/wfgen/ws/%",
        "/wfgen/ws/%2",
        "/wfgen/ws/%zz",
        "/wfgen/ws/%252e%252e/admin",
        "/wfgen/ws/%252f",
        "/wfgen/ws/%25%32%66",
        "/wfgen/ws/%25%32%65%252%65/admin",
        "/wfgen/ws/%252541",
        "/wfgen/ws/..%253b/admin",
        "/wfgen/ws/..(S(%2529))/admin",
        "/wfgen/ws/%c0%ae%c0%ae/admin",
        "/wfgen/ws/%c0%afadmin",
        "/wfgen/ws/%e0%80%af",
        "/wfgen/ws/..;/admin",
        "/wfgen/ws/.;x/admin",
        "/wfgen/ws/(S(a))../admin",
        "/wfgen/ws/.(S(a)).",
        "/wfgen/ws/..%20/admin",
        "wfgen",
        "",
        "*",
    ] {
        assert_eq!(found(&routes, path), "400", "{path}");
    }
    for path in [
        "/wfgen/ws/r%C3%A9sum%C3%A9",
        "/wfgen/ws/caf%E9",
        "/wfgen/ws/a%20b",
        "/wfgen/ws/100%25",
        "/wfgen/ws/100%25%20sure",
        "/wfgen/ws/a+b",
    ] {
        assert_eq!(found(&routes, path), "Open", "{path}");
    }
}

#[test]
fn open_takes_plain_spellings_only_and_deny_takes_lenient_ones_too() {
    let routes = routes(
        "/wfgen",
        &[
            ("/wfgen/ws/private/", Access::Deny),
            ("/wfgen/ws/closed", Access::Deny),
            ("/wfgen/ws/", Access::Open),
        ],
    );
    assert_eq!(found(&routes, "/wfgen/ws/x"), "Open");
    assert_eq!(found(&routes, "/wfgen/WS/x"), "Open");
    for path in [
        "/wfgen/ws/x;y",
        "/wfgen/(S(x))/ws/x",
        "/wfgen/ws./x",
        "/wfgen/ws/x.",
        "/wfgen/ws/...",
        "/wfgen/ws/x%20",
        "/wfgen/ws/x::$DATA",
        "/wfgen/ws/x:$i30:$INDEX_ALLOCATION",
        "/wfgen/ws/%2541",
        "/wfgen/ws/%25%34%31",
    ] {
        assert_eq!(found(&routes, path), "Login", "{path}");
    }
    for path in [
        "/wfgen/ws/private/x",
        "/wfgen/ws/PRIVATE/x",
        "/wfgen/ws/priv%61te/x",
        "/wfgen/ws/private;x/x",
        "/wfgen/ws/private./x",
        "/wfgen/ws/(S(x))/private/x",
        "/wfgen/ws/(S(x))private/x",
        "/wfgen/ws/private%20/x",
        "/wfgen/ws/private::$INDEX_ALLOCATION/x",
        "/wfgen/ws/private:$i30:$INDEX_ALLOCATION/x",
        "/wfgen/ws/private:%24I30:%24index_allocation/x",
        "/wfgen/ws/private%3bx/x",
        "/wfgen/ws/%2570rivate/x",
        "/wfgen/ws/%25%37%30rivate/x",
        "/wfgen/ws/private%253bx/x",
        "/wfgen/ws/priv%61te/(S(x))",
        "/wfgen/ws/private;x/%20",
        "/wfgen/ws/private;x/",
        "/wfgen/ws/closed;x",
        "/wfgen/ws/clos%65d/(S(x))",
    ] {
        assert_eq!(found(&routes, path), "Deny", "{path}");
    }
}

#[test]
fn the_longest_path_is_judged_in_an_instant() {
    for repeated in [
        "(S(", "(S()", "(S())", "%28S(a", ";::", "a. /", "%25", "%c3%a9",
    ] {
        let path = format!("/{}", repeated.repeat(60_000 / repeated.len()));
        let started = std::time::Instant::now();
        let _ = clarity(&path);
        let took = started.elapsed();
        assert!(
            took < std::time::Duration::from_millis(500),
            "{repeated}: {took:?}"
        );
    }
}

#[test]
fn a_route_around_our_endpoints_does_not_reach_in() {
    let routes = routes("/wfgen", &[("/wfgen/", Access::Open)]);
    assert_eq!(found(&routes, "/wfgen/x"), found(&routes, "/wfgen/y"));
    for path in [
        "/wfgen/auth",
        "/wfgen/auth/",
        "/wfgen/auth/token",
        "/wfgen/auth/Login",
        "/wfgen/a%75th/login",
    ] {
        assert_eq!(found(&routes, path), "404", "{path}");
    }
}

#[test]
fn the_base_path_has_one_spelling() {
    let routes = routes("/wfgen", &[("/robots.txt", Access::Open)]);
    for (path, expected) in [
        ("/", "base"),
        ("/wfgen", "Login"),
        ("/wfgen/", "Login"),
        ("/WFGEN/x", "308 /wfgen/x"),
        ("/Wfgen", "308 /wfgen"),
        ("/wfgenx", "404"),
        ("/%77fgen/x", "404"),
        ("/other", "404"),
        ("/robots.txt", "Open"),
        ("/wfgen/auth/login", "own Login"),
        ("/wfgen/auth/callback/okta", "own Callback(Some(\"okta\"))"),
        ("/wfgen/auth/nothing", "404"),
        ("/wfgen/auth", "404"),
        ("/wfgen/%61uth/login", "404"),
        ("/wfgen/auth;x/login", "404"),
        ("/wfgen/authors", "Login"),
    ] {
        assert_eq!(found(&routes, path), expected, "{path}");
    }
    let at_root = super::tests::routes("", &[]);
    for (path, expected) in [
        ("/", "Login"),
        ("/x", "Login"),
        ("/auth/logout/return", "own LogoutReturn"),
        ("/AUTH/jwks", "own Jwks"),
    ] {
        assert_eq!(found(&at_root, path), expected, "{path}");
    }
}

#[test]
fn nobody_returns_into_the_sign_in_or_out_of_the_base() {
    let routes = routes("/wfgen", &[]);
    for path in ["/wfgen", "/wfgen/x", "/wfgen/show.aspx"] {
        assert!(routes.may_return_to(path), "{path}");
    }
    for path in [
        "/",
        "//evil",
        "/wfgen/../x",
        "/wfgen/auth/login",
        "/wfgen/%61uth/login",
        "/wfgenx",
        "https://evil",
        "/\\evil",
        "/wfgen\\x",
    ] {
        assert!(!routes.may_return_to(path), "{path}");
    }
}

proptest! {
    #[test]
    fn no_open_path_resolves_outside_its_prefix(rest in "[a-zA-Z%0-9./\\\\;: ()S]{0,24}") {
        let path = format!("/wfgen/ws/{rest}");
        let routes = routes("/wfgen", &[("/wfgen/ws/", Access::Open)]);
        if found(&routes, &path) == "Open" {
            let decoded = percent_encoding::percent_decode_str(&path).decode_utf8_lossy().into_owned();
            let parsed = url::Url::parse("http://host/").unwrap().join(&decoded.replace(['?', '#'], "_")).unwrap();
            prop_assert!(parsed.path().starts_with("/wfgen/ws/"), "{path} -> {}", parsed.path());
        }
    }

    #[test]
    fn any_text_is_judged_without_a_panic(path in "\\PC{0,64}") {
        let _ = clarity(&path);
    }
}
