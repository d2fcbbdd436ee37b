//! User fields as SCIM attributes (RFC 7643 4.1, 4.3), and the difference between two sets of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::config::UserField;
use crate::store::User;

const CORE: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// User field and the attribute that carries it, as the README's table has them. A type in brackets is that of an entry of
/// a multi-valued attribute. Fields that are not here have no attribute and are not pushed.
pub const FIELDS: &[(UserField, &str)] = &[
    (UserField::Username, "userName"),
    (UserField::Name, "name.familyName"),
    (UserField::FirstName, "name.givenName"),
    (UserField::Title, "name.honorificPrefix"),
    (UserField::DisplayName, "displayName"),
    (UserField::Email, "emails[work].value"),
    (UserField::Phone, "phoneNumbers[work].value"),
    (UserField::Mobile, "phoneNumbers[mobile].value"),
    (UserField::Fax, "phoneNumbers[fax].value"),
    (UserField::Pager, "phoneNumbers[pager].value"),
    (UserField::Office, "addresses[other].formatted"),
    (UserField::PostalAddress, "addresses[work].streetAddress"),
    (UserField::ZipCode, "addresses[work].postalCode"),
    (UserField::City, "addresses[work].locality"),
    (UserField::State, "addresses[work].region"),
    (UserField::Country, "addresses[work].country"),
    (UserField::JobTitle, "title"),
    (UserField::EmployeeType, "userType"),
    (UserField::Language, "preferredLanguage"),
    (UserField::TimeZone, "timezone"),
    (UserField::EmployeeNumber, "enterprise.employeeNumber"),
    (UserField::Department, "enterprise.department"),
    (UserField::Company, "enterprise.organization"),
    (UserField::Manager, "enterprise.manager.value"),
];

/// What is patched as one: a path of RFC 7644 3.5.2 and its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes(BTreeMap<String, Value>);

impl Attributes {
    /// A user as the receiver shall have them.
    pub(super) fn of(user: &User) -> Self {
        let mut attributes = Self::default();
        attributes.set("externalId", user.id.as_str().into());
        attributes.set("active", user.is_active().into());
        for (field, place) in FIELDS {
            if let Some(value) = user.field(*field) {
                attributes.place(place, value);
            }
        }
        attributes
    }

    /// As the store keeps them.
    pub(super) fn from_json(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap_or_default())
    }

    pub(super) fn to_json(&self) -> String {
        // Texts and JSON values always have a text.
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    fn set(&mut self, path: &str, value: Value) {
        self.0.insert(path.to_owned(), value);
    }

    fn place(&mut self, place: &str, value: &str) {
        if let Some(rest) = place.strip_prefix("enterprise.") {
            return match rest.split_once('.') {
                Some((name, sub)) => {
                    self.set(&format!("{ENTERPRISE}:{name}"), json!({ sub: value }))
                }
                None => self.set(&format!("{ENTERPRISE}:{rest}"), value.into()),
            };
        }
        let Some((name, rest)) = place.split_once('[') else {
            return self.set(place, value.into());
        };
        let (kind, sub) = rest.split_once("].").unwrap_or((rest, "value"));
        let entries = self.0.entry(name.to_owned()).or_insert_with(|| json!([]));
        let Value::Array(entries) = entries else {
            return;
        };
        match entries.iter_mut().find(|entry| entry["type"] == kind) {
            Some(entry) => entry[sub] = value.into(),
            None => entries.push(json!({ "type": kind, sub: value })),
        }
    }

    /// The whole resource, for a creation.
    pub(super) fn resource(&self) -> Value {
        let mut resource = Map::new();
        let mut enterprise = Map::new();
        for (path, value) in &self.0 {
            if let Some(name) = path.strip_prefix(ENTERPRISE) {
                enterprise.insert(name.trim_start_matches(':').to_owned(), value.clone());
            } else if let Some((parent, name)) = path.split_once('.') {
                let parent = resource.entry(parent).or_insert_with(|| json!({}));
                parent[name] = value.clone();
            } else {
                resource.insert(path.clone(), value.clone());
            }
        }
        let mut schemas = vec![CORE];
        if !enterprise.is_empty() {
            schemas.push(ENTERPRISE);
            resource.insert(ENTERPRISE.to_owned(), Value::Object(enterprise));
        }
        resource.insert("schemas".to_owned(), json!(schemas));
        Value::Object(resource)
    }

    /// The operations that make `before` these: only what differs.
    pub(super) fn operations_from(&self, before: &Self) -> Vec<Value> {
        let replaced = self
            .0
            .iter()
            .filter(|(path, value)| before.0.get(*path) != Some(value));
        let replaced =
            replaced.map(|(path, value)| json!({ "op": "replace", "path": path, "value": value }));
        let removed = before.0.keys().filter(|path| !self.0.contains_key(*path));
        let removed = removed.map(|path| json!({ "op": "remove", "path": path }));
        replaced.chain(removed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UserStatus;

    fn user(fields: &[(UserField, &str)]) -> User {
        User {
            id: "u1".into(),
            directory: "SELF".into(),
            status: UserStatus::Active,
            deactivated: false,
            elsewhere: false,
            fields: fields
                .iter()
                .map(|(field, value)| (*field, (*value).to_owned()))
                .collect(),
            identities: Vec::new(),
            created_at: 0,
            updated_at: 0,
            last_login_at: None,
        }
    }

    #[test]
    fn fields_have_their_places() {
        let fields = [
            (UserField::Username, "ada"),
            (UserField::Name, "Lovelace"),
            (UserField::FirstName, "Ada"),
            (UserField::Email, "ada@example.com"),
            (UserField::Phone, "1"),
            (UserField::Mobile, "2"),
            (UserField::City, "London"),
            (UserField::ZipCode, "W1"),
            (UserField::Office, "12"),
            (UserField::Department, "Engines"),
            (UserField::Manager, "charles"),
            (UserField::Initials, "AL"),
        ];
        let resource = Attributes::of(&user(&fields)).resource();
        assert_eq!(
            resource,
            json!({
                "schemas": [CORE, ENTERPRISE], "externalId": "u1", "active": true, "userName": "ada",
                "name": {"familyName": "Lovelace", "givenName": "Ada"},
                "emails": [{"type": "work", "value": "ada@example.com"}],
                "phoneNumbers": [{"type": "work", "value": "1"}, {"type": "mobile", "value": "2"}],
                "addresses": [
                    {"type": "other", "formatted": "12"},
                    {"type": "work", "postalCode": "W1", "locality": "London"},
                ],
                ENTERPRISE: {"department": "Engines", "manager": {"value": "charles"}},
            })
        );
    }

    #[test]
    fn only_what_differs_is_patched() {
        let before = Attributes::of(&user(&[
            (UserField::Username, "ada"),
            (UserField::Name, "Byron"),
            (UserField::Title, "Lady"),
        ]));
        let after = Attributes::of(&user(&[
            (UserField::Username, "ada"),
            (UserField::Name, "Lovelace"),
            (UserField::Department, "Engines"),
        ]));
        assert_eq!(after.operations_from(&after), Vec::<Value>::new());
        assert_eq!(Attributes::from_json(&after.to_json()), after);
        assert_eq!(
            after.operations_from(&before),
            [
                json!({"op": "replace", "path": "name.familyName", "value": "Lovelace"}),
                json!({"op": "replace", "path": format!("{ENTERPRISE}:department"), "value": "Engines"}),
                json!({"op": "remove", "path": "name.honorificPrefix"}),
            ]
        );
    }
}
