//! `[[directories]]`: who is who, and by which rules.

mod mapping;

use crate::config::file::Section;
use crate::config::slip::nearest;
use crate::config::value::Value;
use crate::config::{
    Adopt, Connector, Directory, MaxDeactivations, Rename, SelfProvisioning, TextFile, UserStatus,
};

use super::{push, rule};

/// `[[directories]]`; `providers` are the names of those that exist.
pub(super) fn directories(top: &Section<'_>, providers: &[String]) -> Option<Vec<Directory>> {
    let mut names = Vec::new();
    let mut receivers = Vec::new();
    let mut everybody = None;
    super::at_least_one(top, "directories", |_, section| {
        let directory = directory(section, providers, &mut names, &mut receivers)?;
        if let Some(rules) = directory.self_provisioning() {
            if let Some(name) = &everybody {
                section.warn(
                    "name",
                    &format!("creates nobody: the directory {name:?} before it takes everybody"),
                );
            }
            if rules.when.is_none() && directory.providers.is_empty() {
                everybody.get_or_insert_with(|| directory.name.clone());
            }
        }
        Some(directory)
    })
}

fn directory(
    section: &Section<'_>,
    providers: &[String],
    names: &mut Vec<String>,
    receivers: &mut Vec<String>,
) -> Option<Directory> {
    let name = section.get("name", |value| {
        let name = limited(value, 1, 50)?;
        match names.contains(&name) {
            true => value.refuse("a name of its own", "another directory has it already"),
            false => {
                names.push(name.clone());
                Some(name)
            }
        }
    });
    let description = section.get("description", |value| limited(value, 0, 255));
    let is_text = section.get("connector", |value| {
        value.choice(&[("self-provisioning", false), ("text", true)])
    });
    let own_providers = section.get("providers", |value| {
        value.set(|item| known_provider(item, providers))
    });
    let reserved_usernames = section.get("reserved_usernames", |value| value.set(Value::name_text));
    let push = section.tables("push", |_, section| push::push(section, receivers));
    let connector = match is_text {
        Some(true) => text_file(section).map(Connector::Text),
        Some(false) => self_provisioning(section).map(Connector::SelfProvisioning),
        // Which keys belong to it cannot be told.
        None => {
            section.forget_leftovers();
            None
        }
    };
    let directory = Directory {
        name: name?,
        description: description?,
        providers: own_providers?,
        reserved_usernames: reserved_usernames?,
        push: push?,
        connector: connector?,
    };
    let whose = matches!(directory.connector, Connector::Text(_)) && directory.providers.is_empty();
    if whose && providers.len() > 1 {
        let expected = format!(
            "the names of the providers whose people are in the file: {}",
            providers.join(", ")
        );
        let hint = "otherwise anybody of another provider could come with one of these usernames";
        return section.refuse("providers", "nothing", expected, hint);
    }
    Some(directory)
}

/// Keys of the one connector that the other does not have.
const OF_SELF_PROVISIONING: &[&str] = &[
    "rename",
    "when",
    "create",
    "update",
    "adopt",
    "new_user_status",
    "max_users",
    "mapping",
];
const OF_TEXT: &[&str] = &["file", "max_deactivations"];

/// Refuses the keys of the other connector.
fn has_none_of(section: &Section<'_>, names: &[&str], connector: &str) -> Option<()> {
    let mut none = Some(());
    for name in names.iter().filter(|name| section.has(name)) {
        let expected = format!("no {name} in a directory with connector {connector:?}");
        let hint = "leave the key out, or look at `connector`";
        none = section.refuse(name, "the key", expected, hint);
        section.take(name);
    }
    none
}

fn text_file(section: &Section<'_>) -> Option<TextFile> {
    let fits = has_none_of(section, OF_SELF_PROVISIONING, "text");
    let file = match section.optional("file", |value| value.name_text())? {
        Some(file) => Some(file),
        None => section.missing("file"),
    };
    let max_deactivations = section.get("max_deactivations", max_deactivations);
    fits?;
    Some(TextFile {
        file: section.resolve(&file?),
        max_deactivations: max_deactivations?,
    })
}

fn max_deactivations(value: &Value<'_>) -> Option<MaxDeactivations> {
    let percent = |text: &str| text.strip_suffix('%')?.parse().ok();
    match value.as_text() {
        Some(text) => match percent(text) {
            Some(share @ 0..=100) => Some(MaxDeactivations::Percent(share)),
            _ => value.refuse(r#"a share such as "10%", or a number of users"#, ""),
        },
        None => value.number(0..=1 << 40, None).map(MaxDeactivations::Users),
    }
}

fn self_provisioning(section: &Section<'_>) -> Option<SelfProvisioning> {
    let fits = has_none_of(section, OF_TEXT, "self-provisioning");
    let when = section.get("when", |value| rule::optional(value, rule::over_claims));
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
    let mapping = section.section("mapping", mapping::mapping);
    fits?;
    Some(SelfProvisioning {
        when: when?,
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
