mod assertion;
mod client_key;

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::{
    Access, ClientAuthentication, Config, Fallback, Fault, Faults, IdTokenAlgorithm, KEYS, Key,
    Lifetime, Missing, Problem, Source, StorePlace, Sync,
};

/// A folder with the secrets that the texts below name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("session", "a session key of 32 bytes or more!!\n");
    write("sealing", "another key of 32 bytes or more!!!!");
    write("short", "too short");
    write("empty", "\n");
    write("client_secret", "client secret\r\n");
    write("token", "an-admin-token-of-some-length");
    write(
        "sec1",
        "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIA==\n-----END EC PRIVATE KEY-----\n",
    );
    folder
}

fn load_in(folder: &Path, text: &str) -> Result<Config, Faults> {
    load_text(text, &folder.join("proxy.toml"))
}

#[track_caller]
fn faults(text: &str) -> Vec<Fault> {
    load_in(folder().path(), text)
        .expect_err("the text has faults")
        .list
}

const SMALLEST: &str = r#"[server]
public_url = "https://workflow.example.com/wfgen"
[upstream]
servers = ["http://127.0.0.1:8081"]
[[providers]]
name = "okta"
issuer = "https://example.okta.com"
client_id = "0oa1"
[session]
keys = [{ id = "1", secret = { file = "session" } }]
[[directories]]
name = "SELF_PROVISIONING"
[directories.mapping]
username = "https://api.workflowgen.com/username"
name = "family_name"
"#;

/// The smallest file with `line` added below the first `header`, or in place of the line below it
/// that sets the same key.
fn with(header: &str, line: &str) -> String {
    let key = |line: &str| line.split('=').next().unwrap().trim().to_owned();
    let keys: Vec<String> = line.lines().map(key).collect();
    let (before, after) = SMALLEST.split_once(&format!("{header}\n")).unwrap();
    let end = after.find("\n[").map_or(after.len(), |end| end + 1);
    let kept: String = after[..end]
        .lines()
        .filter(|old| !keys.contains(&key(old)))
        .map(|old| format!("{old}\n"))
        .collect();
    format!("{before}{header}\n{line}\n{kept}{}", &after[end..])
}

