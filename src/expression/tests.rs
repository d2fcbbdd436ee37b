use proptest::prelude::*;
use serde_json::json;

use super::*;

const FIELDS: &[&str] = &["username", "department"];

fn compiled(text: &str) -> Expression {
    Expression::compile(text, Scope::ClaimsAndUser(FIELDS)).unwrap_or_else(|slips| {
        panic!("{text}: {slips:?}");
    })
}

fn slips(text: &str) -> Vec<Slip> {
    Expression::compile(text, Scope::ClaimsAndUser(FIELDS)).unwrap_err()
}

fn subject() -> Subject {
    let claims = json!({
        "given_name": "Grace", "family_name": "Hopper", "email_verified": true, "age": 85, "big": u64::MAX,
        "half": 0.5, "none": null, "empty": "", "groups": ["staff", "admins"], "address": {"city": "Arlington"},
        "https://example.com/role": "boss", "secret": "hunter2",
    });
    Subject::of_claims(claims.as_object().unwrap()).as_user([("username", "grace")].into_iter())
}

fn text_of(text: &str) -> Result<Option<String>, Fault> {
    compiled(text).text_of(&subject())
}

fn text(text: &str) -> String {
    text_of(text).unwrap().unwrap()
}

#[test]
fn computes_text() {
    assert_eq!(
        text("claims.given_name.substring(0, 1) + claims.family_name.substring(0, 1)"),
        "GH"
    );
    assert_eq!(text("claims.given_name.lowerAscii()"), "grace");
    assert_eq!(
        text("claims['https://example.com/role'].upperAscii()"),
        "BOSS"
    );
    assert_eq!(text("claims.groups.join(' ')"), "staff admins");
    assert_eq!(text("claims.address.city"), "Arlington");
    assert_eq!(text("claims.age + 1"), "86");
    assert_eq!(text("claims.big"), u64::MAX.to_string());
    assert_eq!(text("claims.half"), "0.5");
    assert_eq!(text("claims.email_verified"), "true");
    assert_eq!(text("claims.?nickname.orValue('-')"), "-");
    assert_eq!(
        text("has(claims.nickname) ? claims.nickname : user.username"),
        "grace"
    );
    assert_eq!(
        text("claims.groups.filter(g, g.startsWith('a'))[0]"),
        "admins"
    );
    assert_eq!(text("'a-b'.split('-')[1].replace('b', 'c').trim()"), "c");
    assert_eq!(
        text("'ümlaut'.charAt(0) + string('ümlaut'.indexOf('l'))"),
        "ü2"
    );
    for missing in ["claims.none", "claims.empty", "''", "null"] {
        assert_eq!(text_of(missing), Ok(None), "{missing}");
    }
}

#[test]
fn decides() {
    let holds = |text: &str| compiled(text).holds(&subject());
    assert_eq!(holds("claims.email_verified == true"), Ok(true));
    assert_eq!(
        holds("'admins' in claims.groups && claims.age > 80"),
        Ok(true)
    );
    assert_eq!(
        holds("claims.groups.exists(g, g.matches('^adm'))"),
        Ok(true)
    );
    assert_eq!(holds("user.username == 'mallory'"), Ok(false));
    assert!(matches!(
        holds("claims.age"),
        Err(Fault::Kind {
            found: "a number",
            ..
        })
    ));
}

/// Where a claim that it names is absent, null or "", an expression that fails is missing; elsewhere it says why.
#[test]
fn tells_missing_from_failed() {
    for (text, claim) in [
        ("claims.nickname.substring(0, 1)", "nickname"),
        ("claims.none.substring(0, 1)", "none"),
        ("claims.empty.substring(0, 1)", "empty"),
        ("claims.given_name + claims['title']", "title"),
    ] {
        assert_eq!(text_of(text), Err(Fault::Missing(claim.into())), "{text}");
    }
    for text in [
        "claims.secret.substring(0, 99)",
        "claims.secret + 1",
        "claims.groups[7]",
        "claims.secret > claims.age",
        "claims.age / 0",
        "int(claims.secret)",
        "claims.address.street",
        "claims.secret.matches('(')",
    ] {
        let Err(Fault::Failed(why)) = text_of(text) else {
            panic!("{text} comes to {:?}", text_of(text));
        };
        assert!(
            !why.contains("hunter2") && !why.contains("Arlington"),
            "{why}"
        );
    }
    let holds = compiled("user.department == 'IT'").holds(&subject());
    assert_eq!(holds, Err(Fault::Empty("department".into())));
    let list = text_of("claims.groups").unwrap_err().to_string();
    assert_eq!(list, "expected text, found a list");
    let optional = text_of("claims.?nickname").unwrap_err().to_string();
    assert!(optional.contains("orValue"), "{optional}");
}

#[test]
fn says_what_it_names() {
    let expression = compiled(
        "claims.a == '' || has(claims.b) || claims['c d'] == claims.?e.orValue('') || claims.f.exists(x, x == user.department)",
    );
    let names: Vec<&str> = expression.claims().iter().map(String::as_str).collect();
    assert_eq!(names, ["a", "b", "c d", "e", "f"]);
    let fields: Vec<&str> = expression
        .user_fields()
        .iter()
        .map(String::as_str)
        .collect();
    assert_eq!(fields, ["department"]);
    assert!(
        compiled("[1].map(claims, claims)").claims().is_empty(),
        "a variable of its own"
    );
    let told = compiled("'groups' in claims && !('department' in user)");
    assert!(told.claims().contains("groups") && told.user_fields().contains("department"));
    assert_eq!(told.holds(&subject()), Ok(true));
}

