//! `token inspect` and `token compare`, as an operator uses them on a token of their instance and one of ours.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::command_line::SMALLEST;

const USERNAME: &str = "https://api.workflowgen.com/username";
const KEY: &str = "0123456789abcdef0123456789abcdef";

fn claims(more: &Value) -> Value {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let mut claims = json!({
        "iss": "http://127.0.0.1:8080/wfgen/auth", "aud": "http://127.0.0.1:8080/wfgen", "sub": "s",
        "iat": now, "exp": now + 600, USERNAME: "ada", "email": "ada@example.com",
    });
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn signed(claims: &Value, key: &str) -> String {
    encode(
        &Header::default(),
        claims,
        &EncodingKey::from_secret(key.as_bytes()),
    )
    .unwrap()
}

fn installed(tokens: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("proxy.toml", SMALLEST), ("session", KEY)]
        .iter()
        .chain(tokens)
    {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn token(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.current_dir(folder).arg("token").args(arguments);
    command.output().unwrap()
}

/// Its exit code and what it printed; never a signature or a secret, on either stream.
#[track_caller]
fn said(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let ended = token(folder, arguments);
    let [out, err] = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let secret = match text.rsplit_once('.') {
            Some((_, signature)) if text.starts_with("eyJ") => signature.to_owned(),
            _ => KEY.to_owned(),
        };
        let shown = secret.len() > 9 && format!("{out}{err}").contains(secret.trim());
        assert!(!shown, "{secret} in {out}{err}");
    }
    (ended.status.code().unwrap(), out, err)
}

#[test]
fn inspect_says_whether_a_token_holds_here() {
    let good = signed(&claims(&json!({})), KEY);
    let foreign = signed(&claims(&json!({})), "another secret, of 32 bytes at least");
    let wrong = signed(
        &claims(&json!({"iss": "x", "aud": ["y"], "exp": 1, "nbf": "z", USERNAME: null})),
        KEY,
    );
    let cookie = format!("wfgen_token={good};\n");
    let folder = installed(&[
        ("good", &good),
        ("cookie", &cookie),
        ("foreign", &foreign),
        ("wrong", &wrong),
    ]);
    for name in ["good", "cookie"] {
        let (code, out, err) = said(folder.path(), &["inspect", name]);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        for text in [
            "alg",
            "HS256",
            "made by session key 1",
            "text     \"ada\"",
            "number   ",
            "Z\n",
        ] {
            assert!(out.contains(text), "{text} in {out}");
        }
        assert!(!out.contains("NO"), "{out}");
    }
    let (code, out, err) = said(folder.path(), &["inspect", "foreign"]);
    assert_eq!(
        (code, err.as_str()),
        (1, "error: the token does not hold here: signature\n"),
        "{out}"
    );
    let (code, _, err) = said(folder.path(), &["inspect", "wrong"]);
    assert_eq!(code, 1);
    assert!(
        err.contains("here: iss, aud, exp, nbf, username\n"),
        "{err}"
    );

    let (code, out, _) = said(folder.path(), &["inspect", "wrong", "--json"]);
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &shown["claims"]["aud"]), (1, &json!(["y"])));
    assert_eq!(shown["signature"], json!({"bytes": 32, "session_key": "1"}));
    let failed = shown["checks"].as_array().unwrap().iter();
    let failed: Vec<_> = failed
        .filter(|it| it["ok"] == json!(false))
        .map(|it| &it["check"])
        .collect();
    assert_eq!(failed, ["iss", "aud", "exp", "nbf", "username"]);
}

#[test]
fn compare_marks_what_differs_and_passes_over_what_always_does() {
    let ours = signed(&claims(&json!({"nonce": "n", "sid": "a", "jti": "b"})), KEY);
    let later = signed(
        &claims(&json!({"iat": 1000, "exp": 1600, "nonce": "m", "sid": "c", "jti": "d"})),
        KEY,
    );
    let native = signed(
        &claims(
            &json!({"nonce": "o", "aud": ["http://127.0.0.1:8080/wfgen"], "iss": "http://127.0.0.1:8080/wfgen/auth/", "gender": "x"}),
        ),
        "another secret, of 32 bytes at least",
    );
    let folder = installed(&[("ours", &ours), ("later", &later), ("native", &native)]);
    let (code, out, err) = said(folder.path(), &["compare", "ours", "later"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.contains(" ~ claims jti") && !out.contains("!!"),
        "{out}"
    );

    let (code, out, err) = said(folder.path(), &["compare", "native", "ours"]);
    assert_eq!(
        (code, err.as_str()),
        (1, "error: the tokens differ in 6 places\n"),
        "{out}"
    );
    for marked in [
        "!! claims aud: another type",
        "!! claims iss: another value",
        "!! claims gender: only A has it",
        "!! claims jti: only B has it",
        "!! claims sid: only B has it",
        "!! token signed by: another value",
        "   claims email: text \"ada@example.com\"",
        "   token exp - iat, seconds: number 600",
    ] {
        assert!(out.contains(marked), "{marked} in {out}");
    }
    let (code, out, _) = said(folder.path(), &["compare", "native", "ours", "--json"]);
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &shown["same"]), (1, &json!(false)));
    let fields = shown["fields"].as_array().unwrap();
    let aud = fields
        .iter()
        .find(|field| field["name"] == json!("aud"))
        .unwrap();
    assert_eq!(aud["difference"], json!("type"));
}

#[test]
fn what_is_no_token_and_what_cannot_be_read_are_told_apart() {
    let hostile = signed(
        &claims(&json!({"name": "\u{1b}[31m\u{9b}2J\u{202e}", "\u{7}": 1})),
        KEY,
    );
    let folder = installed(&[
        ("none", "administrator"),
        ("broken", "a.b.c"),
        ("hostile", &hostile),
    ]);
    for (arguments, code, message) in [
        (
            &["inspect", "none"][..],
            1,
            "expected a session token in none, found 1 parts",
        ),
        (&["inspect", "broken"], 1, "that is not base64url"),
        (&["inspect", "absent"], 2, "cannot be read"),
        (&["compare", "-", "-"], 2, "expected one token on stdin"),
        (&["inspect"], 2, "required"),
        (&["inspect", "none", "-c", "absent.toml"], 64, "absent.toml"),
    ] {
        let (ended, out, err) = said(folder.path(), arguments);
        assert_eq!((ended, out.as_str()), (code, ""), "{arguments:?}: {err}");
        assert!(err.contains(message), "{message} in {err}");
    }
    let (_, out, _) = said(folder.path(), &["inspect", "hostile"]);
    let obeyed = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!out.contains(obeyed), "{out:?}");
    assert!(out.contains("\\u001b[31m\\u009b2J\\u202e"), "{out}");
}
