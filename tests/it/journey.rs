//! The journey whole, at a provider that nobody here wrote, printed as it happens: the README shows
//! what `cargo test --test it journey -- --nocapture` printed.

use serde_json::json;
use url::Url;

use crate::support::application::Application;
use crate::support::browser::Page;
use crate::support::provider::Provider;
use crate::support::proxy::{Setup, payload};

const SECRETS: &[&str] = &["code", "state", "nonce", "code_challenge", "client_id"];

/// An address as people read it: the parties by name, secrets cut.
fn shown(url: &Url, parties: &[(&str, &str)]) -> String {
    let mut shown = url.clone();
    if url.query().is_some() {
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        shown.set_query(None);
        let cut = |(name, value): &(String, String)| match SECRETS.contains(&name.as_str()) {
            true => format!("{name}=…"),
            false => format!("{name}={value}"),
        };
        let query = pairs.iter().map(cut).collect::<Vec<_>>().join("&");
        return parties
            .iter()
            .fold(format!("{shown}?{query}"), |text, (name, origin)| {
                text.replace(origin, name)
            });
    }
    parties
        .iter()
        .fold(shown.to_string(), |text, (name, origin)| {
            text.replace(origin, name)
        })
}

fn print_steps(page: &Page, parties: &[(&str, &str)]) {
    for (url, answer) in &page.trail {
        let cookies = answer.all("set-cookie");
        let names: Vec<_> = cookies
            .iter()
            .filter_map(|cookie| cookie.split('=').next())
            .collect();
        let set = if names.is_empty() {
            String::new()
        } else {
            format!("  sets {}", names.join(", "))
        };
        println!("{}  {}{set}", answer.status, shown(url, parties));
    }
}

#[test]
fn one_sign_in_at_a_certified_provider_step_by_step() {
    let (application, provider) = (Application::start(), Provider::shared());
    let proxy = Setup::new(&application).at(provider).start();
    let claims = json!({
        "preferred_username": "grace.hopper@example.com", "family_name": "Hopper", "given_name": "Grace",
        "email": "grace.hopper@example.com", "email_verified": true,
    });
    provider.claim("grace", &claims);
    let form_at = proxy.browser();
    let form = form_at.navigate(&proxy.url("/form?case=42"));
    assert!(form.is_login_form());
    let provider_origin = form.url.origin().ascii_serialization();
    let parties = [
        ("proxy", proxy.origin()),
        ("provider", provider_origin.as_str()),
    ];
    println!("── a page is asked for; oidc-provider shows its login form");
    print_steps(&form, &parties);
    let page = form_at.fill_in(&form, &[("login", "grace"), ("password", "any")]);
    println!("── the form is sent; the proxy redeems the code, provisions and gives the session");
    print_steps(&page, &parties);
    assert_eq!(
        (page.answer.status, page.url.as_str()),
        (200, &*proxy.url("/form?case=42"))
    );

    let listed = proxy.run(&["users", "show", "grace.hopper@example.com"]);
    println!("── vestibule users show grace.hopper@example.com");
    print!("{}", String::from_utf8_lossy(&listed.stdout));
    assert_eq!(listed.status.code(), Some(0));

    let arrived = application.last();
    println!(
        "── what reached the application: {} {}",
        arrived.method, arrived.target
    );
    for (name, value) in arrived
        .headers
        .iter()
        .filter(|(name, _)| name.starts_with("x-") || name == "via")
    {
        println!(
            "{name}: {}",
            parties
                .iter()
                .fold(value.clone(), |text, (name, origin)| text
                    .replace(origin, name))
        );
    }
    let token = payload(&form_at.cookie("wfgen_token"));
    println!("── the session token's username and validity");
    println!(
        "https://api.workflowgen.com/username: {}",
        token["https://api.workflowgen.com/username"]
    );
    println!(
        "exp - iat: {} s",
        token["exp"].as_i64().unwrap() - token["iat"].as_i64().unwrap()
    );
    for named in [
        arrived.only("x-forwarded-user"),
        token["https://api.workflowgen.com/username"].as_str(),
    ] {
        assert_eq!(named, Some("grace.hopper@example.com"));
    }
}