#[track_caller]
fn loaded(text: &str) -> Config {
    load_in(folder().path(), text).unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

#[test]
fn the_smallest_file_takes_every_default() {
    let config = loaded(SMALLEST);
    assert_eq!(
        config.server.public_url.to_string(),
        "https://workflow.example.com/wfgen"
    );
    assert_eq!(config.server.listen, ["0.0.0.0:8080".parse().unwrap()]);
    assert_eq!(config.server.auth_prefix(), "/wfgen/auth");
    assert_eq!(config.server.limits.body_size, Some(64 << 20));
    assert!(config.server.workers >= 1);
    assert_eq!(config.upstream.identity.user_header, "x-forwarded-user");
    assert!(config.upstream.forward_authorization);
    let provider = &config.providers[0];
    assert_eq!(provider.client_authentication, ClientAuthentication::None);
    assert_eq!(provider.scopes, ["openid", "profile", "email"]);
    assert_eq!(
        provider.algorithms,
        [
            IdTokenAlgorithm::RS256,
            IdTokenAlgorithm::ES256,
            IdTokenAlgorithm::EdDSA
        ]
    );
    let session = &config.session;
    assert_eq!(session.issuer, "https://workflow.example.com/wfgen/auth");
    assert_eq!(session.audience, "https://workflow.example.com/wfgen");
    assert_eq!(session.lifetime, Lifetime::IdToken);
    assert_eq!(
        session.keys[0].secret.expose(),
        b"a session key of 32 bytes or more!!",
        "the trailing newline is trimmed"
    );
    let StorePlace::Sqlite(file) = &config.store.place else {
        panic!("expected a SQLite file, found {}", config.store.place);
    };
    assert!(file.ends_with("vestibule.db"));
    assert!(file.is_absolute(), "resolved by the folder");
    assert_eq!(
        config.admin.unwrap().listen,
        "127.0.0.1:9180".parse().unwrap()
    );
}

#[test]
fn values_mean_what_they_say() {
    let config = loaded(&with("[server]", r#"public_url = "http://LocalHost:80""#));
    assert_eq!(config.server.public_url.to_string(), "http://localhost");
    let config = loaded(&with(
        "[server]",
        r#"public_url = "https://bücher.example.:443/Wf""#,
    ));
    assert_eq!(
        config.server.public_url.to_string(),
        "https://xn--bcher-kva.example/Wf"
    );
    let config = loaded(&with(
        "[server]",
        r#"aliases = ["Old.example.com.", "b.example:8443"]"#,
    ));
    assert_eq!(config.server.aliases, ["old.example.com", "b.example:8443"]);
    let config = loaded(&with("[upstream]", r#"servers = ["http://[::1]:80"]"#));
    assert_eq!(config.upstream.servers[0].authority(), "[::1]");
    let servers = r#"servers = ["https://App.example:443", "https://app.example:80", "http://b"]"#;
    let config = loaded(&with("[upstream]", servers));
    let origins: Vec<_> = config
        .upstream
        .servers
        .iter()
        .map(|it| it.origin())
        .collect();
    assert_eq!(
        origins,
        ["https://app.example", "https://app.example:80", "http://b"]
    );
    let config = loaded(&with("[upstream]", r#"health_path = "/wfgen/ping?x=1""#));
    assert_eq!(
        config.upstream.health_path.as_deref(),
        Some("/wfgen/ping?x=1")
    );
    let config = loaded(&with(
        "[[providers]]",
        r#"issuer = "https://Tenant.example.com/""#,
    ));
    assert_eq!(
        config.providers[0].issuer.as_written(),
        "https://Tenant.example.com/"
    );
    let config = loaded(&with(
        "[[providers]]",
        r#"scopes = ["email", "openid", "groups"]"#,
    ));
    assert_eq!(config.providers[0].scopes, ["openid", "email", "groups"]);
    let config = loaded(&with(
        "[[providers]]",
        r#"client_secret = { file = "client_secret" }"#,
    ));
    assert_eq!(
        config.providers[0].client_authentication,
        ClientAuthentication::Basic
    );
    assert_eq!(
        config.providers[0].client_secret.as_ref().unwrap().expose(),
        b"client secret"
    );
    let config = loaded(&with("[session]", r#"lifetime = "10h""#));
    assert_eq!(
        config.session.lifetime,
        Lifetime::Fixed(std::time::Duration::from_secs(36_000))
    );
    let config = loaded(&with(
        "[directories.mapping]",
        "department = { claim = [\"dept\", \"ou\"], sync = \"on-create\", missing = \"clear\" }\ncompany = { value = \"Example Ltd\" }",
    ));
    let rule = |name: &str| {
        let mapping = &config.directories[0].self_provisioning().unwrap().mapping;
        let mut rules = mapping.iter().filter(|(field, _)| field.name() == name);
        rules.next().unwrap().1.clone()
    };
    assert_eq!(
        rule("department").source,
        Source::Claims(vec!["dept".to_owned(), "ou".to_owned()])
    );
    assert_eq!(rule("department").sync, Sync::OnCreate);
    assert_eq!(rule("department").missing, Missing::Clear);
    assert_eq!(
        rule("company").source,
        Source::Value("Example Ltd".to_owned())
    );
    let fields: Vec<&str> = config.directories[0]
        .self_provisioning()
        .unwrap()
        .mapping
        .iter()
        .map(|(field, _)| field.name())
        .collect();
    assert_eq!(fields, ["department", "company", "username", "name"]);
    let config = loaded(&with(
        "[server]",
        "trusted_proxies = [\"10.1.2.3/8\", \"192.0.2.1\"]",
    ));
    assert_eq!(
        config.server.trusted_proxies,
        [
            "10.0.0.0/8".parse().unwrap(),
            "192.0.2.1/32".parse().unwrap()
        ]
    );
    let config = loaded(&format!(
        "{SMALLEST}[[routes]]\npath = \"/health\"\naccess = \"open\"\nmethods = [\"GET\"]\nkeep_headers = [\"X-WfGen-HookToken\"]\n"
    ));
    assert_eq!(config.routes[0].access, Access::Open);
}

/// What each faulty line is told; see the head of the table.
const FAULTY: &str = include_str!("faulty.txt");

#[test]
fn every_fault_says_where_what_and_what_else() {
    for row in FAULTY.lines().filter(|row| !row.starts_with('#')) {
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        let [header, line, key, found, expected, hint] = columns[..] else {
            panic!("six columns: {row}");
        };
        let line = &line.replace(r"\n", "\n");
        let text = with(header, line);
        let faults = faults(&text);
        let [fault] = faults.as_slice() else {
            panic!("{line}: {} faults: {faults:#?}", faults.len());
        };
        assert_eq!(fault.key, key, "{line}");
        assert!(fault.found.contains(found), "{line}: {fault:#?}");
        assert!(fault.expected.contains(expected), "{line}: {fault:#?}");
        let said = fault.hint.as_deref().unwrap_or_default();
        assert!(said.contains(hint), "{line}: {fault:#?}");
        let name = key
            .rsplit(['.', ']'])
            .find(|part| !part.is_empty())
            .unwrap();
        let name = name.split('[').next().unwrap().trim_matches('"');
        let at = text.lines().nth(fault.line - 1).unwrap();
        assert!(
            at.contains(name) || line.contains('\n') || at == header || at.starts_with("keys"),
            "{line}: {at}"
        );
        for secret in ["hunter2", "session key of 32"] {
            assert!(!format!("{fault:?}").contains(secret), "{line}: {fault:#?}");
        }
    }
}

/// A slip of an expression is told at its place inside of the string, every slip of it at once.
#[test]
fn slips_of_expressions_point_into_the_file() {
    for (more, key, column, found) in [
        (
            "[[access.rules]]\nrequire = \"claims.a == '' && user.nam == ''\"",
            "access.rules[0].require",
            30,
            "user.nam",
        ),
        (
            "[[access.rules]]\nrequire = 'claims[\"é\"]==\"\" && clams.b'",
            "access.rules[0].require",
            32,
            "\"clams\"",
        ),
        (
            "[[access.rules]]\nrequire = \"\\u0061 == claims.b\"",
            "access.rules[0].require",
            11,
            "\"a\"",
        ),
        (
            "[[routes]]\npath = \"/wfgen/a\"\naccess = \"open\"\nrequire = \"true\"",
            "routes[0].require",
            1,
            "a rule",
        ),
        (
            "[[access.rules]]\nmessage = \"no\"",
            "access.rules[0].require",
            1,
            "nothing",
        ),
        (
            "[[directories]]\nname = \"B\"\nconnector = \"text\"\nfile = \"b\"\nwhen = \"true\"",
            "directories[1].when",
            1,
            "the key",
        ),
        (
            "[[directories.push]]\nkind = \"ldap\"\nurl = \"http://a/scim\"",
            "directories[0].push[0].kind",
            8,
            "\"ldap\"",
        ),
        (
            "[[directories.push]]",
            "directories[0].push[0].url",
            1,
            "nothing",
        ),
        (
            "[[directories.push]]\nurl = \"http://u:hunter2@a/scim\"\ntimeout = \"2s\"",
            "directories[0].push[0].url",
            7,
            "a URL with a user in it",
        ),
        (
            "[[directories.push]]\nurl = \"http://a/scim\"\ntimeout = \"5m\"",
            "directories[0].push[0].timeout",
            11,
            "\"5m\"",
        ),
        (
            "[[directories]]\nname = \"B\"\nconnector = \"text\"",
            "directories[1].file",
            1,
            "nothing",
        ),
        (
            "[[directories]]\nname = \"SELF_PROVISIONING\"\nconnector = \"text\"\nfile = \"b\"",
            "directories[1].name",
            8,
            "\"SELF_PROVISIONING\"",
        ),
        (
            "[[directories]]\nname = \"B\"\nconnector = \"text\"\nfile = \"b\"\nmax_deactivations = \"110%\"",
            "directories[1].max_deactivations",
            21,
            "\"110%\"",
        ),
    ] {
        let faults = faults(&format!("{SMALLEST}{more}\n"));
        assert_eq!(faults.len(), 1, "{more}: {faults:#?}");
        let fault = &faults[0];
        assert_eq!(fault.key, key, "{fault:#?}");
        assert_eq!(
            (fault.column, fault.found.as_str()),
            (column, found),
            "{fault:#?}"
        );
    }
    let two = faults(&format!(
        "{SMALLEST}[[access.rules]]\nrequire = \"a == b\"\n"
    ));
    let columns: Vec<usize> = two.iter().map(|fault| fault.column).collect();
    assert_eq!(columns, [12, 17]);
}

#[test]
fn tenants_stand_in_the_place_that_the_issuer_has_for_them() {
    let ids = [
        "11111111-1111-1111-1111-11111111111A",
        "22222222-2222-2222-2222-222222222222",
    ];
    for (template, of_first) in [
        (
            "https://login.microsoftonline.com/{tenantid}/v2.0",
            "https://login.microsoftonline.com/11111111-1111-1111-1111-11111111111a/v2.0",
        ),
        (
            "https://sts.windows.net/{tenantid}/",
            "https://sts.windows.net/11111111-1111-1111-1111-11111111111a/",
        ),
    ] {
        let lines = format!("issuer = {template:?}\nissuer_tenants = {ids:?}");
        let config = loaded(&with("[[providers]]", &lines));
        let issuer = &config.providers[0].issuer;
        assert_eq!(issuer.as_written(), template);
        let tenants: Vec<&str> = issuer.tenants().iter().map(|it| &*it.id).collect();
        assert_eq!(tenants, [&ids[0].to_lowercase(), ids[1]]);
        assert_eq!(issuer.all().next(), Some(of_first));
        assert!(config.warnings.iter().all(|it| !it.contains("issuer")));
    }
    let personal =
        "issuer = \"https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0\"";
    let warnings = loaded(&with("[[providers]]", personal)).warnings;
    let told = |it: &String| it.contains("personal Microsoft account");
    assert!(warnings.iter().any(told), "{warnings:?}");
}

#[test]
fn bearer_routes_need_a_provider_whose_tokens_are_for_us() {
    let route = |more: &str| format!("[[routes]]\npath = \"/api/\"\naccess = \"bearer\"\n{more}");
    let audience = "access_token_audience = \"https://a.example/wfgen/graphql\"";
    for without in [
        SMALLEST.to_owned(),
        with("[[providers]]", "access_token_audience = \"\""),
    ] {
        let faults = faults(&(without + &route("")));
        assert_eq!(faults.len(), 1, "{faults:#?}");
        assert_eq!(faults[0].key, "routes[0].access");
        assert!(faults[0].expected.contains("access_token_audience"));
    }
    // Outside of the base path too: no cookie has to reach them.
    let good = with("[[providers]]", audience);
    let config =
        loaded(&(good.clone() + &route("machine = true\nrequire = \"claims.scope == 'x'\"")));
    assert!(config.routes[0].machine && config.takes_access_tokens());
    assert_eq!(config.bearer_rules().count(), 1);
    assert_eq!(config.route_rules().count(), 0);
    assert!(
        !config.claims_in_use().contains("scope"),
        "no sign-in needs it"
    );
    let provider = &config.providers[0];
    assert_eq!(
        provider.access_token_username_claim,
        "com.workflowgen.api.username"
    );
    let open = "[[routes]]\npath = \"/api/\"\naccess = \"open\"\nmachine = true\n";
    assert_eq!(faults(&(good.clone() + open))[0].key, "routes[0].machine");
    let other =
        "[[providers]]\nname = \"other\"\nissuer = \"https://other.example\"\nclient_id = \"1\"\n";
    let config = loaded(&(good + other + &route("")));
    let told = |warning: &String| warning.contains("tokens of other are refused");
    assert!(config.warnings.iter().any(told), "{:?}", config.warnings);
    let same = with(
        "[[providers]]",
        &format!(
            "access_token_audience = {:?}",
            config.providers[0].client_id
        ),
    );
    let told = |warning: &String| warning.contains("audience of its own");
    assert!(loaded(&same).warnings.iter().any(told));
}

#[test]
fn a_feature_that_is_switched_off_is_no_fault() {
    let text = with("[server]", "proxy_protocol = false\nhsts = \"off\"")
        .replace("[upstream]\n", "[upstream]\nhealth_path = \"\"\nca = ''\n")
        .replace(
            "[[directories]]\n",
            "[[directories]]\nwhen = \"\"\npush = []\n",
        )
        .replace(
            "[[providers]]\n",
            "[[providers]]\nissuer_tenants = []\naccess_token_audience = \"\"\n",
        )
        + "[access]\nrules = []\n[[routes]]\npath = \"/wfgen/a\"\naccess = \"login\"\nrequire = \"\"\n";
    loaded(&text);
}

#[test]
fn all_faults_are_told_at_once_in_the_files_order() {
    let text = "[server]\nlisten = 5\nlisen = 6\n[[providers]]\nname = \"a\"\n[[providers]]\nname = \"a\"\nissuer = 'https://a'\nclient_id = 'b'\nlogout = 'both'\n[[routes]]\n[surprise]\n";
    let told: Vec<(usize, String, Problem)> = faults(text)
        .into_iter()
        .map(|fault| (fault.line, fault.key, fault.problem))
        .collect();
    let expected = [
        (1, "upstream.servers", Problem::Missing),
        (1, "session.keys", Problem::Missing),
        (1, "directories", Problem::Missing),
        (1, "server.public_url", Problem::Missing),
        (2, "server.listen", Problem::Invalid),
        (3, "server.lisen", Problem::Unknown),
        (4, "providers[0].issuer", Problem::Missing),
        (4, "providers[0].client_id", Problem::Missing),
        (7, "providers[1].name", Problem::Invalid),
        (10, "providers[1].logout", Problem::Invalid),
        (11, "routes[0].path", Problem::Missing),
        (11, "routes[0].access", Problem::Missing),
        (12, "surprise", Problem::Unknown),
    ];
    for (line, key, problem) in expected {
        let key = key.to_owned();
        assert!(
            told.contains(&(line, key.clone(), problem)),
            "{key} at {line}: {told:#?}"
        );
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    assert!(told.is_sorted_by_key(|(line, ..)| *line));
}

#[test]
fn what_is_required_is_missed_even_where_its_table_is_missing() {
    let keys: Vec<String> = faults("").into_iter().map(|fault| fault.key).collect();
    for key in [
        "server.public_url",
        "upstream.servers",
        "providers",
        "session.keys",
        "directories",
    ] {
        assert!(keys.iter().any(|told| told == key), "{key}: {keys:?}");
    }
    let no_mapping = SMALLEST.split("[directories.mapping]").next().unwrap();
    let keys: Vec<String> = faults(no_mapping)
        .into_iter()
        .map(|fault| fault.key)
        .collect();
    assert_eq!(
        keys,
        [
            "directories[0].mapping.username",
            "directories[0].mapping.name"
        ]
    );
}

#[test]
fn syntax_is_told_first_and_once_a_line() {
    let faults = faults("[server\nlisten = \"a\nworkers = [1,,2]\nlisen = 3\n");
    assert!(
        faults.iter().all(|fault| fault.problem == Problem::Syntax),
        "{faults:#?}"
    );
    let lines: Vec<usize> = faults.iter().map(|fault| fault.line).collect();
    let mut once = lines.clone();
    once.dedup();
    assert_eq!(lines, once);
    assert_eq!(lines[0], 1);
}

#[test]
fn checks_across_keys() {
    let http = |line: &str| with("[session]", line).replace("https://workflow", "http://workflow");
    let cases = [
        (http("same_site = \"none\""), "session.same_site"),
        (http("cookie = \"__Secure-t\""), "session.cookie"),
        (
            format!("{SMALLEST}[admin]\nlisten = \"0.0.0.0:9180\"\n"),
            "admin.listen",
        ),
        (
            format!(
                "{SMALLEST}[admin]\nlisten = \"0.0.0.0:8080\"\ntoken = {{ file = \"token\" }}\n"
            ),
            "admin.listen",
        ),
        (
            format!("{SMALLEST}[[routes]]\npath = \"/x\"\naccess = \"login\"\n"),
            "routes[0].path",
        ),
        (
            format!("{SMALLEST}[[routes]]\npath = \"x\"\naccess = \"open\"\n"),
            "routes[0].path",
        ),
        (
            format!("{SMALLEST}[[routes]]\npath = \"/x//y\"\naccess = \"open\"\n"),
            "routes[0].path",
        ),
        (
            format!("{SMALLEST}[[routes]]\npath = \"/é\"\naccess = \"open\"\n"),
            "routes[0].path",
        ),
        (
            format!("{SMALLEST}[[routes]]\npath = \"/x/%2E%2e/\"\naccess = \"deny\"\n"),
            "routes[0].path",
        ),
        (
            format!(
                "{SMALLEST}[[routes]]\npath = \"/x\"\naccess = \"open\"\nmethods = [\"get\"]\n"
            ),
            "routes[0].methods[0]",
        ),
        (
            format!(
                "{SMALLEST}[[routes]]\npath = \"/x\"\naccess = \"open\"\nkeep_headers = [\"x_forwarded_user\"]\n"
            ),
            "routes[0].keep_headers[0]",
        ),
        (
            format!(
                "{SMALLEST}[[routes]]\npath = \"/x\"\naccess = \"open\"\nkeep_headers = [\"Accept\"]\n"
            ),
            "routes[0].keep_headers[0]",
        ),
        (format!("{SMALLEST}[log]\nlevel = \"a=b=c\"\n"), "log.level"),
        (
            format!("{SMALLEST}[log]\nlevel = \"warning\"\n"),
            "log.level",
        ),
        (
            format!("{SMALLEST}[log]\nlevel = \"info,verbose\"\n"),
            "log.level",
        ),
        (
            format!("{SMALLEST}[admin]\ntoken = {{ file = \"short\" }}\n"),
            "admin.token",
        ),
        (
            format!("{SMALLEST}[store]\nurl = \"sqlite::memory:\"\n"),
            "store.url",
        ),
    ];
    for (text, key) in cases {
        let faults = faults(&text);
        assert_eq!(faults.len(), 1, "{key}: {faults:#?}");
        assert_eq!(faults[0].key, key);
    }
}

#[test]
fn what_is_allowed_but_dangerous_is_warned_of() {
    let routes = "[[routes]]\npath = \"/wfgen/auth/x\"\naccess = \"open\"\n[[routes]]\npath = \"/wfgen/ws/\"\naccess = \"open\"\n[[routes]]\npath = \"/WFGEN/ws/a\"\naccess = \"deny\"\n";
    let cases = [
        (
            with("[server]", "public_url = \"http://workflow.example.com\""),
            "server.public_url: ",
        ),
        (SMALLEST.to_owned(), "session.sealing_keys: "),
        (
            with("[[providers]]", "trust_email = true"),
            "providers[0].trust_email: ",
        ),
        (
            with("[[providers]]", "issuer = \"http://idp.example.com\""),
            "providers[0].issuer: ",
        ),
        (
            with("[[directories]]", "adopt = \"any\""),
            "directories[0].adopt: ",
        ),
        (
            format!(
                "{SMALLEST}[[directories.push]]\nurl = \"https://workflow.example.com/wfgen/scim\"\n"
            ),
            "comes to this proxy",
        ),
        (
            format!(
                "{SMALLEST}[[directories]]\nname = \"B\"\n[directories.mapping]\nusername = \"a\"\nname = \"b\"\n"
            ),
            "directories[1].name: creates nobody",
        ),
        (
            format!("{SMALLEST}{routes}"),
            "routes[0].path: never matches",
        ),
        (
            format!("{SMALLEST}{routes}"),
            "routes[2].path: never matches",
        ),
    ];
    for (text, start) in cases {
        let warnings = loaded(&text).warnings;
        assert!(
            warnings.iter().any(|warning| warning.contains(start)),
            "{start}: {warnings:?}"
        );
    }
    let quiet = with(
        "[session]",
        "sealing_keys = [{ id = \"s\", secret = { file = \"sealing\" } }]",
    );
    let folder = folder();
    only_for_me(folder.path());
    assert_eq!(load_in(folder.path(), &quiet).unwrap().warnings, [""; 0]);
}

fn only_for_me(folder: &Path) {
    #[cfg(unix)]
    for file in std::fs::read_dir(folder).unwrap() {
        use std::os::unix::fs::PermissionsExt as _;
        let path = file.unwrap().path();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_secret_that_everybody_can_read_is_warned_of() {
    let warnings = loaded(SMALLEST).warnings;
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("chmod o-rwx")),
        "{warnings:?}"
    );
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    let fault = load(&path).unwrap_err().list.remove(0);
    assert_eq!((fault.problem, fault.line), (Problem::Unreadable, 0));
    std::fs::write(&path, b"[server]\n\xff").unwrap();
    let fault = load(&path).unwrap_err().list.remove(0);
    assert!(fault.found.contains("not UTF-8, from byte 10"), "{fault:?}");
    std::fs::write(&path, format!("\u{feff}{}", SMALLEST.replace('\n', "\r\n"))).unwrap();
    let keys: Vec<String> = load(&path)
        .unwrap_err()
        .list
        .into_iter()
        .map(|f| f.key)
        .collect();
    assert_eq!(
        keys,
        ["session.keys[0].secret.file"],
        "only the secret is missing here"
    );
}

/// The walker reads exactly the supported keys of the table, and each default is one that it takes.
#[test]
fn the_table_of_keys_is_what_is_read() {
    let text = include_str!("../../../proxy.toml");
    let document = Document::new(Path::new("proxy.toml"), text);
    document.walk(|top| read(&document, top));
    // Entries of these lists are not in the reference's live lines, or stand for free names.
    let with_entries = SMALLEST.replace(
        "[session]\n",
        "[session]\nsealing_keys = [{ id = \"s\", secret = { file = \"sealing\" } }]\n",
    ) + "city = { claim = \"l\" }\nfax = { expression = \"claims.f\" }\n[[access.rules]]\nrequire = \"true\"\n[upstream.identity.headers]\nX-A = \"name\"\n[upstream.identity.assertion]\nkey = { file = \"k\" }\n[providers.authorization_parameters]\na = \"b\"\n";
    let second = Document::new(Path::new("proxy.toml"), &with_entries);
    second.walk(|top| read(&second, top));
    let of_a_file = "[[directories]]\nname = \"A\"\nconnector = \"text\"\nfile = \"a\"\n[[directories.push]]\nurl = \"http://a/scim\"\n";
    let third = Document::new(Path::new("proxy.toml"), of_a_file);
    third.walk(|top| super::read(&third, top));
    let mut read = document.keys_read();
    read.extend(second.keys_read());
    read.extend(third.keys_read());
    for key in KEYS {
        assert!(read.contains(key.path), "{} is never read", key.path);
    }
    for path in &read {
        let known = Key::find(path).is_some()
            || path.starts_with("directories[].mapping.")
            || path.starts_with("upstream.identity.headers.")
            || path.starts_with("providers[].authorization_parameters.");
        assert!(known, "{path} is read, but not in KEYS");
    }
    for key in KEYS {
        if let Fallback::Value(text) = key.fallback {
            assert!(toml::de::DeValue::parse(text).is_ok(), "{}", key.path);
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = load_text(&text, Path::new("proxy.toml"));
    }

    /// Splices TOML-like pieces into a good file, so that the walk is reached and not the parser alone.
    #[test]
    fn a_spliced_file_never_panics(
        pieces in prop::collection::vec((0..SMALLEST.len(), r#"[\[\]{}="'#.,0-9a-z_ \n%/:é-]{0,12}"#), 1..4),
    ) {
        let mut text = SMALLEST.to_owned();
        for (at, piece) in pieces {
            if text.is_char_boundary(at) {
                text.insert_str(at, &piece);
            }
        }
        let _ = load_text(&text, Path::new("proxy.toml"));
    }

    /// Any value in any key's place is taken or refused.
    #[test]
    fn any_value_in_any_place_never_panics(
        key in 0..KEYS.len(),
        value in prop_oneof![
            any::<String>().prop_map(|text| format!("{:?}", text).replace("\\u{", "\\\\u{").replace("\\'", "'")),
            any::<i64>().prop_map(|number| number.to_string()),
            Just("[]".to_owned()), Just("{}".to_owned()), Just("[[]]".to_owned()), Just("[{}]".to_owned()),
            Just("1979-05-27".to_owned()), Just("nan".to_owned()), Just("true".to_owned()),
            r#"[a-zA-Z0-9:/.%@*_-]{0,20}"#.prop_map(|text| format!("\"{text}\"")),
            r#"[a-zA-Z0-9:/.%@*_-]{0,20}"#.prop_map(|text| format!("[\"{text}\"]")),
        ],
    ) {
        let path = KEYS[key].path;
        let (parents, name) = path.rsplit_once('.').unwrap_or(("", path));
        let name = name.trim_end_matches("[]").replace('*', "x");
        let header = match parents.strip_suffix("[]") {
            _ if parents.is_empty() => String::new(),
            Some(list) => format!("[[{}]]\n", list.replace("[]", "").replace('*', "x")),
            None => format!("[{}]\n", parents.replace("[]", "").replace('*', "x")),
        };
        let _ = load_text(&format!("{header}{name} = {value}\n"), Path::new("proxy.toml"));
    }
}
