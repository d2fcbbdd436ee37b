//! The demo's application by itself: what it shows, and whom it believes.

use std::sync::Arc;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use vestibule::config::{Secret, UserField, UserStatus};
use vestibule::demo::application::{Application, Installation, LookUp};
use vestibule::environment::{Clock, SystemClock};
use vestibule::store::User;

use crate::support::wire::get;

const KEY: &[u8] = b"the session key that the application knows";
const HOSTILE: &str = "<script>alert('x')</script>&\"";

fn application() -> (Runtime, Application) {
    let runtime = Runtime::new().unwrap();
    let installation = Installation {
        base: "/wfgen".into(),
        auth_prefix: "/wfgen/auth".into(),
        user_header: "x-forwarded-user".into(),
        cookie: "wfgen_token".into(),
        secret: Secret::new(KEY),
        issuer: "http://127.0.0.1:1/wfgen/auth".into(),
        audience: "http://127.0.0.1:1/wfgen".into(),
        username_claim: "https://api.workflowgen.com/username".into(),
    };
    let look_up: LookUp = Arc::new(|username| {
        Box::pin(async move {
            let fields = [
                (UserField::Username, username.clone()),
                (UserField::Name, HOSTILE.into()),
            ];
            Ok((username != "nobody").then(|| User {
                id: "1".into(),
                directory: "D".into(),
                status: UserStatus::Active,
                deactivated: false,
                elsewhere: false,
                fields: fields.into(),
                identities: Vec::new(),
                created_at: 0,
                updated_at: 0,
                last_login_at: None,
            }))
        })
    });
    let application = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Application::serve(listener, installation, look_up, Arc::new(SystemClock)).unwrap()
    });
    (runtime, application)
}

fn session_token(key: &[u8], exp: i64) -> String {
    let claims = json!({
        "iss": "http://127.0.0.1:1/wfgen/auth", "aud": "http://127.0.0.1:1/wfgen", "sub": "u1",
        "exp": SystemClock.now() + exp, "https://api.workflowgen.com/username": "zoë <b>",
        "family_name": HOSTILE,
    });
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(key)).unwrap()
}

#[test]
fn the_application_shows_what_reached_it_and_escapes_it() {
    let (_runtime, application) = application();
    let token = session_token(KEY, 60);
    let lines = format!(
        "X-Forwarded-User: zo%C3%AB%20%3Cb%3E\r\nCookie: wfgen_token={token}\r\nX-Hostile: {HOSTILE}\r\n"
    );
    let page = get(application.address(), "127.0.0.1:1", "/wfgen/a?b=c", &lines);
    let html = page.text();
    assert_eq!(page.status, 200);
    assert!(html.contains("Hello, zoë &lt;b&gt;"), "{html}");
    assert!(html.contains("names the same person"));
    assert!(html.contains("/wfgen/a?b=c"));
    assert!(!html.contains("<script") && !html.contains("<b>"), "{html}");
    assert!(!html.contains(&token[30..]), "the token is cut");
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .starts_with("default-src 'none'")
    );

    let echo = get(
        application.address(),
        "127.0.0.1:1",
        "/wfgen/echo?x",
        &lines,
    )
    .json();
    assert_eq!(echo["user"], "zoë <b>");
    assert_eq!(echo["session_token"]["accepted"], true);
    assert_eq!(echo["session_token"]["claims"]["family_name"], HOSTILE);
    assert_eq!(echo["directory"]["name"], HOSTILE);
    assert!(!echo.to_string().contains(&token[30..]));
}

#[test]
fn the_application_takes_no_other_session_token() {
    let (_runtime, application) = application();
    let check = |cookies: &str| {
        let lines = format!("X-Forwarded-User: a\r\nCookie: {cookies}\r\n");
        get(application.address(), "localhost", "/wfgen/echo", &lines).json()["session_token"]["accepted"].clone()
    };
    let good = format!("wfgen_token={}", session_token(KEY, 60));
    assert_eq!(check(&good), true);
    assert_eq!(check(&format!("{good}; {good}")), false);
    assert_eq!(
        check(&format!("wfgen_token={}", session_token(KEY, -1))),
        false
    );
    assert_eq!(
        check(&format!(
            "wfgen_token={}",
            session_token(b"another key", 60)
        )),
        false
    );
}

#[test]
fn the_application_trusts_one_user_header_or_none() {
    let (_runtime, application) = application();
    for lines in ["", "X-Forwarded-User: a\r\nX-Forwarded-User: b\r\n"] {
        let page = get(application.address(), "localhost", "/wfgen/", lines);
        assert_eq!(page.status, 403, "{lines}");
        assert!(page.text().contains("did not come through the proxy"));
    }
    let unknown = get(
        application.address(),
        "localhost",
        "/wfgen/",
        "X-Forwarded-User: nobody\r\n",
    );
    assert!(
        unknown
            .text()
            .contains("The directory knows nobody of that name")
    );
    assert_eq!(get(application.address(), "localhost", "/", "").status, 404);
}
