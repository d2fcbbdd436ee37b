//! A user's fields, settled by the policies of the mapping.

use crate::config::UserField;
use crate::mapping::{Explanation, MappedField, Settled, settle};
use crate::store::User;

use super::rules::Rules;
use super::verdict::No;

impl Rules {
    /// The user with every field settled by its policies. A claim that is not looked at is at no fault.
    pub(super) fn synchronised(
        &self,
        user: &User,
        explanation: &Explanation,
        creating: bool,
    ) -> Result<User, No> {
        let mut after = user.clone();
        for mapped in &explanation.fields {
            self.settled(mapped, &mut after, creating)?;
        }
        for required in [UserField::Username, UserField::Name] {
            if after.field(required).is_none() {
                return Err(self.missing(required));
            }
        }
        Ok(after)
    }

    fn settled(&self, mapped: &MappedField, after: &mut User, creating: bool) -> Result<(), No> {
        let field = mapped.field;
        let filled = after.field(field).is_some();
        let present = !matches!(mapped.value, Ok(None));
        match (
            settle(mapped.sync, mapped.missing, creating, filled, present),
            &mapped.value,
        ) {
            (Settled::Write, Err(fault)) => return Err(No::refused(fault.clone()).field(field)),
            (Settled::Write, Ok(Some(value))) => {
                after.fields.insert(field, value.clone());
            }
            (Settled::Clear, _) => {
                after.fields.remove(&field);
            }
            (Settled::Deny, _) => return Err(self.missing(field)),
            (Settled::Keep, _) | (Settled::Write, Ok(None)) => {}
        }
        Ok(())
    }

    pub(super) fn missing(&self, field: UserField) -> No {
        let expected = match self.mapping.sources(field) {
            Some(claims) => format!("expected a value in {claims}"),
            None => "expected a value".to_owned(),
        };
        let origin = match field {
            UserField::Username => self.username_origin.as_str(),
            _ => "",
        };
        No::refused(format!("{}: {expected}, found none{origin}", field.name())).field(field)
    }
}