/// A claim that is used without being named could be kept elsewhere, or asked for nowhere.
#[test]
fn what_it_uses_has_to_be_named() {
    for text in [
        "claims.exists(name, name == 'groups')",
        "size(claims) > 3",
        "claims[claims.kind]",
        "claims.kind in claims",
        "claims == {}",
        "user[claims.kind]",
    ] {
        let slips = slips(text);
        assert_eq!(slips.len(), 1, "{text}: {slips:?}");
        assert!(slips[0].found.ends_with("as a whole"), "{slips:?}");
    }
}

#[test]
fn knows_whether_it_was_told_all() {
    for (text, told) in [
        ("claims.given_name", true),
        ("has(claims.groups) && user.username == 'grace'", true),
        ("!has(claims.nickname)", false),
        ("'none' in claims", false),
        ("has(user.department)", false),
    ] {
        assert_eq!(compiled(text).is_told_all(&subject()), told, "{text}");
    }
}

#[test]
fn slips_are_told_with_their_place() {
    let one = |text: &str| {
        let slips = slips(text);
        assert_eq!(slips.len(), 1, "{text}: {slips:?}");
        (slips[0].at, slips[0].found.clone(), slips[0].hint.clone())
    };
    assert_eq!(one("claim.given_name").2, "did you mean claims?");
    let (at, found, _) = one("claims.a + userName");
    assert_eq!((at, found.as_str()), (11, "\"userName\""));
    let (_, found, hint) = one("user.departement == 'x'");
    assert_eq!(found, "user.departement");
    assert_eq!(hint, "did you mean user.department?");
    for (text, found, hint) in [
        (
            "claims.a.toUpper()",
            "toUpper()",
            "did you mean .upperAscii()?",
        ),
        ("upper(claims.a)", "upper()", "did you mean .upperAscii()?"),
        (
            "claims.a.startWith('b')",
            "startWith()",
            "did you mean .startsWith()?",
        ),
        ("trim(claims.a)", "trim()", "did you mean .trim()?"),
        ("claims.a.int()", "int()", "did you mean int(…)?"),
        ("claims.a.frobnicate()", "frobnicate()", ""),
    ] {
        let (_, told, hinted) = one(text);
        assert_eq!((told.as_str(), hinted.as_str()), (found, hint), "{text}");
    }
    assert_eq!(one("claims.a.substring()").1, "0");
    assert_eq!(slips("claims.a + ; 'é'").len(), 1);
    assert_eq!(slips("a + b").len(), 2, "all at once");
    let slips = Expression::compile("user.username", Scope::Claims).unwrap_err();
    assert!(slips[0].hint.contains("no user"), "{slips:?}");
}

#[test]
fn what_costs_too_much_is_refused() {
    assert!(
        slips(&"1 + ".repeat(300))[0]
            .expected
            .contains("1000 bytes")
    );
    let deep = format!("{}1{}", "(".repeat(30), ")".repeat(30));
    assert!(slips(&deep)[0].expected.contains("24 parentheses"));
    // Closing brackets in text and comments open nothing, and spaces part nothing.
    for hidden in [
        format!("'{}' + {deep}", ")".repeat(30)),
        format!(r"r'\' + {}1{}", "(')' + ".repeat(30), ")".repeat(30)),
        format!(r#""""'"\")""" + {}"#, "(')' + ".repeat(30)),
        format!("1 // '{} \n + {deep}", ")".repeat(30)),
        format!("{}true", "! ".repeat(30)),
    ] {
        let expected = &slips(&hidden)[0].expected;
        assert!(expected.contains("24 parentheses"), "{hidden}: {expected}");
    }
    compiled(&format!("'{}' == claims.a", "(".repeat(30)));
    let loops = "claims.a.all(x, claims.a.all(y, claims.a.all(z, z == x)))";
    assert!(slips(loops)[0].expected.contains("at most 2"));
    compiled("claims.a.all(x, claims.a.all(y, y == x))");
    let wide = format!("1{}", " + 1".repeat(240));
    assert_eq!(compiled(&wide).text_of(&subject()), Ok(Some("241".into())));
}

proptest! {
    #[test]
    fn never_panics(text in r#"(?s)(claims|user|\.|[a-z]|\(|\)|\[|\]|\{|\}|\?|:|"|'|!|-|\+|[0-9]|&&|==|,| |\\|.){0,60}"#) {
        if let Ok(expression) = Expression::compile(&text, Scope::ClaimsAndUser(FIELDS)) {
            let _ = expression.text_of(&subject());
            let _ = expression.holds(&subject());
        }
    }

    /// As long as a text may be, of one piece over and over: on a stack of 2 MiB, a quarter of what serves.
    #[test]
    fn never_overflows_the_stack(
        piece in r#"(\(|\[|\{|"|'|'''|r'|\\|'\)'|"\]"|//|\n|!|-| |\?|:|1|\+|a|\.a|\.trim\(\)|&&|==|,|in|claims\.a|[\)\]\}]){1,5}"#,
        before in r"(claims\.a|\)|'\)+'|1)?",
        close in prop::bool::ANY,
    ) {
        let number = 900 / piece.len();
        let mut text = before + &piece.repeat(number);
        if close {
            text.push('1');
            let rest = 1000_usize.saturating_sub(text.len());
            text.extend(std::iter::repeat_n(')', number.min(rest)));
        }
        if let Ok(expression) = Expression::compile(&text, Scope::ClaimsAndUser(FIELDS)) {
            let _ = expression.text_of(&subject());
        }
    }
}
