//! The reference's routes for paths that authenticate themselves, as an operator uncomments them.

use crate::support::application::Application;
use crate::support::provider::{Provider, new_person};
use crate::support::proxy::{Proxy, Setup};
use crate::support::wire::exchange;

const REFERENCE: &str = include_str!("../../proxy.toml");

/// Every route of the reference, those that are switched off too.
fn routes() -> String {
    let (_, rest) = REFERENCE.split_once("\n[[routes]]").expect("the routes");
    let (routes, _) = rest.split_once("\n# ── ").expect("what follows");
    let switched_on = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting.to_owned(),
        _ => line.to_owned(),
    };
    let lines = routes.lines().map(|line| switched_on(line) + "\n");
    format!("\n[[routes]]{}", lines.collect::<String>())
}

fn preset(application: &Application) -> Proxy {
    Setup::new(application)
        .more(&routes())
        .at(Provider::shared())
        .start()
}

/// What an attacker sends to be somebody else in WorkflowGen itself.
const FORGED: &str = "X-WfGen-Impersonate-Username: evil\r\nx_wfgen_impersonate_username: evil\r\n\
    X-WfGen-GraphQL-API-Key: evil\r\nX-WFGEN.GRAPHQL.API.KEY: evil\r\nX-WfGen-Anything: evil\r\n\
    X-Forwarded-User: evil\r\n";

/// As said: these paths and no others, as nobody, with the program's own credentials.
#[test]
fn the_presets_route_as_they_say() {
    let application = Application::start();
    let proxy = preset(&application);
    let cookie = proxy.signed_in(&new_person("preset")).cookie("wfgen_token");
    for target in [
        "/wfgen/ws/ProcessesRuntime.asmx",
        "/wfgen/WS/ProcessesRuntime.asmx?wsdl",
        "/wfgen/scim/Users?filter=x",
        "/wfgen/graphql",
        "/wfgen/graphql?query=x",
        "/wfgen/graphql/schema",
        "/wfgen/hooks/the-hooks-secret",
        "/wfgen/mcp",
        "/wfgen/mcp/health",
        "/wfgen/mcp/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/wfgen/mcp",
        "/.well-known/oauth-authorization-server/wfgen/mcp",
        "/wfgen/wfapps/webservices/Sample/service.asmx",
        "/wfgen/WfApps/WebServices/Sample/service.asmx",
    ] {
        application.forget();
        let lines = format!(
            "Authorization: Basic YTpi\r\nCookie: wfgen_token={cookie}; theme=dark\r\n\
             X-WfGen-HookToken: hook\r\n{FORGED}"
        );
        assert_eq!(proxy.get_target(target, &lines).status, 200, "{target}");
        let arrived = application.last();
        assert_eq!(arrived.target, target);
        assert_eq!(arrived.only("authorization"), Some("Basic YTpi"));
        assert_eq!(arrived.only("cookie"), Some("theme=dark"), "{target}");
        assert!(arrived.all("x-forwarded-user").is_empty(), "{target}");
        let evil = arrived.headers.iter().any(|(_, value)| value == "evil");
        assert!(!evil, "{target}: {:?}", arrived.headers);
        let hook = target.contains("hooks").then_some("hook");
        assert_eq!(arrived.only("x-wfgen-hooktoken"), hook, "{target}");
    }
    application.forget();
    for (target, status) in [
        ("/wfgen", 401),
        ("/wfgen/admin/", 401),
        ("/wfgen/site.css", 401),
        ("/wfgen/ws", 401),
        ("/wfgen/wsx/", 401),
        ("/wfgen/scim", 401),
        ("/wfgen/graphqlx", 401),
        ("/wfgen/hooks", 401),
        ("/wfgen/mcpx", 401),
        ("/wfgen/wfapps/webforms/Form/", 401),
        ("/wfgen/wfapps/webservicesx/", 401),
        ("/wfgen/hooks/../admin/", 400),
        ("/wfgen/ws/%2e%2e/admin/", 400),
        ("/wfgen/ws;/admin", 401),
        ("/.well-known/openid-configuration", 404),
        ("/.well-known/oauth-protected-resource", 404),
        ("/.well-known/oauth-protected-resource/wfgen/mcp/x", 404),
    ] {
        assert_eq!(proxy.get_target(target, FORGED).status, status, "{target}");
    }
    let post = format!(
        "POST /.well-known/oauth-protected-resource/wfgen/mcp HTTP/1.1\r\nHost: {}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n",
        proxy.host()
    );
    assert_eq!(exchange(proxy.address, post).status, 404);
    assert!(application.received().is_empty());
    proxy.wait_for_log("/wfgen/mcp/health");
    let log = proxy.log();
    assert!(log.contains("/wfgen/hooks/"), "{log}");
    assert!(!log.contains("the-hooks-secret"), "{log}");
}

/// A big hook passes, as WorkflowGen itself would take it: 30,000,000 bytes.
#[test]
fn a_hook_may_be_as_large_as_workflowgen_takes_it() {
    let application = Application::start();
    let proxy = preset(&application);
    let body = "x".repeat(30_000_000);
    let request = format!(
        "POST /wfgen/hooks/t HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n{body}",
        proxy.host(),
        body.len()
    );
    assert_eq!(exchange(proxy.address, request).status, 200);
    assert_eq!(application.last().body.len(), body.len());
}

/// What a route keeps it keeps by its name and for itself, whatever the route asks of the caller.
#[test]
fn a_header_is_kept_where_its_route_lists_it_and_nowhere_else() {
    let application = Application::start();
    let keep = "keep_headers = [\"X-WfGen-GraphQL-API-Key\"]";
    let proxy = Setup::new(&application)
        .route("/wfgen/keep/open/", "open", keep)
        .route("/wfgen/keep/login/", "login", keep)
        .route("/wfgen/open/", "open", "")
        .at(Provider::shared())
        .start();
    let person = new_person("keeper");
    let cookie = proxy.signed_in(&person).cookie("wfgen_token");
    let lines = format!(
        "Cookie: wfgen_token={cookie}\r\nX-WfGen-GraphQL-API-Key: key\r\nX-WfGen-Impersonate-Username: evil\r\n"
    );
    for (path, kept, user) in [
        ("/keep/open/x", true, false),
        ("/keep/login/x", true, true),
        ("/open/x", false, false),
        ("/page", false, true),
    ] {
        assert_eq!(proxy.get(path, &lines).status, 200, "{path}");
        let arrived = application.last();
        let key = kept.then_some("key");
        assert_eq!(arrived.only("x-wfgen-graphql-api-key"), key, "{path}");
        assert!(arrived.all("x-wfgen-impersonate-username").is_empty());
        let user = user.then_some(person.as_str());
        assert_eq!(arrived.only("x-forwarded-user"), user, "{path}");
    }
}
