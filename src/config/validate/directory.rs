//! `[[directories]]`: who is who, and which claim becomes which user field.

use crate::config::file::Section;
use crate::config::slip::nearest;
use crate::config::value::Value;
use crate::config::{
    Adopt, Directory, FieldRule, Missing, Rename, Source, Sync, UserField, UserStatus,
};

/// One of `[[directories]]`; `providers` are the names of those that exist.
pub(super) fn directory(
    section: &Section<'_>,
    place: usize,
    providers: &[String],
) -> Option<Directory> {
    if place > 0 {
        section.skip("one directory");
        return None;
    }
    let name = section.get("name", |value| limited(value, 1, 50));
    let description = section.get("description", |value| limited(value, 0, 255));
    let connector = section.get("connector", connector);
    let providers = section.get("providers", |value| {
        value.set(|item| known_provider(item, providers))
    });
    let reserved_usernames = section.get("reserved_usernames", |value| value.set(Value::name_text));
    let rename = section.get("rename", |value| {
        value.choice(&[
            ("follow", Rename::Follow),
            ("keep", Rename::Keep),
            ("deny", Rename::Deny),
        ])
    });
    let create = section.get("create", |value| value.boolean());
    let update = section.get("update", |value| value.boolean());
    let adopt = section.get("adopt", adopt);
    let new_user_status = section.get("new_user_status", |value| {
        value.choice(&[
            ("active", UserStatus::Active),
            ("inactive", UserStatus::Inactive),
        ])
    });
    let max_users = section.get("max_users", |value| match value.as_text() {
        Some("unlimited") => Some(None),
        _ => value.number(0..=1 << 40, Some("unlimited")).map(Some),
    });
    let mapping = section.section("mapping", mapping);
    connector?;
    Some(Directory {
        name: name?,
        description: description?,
        providers: providers?,
        reserved_usernames: reserved_usernames?,
        rename: rename?,
        create: create?,
        update: update?,
        adopt: adopt?,
        new_user_status: new_user_status?,
        max_users: max_users?,
        mapping: mapping?,
    })
}

fn limited(value: &Value<'_>, least: usize, most: usize) -> Option<String> {
    let text = value.text()?;
    let fits = (least..=most).contains(&text.chars().count());
    match fits && text.trim() == text && !text.chars().any(char::is_control) {
        true => Some(text.to_owned()),
        false => value.refuse(
            format!("{least} to {most} characters, without control characters and outer spaces"),
            "",
        ),
    }
}

fn connector(value: &Value<'_>) -> Option<()> {
    match value.as_text() {
        Some("text") => value.not_supported_yet(r#""self-provisioning""#),
        _ => value.choice(&[("self-provisioning", ())]),
    }
}

fn adopt(value: &Value<'_>) -> Option<Adopt> {
    let adopt = value.choice(&[
        ("never", Adopt::Never),
        ("unbound", Adopt::Unbound),
        ("any", Adopt::Any),
    ])?;
    if adopt == Adopt::Any {
        value.warn(
            "whoever gets somebody's username at a provider takes over that user; use it for a migration only, then \"never\"",
        );
    }
    Some(adopt)
}

fn known_provider(value: &Value<'_>, providers: &[String]) -> Option<String> {
    let name = value.text()?;
    if providers.iter().any(|provider| provider == name) {
        return Some(name.to_owned());
    }
    let hint = nearest(name, providers.iter().map(String::as_str))
        .map_or_else(String::new, |near| format!("did you mean {near:?}?"));
    value.refuse(
        format!("the name of a provider: {}", providers.join(", ")),
        &hint,
    )
}

fn mapping(section: &Section<'_>) -> Option<Vec<(UserField, FieldRule)>> {
    let rules: Vec<_> = section.entries().iter().map(mapped_field).collect();
    let mut complete = true;
    for required in [UserField::Username, UserField::Name] {
        if !section.has(required.name()) {
            section.missing::<()>(required.name());
            complete = false;
        }
    }
    complete.then_some(())?;
    rules.into_iter().collect()
}

fn mapped_field(value: &Value<'_>) -> Option<(UserField, FieldRule)> {
    let names = || UserField::ALL.iter().map(|field| field.name());
    let Some(field) = UserField::from_name(value.name()) else {
        let hint = match nearest(value.name(), names()) {
            Some(near) => format!("did you mean {near}?"),
            None => "the field comes first, then the claim: email = \"mail\"".to_owned(),
        };
        let names: Vec<&str> = names().collect();
        return value.unknown(format!("a user field: {}", names.join(", ")), &hint);
    };
    let rule = match value.is_table() {
        true => value.section(|section| rule(section, value, field))?,
        false => FieldRule {
            source: Source::Claims(claims(value)?),
            sync: Sync::Always,
            missing: Missing::Keep,
        },
    };
    Some((field, rule))
}

/// A claim's name, or a list of names.
fn claims(value: &Value<'_>) -> Option<Vec<String>> {
    match (value.as_text(), value.is_list()) {
        (Some(_), _) => value.name_text().map(|name| vec![name]),
        (None, true) => {
            let names = value.set(Value::name_text)?;
            match names.is_empty() {
                true => value.refuse("at least one claim name", ""),
                false => Some(names),
            }
        }
        _ => value.refuse(
            "a claim's name, a list of names, or a table with claim or value",
            "",
        ),
    }
}

fn rule(section: &Section<'_>, value: &Value<'_>, field: UserField) -> Option<FieldRule> {
    let claims = section.optional("claim", claims);
    let constant = section.optional("value", |value| value.name_text());
    let sync = section.get("sync", |value| {
        value.choice(&[
            ("always", Sync::Always),
            ("on-create", Sync::OnCreate),
            ("if-empty", Sync::IfEmpty),
        ])
    });
    let missing = section.get("missing", |value| {
        value.choice(&[
            ("keep", Missing::Keep),
            ("clear", Missing::Clear),
            ("deny", Missing::Deny),
        ])
    });
    let source = match (claims?, constant?) {
        (Some(claims), None) => Some(Source::Claims(claims)),
        (None, Some(constant)) => Some(Source::Value(constant)),
        // It is reported as not supported yet; another fault would only confuse.
        (None, None) if section.has("expression") => None,
        (found, _) => {
            let found = match found {
                Some(_) => "both claim and value",
                None => "neither claim nor value",
            };
            value.refuse_found(found, "exactly one of claim and value", "")
        }
    };
    let rule = FieldRule {
        source: source?,
        sync: sync?,
        missing: missing?,
    };
    check_required(section, field, &rule)?;
    Some(rule)
}

/// What makes no sense for the fields that every user has.
fn check_required(section: &Section<'_>, field: UserField, rule: &FieldRule) -> Option<()> {
    if !matches!(field, UserField::Username | UserField::Name) {
        return Some(());
    }
    let name = field.name();
    if rule.missing == Missing::Clear {
        let expected = r#""keep" or "deny""#;
        let hint = format!("every user has a {name}");
        return section.refuse("missing", r#""clear""#, expected, &hint);
    }
    if field == UserField::Username && matches!(rule.source, Source::Value(_)) {
        let hint = "with a constant everybody would be the same user";
        return section.refuse("value", "a constant", "a claim", hint);
    }
    if field == UserField::Username && rule.sync != Sync::Always {
        let hint = "the directory's `rename` says what a changed username does";
        let found = format!("{:?}", rule.sync.as_str());
        return section.refuse("sync", found, r#""always""#, hint);
    }
    Some(())
}
