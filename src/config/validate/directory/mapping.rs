//! `[directories.mapping]`: which claim becomes which user field.

use crate::config::file::Section;
use crate::config::keys::Kind;
use crate::config::slip::nearest;
use crate::config::value::Value;
use crate::config::{FieldRule, Missing, Source, Sync, UserField};

use super::rule::over_claims;

pub(super) fn mapping(section: &Section<'_>) -> Option<Vec<(UserField, FieldRule)>> {
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
        _ => value.refuse(Kind::Source.expected(), ""),
    }
}

fn rule(section: &Section<'_>, value: &Value<'_>, field: UserField) -> Option<FieldRule> {
    let claims = section.optional("claim", claims);
    let constant = section.optional("value", |value| value.name_text());
    let expression = section.optional("expression", over_claims);
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
    let sources = [
        claims?.map(Source::Claims),
        constant?.map(Source::Value),
        expression?.map(Source::Expression),
    ];
    let mut sources = sources.into_iter().flatten();
    let source = match (sources.next(), sources.next()) {
        (Some(source), None) => Some(source),
        (found, _) => {
            let found = match found {
                Some(_) => "several of claim, value and expression",
                None => "none of claim, value and expression",
            };
            let expected = "exactly one of claim, value and expression";
            value.refuse_found(found, expected, "")
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
    let constant = match &rule.source {
        Source::Claims(_) => None,
        Source::Value(_) => Some("value"),
        Source::Expression(expression) => expression.claims().is_empty().then_some("expression"),
    };
    if let Some(key) = constant.filter(|_| field == UserField::Username) {
        let hint = "with a constant everybody would be the same user";
        return section.refuse(key, "a constant", "a claim", hint);
    }
    if field == UserField::Username && rule.sync != Sync::Always {
        let hint = "the directory's `rename` says what a changed username does";
        let found = format!("{:?}", rule.sync.as_str());
        return section.refuse("sync", found, r#""always""#, hint);
    }
    Some(())
}
